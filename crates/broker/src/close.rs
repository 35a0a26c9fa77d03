//! Why a connection ends. Every end has a reason, and every reason is counted.

use std::io;

/// Why a connection was closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// The client closed it.
    #[error("closed by the client")]
    Ended,
    /// The network failed.
    #[error("connection lost: {0}")]
    Peer(io::ErrorKind),
    /// A frame announced a length above `socket.request.max.bytes`, or a negative one (W7).
    #[error("a frame is longer than socket.request.max.bytes, or its length is negative")]
    FrameTooLong,
    /// The gate does not serve this (W6).
    #[error("{0}")]
    Unserved(wire::api::CloseReason),
    /// The body does not parse at its version.
    #[error("{api} request cannot be read: {reason}")]
    Unreadable {
        /// The API.
        api: &'static str,
        /// What was wrong.
        reason: String,
    },
    /// Nothing moved for `connections.max.idle.ms`.
    #[error("idle for connections.max.idle.ms")]
    Idle,
    /// A frame was sent too slowly.
    #[error("a frame took too long to arrive")]
    SlowFrame,
    /// A file range ended before its promised length: the answer cannot be taken back.
    #[error("a log file ended before the range that was promised")]
    ShortFile,
    /// An acks=0 produce failed; there is no other way to say so (P6).
    #[error("a produce request without acknowledgement failed")]
    UnacknowledgedFailed,
    /// The log cannot become durable any more; what waited for it is unknown.
    #[error("the log failed before an answer became durable")]
    LogFailed,
    /// The answer could not be encoded at this version.
    #[error("{api} answer cannot be encoded: {reason}")]
    Unencodable {
        /// The API.
        api: &'static str,
        /// What was wrong.
        reason: String,
    },
    /// The node is going down.
    #[error("the node is shutting down")]
    Draining,
}

impl CloseReason {
    /// A short name for counting.
    pub fn label(&self) -> &'static str {
        match self {
            CloseReason::Ended => "ended",
            CloseReason::Peer(_) => "peer",
            CloseReason::FrameTooLong => "frame_too_long",
            CloseReason::Unserved(_) => "unserved",
            CloseReason::Unreadable { .. } => "unreadable",
            CloseReason::Idle => "idle",
            CloseReason::SlowFrame => "slow_frame",
            CloseReason::ShortFile => "short_file",
            CloseReason::UnacknowledgedFailed => "unacknowledged_failed",
            CloseReason::LogFailed => "log_failed",
            CloseReason::Unencodable { .. } => "unencodable",
            CloseReason::Draining => "draining",
        }
    }

    /// Whether an operator wants to read about it: the client or we did something wrong.
    pub fn is_noteworthy(&self) -> bool {
        !matches!(
            self,
            CloseReason::Ended | CloseReason::Peer(_) | CloseReason::Idle | CloseReason::Draining
        )
    }
}
