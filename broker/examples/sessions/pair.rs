//! A pair: what its device and its user are called, and what they log in with.

pub(crate) fn device(pair: usize) -> String {
    format!("d{pair}")
}

pub(crate) fn user(pair: usize) -> String {
    format!("u{pair}")
}

/// What both of a pair log in with.
pub(crate) fn secret(pair: usize) -> String {
    format!("secret-of-{pair}")
}
