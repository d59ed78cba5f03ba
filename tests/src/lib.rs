//! Whole-platform tests: real sockets, real files, real clients.
