//! One connection to one broker: versions agreed at the start, requests sent in order, answers
//! awaited in that order under a deadline.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use wire::api::ApiKey;
use wire::frame::{self, FrameTooLong};
use wire::messages::{self, CodecError, Request, api_versions, text};
use world::{Clock, Instant, Net, Stream};

use crate::error::{ClientError, check};

/// An answer is awaited this long beyond what its request asks the broker to wait.
pub(crate) const ANSWER_WAIT: Duration = Duration::from_secs(30);
/// A connection must be made within this time.
const CONNECT_WAIT: Duration = Duration::from_secs(10);
/// Longest answer taken; a longer announcement closes the connection.
const ANSWER_BYTES_MAX: usize = 128 * 1024 * 1024;
/// Bytes asked of the socket at once.
const READ_BYTES: usize = 64 * 1024;
/// How we call ourselves in every request.
pub(crate) const CLIENT_ID: &str = "duramen";

/// A request and what became of it, for whoever watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Kafka's name of the request.
    pub api: &'static str,
    /// The version it was sent at.
    pub version: i16,
    /// The broker, as `host:port`.
    pub address: String,
    /// From the first byte sent to the answer read.
    pub took: Duration,
    /// Length of the answer, bytes; none if there was none.
    pub answer_bytes: Option<usize>,
}

/// Told of every request once its answer is there, or will not come.
pub type Observer = Arc<dyn Fn(&Call) + Send + Sync>;

/// Who watches, and the clock to measure by.
#[derive(Clone)]
pub(crate) struct Watch {
    pub observer: Option<Observer>,
    pub clock: Arc<dyn Clock>,
}

/// A connection whose versions are agreed.
pub(crate) struct Connection {
    address: String,
    stream: Box<dyn Stream>,
    received: BytesMut,
    versions: Vec<(i16, i16, i16)>,
    correlation_last: i32,
    /// Requests sent and not yet answered, oldest first.
    awaited: VecDeque<Awaited>,
    watch: Watch,
}

struct Awaited {
    correlation: i32,
    key: ApiKey,
    version: i16,
    sent: Instant,
}

impl Connection {
    /// Connects and asks what the broker speaks.
    pub async fn open(
        net: &dyn Net,
        address: &str,
        watch: Watch,
    ) -> Result<Connection, ClientError> {
        let unreachable = |reason: String| ClientError::Unreachable {
            address: address.to_owned(),
            reason,
        };
        let stream = tokio::time::timeout(CONNECT_WAIT, net.connect(address))
            .await
            .map_err(|_| unreachable(format!("no connection within {CONNECT_WAIT:?}")))?
            .map_err(|error| unreachable(error.to_string()))?;
        let mut connection = Connection {
            address: address.to_owned(),
            stream,
            received: BytesMut::new(),
            versions: Vec::new(),
            correlation_last: 0,
            awaited: VecDeque::new(),
            watch,
        };
        connection.agree().await?;
        Ok(connection)
    }

    /// Sends a request and awaits its answer.
    pub async fn call<T: Request>(&mut self, request: &T) -> Result<T::Response, ClientError> {
        self.call_within(request, ANSWER_WAIT).await
    }

    /// As [`Self::call`], for requests that ask the broker itself to wait.
    pub async fn call_within<T: Request>(
        &mut self,
        request: &T,
        wait: Duration,
    ) -> Result<T::Response, ClientError> {
        self.send(request).await?;
        self.receive::<T>(wait).await
    }

    /// What the broker offers: key, lowest and highest version.
    pub fn ranges(&self) -> &[(i16, i16, i16)] {
        &self.versions
    }

    /// The version this connection uses for an API.
    pub fn version(&self, key: ApiKey) -> Result<i16, ClientError> {
        let api = key.api();
        self.versions
            .iter()
            .find(|(known, _, _)| *known == key.code())
            .and_then(|(_, min, max)| api.best_version(*min, *max))
            .ok_or_else(|| ClientError::Unsupported {
                address: self.address.clone(),
                api: api.name,
            })
    }

    /// Sends a request; its answer is taken later by [`Self::receive`], in order.
    pub async fn send<T: Request>(&mut self, request: &T) -> Result<(), ClientError> {
        let version = self.version(T::KEY)?;
        self.send_at(request, version).await
    }

    /// Sends a request that the broker does not answer (Produce with acks=0).
    pub async fn send_unanswered<T: Request>(&mut self, request: &T) -> Result<(), ClientError> {
        self.send(request).await?;
        self.awaited.pop_back();
        Ok(())
    }

