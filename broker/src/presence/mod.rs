//! Presence: the pure [`table`] and the [`announcer`] that stores each change before anybody hears of it.

mod announcer;
mod table;

pub(crate) use announcer::{Announcer, Presences};
pub(crate) use table::{Event, Table};
