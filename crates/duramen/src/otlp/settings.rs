//! Where metrics are pushed to: OpenTelemetry's environment variables.
//!
//! Names, defaults and precedence follow the specification (opentelemetry-specification,
//! `protocol/exporter.md` and `configuration/sdk-environment-variables.md`). It has wrong values
//! ignored with a warning; here they are refused at the start, like any other setting. Headers and
//! paths may hold secrets, so no message shows a value of theirs.

use std::time::Duration;

use cli::Failure;
use hyper::Uri;
use hyper::header::{HeaderName, HeaderValue};

/// How messages are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `http/protobuf`.
    Protobuf,
    /// `http/json`.
    Json,
}

/// A push that is wanted.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `host:port` to connect to.
    pub address: String,
    /// Path, and query if there is one.
    pub path: String,
    /// How messages are written.
    pub form: Form,
    /// Whether bodies are compressed.
    pub gzip: bool,
    /// Headers of every request; their values are marked as secrets.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Time between two pushes.
    pub interval: Duration,
    /// How long one push may take with all its attempts.
    pub push_time_max: Duration,
    /// How long one attempt may take.
    pub attempt_time_max: Duration,
    /// What is said of this process.
    pub resource: Vec<(String, String)>,
}

/// Shorter intervals are taken as this.
const INTERVAL_MIN: Duration = Duration::from_millis(100);
/// Longer times are taken as this.
const TIME_MAX: Duration = Duration::from_secs(3600);
/// Attributes and headers beyond are refused.
const PAIRS_MAX: usize = 64;

/// Reads the variables; `None` if nothing is to be pushed.
///
/// # Errors
/// A value that cannot be followed, in three lines.
pub fn read(variable: &dyn Fn(&str) -> Option<String>) -> Result<Option<Settings>, Failure> {
    // An empty variable is an unset one.
    let given = |name: &str| {
        let value = variable(name)?.trim().to_owned();
        (!value.is_empty()).then_some(value)
    };
    // A signal's own variable goes before the general one.
    let either = |ending: &str| {
        let own = format!("OTEL_EXPORTER_OTLP_METRICS_{ending}");
        let general = format!("OTEL_EXPORTER_OTLP_{ending}");
        let own = given(&own).map(|value| (own, value));
        own.or_else(|| given(&general).map(|value| (general, value)))
    };
    if given("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Ok(None);
    }
    let exporters = given("OTEL_METRICS_EXPORTER").unwrap_or_else(|| "otlp".to_owned());
    // Prometheus has its page whatever stands here.
    if !exporters.split(',').any(|name| name.trim() == "otlp") {
        return Ok(None);
    }
    let Some((name, url)) = either("ENDPOINT") else {
        return Ok(None);
    };
    let (address, path) = endpoint(&name, &url)?;
    let form = match either("PROTOCOL") {
        None => Form::Protobuf,
        Some((name, value)) => protocol(&name, &value)?,
    };
    let gzip = match either("COMPRESSION") {
        None => false,
        Some((_, value)) if value == "none" => false,
        Some((_, value)) if value == "gzip" => true,
        Some((name, value)) => {
            return Err(wrong(
                &name,
                format!("{value:?} is no compression that is known here"),
                format!("set {name}=gzip, or none"),
            ));
        }
    };
    let temporality = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE";
    if let Some(value) = given(temporality)
        && !value.eq_ignore_ascii_case("cumulative")
    {
        return Err(wrong(
            temporality,
            "counters are told from the start of the process on, never as differences".to_owned(),
            format!("unset it, or set {temporality}=cumulative"),
        ));
    }
    let headers = match either("HEADERS") {
        None => Vec::new(),
        Some((name, value)) => headers(&name, &value)?,
    };
    let millis = |name: &str, default: u64| match given(name) {
        None => Ok(Duration::from_millis(default)),
        Some(value) => match value.parse() {
            Ok(ms) if ms > 0 => Ok(Duration::from_millis(ms).min(TIME_MAX)),
            _ => Err(wrong(
                name,
                format!("{value:?} is no number of milliseconds above 0"),
                format!("set {name}={default}"),
            )),
        },
    };
    let own_timeout = "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT";
    let timeout = match given(own_timeout) {
        Some(_) => own_timeout,
        None => "OTEL_EXPORTER_OTLP_TIMEOUT",
    };
    Ok(Some(Settings {
        address,
        path,
        form,
        gzip,
        headers,
        interval: millis("OTEL_METRIC_EXPORT_INTERVAL", 60_000)?.max(INTERVAL_MIN),
        push_time_max: millis("OTEL_METRIC_EXPORT_TIMEOUT", 30_000)?,
        attempt_time_max: millis(timeout, 10_000)?,
        resource: resource(
            given("OTEL_SERVICE_NAME"),
            given("OTEL_RESOURCE_ATTRIBUTES").as_deref(),
        )?,
    }))
}

