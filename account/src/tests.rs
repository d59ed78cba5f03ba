//! Stories about the account server as its callers and its followers see it: HTTP in, frames out.

mod abroad;
mod audit;
mod bindings;
mod bulk;
mod conditions;
mod credentials;
mod devices;
mod followers;
mod gone;
mod house;
mod lists;
mod login;
mod logins;
mod model;
mod peers;
mod restore;
mod secrets;
mod storage;
mod transfer;
mod wrong_input;
