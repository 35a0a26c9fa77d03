//! Topics of which the newest record of each key stays.

use std::time::Duration;

use bytes::Bytes;
use wire::ErrorCode;
use wire::record::{BatchBuilder, NewRecord};

use crate::admin_configs::alter;
use crate::frames::{fetch, produce, values};
use crate::stage::{Client, Stage, sleep};

const TOPIC: i8 = 2;
const SET: i8 = 0;

const COMPACTED: [(&str, &str); 3] = [
    ("cleanup.policy", "compact"),
    ("segment.ms", "1000"),
    ("min.cleanable.dirty.ratio", "0"),
];

fn keyed(entries: &[(Option<&str>, &str)]) -> Bytes {
    let mut builder = BatchBuilder::new();
    for (key, value) in entries {
        builder.append(&NewRecord {
            timestamp: 1000,
            key: key.map(str::as_bytes),
            value: Some(value.as_bytes()),
            headers: &[],
        });
    }
    builder.build().unwrap().into()
}

async fn put(client: &mut Client, topic: &str, key: &str, value: &str) {
    let answer = produce(client, topic, keyed(&[(Some(key), value)])).await;
    assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
}

/// Writes one key twice, another once, and ends the segment.
async fn fill(client: &mut Client, topic: &str) {
    put(client, topic, "a", "a1").await;
    put(client, topic, "a", "a2").await;
    put(client, topic, "b", "b1").await;
    sleep(Duration::from_secs(2)).await;
    put(client, topic, "c", "c1").await;
}

/// Everything a reader finds: a fetch ends with its segment.
async fn all(client: &mut Client, topic: &str) -> Vec<(i64, String)> {
    let mut found: Vec<(i64, String)> = Vec::new();
    loop {
        let from = found.last().map_or(0, |(offset, _)| offset + 1);
        let answer = fetch(client, topic, from).await;
        assert_eq!(answer.error_code, 0);
        let more = values(&answer.records);
        if more.is_empty() {
            return found;
        }
        found.extend(more);
    }
}

fn kept() -> Vec<(i64, String)> {
    vec![(1, "a2".into()), (2, "b1".into()), (3, "c1".into())]
}

#[test]
fn a_record_without_a_key_is_refused_and_names_itself() {
    // rules P2 and C4
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        client.topic_with("t", &COMPACTED).await;
        let mixed = keyed(&[(Some("a"), "1"), (None, "2"), (Some("b"), "3")]);
        let answer = produce(&mut client, "t", mixed).await;
        assert_eq!(answer.error_code, ErrorCode::InvalidRecord.code());
        let which: Vec<i32> = answer
            .record_errors
            .iter()
            .map(|error| error.batch_index)
            .collect();
        assert_eq!(which, [1]);
        put(&mut client, "t", "a", "1").await;
        let found = fetch(&mut client, "t", 0).await;
        assert_eq!(values(&found.records), [(0, "1".into())]);
    });
}

#[test]
fn the_newest_record_of_each_key_stays() {
    // rule C1
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        client.topic_with("t", &COMPACTED).await;
        fill(&mut client, "t").await;
        sleep(Duration::from_secs(90)).await;
        assert_eq!(all(&mut client, "t").await, kept());
        let found = fetch(&mut client, "t", 0).await;
        assert_eq!(found.high_watermark, 4);
    });
    // It is still so after a crash.
    let sim = stage.sim.restart_after_power_cut(8);
    let stage = Stage::on(sim, |_| {});
    stage.play(async {
        let mut client = stage.connect().await;
        assert_eq!(all(&mut client, "t").await, kept());
    });
}

#[test]
fn a_running_topic_becomes_compacted() {
    // rule M12
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        let forever = [("retention.ms", "-1"), ("segment.ms", "1000")];
        client.topic_with("t", &forever).await;
        fill(&mut client, "t").await;
        sleep(Duration::from_secs(90)).await;
        assert_eq!(all(&mut client, "t").await.len(), 4);
        let change = [
            (SET, "cleanup.policy", Some("compact,delete")),
            (SET, "min.cleanable.dirty.ratio", Some("0")),
        ];
        let (code, message) = alter(&mut client, 1, (TOPIC, "t"), &change, false).await;
        assert_eq!(code, 0, "{message}");
        sleep(Duration::from_secs(90)).await;
        assert_eq!(all(&mut client, "t").await, kept());
        let answer = produce(&mut client, "t", keyed(&[(None, "x")])).await;
        assert_eq!(answer.error_code, ErrorCode::InvalidRecord.code());
    });
}
