//! What is told, as requests of OTLP: `ExportMetricsServiceRequest`, cut into bodies of a bounded
//! size.
//!
//! Nothing but bytes is kept: a point is written when it is told.

use commitlog::FLUSH_BUCKETS;

use super::settings::Form;
use super::{json, protobuf};
use crate::metrics::{Figures, Kind, Label, Value, Writer, tell};

/// A body is closed when it has reached this size: collectors refuse more than some megabytes.
const BODY_BYTES_MAX: usize = 1 << 20;

/// Labels of a point.
pub type Labels<'a> = [(&'static str, Label<'a>)];

/// When what is told began to be counted, and when it was told: nanoseconds since the Unix epoch.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// The start of the process.
    pub start: u64,
    /// Now.
    pub now: u64,
}

/// A family, as a metric's head says it.
#[derive(Clone, Copy)]
pub struct Family {
    /// Its name: the one that Prometheus has.
    pub name: &'static str,
    /// What it means.
    pub help: &'static str,
    /// In UCUM's words; empty if the name does not say.
    pub unit: &'static str,
    /// What its numbers are.
    pub kind: Kind,
}

/// The bodies that tell these figures, in order.
pub fn encode(
    figures: &Figures,
    form: Form,
    resource: &[(String, String)],
    times: Times,
) -> Vec<Vec<u8>> {
    encode_bounded(figures, form, resource, times, BODY_BYTES_MAX)
}

pub(super) fn encode_bounded(
    figures: &Figures,
    form: Form,
    resource: &[(String, String)],
    times: Times,
    body_bytes_max: usize,
) -> Vec<Vec<u8>> {
    let mut request = Request {
        form,
        resource,
        times,
        body_bytes_max,
        family: None,
        points: Vec::new(),
        metrics: Vec::new(),
        bodies: Vec::new(),
    };
    tell(&mut request, figures);
    request.end_metric();
    request.end_body();
    request.bodies
}

struct Request<'a> {
    form: Form,
    resource: &'a [(String, String)],
    times: Times,
    body_bytes_max: usize,
    /// The family of the points that come.
    family: Option<Family>,
    /// Points of it that are not in a metric yet.
    points: Vec<u8>,
    /// Metrics that are not in a body yet.
    metrics: Vec<u8>,
    bodies: Vec<Vec<u8>>,
}

impl Request<'_> {
    /// A family without points is not told: the protocol has no use for it.
    fn end_metric(&mut self) {
        if let Some(family) = &self.family
            && !self.points.is_empty()
        {
            match self.form {
                Form::Protobuf => protobuf::metric(&mut self.metrics, family, &self.points),
                Form::Json => json::metric(&mut self.metrics, family, &self.points),
            }
            self.points.clear();
        }
    }

    fn end_body(&mut self) {
        if !self.metrics.is_empty() {
            self.bodies.push(match self.form {
                Form::Protobuf => protobuf::body(self.resource, &self.metrics),
                Form::Json => json::body(self.resource, &self.metrics),
            });
            self.metrics.clear();
        }
    }

    /// A family may go on in the next body.
    fn end_point(&mut self) {
        if self.metrics.len() + self.points.len() >= self.body_bytes_max {
            self.end_metric();
            self.end_body();
        }
    }
}

impl Writer for Request<'_> {
    fn family(&mut self, name: &'static str, help: &'static str, kind: Kind) {
        self.end_metric();
        self.family = Some(Family {
            name,
            help,
            unit: unit(name),
            kind,
        });
    }

    fn sample(&mut self, labels: &Labels<'_>, value: Value) {
        match self.form {
            Form::Protobuf => protobuf::number(&mut self.points, labels, value, self.times),
            Form::Json => json::number(&mut self.points, labels, value, self.times),
        }
        self.end_point();
    }

    fn histogram(&mut self, labels: &Labels<'_>, buckets: &[u64; FLUSH_BUCKETS], micros: u64) {
        match self.form {
            Form::Protobuf => {
                protobuf::histogram(&mut self.points, labels, buckets, micros, self.times);
            }
            Form::Json => json::histogram(&mut self.points, labels, buckets, micros, self.times),
        }
        self.end_point();
    }
}

/// Upper bounds of all buckets but the open one, seconds.
pub fn bounds() -> impl Iterator<Item = f64> {
    (0..FLUSH_BUCKETS - 1).map(|at| (1u64 << at) as f64 / 1e6)
}

/// The unit that a name says, so that whoever makes Prometheus' names of it adds nothing.
fn unit(name: &str) -> &'static str {
    let base = name.strip_suffix("_total").unwrap_or(name);
    if base.ends_with("_seconds") {
        "s"
    } else if base.ends_with("_bytes") {
        "By"
    } else {
        ""
    }
}
