//! What is at an address, if it is not a broker: the causes behind "cannot connect".

use std::future::poll_fn;
use std::io::IoSlice;
use std::time::Duration;

use client::Reach;
use wire::messages::{self, api_versions, text};
use world::Stream;

/// A connection must be made, and a first answer be there, within this time.
const PATIENCE: Duration = Duration::from_secs(3);
/// Longest first answer looked at.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// The version of ApiVersions that every broker since 0.10 answers.
const OLDEST: i16 = 0;
/// Api keys of Kafka that tell what kind of listener answers.
const KEY_METADATA: i16 = 3;
const KEY_VOTE: i16 = 52;
/// The request that begins a SASL exchange.
pub const KEY_SASL_HANDSHAKE: i16 = 17;

/// A broker that answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answering {
    /// Api key, lowest and highest version.
    pub ranges: Vec<(i16, i16, i16)>,
}

/// Why an address is of no use to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The text is no `host:port`.
    NoAddress(String),
    /// The host's name leads nowhere.
    UnknownName {
        /// The name.
        host: String,
        /// What the system said.
        reason: String,
    },
    /// Nobody listens there.
    Refused(String),
    /// No answer to the attempt to connect.
    Silent(String),
    /// The system refused to connect for another reason.
    Unreachable {
        /// The address.
        address: String,
        /// What the system said.
        reason: String,
    },
    /// It connects, and answers in TLS.
    Tls(String),
    /// It connects, and answers in HTTP.
    Http(String),
    /// It connects, and closes.
    Closed(String),
    /// It connects, and says nothing.
    Mute(String),
    /// It connects, and says something that is not Kafka's.
    Stranger(String),
    /// A controller's listener: it takes no clients.
    Controller(String),
    /// It answers ApiVersions with an error.
    Refuses {
        /// The address.
        address: String,
        /// Kafka's number of the error.
        code: i16,
    },
}

impl Fault {
    /// One clause: what is the matter.
    pub fn cause(&self) -> String {
        match self {
            Fault::NoAddress(text) => format!("`{text}` is no HOST:PORT"),
            Fault::UnknownName { host, reason } => {
                format!("the name {host} does not resolve here ({reason})")
            }
            Fault::Refused(address) => format!("no broker listens there: {address} refuses"),
            Fault::Silent(address) => {
                format!("{address} does not answer: a firewall, a wrong address or a dead host")
            }
            Fault::Unreachable { address, reason } => format!("{address}: {reason}"),
            Fault::Tls(address) => {
                format!("{address} speaks TLS, and the connection made here is plain")
            }
            Fault::Http(address) => format!("{address} speaks HTTP: it is another port"),
            Fault::Closed(address) => format!(
                "{address} closes the connection at once: it wants TLS, or is no Kafka broker"
            ),
            Fault::Mute(address) => {
                format!("{address} connects and says nothing: it wants TLS, or is no Kafka broker")
            }
            Fault::Stranger(address) => format!("{address} answers, but not in Kafka's protocol"),
            Fault::Controller(address) => {
                format!("{address} is a controller's listener, which takes no clients")
            }
            Fault::Refuses { address, code } => {
                let name = wire::ErrorCode::from_code(*code).map_or("an error", |code| code.name());
                format!("{address} answers the first question with {name} ({code})")
            }
        }
    }

    /// What to do about it.
    pub fn next(&self) -> String {
        match self {
            Fault::NoAddress(_) => "name a broker with --brokers HOST:PORT".to_owned(),
            Fault::UnknownName { .. } => {
                "correct the name, or add it to DNS or /etc/hosts".to_owned()
            }
            Fault::Refused(_) => {
                "start one with `duramen dev`, or name yours with --brokers HOST:PORT".to_owned()
            }
            Fault::Silent(_) | Fault::Unreachable { .. } => {
                "check the address, the route and the firewall between here and there".to_owned()
            }
            Fault::Tls(_) | Fault::Closed(_) | Fault::Mute(_) => {
                "name a PLAINTEXT listener with --brokers HOST:PORT".to_owned()
            }
            Fault::Http(_) | Fault::Stranger(_) => {
                "name the broker's Kafka port, usually 9092, with --brokers HOST:PORT".to_owned()
            }
            Fault::Controller(_) => {
                "name the broker's own listener, not controller.listener.names'".to_owned()
            }
            Fault::Refuses { code, .. } => format!("duramen explain {code}"),
        }
    }
}

