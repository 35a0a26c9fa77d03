//! Fetch sessions (KIP-227) over the wire: what a reader may leave out, and what is left out for it.

use std::time::Duration;

use wire::ErrorCode;
use wire::messages::fetch::{self, ForgottenTopic};
use wire::messages::text;

use crate::frames::{FETCH, fetch_partition, fetch_request, produce, values};
use crate::stage::{Client, Stage, batch, sleep};

/// A fetch of `topics` from offset 0, within a session.
fn within(session: i32, epoch: i32, topics: &[(&str, i64)]) -> fetch::Request {
    let mut request = fetch_request("", 0);
    request.topics = topics
        .iter()
        .map(|(topic, offset)| fetch::FetchTopic {
            topic: text(topic),
            partitions: vec![fetch_partition(0, *offset)],
            ..Default::default()
        })
        .collect();
    (request.session_id, request.session_epoch) = (session, epoch);
    request
}

fn told(answer: &fetch::Response) -> Vec<&str> {
    let topics = answer.responses.iter();
    topics.map(|topic| topic.topic.as_str()).collect()
}

/// A client with a session over the topics `a` and `b`.
async fn opened(stage: &Stage) -> (Client, i32) {
    let mut client = stage.connect().await;
    for topic in ["a", "b"] {
        client.topic(topic).await;
    }
    let everything = within(0, 0, &[("a", 0), ("b", 0)]);
    let answer = client.ask(FETCH, &everything).await;
    assert_eq!(answer.error_code, 0);
    assert_eq!(told(&answer), ["a", "b"], "the first answer is whole");
    assert!(answer.session_id > 0);
    (client, answer.session_id)
}

#[test]
fn a_session_is_told_only_what_changed() {
    // rule F5
    let stage = Stage::new();
    stage.play(async {
        let (mut client, id) = opened(&stage).await;
        let answer = client.ask(FETCH, &within(id, 1, &[])).await;
        assert_eq!((answer.error_code, answer.session_id), (0, id));
        assert_eq!(told(&answer), [""; 0], "nothing changed");
        produce(&mut client, "b", batch(&["x"])).await;
        let answer = client.ask(FETCH, &within(id, 2, &[])).await;
        assert_eq!(told(&answer), ["b"]);
        assert_eq!(values(&answer.responses[0].partitions[0].records).len(), 1);
        let answer = client.ask(FETCH, &within(id, 3, &[("b", 1)])).await;
        assert_eq!(told(&answer), [""; 0], "it is read");
    });
}

#[test]
fn what_is_served_goes_behind_what_is_not() {
    // rule F5
    let stage = Stage::new();
    stage.play(async {
        let (mut client, id) = opened(&stage).await;
        for topic in ["a", "b"] {
            produce(&mut client, topic, batch(&["x"])).await;
        }
        let mut little = within(id, 1, &[]);
        little.max_bytes = 1;
        let answer = client.ask(FETCH, &little).await;
        assert_eq!(told(&answer), ["a", "b"], "both watermarks moved");
        assert_eq!(values(&answer.responses[0].partitions[0].records).len(), 1);
        assert_eq!(values(&answer.responses[1].partitions[0].records).len(), 0);
        little.session_epoch = 2;
        let answer = client.ask(FETCH, &little).await;
        assert_eq!(told(&answer), ["b"], "its turn");
    });
}

#[test]
fn a_session_forgets_what_it_is_told_to() {
    // rule F5
    let stage = Stage::new();
    stage.play(async {
        let (mut client, id) = opened(&stage).await;
        produce(&mut client, "b", batch(&["x"])).await;
        let mut less = within(id, 1, &[]);
        less.forgotten_topics_data = vec![ForgottenTopic {
            topic: text("b"),
            partitions: vec![0],
            ..Default::default()
        }];
        let answer = client.ask(FETCH, &less).await;
        assert_eq!((told(&answer), answer.session_id), (vec![], id));
        (less.session_epoch, less.forgotten_topics_data[0].topic) = (2, text("a"));
        let answer = client.ask(FETCH, &less).await;
        assert_eq!(
            (answer.error_code, answer.session_id),
            (0, 0),
            "it is empty"
        );
        let answer = client.ask(FETCH, &within(id, 3, &[])).await;
        assert_eq!(answer.error_code, ErrorCode::FetchSessionIdNotFound.code());
    });
}

