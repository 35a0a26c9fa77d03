//! One request to a collector, and what is to be done about its answer.

use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request, StatusCode};
use tokio::task::JoinHandle;
use world::Net;

use super::settings::{Form, Settings};
use super::{json, protobuf};
use crate::http::Transport;

/// A longer answer is not read to its end; it says nothing that is needed.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is there. So many points of it were not taken.
    Delivered {
        /// Points that the collector refused.
        rejected: u64,
    },
    /// It may be sent again, not before the time that the collector named.
    Again {
        /// What went wrong: never with anything that the other side said.
        why: String,
        /// How long to leave the collector alone.
        after: Option<Duration>,
    },
    /// Sending it again would change nothing.
    Refused {
        /// What the answer was.
        why: String,
    },
}

/// Ends the connection's task with whoever waits for the answer.
struct Tied(JoinHandle<()>);

impl Drop for Tied {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A body as it is sent.
pub fn packed(settings: &Settings, body: Vec<u8>) -> Bytes {
    if !settings.gzip {
        return body.into();
    }
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    // Writing to memory cannot fail.
    let _ = packer.write_all(&body);
    packer.finish().unwrap_or_default().into()
}

/// Sends a body over a connection of its own.
pub async fn post(net: &dyn Net, settings: &Settings, body: Bytes) -> Outcome {
    let again = |why: String| Outcome::Again { why, after: None };
    let stream = match net.connect(&settings.address).await {
        Ok(stream) => stream,
        Err(error) => return again(format!("no connection: {error}")),
    };
    let shaken = hyper::client::conn::http1::handshake(Transport::new(stream)).await;
    let (mut sender, connection) = match shaken {
        Ok(pair) => pair,
        Err(error) => return again(format!("no HTTP: {error}")),
    };
    let _connection = Tied(tokio::task::spawn_local(async move {
        // What ends it, the request below hears too.
        let _ = connection.await;
    }));
    let request = match request(settings, body) {
        Ok(request) => request,
        Err(error) => {
            return Outcome::Refused {
                why: format!("no request: {error}"),
            };
        }
    };
    let response = match sender.send_request(request).await {
        Ok(response) => response,
        Err(error) => return again(format!("no answer: {error}")),
    };
    let status = response.status();
    if !status.is_success() {
        return judge(status, response.headers().get(RETRY_AFTER));
    }
    let answer = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
    // It was taken, whatever becomes of the rest of the answer.
    let answer = match answer.collect().await {
        Ok(answer) => answer.to_bytes(),
        Err(_) => Bytes::new(),
    };
    Outcome::Delivered {
        rejected: match settings.form {
            Form::Protobuf => protobuf::rejected(&answer),
            Form::Json => json::rejected(&answer),
        },
    }
}

fn request(settings: &Settings, body: Bytes) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(&settings.path)
        .body(Full::new(body))?;
    let headers = request.headers_mut();
    for (name, value) in &settings.headers {
        headers.insert(name, value.clone());
    }
    headers.insert(HOST, HeaderValue::from_str(&settings.address)?);
    headers.insert(
        USER_AGENT,
        HeaderValue::from_static(concat!("duramen/", env!("CARGO_PKG_VERSION"))),
    );
    let content = match settings.form {
        Form::Protobuf => "application/x-protobuf",
        Form::Json => "application/json",
    };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content));
    if settings.gzip {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Ok(request)
}

/// The four statuses that the protocol has sent again; all others are final.
fn judge(status: StatusCode, retry_after: Option<&HeaderValue>) -> Outcome {
    let why = format!("the collector answered {}", status.as_u16());
    match status {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => {
            // A date instead of seconds is rare, and our own pause is as good.
            let seconds = retry_after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
            Outcome::Again {
                why,
                after: seconds.map(Duration::from_secs),
            }
        }
        _ => Outcome::Refused { why },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_protocol_names_is_sent_again() {
        let wait = HeaderValue::from_static("7");
        for code in [429, 502, 503, 504] {
            let status = StatusCode::from_u16(code).expect("a status");
            let Outcome::Again { after, .. } = judge(status, Some(&wait)) else {
                panic!("{code}");
            };
            assert_eq!(after, Some(Duration::from_secs(7)));
        }
        for code in [301, 400, 401, 404, 413, 500, 501] {
            let status = StatusCode::from_u16(code).expect("a status");
            assert!(matches!(judge(status, None), Outcome::Refused { .. }));
        }
        let date = HeaderValue::from_static("Wed, 21 Oct 2026 07:28:00 GMT");
        let Outcome::Again { after, .. } = judge(StatusCode::BAD_GATEWAY, Some(&date)) else {
            panic!("again");
        };
        assert_eq!(after, None);
    }
}