    async fn send_at<T: Request>(&mut self, request: &T, version: i16) -> Result<(), ClientError> {
        self.correlation_last = self.correlation_last.wrapping_add(1);
        let correlation = self.correlation_last;
        let bytes = messages::encode_request(version, correlation, Some(CLIENT_ID), request)
            .map_err(|error| self.unreadable(&error))?;
        self.awaited.push_back(Awaited {
            correlation,
            key: T::KEY,
            version,
            sent: self.watch.clock.now(),
        });
        let wait = tokio::time::timeout(ANSWER_WAIT, write(self.stream.as_mut(), bytes)).await;
        match wait {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.lost(error.to_string())),
            Err(_) => Err(self.late(T::KEY, ANSWER_WAIT)),
        }
    }

    /// Awaits the answer to the oldest request that has none.
    pub async fn receive<T: Request>(
        &mut self,
        wait: Duration,
    ) -> Result<T::Response, ClientError> {
        let (correlation, version, frame) = self.receive_frame(T::KEY, wait).await?;
        let (answered, response) = messages::decode_response::<T>(version, frame)
            .map_err(|error| self.unreadable(&error))?;
        if answered != correlation {
            return Err(ClientError::Protocol {
                address: self.address.clone(),
                reason: format!("answer {answered} where {correlation} was awaited"),
            });
        }
        Ok(response)
    }

    async fn receive_frame(
        &mut self,
        key: ApiKey,
        wait: Duration,
    ) -> Result<(i32, i16, Bytes), ClientError> {
        let Some(awaited) = self.awaited.pop_front() else {
            return Err(self.lost("no request is under way".to_owned()));
        };
        debug_assert_eq!(awaited.key, key, "answers are taken in order");
        let read = read_frame(self.stream.as_mut(), &mut self.received);
        let answer = tokio::time::timeout(wait, read).await;
        if let Some(observer) = &self.watch.observer {
            let frame = answer.as_ref().ok().and_then(|read| read.as_ref().ok());
            observer(&Call {
                api: key.api().name,
                version: awaited.version,
                address: self.address.clone(),
                took: self.watch.clock.now().since(awaited.sent),
                answer_bytes: frame.map(Bytes::len),
            });
        }
        match answer {
            Ok(Ok(frame)) => Ok((awaited.correlation, awaited.version, frame)),
            Ok(Err(reason)) => Err(self.lost(reason)),
            Err(_) => Err(self.late(key, wait)),
        }
    }

    /// ApiVersions at our highest version; a broker that lacks it answers in the oldest layout
    /// and is asked again (KIP-511).
    async fn agree(&mut self) -> Result<(), ClientError> {
        let request = api_versions::Request {
            client_software_name: text("duramen"),
            client_software_version: text(env!("CARGO_PKG_VERSION")),
            ..Default::default()
        };
        let highest = ApiKey::ApiVersions.api().max;
        self.send_at(&request, highest).await?;
        let (_, _, frame) = self.receive_frame(ApiKey::ApiVersions, ANSWER_WAIT).await?;
        let refused = frame.get(4..6) == Some(&[0, 35]);
        let response = if refused {
            self.send_at(&api_versions::Request::default(), 0).await?;
            self.receive::<api_versions::Request>(ANSWER_WAIT).await?
        } else {
            let decoded = messages::decode_response::<api_versions::Request>(highest, frame);
            decoded.map_err(|error| self.unreadable(&error))?.1
        };
        check(response.error_code, None)?;
        self.versions = response
            .api_keys
            .iter()
            .map(|range| (range.api_key, range.min_version, range.max_version))
            .collect();
        Ok(())
    }

    fn unreadable(&self, error: &CodecError) -> ClientError {
        ClientError::Protocol {
            address: self.address.clone(),
            reason: error.to_string(),
        }
    }

    fn lost(&self, reason: String) -> ClientError {
        ClientError::Disconnected {
            address: self.address.clone(),
            reason,
        }
    }

    fn late(&self, key: ApiKey, wait: Duration) -> ClientError {
        ClientError::Timeout {
            address: self.address.clone(),
            api: key.api().name,
            seconds: wait.as_secs(),
        }
    }
}

async fn write(stream: &mut dyn Stream, mut bytes: Bytes) -> std::io::Result<()> {
    while bytes.has_remaining() {
        let written = poll_fn(|cx| stream.poll_write(cx, &[IoSlice::new(&bytes)], false)).await?;
        if written == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        bytes.advance(written);
    }
    Ok(())
}

async fn read_frame(stream: &mut dyn Stream, received: &mut BytesMut) -> Result<Bytes, String> {
    loop {
        let taken = frame::take_frame(received, ANSWER_BYTES_MAX)
            .map_err(|error: FrameTooLong| error.to_string())?;
        if let Some(frame) = taken {
            return Ok(frame);
        }
        let filled = received.len();
        received.resize(filled + READ_BYTES, 0);
        let read = poll_fn(|cx| stream.poll_read(cx, &mut received[filled..])).await;
        let length = match &read {
            Ok(length) => *length,
            Err(_) => 0,
        };
        received.truncate(filled + length);
        match read {
            Ok(0) => return Err("the broker closed the connection".to_owned()),
            Ok(_) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
}
