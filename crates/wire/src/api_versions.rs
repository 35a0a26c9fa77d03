//! ApiVersions: the answer that every connection starts with, computed from the API table.
//!
//! Written by hand because its framing is unlike any other: the response header never has tags
//! (rule W2), and a version we do not know is answered in the oldest layout instead of being
//! refused (rule W1).

use bytes::Bytes;
use stdx::Writer;

use crate::api::{Api, ApiKey, TABLE};
use crate::error::ErrorCode;
use crate::frame::PREFIX_BYTES;

/// A feature level range this broker can run at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SupportedFeature<'a> {
    /// `metadata.version`, `group.version`, …
    pub name: &'a str,
    /// Lowest level.
    pub min: i16,
    /// Highest level.
    pub max: i16,
}

/// The level range the cluster has agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FinalizedFeature<'a> {
    /// The feature.
    pub name: &'a str,
    /// Lowest level.
    pub min: i16,
    /// Highest level, the one that counts.
    pub max: i16,
}

/// Features as ApiVersions 3 and later carry them. Publish a level only when its behaviour
/// exists: Java acts on the feature, not on the version range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Features<'a> {
    /// What this broker can.
    pub supported: &'a [SupportedFeature<'a>],
    /// What the cluster agreed on.
    pub finalized: &'a [FinalizedFeature<'a>],
    /// Counts the changes of `finalized`; −1 while unknown.
    pub epoch: i64,
}

impl Features<'_> {
    /// No features at all.
    pub const NONE: Features<'static> = Features {
        supported: &[],
        finalized: &[],
        epoch: -1,
    };
}

/// The whole response frame at a served version: the table and the features.
pub fn encode_answer(
    version: i16,
    correlation_id: i32,
    throttle_ms: i32,
    features: &Features<'_>,
) -> Bytes {
    encode(
        version,
        correlation_id,
        ErrorCode::None,
        TABLE.iter(),
        throttle_ms,
        features,
    )
}

/// The whole response frame of a refusal at a served version: no keys.
pub fn encode_error(version: i16, correlation_id: i32, error: ErrorCode) -> Bytes {
    encode(
        version,
        correlation_id,
        error,
        [].iter(),
        0,
        &Features::NONE,
    )
}

/// The whole response frame for a version we do not know (rule W1): layout of version 0,
/// UNSUPPORTED_VERSION, and the range of ApiVersions itself, with which the client tries again.
pub fn encode_fallback(correlation_id: i32) -> Bytes {
    let own = std::slice::from_ref(ApiKey::ApiVersions.api());
    encode(
        0,
        correlation_id,
        ErrorCode::UnsupportedVersion,
        own.iter(),
        0,
        &Features::NONE,
    )
}

/// Whether a client's software name or version is well formed (rule W3, version 3 and later):
/// letters, digits, `-` and `.`, with a letter or digit at both ends. If not, the answer is
/// INVALID_REQUEST.
pub fn is_software_token(token: &str) -> bool {
    let [first, .., last] = token.as_bytes() else {
        return token.len() == 1 && token.as_bytes()[0].is_ascii_alphanumeric();
    };
    first.is_ascii_alphanumeric()
        && last.is_ascii_alphanumeric()
        && token
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'.')
}

fn encode<'t>(
    version: i16,
    correlation_id: i32,
    error: ErrorCode,
    apis: impl ExactSizeIterator<Item = &'t Api>,
    throttle_ms: i32,
    features: &Features<'_>,
) -> Bytes {
    let flexible = ApiKey::ApiVersions.api().is_flexible(version);
    let mut out = Writer::with_capacity(PREFIX_BYTES + 32 + 7 * apis.len() + 256);
    out.u32_be(0).i32_be(correlation_id).i16_be(error.code());
    if flexible {
        out.varint_u32(apis.len() as u32 + 1);
    } else {
        out.i32_be(apis.len() as i32);
    }
    for api in apis {
        out.i16_be(api.key.code())
            .i16_be(api.advertised_min)
            .i16_be(api.max);
        if flexible {
            out.u8(0);
        }
    }
    if version >= 1 {
        out.i32_be(throttle_ms);
    }
    if flexible {
        put_features(&mut out, version, features);
    }
    let size = (out.len() - PREFIX_BYTES) as u32;
    out.patch_u32_be(0, size);
    out.into_bytes().into()
}