fn endpoint(name: &str, url: &str) -> Result<(String, String), Failure> {
    let example = format!("set {name}=http://127.0.0.1:4318");
    let no_url = || {
        let cause = "it is no URL with http:// and a host".to_owned();
        wrong(name, cause, example.clone())
    };
    let uri: Uri = url.parse().map_err(|_| no_url())?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(no_url());
    };
    if scheme == "https" {
        return Err(wrong(
            name,
            "https is not there yet: metrics are pushed over plain http".to_owned(),
            format!("{example}, to a collector on this machine that speaks TLS to the next one"),
        ));
    }
    if scheme != "http" || authority.host().is_empty() {
        return Err(no_url());
    }
    if authority.as_str().contains('@') {
        return Err(wrong(
            name,
            "a user and password in it are not sent".to_owned(),
            "take them out, and set OTEL_EXPORTER_OTLP_HEADERS=authorization=Basic%20…".to_owned(),
        ));
    }
    let address = format!(
        "{}:{}",
        authority.host(),
        authority.port_u16().unwrap_or(80)
    );
    // The general endpoint is a base; a signal's own is taken as it is.
    let path = if name == "OTEL_EXPORTER_OTLP_ENDPOINT" {
        format!("{}/v1/metrics", uri.path().trim_end_matches('/'))
    } else {
        uri.path_and_query()
            .map_or_else(|| "/".to_owned(), |path| path.as_str().to_owned())
    };
    Ok((address, path))
}

fn protocol(name: &str, value: &str) -> Result<Form, Failure> {
    match value {
        "http/protobuf" => Ok(Form::Protobuf),
        "http/json" => Ok(Form::Json),
        "grpc" => Err(wrong(
            name,
            "grpc is not spoken here, only OTLP over HTTP".to_owned(),
            format!(
                "set {name}=http/protobuf, and the endpoint to the collector's HTTP port, by \
                 default 4318"
            ),
        )),
        other => Err(wrong(
            name,
            format!("{other:?} is no protocol of OTLP"),
            format!("set {name}=http/protobuf, or http/json"),
        )),
    }
}

fn headers(name: &str, list: &str) -> Result<Vec<(HeaderName, HeaderValue)>, Failure> {
    let mut headers = Vec::new();
    for (key, value) in pairs(name, list)? {
        let header = HeaderName::from_bytes(key.to_ascii_lowercase().as_bytes()).ok();
        let value = HeaderValue::from_str(&value).ok();
        let (Some(header), Some(mut value)) = (header, value) else {
            return Err(not_pairs(name, headers.len()));
        };
        value.set_sensitive(true);
        headers.push((header, value));
    }
    Ok(headers)
}

fn resource(service: Option<String>, list: Option<&str>) -> Result<Vec<(String, String)>, Failure> {
    let mut resource = match list {
        Some(list) => pairs("OTEL_RESOURCE_ATTRIBUTES", list)?,
        None => Vec::new(),
    };
    if let Some(service) = service {
        resource.retain(|(key, _)| key != "service.name");
        resource.push(("service.name".to_owned(), service));
    }
    for (key, value) in [
        ("service.name", "duramen"),
        ("service.version", env!("CARGO_PKG_VERSION")),
    ] {
        add_missing(&mut resource, key, value);
    }
    Ok(resource)
}

/// Says it of the process unless somebody said something else.
pub fn add_missing(resource: &mut Vec<(String, String)>, key: &str, value: &str) {
    if !resource.iter().any(|(known, _)| known == key) {
        resource.push((key.to_owned(), value.to_owned()));
    }
}

/// `key=value,key=value` with values percent-encoded, as W3C's baggage has it.
fn pairs(name: &str, list: &str) -> Result<Vec<(String, String)>, Failure> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for part in list.split(',').filter(|part| !part.trim().is_empty()) {
        let pair = part.split_once('=').and_then(|(key, value)| {
            let key = key.trim();
            (!key.is_empty()).then_some(())?;
            Some((key.to_owned(), decoded(value.trim())?))
        });
        match pair {
            Some(pair) if pairs.len() < PAIRS_MAX => pairs.push(pair),
            _ => return Err(not_pairs(name, pairs.len())),
        }
    }
    Ok(pairs)
}

