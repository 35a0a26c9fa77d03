//! DescribeUserScramCredentials: there are none, for there is no authentication yet.
//!
//! Kafka's tools ask for them whenever they are asked for a user's quotas, and fail without an
//! answer.

use std::collections::BTreeMap;

use wire::ErrorCode;
use wire::messages::describe_user_scram_credentials::{
    DescribeUserScramCredentialsResult, Request as Asked, Response,
};
use wire::messages::text;

use crate::dispatch::{Context, Handled, Request};

/// No user has credentials; each that is named is told so.
pub fn handle(_: &Context, request: Request) -> Handled {
    let asked: Asked = request.decode()?;
    let mut users: BTreeMap<&str, usize> = BTreeMap::new();
    for user in asked.users.iter().flatten() {
        *users.entry(user.name.as_str()).or_default() += 1;
    }
    let results = users.into_iter().map(|(name, mentions)| {
        let (code, message) = if mentions > 1 {
            let message = format!("Cannot describe SCRAM credentials for the same user twice in a single request: {name}");
            (ErrorCode::DuplicateResource, message)
        } else {
            let message = format!("Attempt to describe a user credential that does not exist: {name}");
            (ErrorCode::ResourceNotFound, message)
        };
        DescribeUserScramCredentialsResult {
            user: text(name),
            error_code: code.code(),
            error_message: Some(text(&message)),
            ..DescribeUserScramCredentialsResult::default()
        }
    });
    request.reply(&Response {
        results: results.collect(),
        ..Response::default()
    })
}
