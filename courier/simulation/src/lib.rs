//! Deterministic simulation of the courier: the servers of one domain or more with their clients in one thread, from one
//! seed.
//!
//! The bus loses, repeats, delays and reorders frames; processes vanish between any two steps and keep only what was
//! committed; clocks drift and jump; disks fill up; devices come and go. Links between domains are cut with what they carry,
//! made by either side and by both; domains lose sight of each other, stand still, or answer nothing. The couriers are the real ones, moved by hand
//! ([`irsp_courier::Manual`]); an oracle that knows only what clients were told and what took effect holds them
//! against the promises ([`Rule`]). [`Fault`] breaks the surroundings on purpose, so that the oracle is tested as well.

mod abroad;
mod bus;
mod change;
mod client;
mod clock;
mod dice;
mod fault;
mod home;
mod household;
mod judge;
mod link;
mod look;
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
