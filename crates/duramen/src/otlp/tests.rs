//! What a collector is told is what the page says, in either form, in bodies of a bounded size.

mod reading;

use super::message::{Times, encode, encode_bounded};
use super::settings::Form;
use crate::metrics::tests::full;
use crate::prometheus::render;
use reading::{Series, Told, put};

const TIMES: Times = Times {
    start: 1_000_000_000,
    now: 2_000_000_000,
};

fn resource() -> Vec<(String, String)> {
    vec![("service.name".to_owned(), "log \"1\"".to_owned())]
}

fn read_as(form: Form, body: &[u8]) -> Told {
    match form {
        Form::Protobuf => reading::protobuf(body),
        Form::Json => reading::json(body),
    }
}

#[test]
fn a_collector_is_told_the_names_and_values_that_the_page_has() {
    let figures = full();
    let page = page(&render(&figures));
    for form in [Form::Protobuf, Form::Json] {
        let bodies = encode(&figures, form, &resource(), TIMES);
        let [body] = &bodies[..] else {
            panic!("one body");
        };
        let told = read_as(form, body);
        assert_eq!(told.series, page, "{form:?}");
        assert_eq!(told.resource["service.name"], "log \"1\"");
        let kind = |name: &str| told.kinds[name].as_str();
        assert_eq!(kind("duramen_requests_total"), "sum");
        assert_eq!(kind("duramen_fsync_seconds"), "histogram");
        assert_eq!(kind("kafka_consumergroup_lag_sum"), "gauge");
    }
}

#[test]
fn what_is_too_much_for_one_body_goes_on_in_the_next() {
    let mut figures = full();
    let one = figures.census.partitions[0].clone();
    figures.census.partitions = (0..500)
        .map(|partition| broker::PartitionFigures {
            partition,
            ..one.clone()
        })
        .collect();
    let page = page(&render(&figures));
    let most = 20_000;
    for form in [Form::Protobuf, Form::Json] {
        let bodies = encode_bounded(&figures, form, &resource(), TIMES, most);
        assert!(bodies.len() > 10, "{form:?}: {}", bodies.len());
        let mut series = Series::new();
        for body in &bodies {
            // A point and the heads around it come on top.
            assert!(body.len() < most + 4_000, "{form:?}: {}", body.len());
            series.extend(read_as(form, body).series);
        }
        assert_eq!(series, page, "{form:?}");
    }
}

/// Reads Prometheus' page.
fn page(text: &str) -> Series {
    let mut series = Series::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').expect("a sample");
        put(
            &mut series,
            name.replace("\\\"", "\""),
            value.parse().expect("a number"),
        );
    }
    series
}
