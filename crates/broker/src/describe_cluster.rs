//! DescribeCluster: the brokers and who takes administrative requests.

use wire::ErrorCode;
use wire::messages::describe_cluster::{DescribeClusterBroker, Request as Asked, Response};
use wire::messages::text;

use crate::authorized;
use crate::dispatch::{Context, Handled, Request};

const ENDPOINTS_OF_BROKERS: i8 = 1;
const ENDPOINTS_OF_CONTROLLERS: i8 = 2;

/// Answers from the image at hand.
pub fn handle(context: &Context, request: Request) -> Handled {
    let asked: Asked = request.decode()?;
    let kind = if request.version() == 0 {
        ENDPOINTS_OF_BROKERS
    } else {
        asked.endpoint_type
    };
    if kind != ENDPOINTS_OF_BROKERS {
        let (code, message) = match kind {
            // Brokers answer for brokers only, as Kafka's do.
            ENDPOINTS_OF_CONTROLLERS => (
                ErrorCode::MismatchedEndpointType,
                "The request was sent to an endpoint of the wrong type.",
            ),
            _ => (
                ErrorCode::UnsupportedEndpointType,
                "Unsupported endpoint type.",
            ),
        };
        return request.reply(&Response {
            error_code: code.code(),
            error_message: Some(text(message)),
            endpoint_type: ENDPOINTS_OF_BROKERS,
            cluster_authorized_operations: authorized::NOT_ASKED,
            ..Response::default()
        });
    }
    let image = context.node.image();
    let with_fenced = request.version() >= 2 && asked.include_fenced_brokers;
    let brokers = image
        .brokers()
        .filter(|broker| broker.is_active() || with_fenced)
        .filter_map(|broker| {
            let (host, port) = context.node.address_of(context, broker)?;
            Some(DescribeClusterBroker {
                broker_id: broker.id.0,
                host: text(&host),
                port: i32::from(port),
                rack: broker.rack.as_deref().map(text),
                is_fenced: request.version() >= 2 && !broker.is_active(),
                ..DescribeClusterBroker::default()
            })
        })
        .collect();
    request.reply(&Response {
        endpoint_type: ENDPOINTS_OF_BROKERS,
        cluster_id: text(image.cluster_id().unwrap_or_default()),
        // rule M8
        controller_id: context.node.id.0,
        brokers,
        cluster_authorized_operations: if asked.include_cluster_authorized_operations {
            authorized::CLUSTER
        } else {
            authorized::NOT_ASKED
        },
        ..Response::default()
    })
}