fn not_pairs(name: &str, at: usize) -> Failure {
    wrong(
        name,
        format!("entry {} is no key=value, or one too many", at + 1),
        format!("set {name}=key=value,key2=value2, with spaces as %20 and commas as %2C"),
    )
}

/// Percent-decoded; `None` if that is no text.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).ok()
}

fn wrong(name: &str, cause: String, next: String) -> Failure {
    Failure::usage(
        format!("{name}: metrics cannot be pushed like that"),
        cause,
        next,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_from(given: &[(&str, &str)]) -> Result<Option<Settings>, Failure> {
        read(&|name| {
            let found = given.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn settings(given: &[(&str, &str)]) -> Settings {
        let read = read_from(given).expect("good");
        read.expect("wanted")
    }

    const BASE: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/");

    #[test]
    fn without_an_endpoint_or_switched_off_nothing_is_pushed() {
        for given in [
            &[][..],
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")],
            &[BASE, ("OTEL_SDK_DISABLED", "TRUE")],
            &[BASE, ("OTEL_METRICS_EXPORTER", "none")],
            &[BASE, ("OTEL_METRICS_EXPORTER", "prometheus")],
        ] {
            assert!(read_from(given).expect("good").is_none(), "{given:?}");
        }
        assert!(read_from(&[BASE, ("OTEL_SDK_DISABLED", "no")]).is_ok_and(|read| read.is_some()));
    }

    #[test]
    fn defaults_are_those_of_the_specification() {
        let is = settings(&[BASE]);
        assert_eq!((&*is.address, &*is.path), ("collector:4318", "/v1/metrics"));
        assert_eq!((is.form, is.gzip), (Form::Protobuf, false));
        let seconds = [is.interval, is.push_time_max, is.attempt_time_max];
        assert_eq!(seconds.map(|time| time.as_secs()), [60, 30, 10]);
        let name = ("service.name".to_owned(), "duramen".to_owned());
        assert!(is.resource.contains(&name), "{:?}", is.resource);
    }

    #[test]
    fn what_is_said_of_metrics_goes_before_what_is_said_of_everything() {
        let is = settings(&[
            BASE,
            (
                "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
                "http://[::1]/in?tenant=7",
            ),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/json"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=1"),
            (
                "OTEL_EXPORTER_OTLP_METRICS_HEADERS",
                "X-Key = s%20%2Cecret ,b=2",
            ),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "1"),
            ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "2000"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "1"),
            ("OTEL_SERVICE_NAME", "log"),
            (
                "OTEL_RESOURCE_ATTRIBUTES",
                "service.name=other,service.instance.id=me%3D1",
            ),
        ]);
        assert_eq!((&*is.address, &*is.path), ("[::1]:80", "/in?tenant=7"));
        assert_eq!((is.form, is.gzip), (Form::Json, true));
        assert_eq!(is.headers.len(), 2);
        assert_eq!(is.headers[0].0, "x-key");
        assert_eq!(is.headers[0].1, "s ,ecret");
        assert!(!format!("{is:?}").contains("ecret"), "no log has it");
        assert_eq!(is.attempt_time_max, Duration::from_secs(2));
        assert_eq!(is.interval, INTERVAL_MIN);
        let of = |key: &str| {
            let mut found = is.resource.iter().filter(|(known, _)| known == key);
            found.next().map(|(_, value)| value.as_str())
        };
        assert_eq!(of("service.name"), Some("log"));
        assert_eq!(of("service.instance.id"), Some("me=1"));
    }

    #[test]
    fn what_cannot_be_followed_is_three_lines_that_show_no_secret() {
        for (name, value) in [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://secret:4318"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://user:secret@c:4318"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "secret:4318"),
            ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "ftp://secret"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "carrier-pigeon"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=1,secret"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=secret%0A"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=secret%2"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "zip"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "0"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "soon"),
            ("OTEL_METRIC_EXPORT_TIMEOUT", "-1"),
            ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta"),
            ("OTEL_RESOURCE_ATTRIBUTES", "=x"),
        ] {
            let given = [(name, value), BASE];
            let failure = read_from(&given).expect_err(value).to_string();
            assert_eq!(failure.lines().count(), 3, "{failure}");
            assert!(failure.contains(name), "{failure}");
            assert!(!failure.contains("secret"), "{failure}");
        }
    }
}