#[test]
fn a_wrong_epoch_or_number_is_told_and_nothing_else() {
    // rule F5
    let stage = Stage::new();
    stage.play(async {
        let (mut client, id) = opened(&stage).await;
        for (id, epoch, error) in [
            (id, 2, ErrorCode::InvalidFetchSessionEpoch),
            (id ^ 1, 1, ErrorCode::FetchSessionIdNotFound),
        ] {
            let answer = client.ask(FETCH, &within(id, epoch, &[])).await;
            assert_eq!((answer.error_code, answer.session_id), (error.code(), 0));
            assert_eq!(answer.responses.len(), 0);
        }
        let by_id = client.ask(13, &within(id, 1, &[])).await;
        let error = ErrorCode::FetchSessionTopicIdError;
        assert_eq!(by_id.error_code, error.code(), "it names topics by name");
        let answer = client.ask(FETCH, &within(id, 1, &[])).await;
        assert_eq!((answer.error_code, answer.session_id), (0, id));
    });
}

#[test]
fn a_full_fetch_ends_the_session_it_names() {
    // rule F5
    let stage = Stage::new();
    stage.play(async {
        let (mut client, id) = opened(&stage).await;
        let answer = client.ask(FETCH, &within(id, -1, &[("a", 0)])).await;
        assert_eq!((answer.error_code, answer.session_id), (0, 0));
        let answer = client.ask(FETCH, &within(id, 1, &[])).await;
        assert_eq!(answer.error_code, ErrorCode::FetchSessionIdNotFound.code());
    });
}

#[test]
fn a_session_waits_for_partitions_it_does_not_name_again() {
    // rules F4, F5
    let stage = Stage::new();
    stage.play(async {
        let (mut client, id) = opened(&stage).await;
        let mut writer = stage.connect().await;
        let mut patient = within(id, 1, &[]);
        patient.max_wait_ms = 60_000;
        let before = tokio::time::Instant::now();
        client.send_request(FETCH, &patient).await;
        sleep(Duration::from_millis(200)).await;
        produce(&mut writer, "b", batch(&["x"])).await;
        let (_, answer) = client.answer::<fetch::Request>(FETCH).await;
        assert_eq!(told(&answer), ["b"]);
        assert!(before.elapsed() < Duration::from_secs(1), "virtual time");
    });
}

#[test]
fn an_unknown_partition_is_told_in_each_answer_until_it_is_there() {
    // rule F5
    let stage = Stage::new();
    stage.play(async {
        let (mut client, id) = opened(&stage).await;
        for epoch in 1..3 {
            let answer = client.ask(FETCH, &within(id, epoch, &[("c", 0)])).await;
            let part = &answer.responses[0].partitions[0];
            assert_eq!(part.error_code, ErrorCode::UnknownTopicOrPartition.code());
        }
        client.topic("c").await;
        let answer = client.ask(FETCH, &within(id, 3, &[])).await;
        let part = &answer.responses[0].partitions[0];
        assert_eq!((part.error_code, part.high_watermark), (0, 0));
        let answer = client.ask(FETCH, &within(id, 4, &[])).await;
        assert_eq!(told(&answer), [""; 0]);
    });
}

#[test]
fn without_room_for_a_session_the_answer_is_whole_and_has_none() {
    // rule F5
    let stage = Stage::with(|config| config.limits.fetch_sessions_max = 0);
    stage.play(async {
        let mut client = stage.connect().await;
        client.topic("a").await;
        for _ in 0..2 {
            let answer = client.ask(FETCH, &within(0, 0, &[("a", 0)])).await;
            assert_eq!((answer.error_code, answer.session_id), (0, 0));
            assert_eq!(told(&answer), ["a"]);
        }
    });
}