/// Resolves a name; the addresses it leads to.
pub async fn resolve(address: &str) -> Result<Vec<std::net::SocketAddr>, Fault> {
    let Some((host, port)) = address.rsplit_once(':') else {
        return Err(Fault::NoAddress(address.to_owned()));
    };
    if host.is_empty() || port.parse::<u16>().is_err() {
        return Err(Fault::NoAddress(address.to_owned()));
    }
    let unknown = |reason: String| Fault::UnknownName {
        host: host.to_owned(),
        reason,
    };
    let found = tokio::time::timeout(PATIENCE, tokio::net::lookup_host(address)).await;
    let found: Vec<_> = found
        .map_err(|_| unknown("no answer from the resolver".to_owned()))?
        .map_err(|error| unknown(plain(&error)))?
        .collect();
    match found.is_empty() {
        true => Err(unknown("it has no address".to_owned())),
        false => Ok(found),
    }
}

/// Looks what answers at an address.
///
/// # Errors
/// The fault that keeps a client out.
pub async fn look(reach: &Reach, address: &str) -> Result<Answering, Fault> {
    resolve(address).await?;
    let mut stream = connect(reach, address).await?;
    let request = api_versions::Request {
        client_software_name: text("duramen-probe"),
        client_software_version: text(env!("CARGO_PKG_VERSION")),
        ..Default::default()
    };
    let frame = messages::encode_request(OLDEST, 1, Some("duramen-probe"), &request)
        .map_err(|_| Fault::Stranger(address.to_owned()))?;
    let answer = exchange(stream.as_mut(), &frame).await;
    match answer {
        Answer::Bytes(bytes) => judge(address, &bytes),
        // Both a TLS listener and many others hang up on what they cannot read: ask in TLS.
        Answer::Closed => match asks_for_tls(reach, address).await {
            true => Err(Fault::Tls(address.to_owned())),
            false => Err(Fault::Closed(address.to_owned())),
        },
        Answer::Nothing => match asks_for_tls(reach, address).await {
            true => Err(Fault::Tls(address.to_owned())),
            false => Err(Fault::Mute(address.to_owned())),
        },
    }
}

/// Opens a connection.
pub async fn connect(reach: &Reach, address: &str) -> Result<Box<dyn Stream>, Fault> {
    match tokio::time::timeout(PATIENCE, reach.net.connect(address)).await {
        Err(_) => Err(Fault::Silent(address.to_owned())),
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(match error.kind() {
            std::io::ErrorKind::ConnectionRefused => Fault::Refused(address.to_owned()),
            std::io::ErrorKind::TimedOut => Fault::Silent(address.to_owned()),
            _ => Fault::Unreachable {
                address: address.to_owned(),
                reason: plain(&error),
            },
        }),
    }
}

fn judge(address: &str, bytes: &[u8]) -> Result<Answering, Fault> {
    let there = || address.to_owned();
    // TLS: an alert (21) or handshake (22) record of version 3.x.
    if let [21 | 22, 3, ..] = bytes {
        return Err(Fault::Tls(there()));
    }
    if bytes.starts_with(b"HTTP/") {
        return Err(Fault::Http(there()));
    }
    let frame = bytes.get(4..).map(bytes::Bytes::copy_from_slice);
    let size = bytes.first_chunk().map(|size| i32::from_be_bytes(*size));
    let (Some(frame), Some(size)) = (frame, size) else {
        return Err(Fault::Stranger(there()));
    };
    if usize::try_from(size).ok() != Some(frame.len()) {
        return Err(Fault::Stranger(there()));
    }
    let decoded = messages::decode_response::<api_versions::Request>(OLDEST, frame);
    let Ok((1, response)) = decoded else {
        return Err(Fault::Stranger(there()));
    };
    if response.error_code != 0 {
        return Err(Fault::Refuses {
            address: there(),
            code: response.error_code,
        });
    }
    let ranges: Vec<(i16, i16, i16)> = response
        .api_keys
        .iter()
        .map(|range| (range.api_key, range.min_version, range.max_version))
        .collect();
    let has = |key: i16| ranges.iter().any(|(known, _, _)| *known == key);
    if has(KEY_VOTE) && !has(KEY_METADATA) {
        return Err(Fault::Controller(there()));
    }
    Ok(Answering { ranges })
}

