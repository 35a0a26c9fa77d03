//! Frames: a 4-byte big-endian size and that many bytes. Nothing else is known here.
//!
//! A connection's buffer grows with what was received, never with what was announced (rule W8),
//! and a frame above the caller's limit is refused before it is waited for (rule W7).

use bytes::{Buf, Bytes, BytesMut};

/// Bytes of the size in front of each frame.
pub const PREFIX_BYTES: usize = 4;

/// Kafka's `socket.request.max.bytes`: a longer frame closes the connection (rule W7).
pub const REQUEST_BYTES_MAX: usize = 100 * 1024 * 1024;

/// What the bytes received so far amount to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameStep {
    /// This many bytes more are needed before the answer can change.
    Need(usize),
    /// A whole frame of `len` bytes lies behind the prefix.
    Frame {
        /// Length without the prefix, bytes.
        len: usize,
    },
    /// The announced length is negative or above the limit: close the connection.
    TooLong {
        /// The length as announced.
        announced: i32,
    },
}

/// A frame that cannot be accepted: close the connection (rule W7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("frame of {announced} bytes announced, 0 to {max} are accepted")]
pub struct FrameTooLong {
    /// The length as announced.
    pub announced: i32,
    /// The limit, bytes.
    pub max: usize,
}

/// Looks at the front of `buffered`; `max` limits the frame without its prefix.
pub fn split_frame(buffered: &[u8], max: usize) -> FrameStep {
    let Some(prefix) = buffered.first_chunk::<PREFIX_BYTES>() else {
        return FrameStep::Need(PREFIX_BYTES - buffered.len());
    };
    let announced = i32::from_be_bytes(*prefix);
    match usize::try_from(announced) {
        Ok(len) if len <= max => match (PREFIX_BYTES + len).checked_sub(buffered.len()) {
            None | Some(0) => FrameStep::Frame { len },
            Some(missing) => FrameStep::Need(missing),
        },
        _ => FrameStep::TooLong { announced },
    }
}

/// Takes the first whole frame, without its prefix, out of a connection's buffer.
///
/// The frame is a slice of that buffer: it is freed when the last slice of it is dropped.
/// `None` asks for more bytes.
///
/// # Errors
/// [`FrameTooLong`]: the stream cannot be read on.
pub fn take_frame(buffer: &mut BytesMut, max: usize) -> Result<Option<Bytes>, FrameTooLong> {
    match split_frame(buffer, max) {
        FrameStep::Need(_) => Ok(None),
        FrameStep::TooLong { announced } => Err(FrameTooLong { announced, max }),
        FrameStep::Frame { len } => {
            buffer.advance(PREFIX_BYTES);
            Ok(Some(buffer.split_to(len).freeze()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_seen_once_its_last_byte_is_there() {
        let bytes = [0, 0, 0, 3, b'a', b'b', b'c', 9];
        for cut in 0..4 {
            assert_eq!(split_frame(&bytes[..cut], 100), FrameStep::Need(4 - cut));
        }
        for cut in 4..7 {
            assert_eq!(split_frame(&bytes[..cut], 100), FrameStep::Need(7 - cut));
        }
        assert_eq!(split_frame(&bytes[..7], 100), FrameStep::Frame { len: 3 });
        assert_eq!(split_frame(&bytes, 100), FrameStep::Frame { len: 3 });
    }

    #[test]
    fn a_frame_above_the_limit_is_refused_before_it_arrives() {
        // rules W7 and W8
        assert_eq!(
            split_frame(&[0, 0, 0, 101], 100),
            FrameStep::TooLong { announced: 101 }
        );
        assert_eq!(split_frame(&[0, 0, 0, 100], 100), FrameStep::Need(100));
        assert_eq!(
            split_frame(&[0xff; 4], 100),
            FrameStep::TooLong { announced: -1 }
        );
        assert_eq!(
            split_frame(&[0x7f, 0xff, 0xff, 0xff], REQUEST_BYTES_MAX),
            FrameStep::TooLong {
                announced: i32::MAX
            }
        );
        let mut buffer = BytesMut::from(&[0x80, 0, 0, 0, 1][..]);
        assert_eq!(
            take_frame(&mut buffer, 100),
            Err(FrameTooLong {
                announced: i32::MIN,
                max: 100
            })
        );
    }

    #[test]
    fn frames_are_taken_in_order_and_the_rest_stays() {
        let mut buffer = BytesMut::from(&[0, 0, 0, 1, 7, 0, 0, 0, 0, 0, 0, 0, 2, 8][..]);
        assert_eq!(
            take_frame(&mut buffer, 10),
            Ok(Some(Bytes::from_static(&[7])))
        );
        assert_eq!(take_frame(&mut buffer, 10), Ok(Some(Bytes::new())));
        assert_eq!(take_frame(&mut buffer, 10), Ok(None));
        assert_eq!(&buffer[..], [0, 0, 0, 2, 8]);
    }
}
