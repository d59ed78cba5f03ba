//! Conformance, by the public contract alone (MQTT and HTTP, docs/profile.md and docs/device-contract.md):
//!
//! - `platform` tries the clause table of the profile on a running deployment, with principals of its own that it
//!   deletes at the end.
//! - `device` lets a device meet a platform through a gate that cuts, refuses, holds back and repeats, and judges from
//!   what passed the gate whether the device keeps its contract.
//! - `report` says for every clause what was tried and what came of it: for people, as JSON and as JUnit XML.
//!
//! Packets are read and written by the simulator's own wire (`devicesim::wire`), not by the platform's codec: a mistake
//! there is then not made twice.

pub mod client;
pub mod device;
pub mod http;
pub mod junit;
pub mod platform;
pub mod report;
pub mod trouble;

pub use devicesim::target::Target;
pub use http::Api;
pub use report::{Finding, Report, Verdict};
pub use trouble::{CannotStart, Trouble};
