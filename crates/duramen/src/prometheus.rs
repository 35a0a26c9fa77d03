//! Metrics in Prometheus' text format.

use std::borrow::Cow;
use std::fmt::Write as _;

use commitlog::FLUSH_BUCKETS;

use crate::metrics::{Figures, Kind, Label, Value, Writer, tell};

/// The page.
pub fn render(figures: &Figures) -> String {
    let mut page = Page {
        text: String::with_capacity(64 * 1024),
        name: "",
    };
    tell(&mut page, figures);
    page.text
}

struct Page {
    text: String,
    /// The family of the samples that come.
    name: &'static str,
}

impl Page {
    // Writing to a string cannot fail.
    fn write(&mut self, part: std::fmt::Arguments<'_>) {
        let _ = self.text.write_fmt(part);
    }

    fn series(&mut self, ending: &str, labels: &[(&'static str, Label<'_>)], bound: Option<&str>) {
        self.text.push_str(self.name);
        self.text.push_str(ending);
        let bound = bound.map(|bound| ("le", Label::Text(bound)));
        let mut before = '{';
        for (label, value) in labels.iter().copied().chain(bound) {
            self.text.push(before);
            before = ',';
            match value {
                Label::Text(text) => self.write(format_args!("{label}=\"{}\"", escaped(text))),
                Label::Number(number) => self.write(format_args!("{label}=\"{number}\"")),
            }
        }
        if before == ',' {
            self.text.push('}');
        }
    }
}

impl Writer for Page {
    fn family(&mut self, name: &'static str, help: &'static str, kind: Kind) {
        self.name = name;
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
            Kind::Untyped => "untyped",
        };
        self.write(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    fn sample(&mut self, labels: &[(&'static str, Label<'_>)], value: Value) {
        self.series("", labels, None);
        match value {
            Value::Whole(number) => self.write(format_args!(" {number}\n")),
            Value::Real(number) => self.write(format_args!(" {number}\n")),
        }
    }

    fn histogram(
        &mut self,
        labels: &[(&'static str, Label<'_>)],
        buckets: &[u64; FLUSH_BUCKETS],
        micros: u64,
    ) {
        let mut below = 0;
        for (at, count) in buckets.iter().enumerate() {
            below += count;
            if at + 1 < buckets.len() {
                let bound = ((1u64 << at) as f64 / 1e6).to_string();
                self.series("_bucket", labels, Some(&bound));
                self.write(format_args!(" {below}\n"));
            }
        }
        self.series("_bucket", labels, Some("+Inf"));
        self.write(format_args!(" {below}\n"));
        self.series("_sum", labels, None);
        self.write(format_args!(" {}\n", micros as f64 / 1e6));
        self.series("_count", labels, None);
        self.write(format_args!(" {below}\n"));
    }
}

/// A label's value as the format wants it. Names of topics need none of that; groups and clients name
/// themselves.
fn escaped(value: &str) -> Cow<'_, str> {
    if !value.contains(['\\', '"', '\n']) {
        return Cow::Borrowed(value);
    }
    let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
    Cow::Owned(escaped.replace('\n', "\\n"))
}
