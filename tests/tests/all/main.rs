//! The platform's stories, by flow. Each builds a domain, acts as its clients would, and looks at what they see.

#[cfg(test)]
mod access;
#[cfg(test)]
mod account;
#[cfg(test)]
mod attached;
#[cfg(test)]
mod clauses;
#[cfg(test)]
mod contract;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod doors;
#[cfg(test)]
mod edge;
#[cfg(test)]
mod everything;
#[cfg(test)]
mod library;
#[cfg(test)]
mod live;
#[cfg(test)]
mod messages;
#[cfg(test)]
mod mqtt;
#[cfg(test)]
mod operator;
#[cfg(test)]
mod presence;
#[cfg(test)]
mod push;
#[cfg(test)]
mod push_once;
#[cfg(test)]
mod push_options;
mod sessions;
#[cfg(test)]
mod upload;
#[cfg(test)]
mod websocket;
