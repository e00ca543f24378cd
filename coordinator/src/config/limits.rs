//! Bounds of the shell.

use serde::{Deserialize, Serialize};

/// Bounds of the shell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Connections to the gRPC port at a time: one for each agent of a large fleet, and clients. Each is an open file.
    pub connections_max: usize,
    /// Connections from one address to each port at a time; a network of IPv6 with a prefix of 64 bits counts as one
    /// address, and this machine is exempt. More agents than that behind one router need more. 1 to 268435456, default 2048.
    pub connections_per_address_max: usize,
    /// TLS handshakes under way on each port; one more, and the oldest is given up. Each may hold 64 KiB of what its peer
    /// says. 1 to 65536, default 512.
    pub handshakes_max: usize,
    /// How long a peer may take to say what it has to say first: a connection its greeting, its TLS handshake included, an
    /// HTTP request its headers, a session its registration.
    pub greeting_timeout_ms: u64,
    /// How long a peer may leave what is sent to it unread, and what it has begun to send unfinished. A message has 8 MiB
    /// at most, so this asks for 140 kB/s.
    pub unread_timeout_ms: u64,
    /// Messages queued for one agent before it is cut off. An agent with 4,096 slots may be sent two for each at once.
    pub session_queue_max: usize,
    /// Recent events kept in memory for those who watch.
    pub recent_events_max: usize,
    /// Events queued for one watcher before it is cut off.
    pub watcher_queue_max: usize,
    /// Watchers at a time, of tasks and of the fleet each.
    pub watchers_max: usize,
    /// Finished ephemeral tasks kept in memory.
    pub ephemeral_kept_max: usize,
    /// Bytes of their outputs.
    pub ephemeral_kept_bytes_max: usize,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            connections_max: 16_384,
            connections_per_address_max: 2_048,
            handshakes_max: 512,
            greeting_timeout_ms: 10_000,
            unread_timeout_ms: 60_000,
            session_queue_max: 16_384,
            recent_events_max: 65_536,
            watcher_queue_max: 8_192,
            watchers_max: 1_024,
            ephemeral_kept_max: 10_000,
            ephemeral_kept_bytes_max: 64 << 20,
        }
    }
}
