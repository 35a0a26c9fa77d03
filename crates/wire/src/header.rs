//! Request and response headers, and what the gate says to a request.
//!
//! Request header v1: key i16, version i16, correlation id i32, client id as a nullable string
//! with a 2-byte length; v2 adds tags, but keeps the client id's 2-byte length (rule W5).
//! Response header v0: correlation id; v1 adds tags.

use bytes::Bytes;
use stdx::{CursorError, Reader};

use crate::api::{Api, CloseReason, Gate, gate};
use crate::messages::Text;

/// The header of a request that is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHeader {
    /// The table's row.
    pub api: &'static Api,
    /// A version within that row's range.
    pub version: i16,
    /// Comes back in the answer.
    pub correlation_id: i32,
    /// How the client calls itself. A slice of the frame: copy it if it outlives the request.
    pub client_id: Option<Text>,
}

/// A request after the gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// To be handled; the body starts after the header.
    Request {
        /// The header.
        header: RequestHeader,
        /// The bytes behind it.
        body: Bytes,
    },
    /// ApiVersions at a version we do not know: answer with
    /// [`crate::api_versions::encode_fallback`] and go on (rule W1).
    ApiVersionsFallback {
        /// Comes back in the answer.
        correlation_id: i32,
    },
}

/// Reads the header of a frame and asks the gate.
///
/// # Errors
/// The connection is to be closed without an answer (rule W6).
pub fn read_request(frame: Bytes) -> Result<Incoming, CloseReason> {
    let mut reader = Reader::new(&frame);
    let key = reader.i16_be()?;
    let version = reader.i16_be()?;
    let correlation_id = reader.i32_be()?;
    let api = match gate(key, version) {
        Gate::Serve(api) => api,
        Gate::ApiVersionsFallback => return Ok(Incoming::ApiVersionsFallback { correlation_id }),
        Gate::Close(reason) => return Err(reason),
    };
    let (bytes, max) = (frame.len(), api.request_bytes_max());
    if bytes > max {
        return Err(CloseReason::TooLarge {
            api: api.key,
            bytes,
            max,
        });
    }
    let client_id = read_client_id(&mut reader, &frame)?;
    if api.request_header_version(version) >= 2 {
        skip_tags(&mut reader)?;
    }
    let body = frame.slice(reader.position()..);
    Ok(Incoming::Request {
        header: RequestHeader {
            api,
            version,
            correlation_id,
            client_id,
        },
        body,
    })
}

fn read_client_id(reader: &mut Reader<'_>, frame: &Bytes) -> Result<Option<Text>, CursorError> {
    let position = reader.position();
    let length = reader.i16_be()?;
    let Ok(length) = usize::try_from(length) else {
        return match length {
            -1 => Ok(None),
            _ => Err(CursorError::BadLength {
                position,
                length: i64::from(length),
            }),
        };
    };
    let start = reader.position();
    reader.skip(length)?;
    let text = Text::new(frame.slice(start..start + length))
        .map_err(|_| CursorError::NotUtf8 { position: start })?;
    Ok(Some(text))
}

/// Passes over a tag section: a count, then tag, size and that many bytes each.
#[inline]
pub(crate) fn skip_tags(reader: &mut Reader<'_>) -> Result<(), CursorError> {
    let count = reader.varint_u32()?;
    // A hostile count ends with the bytes: each round takes at least two of them.
    for _ in 0..count {
        reader.varint_u32()?;
        let size = reader.varint_u32()?;
        reader.skip(size as usize)?;
    }
    Ok(())
}

/// Appends a request header, without the frame's size. For clients.
pub fn put_request(
    out: &mut Vec<u8>,
    api: &Api,
    version: i16,
    correlation_id: i32,
    client_id: Option<&str>,
) {
    out.extend_from_slice(&api.key.code().to_be_bytes());
    out.extend_from_slice(&version.to_be_bytes());
    out.extend_from_slice(&correlation_id.to_be_bytes());
    match client_id {
        None => out.extend_from_slice(&(-1i16).to_be_bytes()),
        Some(id) => {
            // A client id beyond 32 KiB is cut at a character, not refused: it is only a label.
            let mut end = id.len().min(i16::MAX as usize);
            while !id.is_char_boundary(end) {
                end -= 1;
            }
            out.extend_from_slice(&(end as i16).to_be_bytes());
            out.extend_from_slice(&id.as_bytes()[..end]);
        }
    }
    if api.request_header_version(version) >= 2 {
        out.push(0);
    }
}

