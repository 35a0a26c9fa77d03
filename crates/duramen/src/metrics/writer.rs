//! Who is told metrics: family by family, each with its samples.

use commitlog::FLUSH_BUCKETS;

/// What the numbers of a family are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises, until the process starts again.
    Counter,
    /// Is what it is now.
    Gauge,
    /// Counts of what took how long, see [`Writer::histogram`].
    Histogram,
    /// A gauge with a name that Prometheus keeps for parts of histograms.
    Untyped,
}

/// A label's value.
#[derive(Clone, Copy, Debug)]
pub enum Label<'a> {
    /// Any text.
    Text(&'a str),
    /// A number.
    Number(i32),
}

/// A sample's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// A whole number.
    Whole(i64),
    /// Any other.
    Real(f64),
}

impl From<u64> for Value {
    fn from(count: u64) -> Value {
        Value::Whole(i64::try_from(count).unwrap_or(i64::MAX))
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Value {
        Value::Whole(number)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Value {
        Value::Real(number)
    }
}

/// A label: its name and its value.
pub type Pair<'a> = (&'static str, Label<'a>);

/// Takes what is told. Samples belong to the family that was named last.
pub trait Writer {
    /// Begins a family: its name, what it means, what its numbers are. Each comes once.
    fn family(&mut self, name: &'static str, help: &'static str, kind: Kind);

    /// A sample of a counter or gauge.
    fn sample(&mut self, labels: &[Pair<'_>], value: Value);

    /// A sample of a histogram: bucket n counts what took less than 2^n microseconds and not less
    /// than half of it, and the last one is open; and the sum of the times, microseconds.
    fn histogram(&mut self, labels: &[Pair<'_>], buckets: &[u64; FLUSH_BUCKETS], micros: u64);
}

impl dyn Writer + '_ {
    /// A counter without labels.
    pub fn counter(&mut self, name: &'static str, help: &'static str, value: u64) {
        self.family(name, help, Kind::Counter);
        self.sample(&[], value.into());
    }

    /// A gauge without labels.
    pub fn gauge(&mut self, name: &'static str, help: &'static str, value: impl Into<Value>) {
        self.family(name, help, Kind::Gauge);
        self.sample(&[], value.into());
    }
}
