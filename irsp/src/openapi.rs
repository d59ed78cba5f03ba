//! `/openapi.json`: what the roles' handlers say of themselves, as one description. `docs/openapi.json` is a copy of
//! that of `irsp up`, for who reads without running; a test keeps it equal.

use utoipa::openapi::OpenApi;

/// The descriptions of the roles a process runs, joined; `None` without any.
pub(crate) fn join(roles: impl IntoIterator<Item = OpenApi>) -> Option<OpenApi> {
    let mut document = roles.into_iter().reduce(|mut document, more| {
        document.merge(more);
        document
    })?;
    document.info.title = "IRSP platform".to_owned();
    document.info.version = env!("CARGO_PKG_VERSION").to_owned();
    Some(document)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COPY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
    const WRITE: &str = "IRSP_WRITE_OPENAPI";

    #[test]
    fn the_copy_in_docs_is_what_the_handlers_say() {
        let document = join([irsp_account::openapi(), irsp_appserver::openapi()]).unwrap();
        let text = document.to_pretty_json().unwrap() + "\n";
        if std::env::var_os(WRITE).is_some() {
            std::fs::write(COPY, &text).unwrap();
        }
        let copy = std::fs::read_to_string(COPY).unwrap_or_default();
        let line = copy
            .lines()
            .zip(text.lines())
            .take_while(|(copy, now)| copy == now);
        assert!(
            copy == text,
            "docs/openapi.json differs from the code from line {} on; write it anew: {WRITE}=1 cargo test --workspace --bin irsp openapi",
            line.count() + 1
        );
    }
}
