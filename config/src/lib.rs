//! Typed settings and the shipped TOML files.
