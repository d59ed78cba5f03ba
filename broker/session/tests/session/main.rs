//! Whole conversations with the session rules, in memory, with time given by the test. `tests/clauses.toml` joins them to
//! the normative statements of the specifications.

mod aliases;
mod anything;
mod client;
mod codes;
mod delivery;
mod durable;
mod fields;
mod handshake;
mod publish;
mod refusals;
mod repeats;
mod resume;
mod subscribe;
mod text;
mod window;
