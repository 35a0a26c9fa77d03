//! What a command is answered with, and its bytes on the way back through the quorum.

use stdx::{CursorError, Reader, Writer};
use wire::ErrorCode;
use wire::ids::{ProducerId, TopicId};

/// Why a command was refused: Kafka's error and words for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Kafka's error.
    pub code: ErrorCode,
    /// What was wrong, with what is allowed.
    pub message: String,
}

/// What [`crate::apply`] says to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It holds.
    Done,
    /// Nothing changed.
    Refused(Refusal),
    /// The broker is registered under this epoch.
    Registered {
        /// The broker epoch.
        epoch: i64,
    },
    /// The topic exists now.
    TopicCreated {
        /// Its identity.
        id: TopicId,
    },
    /// These producer ids belong to the asking broker.
    ProducerIds {
        /// The first.
        first: ProducerId,
        /// How many.
        count: i32,
    },
    /// One result per asked partition, in order; `None` is success (rule M10).
    Partitions(Vec<ErrorCode>),
}

impl Answer {
    /// The answer, or the refusal as an error.
    pub fn accepted(self) -> Result<Answer, Refusal> {
        match self {
            Answer::Refused(refusal) => Err(refusal),
            accepted => Ok(accepted),
        }
    }

    /// Its bytes: from the node that applied a command to the one that proposed it.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        match self {
            Answer::Done => {
                out.u8(0);
            }
            Answer::Refused(refusal) => {
                out.u8(1)
                    .i16_le(refusal.code.code())
                    .bytes_varint(refusal.message.as_bytes());
            }
            Answer::Registered { epoch } => {
                out.u8(2).i64_le(*epoch);
            }
            Answer::TopicCreated { id } => {
                out.u8(3).raw(&id.0);
            }
            Answer::ProducerIds { first, count } => {
                out.u8(4).i64_le(first.0).i32_le(*count);
            }
            Answer::Partitions(codes) => {
                out.u8(5).varint_u64(codes.len() as u64);
                for code in codes {
                    out.i16_le(code.code());
                }
            }
        }
        out.into_bytes()
    }

    /// Reads [`Answer::encode`]'s bytes; an unknown kind is an error, an unknown code is
    /// UNKNOWN_SERVER_ERROR.
    pub fn decode(bytes: &[u8]) -> Result<Answer, CursorError> {
        let mut input = Reader::new(bytes);
        let code = |code: i16| ErrorCode::from_code(code).unwrap_or(ErrorCode::UnknownServerError);
        let answer = match input.u8()? {
            0 => Answer::Done,
            1 => Answer::Refused(Refusal {
                code: code(input.i16_le()?),
                message: input.text_varint()?.to_string(),
            }),
            2 => Answer::Registered {
                epoch: input.i64_le()?,
            },
            3 => Answer::TopicCreated {
                id: TopicId(input.array()?),
            },
            4 => Answer::ProducerIds {
                first: ProducerId(input.i64_le()?),
                count: input.i32_le()?,
            },
            5 => {
                let count = input.count_varint(2)?;
                let codes = (0..count).map(|_| input.i16_le().map(code));
                Answer::Partitions(codes.collect::<Result<_, _>>()?)
            }
            kind => {
                return Err(CursorError::BadLength {
                    position: 0,
                    length: i64::from(kind),
                });
            }
        };
        input.finish()?;
        Ok(answer)
    }
}
