//! Deterministic simulation of the courier: three servers with their clients in one thread, from one seed.
//!
//! The bus loses, repeats, delays and reorders frames; processes vanish between any two steps and keep only what was
//! committed; clocks drift and jump; disks fill up; devices come and go. The couriers are the real ones, moved by hand
//! ([`irsp_courier::Manual`]); an oracle that knows only what clients were told and what took effect holds them
//! against the promises ([`Rule`]). [`Fault`] breaks the surroundings on purpose, so that the oracle is tested as well.

mod bus;
mod client;
mod clock;
mod dice;
mod fault;
mod oracle;
mod plan;
mod role;
mod server;
mod story;
mod wire;
mod world;

pub use fault::Fault;
pub use oracle::{Rule, Violation};
pub use story::{Told, tell};
pub use world::Failure;
