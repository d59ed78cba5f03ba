//! The bus inside the message server: the rumqttd router, without its listeners.
//!
//! Nothing outside this folder knows rumqttd, and nothing relies on it keeping order or data: couriers repeat what
//! is not answered. Topics are few (`bus/{server}`), because the router remembers every topic for ever, and segments
//! are small, because couriers keep a bounded window and never read the past.

mod embedded;

pub(crate) use embedded::{Bus, BusError, topic};
