//! Presence: the pure [`table`] and the [`announcer`] that stores each change before anybody hears of it.

mod announcer;
mod table;
mod unstored;

pub(crate) use announcer::{Announcer, Presences};
pub(crate) use table::{Event, Table};
pub(crate) use unstored::Unstored;