/// The tag section: 0 supported, 1 epoch, 2 finalized.
fn put_features(out: &mut Writer, version: i16, features: &Features<'_>) {
    // Rule W4: before version 4 a minimum of 0 may not be shown.
    let shown: Vec<_> = features
        .supported
        .iter()
        .filter(|f| version >= 4 || f.min > 0)
        .collect();
    let tags = [
        !shown.is_empty(),
        features.epoch >= 0,
        !features.finalized.is_empty(),
    ];
    out.varint_u32(tags.iter().filter(|present| **present).count() as u32);
    let mut tag = Writer::new();
    if tags[0] {
        tag.varint_u32(shown.len() as u32 + 1);
        for f in shown {
            put_compact_text(&mut tag, f.name);
            tag.i16_be(f.min).i16_be(f.max).u8(0);
        }
        out.varint_u32(0).bytes_varint(tag.as_slice());
    }
    if tags[1] {
        out.varint_u32(1).varint_u32(8).i64_be(features.epoch);
    }
    if tags[2] {
        tag = Writer::new();
        tag.varint_u32(features.finalized.len() as u32 + 1);
        for f in features.finalized {
            put_compact_text(&mut tag, f.name);
            // Highest first: the other way round than in the supported list.
            tag.i16_be(f.max).i16_be(f.min).u8(0);
        }
        out.varint_u32(2).bytes_varint(tag.as_slice());
    }
}

fn put_compact_text(out: &mut Writer, text: &str) {
    out.varint_u32(text.len() as u32 + 1).raw(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::{self, api_versions, text};

    const SUPPORTED: &[SupportedFeature<'_>] = &[
        SupportedFeature {
            name: "metadata.version",
            min: 7,
            max: 30,
        },
        SupportedFeature {
            name: "group.version",
            min: 0,
            max: 1,
        },
    ];
    const FINALIZED: &[FinalizedFeature<'_>] = &[FinalizedFeature {
        name: "metadata.version",
        min: 7,
        max: 30,
    }];

    fn decode(version: i16, frame: &Bytes) -> api_versions::Response {
        let (correlation_id, response) =
            messages::decode_response::<api_versions::Request>(version, frame.slice(4..))
                .expect("decodes");
        assert_eq!(correlation_id, 9);
        response
    }

    #[test]
    fn the_answer_lists_the_table_and_nothing_else() {
        for version in 0..=4 {
            let frame = encode_answer(version, 9, 0, &Features::NONE);
            let response = decode(version, &frame);
            let listed: Vec<_> = response
                .api_keys
                .iter()
                .map(|k| (k.api_key, k.min_version, k.max_version))
                .collect();
            let table: Vec<_> = TABLE
                .iter()
                .map(|a| (a.key.code(), a.advertised_min, a.max))
                .collect();
            assert_eq!(listed, table);
            assert_eq!(listed[0], (0, 0, 13), "Produce is advertised from 0"); // decision D3
        }
    }

    #[test]
    fn the_hand_written_answer_equals_the_generated_one_byte_for_byte() {
        // rule W2: no tag byte in the header at any version
        let features = Features {
            supported: SUPPORTED,
            finalized: FINALIZED,
            epoch: 5,
        };
        for version in 0..=4 {
            let frame = encode_answer(version, 9, 3, &features);
            let response = decode(version, &frame);
            let again = messages::encode_response(version, 9, &response).expect("encodes");
            assert_eq!(frame, again, "version {version}");
        }
    }

    #[test]
    fn a_minimum_of_zero_is_shown_from_version_four_on() {
        // rule W4
        let features = Features {
            supported: SUPPORTED,
            finalized: FINALIZED,
            epoch: 5,
        };
        let names = |version| -> Vec<String> {
            decode(version, &encode_answer(version, 9, 0, &features))
                .supported_features
                .iter()
                .map(|f| f.name.to_string())
                .collect()
        };
        assert_eq!(names(3), ["metadata.version"]);
        assert_eq!(names(4), ["metadata.version", "group.version"]);
        let four = decode(4, &encode_answer(4, 9, 0, &features));
        assert_eq!(four.finalized_features_epoch, 5);
        assert_eq!(four.finalized_features[0].name, text("metadata.version"));
        assert_eq!(four.finalized_features[0].max_version_level, 30);
        assert_eq!(four.finalized_features[0].min_version_level, 7);
    }

    #[test]
    fn an_unknown_version_is_answered_in_the_oldest_layout() {
        // rule W1
        let frame = encode_fallback(9);
        assert_eq!(
            &frame[..],
            [
                0, 0, 0, 16, // size
                0, 0, 0, 9, // correlation id
                0, 35, // UNSUPPORTED_VERSION
                0, 0, 0, 1, // one key
                0, 18, 0, 0, 0, 4, // ApiVersions 0 to 4
            ]
        );
    }

    #[test]
    fn a_refusal_lists_no_keys() {
        for version in 0..=4 {
            let response = decode(
                version,
                &encode_error(version, 9, ErrorCode::InvalidRequest),
            );
            assert_eq!(response.error_code, 42);
            assert!(response.api_keys.is_empty());
        }
    }

    #[test]
    fn software_names_are_tokens() {
        // rule W3
        for good in [
            "a",
            "7",
            "librdkafka",
            "apache-kafka-java",
            "2.16.0",
            "a-.b",
        ] {
            assert!(is_software_token(good), "{good}");
        }
        for bad in ["", "-", ".a", "a-", "a b", "a_b", "é", "a/b"] {
            assert!(!is_software_token(bad), "{bad}");
        }
    }
}