/// Bytes of the response header for this request (rule W2).
pub fn response_header_bytes(api: &Api, version: i16) -> usize {
    4 + api.response_header_version(version) as usize
}

/// Reads a response header: the correlation id and how many bytes the header takes.
///
/// # Errors
/// The frame is shorter than its header.
pub fn read_response(api: &Api, version: i16, frame: &[u8]) -> Result<(i32, usize), CursorError> {
    let mut reader = Reader::new(frame);
    let correlation_id = reader.i32_be()?;
    if api.response_header_version(version) >= 1 {
        skip_tags(&mut reader)?;
    }
    Ok((correlation_id, reader.position()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{ApiKey, COLD_REQUEST_BYTES_MAX};

    fn frame(key: i16, version: i16, rest: &[u8]) -> Bytes {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&key.to_be_bytes());
        bytes.extend_from_slice(&version.to_be_bytes());
        bytes.extend_from_slice(&77i32.to_be_bytes());
        bytes.extend_from_slice(rest);
        bytes.into()
    }

    #[test]
    fn a_flexible_header_keeps_the_two_byte_client_id_and_adds_tags() {
        // rule W5
        let bytes = frame(3, 9, b"\x00\x02me\x01\x05\x03xyzBODY");
        let Ok(Incoming::Request { header, body }) = read_request(bytes) else {
            panic!("a request")
        };
        assert_eq!(header.api.key, ApiKey::Metadata);
        assert_eq!((header.version, header.correlation_id), (9, 77));
        assert_eq!(header.client_id.as_ref().map(Text::as_str), Some("me"));
        assert_eq!(&body[..], b"BODY");
    }

    #[test]
    fn an_older_header_has_no_tags_and_may_have_no_client_id() {
        let Ok(Incoming::Request { header, body }) = read_request(frame(47, 0, b"\xff\xffBODY"))
        else {
            panic!("a request")
        };
        assert_eq!(header.client_id, None);
        assert_eq!(&body[..], b"BODY");
    }

    #[test]
    fn what_a_client_writes_is_read_back() {
        for api in crate::api::TABLE {
            for version in api.min..=api.max {
                for client_id in [None, Some(""), Some("client-1")] {
                    let mut bytes = Vec::new();
                    put_request(&mut bytes, api, version, -5, client_id);
                    let Ok(Incoming::Request { header, body }) = read_request(bytes.into()) else {
                        panic!("a request")
                    };
                    assert_eq!((header.api, header.version), (api, version));
                    assert_eq!(header.correlation_id, -5);
                    assert_eq!(header.client_id.as_ref().map(Text::as_str), client_id);
                    assert!(body.is_empty());
                }
            }
        }
    }

    #[test]
    fn unknown_api_versions_are_answered_without_reading_on() {
        // rule W1: Kafka 4.4 opens with version 5; nothing behind the correlation id is read.
        for version in [5, 99, i16::MAX, -1] {
            assert_eq!(
                read_request(frame(18, version, b"\xff")),
                Ok(Incoming::ApiVersionsFallback { correlation_id: 77 })
            );
        }
    }

    #[test]
    fn only_produce_may_fill_a_whole_frame() {
        // rules W7 and W8
        let long = vec![0xff; COLD_REQUEST_BYTES_MAX];
        assert!(matches!(
            read_request(frame(3, 8, &long)),
            Err(CloseReason::TooLarge {
                api: ApiKey::Metadata,
                ..
            })
        ));
        assert!(read_request(frame(3, 8, &long[8..])).is_ok());
        assert!(read_request(frame(0, 8, &long)).is_ok());
    }

    #[test]
    fn broken_headers_close_the_connection() {
        // rules W6 and W8
        assert!(matches!(
            read_request(Bytes::new()),
            Err(CloseReason::Header(_))
        ));
        assert!(matches!(
            read_request(frame(7, 0, b"\xff\xff")),
            Err(CloseReason::UnknownApi { key: 7 })
        ));
        for rest in [
            &b"\x7f\xff"[..],                        // a client id longer than the frame
            b"\xff\xfe",                             // a negative length that is not null
            b"\x00\x01\xff\x00",                     // not UTF-8
            b"\xff\xff\xff\xff\xff\xff\x0f",         // four billion tags
            b"\xff\xff\x01\x00\xff\xff\xff\xff\x0f", // a tag of four billion bytes
        ] {
            assert!(
                matches!(read_request(frame(3, 9, rest)), Err(CloseReason::Header(_))),
                "{rest:?}"
            );
        }
    }
}
