//! Stories about the account server as its callers and its followers see it: HTTP in, frames out.

mod bindings;
mod bulk;
mod conditions;
mod devices;
mod followers;
mod house;
mod login;
mod secrets;
mod wrong_input;
