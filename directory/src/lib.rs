//! A server's own copy of principals, credentials, bindings and grants.
