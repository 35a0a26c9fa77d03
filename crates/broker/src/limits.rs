//! Every limit of the network side, with its name, its reason and what happens there.
//!
//! Plain data: the binary fills it from its configuration; tests shrink it to reach the edges.

use std::time::Duration;

/// Bytes one greedy read may take from a socket: enough for many pipelined requests, small
/// enough that one connection cannot hold a reactor for long.
pub const READ_BYTES_MAX: usize = 1 << 20;

/// A cut frame up to this size leaves the shared read buffer for an exact one, so that a silent
/// connection holds what it sent and not a read buffer.
pub const SMALL_FRAME_BYTES: usize = 16 << 10;

/// Slices of one vectored write. Linux takes 1,024; beyond 64 nothing is gained.
pub const WRITE_SLICES_MAX: usize = 64;

/// Read buffers a reactor keeps for the next read; further ones are freed.
pub const SPARE_BUFFERS_MAX: usize = 4;

/// Partition bytes below this are copied into the answer instead of sent as a file range:
/// sendfile's own cost more than doubles for small pieces (storage.md 5).
pub const COPY_BYTES_MAX: u64 = 8 << 10;

/// Partitions one Produce or Fetch request may name; an answer entry weighs many times its
/// request's. Four times what a node hosts. Beyond, the connection is closed.
pub const REQUEST_PARTITIONS_MAX: usize = 200_000;

/// The limits a node runs with.
#[derive(Clone, Debug)]
pub struct Limits {
    /// `socket.request.max.bytes`: a larger frame closes its connection (W7).
    pub request_bytes_max: usize,
    /// Bytes of received, not yet handled requests in all connections together. At the limit
    /// sockets are not read; one connection at a time may still finish its frame, so that the
    /// rest cannot wait for each other for ever.
    pub request_bytes_total_max: usize,
    /// Connections at once; further ones are closed at accept.
    pub connections_max: usize,
    /// `connections.max.idle.ms`: without a byte in or out for this long a connection is closed.
    pub idle: Duration,
    /// How long a begun frame may take, before the allowance for its size ...
    pub frame_time_max: Duration,
    /// ... which grows by one second per this many received bytes. Slower senders are closed.
    pub frame_bytes_per_second_min: u64,
    /// Requests of one connection that may be unanswered; beyond, it is not read.
    pub in_flight_max: usize,
    /// Encoded answer bytes of one connection that its client has not taken; beyond, it is not
    /// read. File ranges do not count: they are sent from the page cache.
    pub unsent_bytes_max: usize,
    /// `fetch.max.bytes` of the broker: upper bound of one Fetch answer.
    pub fetch_bytes_max: u32,
    /// `max.incremental.fetch.session.cache.slots`: readers whose wishes are remembered; the
    /// others name all of them each time.
    pub fetch_sessions_max: usize,
    /// Longest wait of a Fetch, whatever it asks for.
    pub fetch_wait_max: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            request_bytes_max: 100 << 20,
            request_bytes_total_max: 48 << 20,
            connections_max: 100_000,
            idle: Duration::from_secs(600),
            frame_time_max: Duration::from_secs(30),
            frame_bytes_per_second_min: 16 << 10,
            in_flight_max: 512,
            unsent_bytes_max: 4 << 20,
            fetch_bytes_max: 55 << 20,
            fetch_sessions_max: 1_000,
            fetch_wait_max: Duration::from_secs(300),
        }
    }
}
