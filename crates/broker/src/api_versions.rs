//! ApiVersions: what is served, from the one table in `wire`.

use wire::ErrorCode;
use wire::api_versions::{
    Features, encode_answer, encode_error, encode_fallback, is_software_token,
};
use wire::messages::api_versions;

use crate::dispatch::{Context, Handled, Reply, Request};
use crate::features;
use crate::outgoing::Outgoing;

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
    let image = context.node.image();
    let epoch = i64::try_from(image.offset().0).unwrap_or(i64::MAX);
    let features = Features {
        supported: features::SUPPORTED,
        finalized: &features::finalized(&image),
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
