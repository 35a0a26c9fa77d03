//! What can go wrong for a client, by what the caller can do about it.

use wire::ErrorCode;

/// Why a call failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClientError {
    /// No connection could be made.
    #[error("{address}: {reason}")]
    Unreachable {
        /// Where.
        address: String,
        /// What the system said.
        reason: String,
    },
    /// The connection ended while an answer was awaited: the request may or may not have acted.
    #[error("{address}: connection lost: {reason}")]
    Disconnected {
        /// Where.
        address: String,
        /// What the system said.
        reason: String,
    },
    /// No answer within the deadline: the request may or may not have acted.
    #[error("{address}: no answer to {api} within {seconds} s")]
    Timeout {
        /// Where.
        address: String,
        /// Which request.
        api: &'static str,
        /// The deadline.
        seconds: u64,
    },
    /// The broker does not offer this request in a version we speak.
    #[error("{address}: the broker does not offer {api} in a version we speak")]
    Unsupported {
        /// Where.
        address: String,
        /// Which request.
        api: &'static str,
    },
    /// Bytes that are no answer to what was asked.
    #[error("{address}: unreadable answer: {reason}")]
    Protocol {
        /// Where.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The broker refused.
    #[error("{code}{}", .message.as_deref().map(|text| format!(": {text}")).unwrap_or_default())]
    Server {
        /// Kafka's error.
        code: ErrorCode,
        /// The broker's own words, if it had any.
        message: Option<String>,
    },
}

impl ClientError {
    /// The broker refused with this code and no words of its own.
    pub fn server(code: ErrorCode) -> ClientError {
        ClientError::Server {
            code,
            message: None,
        }
    }

    /// Whether the same call may succeed later, after a fresh look at the metadata.
    pub fn is_retriable(&self) -> bool {
        match self {
            ClientError::Unreachable { .. }
            | ClientError::Disconnected { .. }
            | ClientError::Timeout { .. } => true,
            ClientError::Server { code, .. } => code.is_retriable(),
            ClientError::Unsupported { .. } | ClientError::Protocol { .. } => false,
        }
    }
}

/// `Ok` for code 0, else the refusal with the broker's words.
pub(crate) fn check(code: i16, message: Option<&str>) -> Result<(), ClientError> {
    match ErrorCode::from_code(code) {
        Some(ErrorCode::None) => Ok(()),
        known => Err(ClientError::Server {
            code: known.unwrap_or(ErrorCode::UnknownServerError),
            message: message.filter(|text| !text.is_empty()).map(str::to_owned),
        }),
    }
}
