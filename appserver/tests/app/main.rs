//! The application server as its neighbours see it: frames on the bus on one side, HTTP on the other.

#![expect(clippy::unwrap_used, reason = "a story that cannot go on fails")]

mod house;

mod directory;
mod doors;
mod presence;
mod pushes;
mod receipts;
mod streams;
mod uploads;
