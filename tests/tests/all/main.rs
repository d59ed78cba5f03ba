//! The platform's stories, by flow. Each builds a domain, acts as its clients would, and looks at what they see.

mod access;
mod account;
mod crash;
mod doors;
mod everything;
mod live;
mod presence;
mod push;
mod upload;
