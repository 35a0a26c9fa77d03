//! What the broker allocates for a batch does not depend on how many records are in it.
//!
//! A simulated node runs on the thread that counts, its disk and the client included. Both do the
//! same for equal bytes, so a difference is the broker's.

use bytes::Bytes;

use crate::counting::counted;
use crate::frames::{fetch, produce};
use crate::stage::{Stage, batch};

const ROUNDS: i64 = 50;
const BATCH_BYTES: usize = 48 << 10;
/// Bytes of a record beside its value.
const RECORD_BYTES: usize = 8;

/// A batch of about [`BATCH_BYTES`] with so many records.
fn batch_with(records: usize) -> Bytes {
    let value = "x".repeat(BATCH_BYTES / records - RECORD_BYTES);
    let batch = batch(&vec![value.as_str(); records]);
    assert!(batch.len().abs_diff(BATCH_BYTES) < BATCH_BYTES / 20);
    batch
}

/// Allocations while batches of so many records are produced, and while they are fetched.
fn allocations(stage: &Stage, records: usize) -> [usize; 2] {
    let topic = format!("of-{records}");
    let batch = batch_with(records);
    let mut client = stage.play(async {
        let mut client = stage.connect().await;
        client.topic(&topic).await;
        // Buffers and indexes take their size.
        assert_eq!(
            produce(&mut client, &topic, batch.clone()).await.error_code,
            0
        );
        assert_eq!(
            fetch(&mut client, &topic, 0).await.high_watermark,
            records as i64
        );
        client
    });
    let ((), producing) = counted(|| {
        stage.play(async {
            for _ in 0..ROUNDS {
                let answer = produce(&mut client, &topic, batch.clone()).await;
                assert_eq!(answer.error_code, 0);
            }
        });
    });
    let ((), fetching) = counted(|| {
        stage.play(async {
            for round in 0..ROUNDS {
                let found = fetch(&mut client, &topic, round * records as i64).await;
                assert!(
                    found
                        .records
                        .is_some_and(|found| found.len() >= batch.len())
                );
            }
        });
    });
    [producing.calls, fetching.calls]
}

#[test]
fn no_record_costs_an_allocation_on_produce_and_fetch() {
    let few = allocations(&Stage::new(), 40);
    let many = allocations(&Stage::new(), 2_000);
    let records_more = ROUNDS as usize * (2_000 - 40);
    for (few, many) in few.into_iter().zip(many) {
        assert!(few > 0, "something is counted");
        let more = many.saturating_sub(few);
        assert!(
            more * 1_000 < records_more,
            "{few} allocations for few records, {many} for many in as many bytes"
        );
    }
}