/// Whether something there answers a TLS greeting in TLS.
async fn asks_for_tls(reach: &Reach, address: &str) -> bool {
    let Ok(mut stream) = connect(reach, address).await else {
        return false;
    };
    match exchange(stream.as_mut(), &tls_greeting()).await {
        Answer::Bytes(bytes) => matches!(bytes[..], [21 | 22, 3, ..]),
        Answer::Closed | Answer::Nothing => false,
    }
}

/// A ClientHello of TLS 1.2 with one cipher suite: enough for any TLS server to answer, be it with
/// an alert. Source: RFC 5246, 7.4.1.2.
fn tls_greeting() -> Vec<u8> {
    let mut hello = vec![3, 3];
    hello.extend_from_slice(&[0x5a; 32]);
    // No session, one suite (ECDHE-RSA-AES128-GCM-SHA256), no compression, no extensions.
    hello.extend_from_slice(&[0, 0, 2, 0xc0, 0x2f, 1, 0, 0, 0]);
    let body = hello.len() as u8;
    let mut record = vec![22, 3, 1, 0, body + 4, 1, 0, 0, body];
    record.extend_from_slice(&hello);
    record
}

enum Answer {
    /// The first bytes, a whole Kafka frame if they are one.
    Bytes(Vec<u8>),
    Closed,
    Nothing,
}

async fn exchange(stream: &mut dyn Stream, request: &[u8]) -> Answer {
    let work = async {
        let mut sent = 0;
        while sent < request.len() {
            let rest = IoSlice::new(&request[sent..]);
            match poll_fn(|cx| stream.poll_write(cx, &[rest], false)).await {
                Ok(0) | Err(_) => return Answer::Closed,
                Ok(more) => sent += more,
            }
        }
        let mut bytes = Vec::new();
        loop {
            let mut chunk = [0; 4096];
            match poll_fn(|cx| stream.poll_read(cx, &mut chunk)).await {
                Ok(0) | Err(_) if bytes.is_empty() => return Answer::Closed,
                Ok(0) | Err(_) => return Answer::Bytes(bytes),
                Ok(length) => bytes.extend_from_slice(&chunk[..length]),
            }
            let foreign = matches!(bytes[..], [21 | 22, 3, ..]) || bytes.starts_with(b"HTTP");
            let whole = bytes.first_chunk().is_some_and(|size| {
                usize::try_from(i32::from_be_bytes(*size))
                    .is_ok_and(|size| bytes.len() >= size.saturating_add(4))
            });
            if foreign || whole || bytes.len() > ANSWER_BYTES_MAX {
                return Answer::Bytes(bytes);
            }
        }
    };
    tokio::time::timeout(PATIENCE, work)
        .await
        .unwrap_or(Answer::Nothing)
}

/// An I/O error without the number behind it, which says nothing to people.
fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(at) => text[..at].to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greeting_is_one_whole_record() {
        let greeting = tls_greeting();
        let length = usize::from(u16::from_be_bytes([greeting[3], greeting[4]]));
        assert_eq!(length, greeting.len() - 5);
        assert_eq!(usize::from(greeting[8]), greeting.len() - 9);
    }

    #[test]
    fn what_answers_is_known_by_its_first_bytes() {
        let at = "h:1";
        assert_eq!(
            judge(at, &[21, 3, 3, 0, 2, 2, 40]),
            Err(Fault::Tls(at.into()))
        );
        assert_eq!(
            judge(at, b"HTTP/1.1 400 Bad Request\r\n"),
            Err(Fault::Http(at.into()))
        );
        assert_eq!(judge(at, b"SSH-2.0-x"), Err(Fault::Stranger(at.into())));
        assert_eq!(judge(at, b""), Err(Fault::Stranger(at.into())));
        let answer = |keys: &[i16]| {
            let response = api_versions::Response {
                api_keys: keys
                    .iter()
                    .map(|key| api_versions::ApiVersion {
                        api_key: *key,
                        max_version: 1,
                        ..Default::default()
                    })
                    .collect(),
                ..Default::default()
            };
            messages::encode_response(OLDEST, 1, &response).expect("it encodes")
        };
        assert!(judge(at, &answer(&[0, 3, 18])).is_ok());
        assert_eq!(
            judge(at, &answer(&[18, KEY_VOTE])),
            Err(Fault::Controller(at.into()))
        );
    }
}
