//! UnregisterBroker: forgets a broker that will not come back.
//!
//! The cluster is this broker alone, so there is none to forget: itself it keeps, for the answer
//! would be its last, and others it does not know.

use wire::ErrorCode;
use wire::ids::BrokerId;
use wire::messages::text;
use wire::messages::unregister_broker::{Request as Asked, Response};

use crate::dispatch::{Context, Handled, Request};

/// Answers from the image at hand.
pub fn handle(context: &Context, request: Request) -> Handled {
    let asked: Asked = request.decode()?;
    let id = asked.broker_id;
    let (code, message) = match context.node.image().broker(BrokerId(id)) {
        None => (
            ErrorCode::BrokerIdNotRegistered,
            format!("Broker ID {id} is not currently registered"),
        ),
        Some(_) => (
            ErrorCode::InvalidRequest,
            format!("Broker {id} is the whole cluster and cannot be unregistered."),
        ),
    };
    request.reply(&Response {
        error_code: code.code(),
        error_message: Some(text(&message)),
        ..Response::default()
    })
}
