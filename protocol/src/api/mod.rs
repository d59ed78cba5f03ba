//! Bodies of the HTTP API (`/v1`), shared by the servers, the command line and the simulator.

pub mod account;
pub mod app;
pub mod external;
pub mod login;
pub mod operator;
pub mod peer;
mod problem;
pub mod receivers;

pub use problem::{Problem, ProblemLine};
