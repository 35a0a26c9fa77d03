//! InitProducerId: a producer id for an idempotent producer.

use wire::ErrorCode;
use wire::ids::ProducerId;
use wire::messages::Text;
use wire::messages::init_producer_id::{Request as Asked, Response};

use crate::dispatch::{Context, Handled, Reply, Request};

/// Gives a fresh id and epoch 0; transactional ids are refused.
// rule T6
pub fn handle(context: &Context, request: Request) -> Handled {
    let asked: Asked = request.decode()?;
    if let Some(refused) = refuse(&asked) {
        return request.reply(&failed(refused));
    }
    let context = context.clone();
    Ok(Reply::later(async move {
        let answer = match context.node.next_producer_id().await {
            Ok(ProducerId(producer_id)) => Response {
                producer_id,
                producer_epoch: 0,
                ..Response::default()
            },
            Err(refusal) => {
                tracing::warn!(reason = %refusal.message, "no producer id");
                failed(ErrorCode::CoordinatorNotAvailable)
            }
        };
        request.answer(&answer)
    }))
}

fn refuse(asked: &Asked) -> Option<ErrorCode> {
    match asked.transactional_id.as_ref().map(Text::as_str) {
        Some("") => Some(ErrorCode::InvalidRequest),
        // Transactions are not served: see docs/design/0070-no-transactions-yet.md.
        Some(_) => Some(ErrorCode::UnsupportedVersion),
        // Both or neither.
        None if (asked.producer_id < 0) != (asked.producer_epoch < 0) => {
            Some(ErrorCode::InvalidRequest)
        }
        None => None,
    }
}

fn failed(error: ErrorCode) -> Response {
    Response {
        error_code: error.code(),
        producer_id: -1,
        producer_epoch: -1,
        ..Response::default()
    }
}
