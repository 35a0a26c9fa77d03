//! The operations port: `/healthz`, `/readyz`, `/metrics` and `/log-level`, nothing else.
//!
//! Knows no Kafka: it asks a [`Source`] and renders what it says. A request body is never read.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use world::net::{Listener, Stream};

/// Connections served at once; later ones wait in the listen queue.
const CONNECTIONS_MAX: usize = 64;
/// A connection lives no longer than this: one request, one answer.
const CONNECTION_WAIT: Duration = Duration::from_secs(10);

/// What the port shows.
pub trait Source: Send + Sync {
    /// `Ok` when the node serves; otherwise the reason it does not.
    fn readiness(&self) -> Result<(), String>;
    /// Metrics in Prometheus' text format.
    fn metrics(&self) -> String;
    /// The levels that the log is kept at.
    fn log_levels(&self) -> String;
    /// Changes them; otherwise what is wrong with them.
    fn set_log_levels(&self, levels: &str) -> Result<(), String>;
}

/// Serves until dropped.
pub async fn serve(mut listener: Box<dyn Listener>, source: Arc<dyn Source>) {
    let permits = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS_MAX));
    while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
        let stream = match listener
            .accept()
            .await
            .and_then(|accepted| accepted.adopt())
        {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "http accept failed");
                continue;
            }
        };
        let source = Arc::clone(&source);
        tokio::task::spawn_local(async move {
            let service = hyper::service::service_fn(move |request| {
                let response = answer(&request, source.as_ref());
                async move { Ok::<_, Infallible>(response) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .keep_alive(false)
                .serve_connection(Transport(stream), service);
            match tokio::time::timeout(CONNECTION_WAIT, connection).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "http connection ended"),
                Err(_) => tracing::debug!("http connection took too long"),
            }
            drop(permit);
        });
    }
}

fn answer(request: &Request<Incoming>, source: &dyn Source) -> Response<Full<Bytes>> {
    // A web page in somebody's browser can send a PUT only where it is told that it may.
    if request.method() == Method::PUT && request.uri().path() == "/log-level" {
        let levels = request.uri().query().unwrap_or_default();
        return match source.set_log_levels(levels) {
            Ok(()) => text(StatusCode::OK, format!("{}\n", source.log_levels())),
            Err(wrong) => text(StatusCode::BAD_REQUEST, format!("{wrong}\n")),
        };
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned());
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/healthz" => text(StatusCode::OK, "ok\n".to_owned()),
        "/readyz" => {
            let (status, body) = match source.readiness() {
                Ok(()) => (StatusCode::OK, serde_json::json!({"ready": true})),
                Err(reason) => (
                    StatusCode::SERVICE_UNAVAILABLE,
                    serde_json::json!({"ready": false, "reason": reason}),
                ),
            };
            typed(status, "application/json", format!("{body}\n"))
        }
        "/metrics" => typed(
            StatusCode::OK,
            "text/plain; version=0.0.4; charset=utf-8",
            source.metrics(),
        ),
        "/log-level" => text(StatusCode::OK, format!("{}\n", source.log_levels())),
        _ => text(
            StatusCode::NOT_FOUND,
            "try /healthz, /readyz, /metrics or /log-level\n".to_owned(),
        ),
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    typed(status, "text/plain; charset=utf-8", body)
}

fn typed(status: StatusCode, content: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content));
    response
}

/// A world stream as hyper wants it.
pub(crate) struct Transport(Box<dyn Stream>);

impl Transport {
    /// Over this stream.
    pub(crate) fn new(stream: Box<dyn Stream>) -> Transport {
        Transport(stream)
    }
}

/// Bytes asked of the stream at once; a request head is far smaller.
const READ_BYTES: usize = 4096;

impl hyper::rt::Read for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut chunk = [0; READ_BYTES];
        let limit = cursor.remaining().min(READ_BYTES);
        match self.0.poll_read(cx, &mut chunk[..limit]) {
            Poll::Ready(Ok(length)) => {
                cursor.put_slice(&chunk[..length]);
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl hyper::rt::Write for Transport {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_write(cx, &[io::IoSlice::new(bytes)], false)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.shutdown())
    }
}
