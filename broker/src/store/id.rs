//! What sessions and wills are called on disk.

/// Names a session on disk, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SessionId(pub(crate) u64);

/// Names a stored will.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WillId(pub(crate) u64);
