//! Whole conversations with the session rules, in memory, with time given by the test.

mod anything;
mod client;
mod delivery;
mod durable;
mod handshake;
mod publish;
mod refusals;
mod resume;
mod subscribe;
