//! ApiVersions: what is served, from the one table in `wire`.

use wire::ErrorCode;
use wire::api_versions::{
    Features, FinalizedFeature, SupportedFeature, encode_answer, encode_error, encode_fallback,
    is_software_token,
};
use wire::messages::api_versions;

use crate::dispatch::{Context, Handled, Reply, Request};
use crate::outgoing::Outgoing;

/// Levels whose behaviour exists here. Java acts on a published level, not on version ranges, so
/// transaction.version stays out until its protocol is served (D12).
const SUPPORTED: &[SupportedFeature<'static>] = &[
    // Kafka 4.3 is metadata.version 30; 7 is the lowest that 4.x brokers start with.
    SupportedFeature {
        name: "metadata.version",
        min: 7,
        max: 30,
    },
    SupportedFeature {
        name: "kraft.version",
        min: 0,
        max: 1,
    },
    // 1 is KIP-848.
    SupportedFeature {
        name: "group.version",
        min: 0,
        max: 1,
    },
];

const FINALIZED: &[FinalizedFeature<'static>] = &[
    FinalizedFeature {
        name: "metadata.version",
        min: 30,
        max: 30,
    },
    FinalizedFeature {
        name: "group.version",
        min: 1,
        max: 1,
    },
];

/// Answers with the table.
pub fn handle(context: &Context, request: Request) -> Handled {
    let (version, correlation_id) = (request.version(), request.header.correlation_id);
    let asked: api_versions::Request = request.decode()?;
    // rule W3
    if version >= 3
        && !(is_software_token(asked.client_software_name.as_str())
            && is_software_token(asked.client_software_version.as_str()))
    {
        let refused = encode_error(version, correlation_id, ErrorCode::InvalidRequest);
        return Ok(Reply::Now(Outgoing::bytes(refused)));
    }
    let epoch = i64::try_from(context.node.image().offset().0).unwrap_or(i64::MAX);
    let features = Features {
        supported: SUPPORTED,
        finalized: FINALIZED,
        epoch,
    };
    Ok(Reply::Now(Outgoing::bytes(encode_answer(
        version,
        correlation_id,
        0,
        &features,
    ))))
}

/// Answers a version we do not know, in the oldest layout (W1).
pub fn fallback(correlation_id: i32) -> Reply {
    Reply::Now(Outgoing::bytes(encode_fallback(correlation_id)))
}
