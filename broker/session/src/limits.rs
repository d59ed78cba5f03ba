//! What one client may cost.

use std::time::Duration;

/// The limits of a listener, shared by all its connections.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Largest packet taken from a client, fixed header included; told to MQTT 5 clients.
    pub packet_size_max: u32,
    /// QoS 1 and 2 publishes of one client not yet acknowledged. Told to MQTT 5 clients, who must keep to it;
    /// reading from older ones pauses there.
    pub receive_max: u16,
    /// Topic aliases a client may set, and that we set towards a client.
    pub topic_alias_max: u16,
    /// Longest keep-alive; an MQTT 5 client that asks for more is told this one. Keep-alive 0 stays off.
    pub keep_alive_max: Duration,
    /// Longest life of a session without a connection.
    pub session_expiry_max: Duration,
    /// QoS 1 and 2 deliveries to one client not yet acknowledged; the client's own Receive Maximum may lower it.
    pub inflight_max: u16,
    /// QoS 1 and 2 deliveries that wait in a session behind that window.
    pub queue_messages_max: usize,
    /// From the accepted connection to a complete CONNECT.
    pub connect_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            packet_size_max: 1_048_576,
            receive_max: 256,
            topic_alias_max: 16,
            keep_alive_max: Duration::from_secs(18 * 3600),
            session_expiry_max: Duration::from_secs(7 * 24 * 3600),
            inflight_max: 128,
            queue_messages_max: 1000,
            connect_timeout: Duration::from_secs(10),
        }
    }
}
