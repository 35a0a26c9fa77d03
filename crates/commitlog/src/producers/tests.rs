use super::*;
use crate::mutation::for_each_mutation;
use fastrand::Rng;

fn batch(producer: i64, epoch: i16, first: i32, count: i32) -> ProducerBatch {
    ProducerBatch {
        producer_id: ProducerId(producer),
        producer_epoch: ProducerEpoch(epoch),
        first_sequence: first,
        last_sequence: sequence_after(first, count - 1),
        transactional: false,
    }
}

fn transactional(producer: i64, epoch: i16, first: i32, count: i32) -> ProducerBatch {
    ProducerBatch {
        transactional: true,
        ..batch(producer, epoch, first, count)
    }
}

fn marker(producer: i64, epoch: i16, coordinator: i32) -> Marker {
    Marker {
        producer_id: ProducerId(producer),
        producer_epoch: ProducerEpoch(epoch),
        coordinator_epoch: coordinator,
        aborted: true,
    }
}

fn at(first: i64, count: i64) -> AppendedAt {
    AppendedAt {
        first_offset: Offset(first),
        last_offset: Offset(first + count - 1),
        timestamp_ms: 1_000 + first,
        lsn: Lsn(first as u64 + 1),
        now_ms: 5_000 + first,
    }
}

/// Appends at the end, as the partition does after [`Producers::check`].
fn append(state: &mut Producers, batch: ProducerBatch, count: i64) {
    assert_eq!(state.check(&batch, false), Decision::Append, "{batch:?}");
    let end = state.end().0;
    state.apply_batch(&batch, &at(end, count));
}

fn end_transaction(state: &mut Producers, marker: Marker) -> Option<EndedTransaction> {
    let end = state.end().0;
    state.apply_marker(&marker, &at(end, 1))
}

const OUT_OF_ORDER: Decision = Decision::Reject(Rejection::OutOfOrderSequence);

#[test]
fn sequences_wrap_to_zero_behind_the_largest() // rule T2
{
    assert_eq!(sequence_after(i32::MAX, 1), 0);
    assert_eq!(sequence_after(i32::MAX - 1, 3), 1);
    assert_eq!(sequence_before(1, 3), i32::MAX - 1);
    let mut state = Producers::new(Offset(0));
    append(&mut state, batch(1, 0, i32::MAX - 1, 4), 4);
    assert_eq!(state.check(&batch(1, 0, 3, 1), false), OUT_OF_ORDER);
    let again = state.check(&batch(1, 0, i32::MAX - 1, 4), false);
    assert!(
        matches!(
            again,
            Decision::Duplicate {
                first_offset: Offset(0),
                ..
            }
        ),
        "{again:?}"
    );
    append(&mut state, batch(1, 0, 2, 1), 1);
}

#[test]
fn a_repeat_of_one_of_the_last_five_batches_is_a_duplicate() // rules T1, R6
{
    let mut state = Producers::new(Offset(0));
    for n in 0..7 {
        append(&mut state, batch(1, 0, n * 2, 2), 2);
    }
    for n in 2..7 {
        assert_eq!(
            state.check(&batch(1, 0, n * 2, 2), false),
            Decision::Duplicate {
                first_offset: Offset(i64::from(n) * 2),
                last_offset: Offset(i64::from(n) * 2 + 1),
                timestamp_ms: 1_000 + i64::from(n) * 2,
                lsn: Lsn(n as u64 * 2 + 1),
            }
        );
    }
    assert_eq!(
        state.check(&batch(1, 0, 2, 2), false),
        OUT_OF_ORDER,
        "older than those kept"
    );
    assert_eq!(
        state.check(&batch(1, 0, 4, 1), false),
        OUT_OF_ORDER,
        "not the same range"
    );
}

#[test]
fn a_gap_is_refused_and_the_next_sequence_is_not() // rule T2
{
    let mut state = Producers::new(Offset(0));
    append(&mut state, batch(1, 0, 0, 3), 3);
    assert_eq!(state.check(&batch(1, 0, 4, 1), false), OUT_OF_ORDER);
    assert_eq!(state.check(&batch(1, 0, 3, 1), false), Decision::Append);
}

#[test]
fn a_new_epoch_starts_at_zero_and_a_lower_one_is_fenced() // rules T2, T3
{
    let mut state = Producers::new(Offset(0));
    append(&mut state, batch(1, 4, 0, 3), 3);
    assert_eq!(state.check(&batch(1, 5, 3, 1), false), OUT_OF_ORDER);
    append(&mut state, batch(1, 5, 0, 1), 1);
    let fenced = Decision::Reject(Rejection::InvalidProducerEpoch);
    assert_eq!(state.check(&batch(1, 4, 3, 1), false), fenced);
    assert_eq!(
        state.check(&batch(1, 4, 0, 3), false),
        fenced,
        "not even as a duplicate"
    );
}

#[test]
fn nothing_known_means_any_sequence_except_for_transaction_version_2() // rule T2
{
    let state = Producers::new(Offset(0));
    assert_eq!(state.check(&batch(1, 3, 77, 1), false), Decision::Append);
    assert_eq!(state.check(&transactional(1, 3, 77, 1), true), OUT_OF_ORDER);
    assert_eq!(
        state.check(&transactional(1, 3, 0, 1), true),
        Decision::Append
    );
}

#[test]
fn a_coordinators_batch_has_no_sequence_but_an_epoch() {
    let mut state = Producers::new(Offset(0));
    let mut offsets = transactional(1, 2, 0, 1);
    (offsets.first_sequence, offsets.last_sequence) = (NO_SEQUENCE, NO_SEQUENCE);
    append(&mut state, offsets, 1);
    append(&mut state, offsets, 1);
    offsets.producer_epoch = ProducerEpoch(1);
    assert_eq!(
        state.check(&offsets, false),
        Decision::Reject(Rejection::InvalidProducerEpoch)
    );
}

#[test]
fn a_plain_batch_inside_an_open_transaction_is_refused() // rule T13
{
    let mut state = Producers::new(Offset(0));
    append(&mut state, transactional(1, 0, 0, 1), 1);
    let refused = Decision::Reject(Rejection::InvalidTransactionState);
    assert_eq!(state.check(&batch(1, 0, 1, 1), false), refused);
    assert_eq!(
        refused,
        Decision::Reject(Rejection::InvalidTransactionState)
    );
    assert_eq!(
        Rejection::InvalidTransactionState.code(),
        ErrorCode::InvalidTxnState
    );
    end_transaction(&mut state, marker(1, 0, 0)).expect("it was open");
    append(&mut state, batch(1, 0, 1, 1), 1);
}

#[test]
fn markers_are_checked_by_the_version_they_ask_for() // rule T11, KAFKA-19999
{
    let mut state = Producers::new(Offset(0));
    assert_eq!(
        state.check_marker(&marker(1, 0, 0), true),
        Ok(()),
        "nothing known"
    );
    append(&mut state, transactional(1, 3, 0, 1), 1);
    let fenced = Err(Rejection::InvalidProducerEpoch);
    assert_eq!(state.check_marker(&marker(1, 2, 0), false), fenced);
    assert_eq!(
        state.check_marker(&marker(1, 3, 0), true),
        fenced,
        "version 2 raises the epoch"
    );
    assert_eq!(state.check_marker(&marker(1, 3, 0), false), Ok(()));
    assert_eq!(state.check_marker(&marker(1, 4, 0), true), Ok(()));
    end_transaction(&mut state, marker(1, 4, 7)).expect("it was open");
    assert_eq!(
        state.check_marker(&marker(1, 4, 7), true),
        Ok(()),
        "a repeat after a lost answer"
    );
    let zombie = Err(Rejection::CoordinatorFenced);
    assert_eq!(state.check_marker(&marker(1, 4, 6), true), zombie);
    assert_eq!(
        end_transaction(&mut state, marker(1, 4, 7)),
        None,
        "the repeat ends nothing"
    );
    append(&mut state, transactional(1, 4, 0, 1), 1);
}

#[test]
fn the_stable_offset_waits_for_open_transactions_and_for_markers_above_the_watermark() // section 8
{
    let mut state = Producers::new(Offset(0));
    append(&mut state, batch(9, 0, 0, 5), 5);
    append(&mut state, transactional(1, 0, 0, 5), 5);
    append(&mut state, transactional(2, 0, 0, 5), 5);
    assert_eq!(state.last_stable(Offset(15)), Offset(5));
    assert_eq!(state.last_stable(Offset(3)), Offset(3));
    let ended = end_transaction(&mut state, marker(1, 0, 0)).expect("it was open");
    assert_eq!(
        (ended.first_offset, ended.last_offset),
        (Offset(5), Offset(15))
    );
    assert_eq!(
        ended.last_stable_offset,
        Offset(10),
        "producer 2 is undecided"
    );
    assert_eq!(
        state.last_stable(Offset(15)),
        Offset(5),
        "the marker is not replicated"
    );
    assert_eq!(state.last_stable(Offset(16)), Offset(10));
    state.pass_watermark(Offset(16));
    let ended = end_transaction(&mut state, marker(2, 0, 0)).expect("it was open");
    assert_eq!(ended.last_stable_offset, Offset(17));
    assert_eq!(state.last_stable(Offset(17)), Offset(17));
}

#[test]
fn idle_producers_expire_by_our_clock_and_open_ones_never() // rules T4, T5, KAFKA-9144
{
    let mut state = Producers::new(Offset(0));
    append(&mut state, transactional(1, 0, 0, 1), 1);
    // A producer that writes the past: its own timestamps say nothing about activity.
    let past = AppendedAt {
        timestamp_ms: 3,
        now_ms: 90_000,
        ..at(1, 1)
    };
    state.apply_batch(&batch(2, 0, 0, 1), &past);
    append(&mut state, batch(3, 0, 0, 1), 1);
    assert_eq!(state.expire(100_000, 50_000), 1, "producer 3 was idle");
    let left: Vec<i64> = state.iter().map(|info| info.producer_id.0).collect();
    assert_eq!(left, [1, 2]);
    assert_eq!(
        state.check(&batch(3, 0, 9, 1), false),
        Decision::Append,
        "nothing known again"
    );
    assert_eq!(state.expire(i64::MAX, 1), 1);
    assert_eq!(state.len(), 1);
}

#[test]
fn the_longest_idle_producers_make_room_and_open_ones_stay() {
    let mut state = Producers::new(Offset(0));
    append(&mut state, transactional(0, 0, 0, 1), 1);
    for id in 1..=PRODUCERS_MAX as i64 {
        append(&mut state, batch(id, 0, 0, 1), 1);
    }
    assert_eq!(state.len(), PRODUCERS_MAX - EVICTED_AT_ONCE + 1);
    assert!(state.producer(ProducerId(0)).is_some(), "open");
    assert!(state.producer(ProducerId(1)).is_none(), "the longest idle");
    assert!(state.producer(ProducerId(PRODUCERS_MAX as i64)).is_some());
}

#[test]
fn a_new_producer_waits_while_all_places_have_open_transactions() {
    let mut state = Producers::new(Offset(0));
    for id in 0..PRODUCERS_MAX as i64 {
        state.apply_batch(&transactional(id, 0, 0, 1), &at(id, 1));
    }
    let full = Decision::Reject(Rejection::TooManyOpen);
    assert_eq!(state.check(&batch(-2 + (1 << 40), 0, 0, 1), false), full);
    assert_eq!(
        state.check(&transactional(5, 0, 1, 1), false),
        Decision::Append
    );
    assert!(Rejection::TooManyOpen.code().is_retriable());
}

#[test]
fn replay_of_what_was_applied_changes_nothing() // storage.md 6, item 5
{
    let mut state = Producers::new(Offset(0));
    append(&mut state, transactional(1, 0, 0, 2), 2);
    end_transaction(&mut state, marker(1, 1, 0));
    append(&mut state, transactional(1, 1, 0, 1), 1);
    let before = state.clone();
    state.apply_batch(&transactional(1, 0, 0, 2), &at(0, 2));
    assert_eq!(state.apply_marker(&marker(1, 1, 0), &at(2, 1)), None);
    state.apply_batch(&transactional(1, 1, 0, 1), &at(3, 1));
    assert_eq!(state, before);
}

#[test]
fn a_cut_below_a_marker_or_an_epoch_asks_for_a_rebuild() // rule R7
{
    let mut state = Producers::new(Offset(0));
    append(&mut state, transactional(1, 0, 0, 2), 2);
    end_transaction(&mut state, marker(1, 1, 0));
    append(&mut state, transactional(1, 1, 0, 1), 1);
    let mut cut = state.clone();
    assert_eq!(cut.truncate_to(Offset(3)), Cut::Done);
    assert_eq!(cut.first_open(), None);
    assert_eq!(
        cut.truncate_to(Offset(2)),
        Cut::Rebuild,
        "the marker reopens"
    );
    assert!(cut.is_empty());
    assert_eq!(cut.end(), Offset(2));
    assert_eq!(
        state.truncate_to(Offset(0)),
        Cut::Done,
        "everything is gone"
    );
    assert!(state.is_empty());
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Batch(ProducerBatch, AppendedAt),
    Marker(Marker, AppendedAt),
}

impl Event {
    fn producer_id(&self) -> ProducerId {
        match self {
            Event::Batch(batch, _) => batch.producer_id,
            Event::Marker(marker, _) => marker.producer_id,
        }
    }

    fn epoch(&self) -> ProducerEpoch {
        match self {
            Event::Batch(batch, _) => batch.producer_epoch,
            Event::Marker(marker, _) => marker.producer_epoch,
        }
    }

    fn at(&self) -> &AppendedAt {
        match self {
            Event::Batch(_, at) | Event::Marker(_, at) => at,
        }
    }
}

/// Everything ever appended: what the state stands for.
#[derive(Default)]
struct Model {
    log: Vec<Event>,
}

impl Model {
    fn end(&self) -> i64 {
        self.log
            .last()
            .map_or(0, |event| event.at().last_offset.0 + 1)
    }

    fn of(&self, id: ProducerId) -> Vec<Event> {
        self.log
            .iter()
            .filter(|event| event.producer_id() == id)
            .copied()
            .collect()
    }

    /// Batches of the producer's current epoch, oldest first.
    fn batches(&self, id: ProducerId) -> Vec<(ProducerBatch, AppendedAt)> {
        let events = self.of(id);
        let Some(epoch) = events.last().map(Event::epoch) else {
            return Vec::new();
        };
        let since = events
            .iter()
            .rposition(|event| event.epoch() != epoch)
            .map_or(0, |at| at + 1);
        let batch = |event: &Event| match event {
            Event::Batch(batch, at) => Some((*batch, *at)),
            Event::Marker(..) => None,
        };
        events[since..].iter().filter_map(batch).collect()
    }

    fn open_from(&self, id: ProducerId) -> Option<Offset> {
        let mut open = None;
        for event in self.of(id) {
            match event {
                Event::Batch(batch, at) if batch.transactional => {
                    open = open.or(Some(at.first_offset));
                }
                Event::Batch(..) => {}
                Event::Marker(..) => open = None,
            }
        }
        open
    }

    fn check(&self, batch: &ProducerBatch) -> Decision {
        if batch.producer_epoch.0 < 0 {
            return Decision::Reject(Rejection::InvalidProducerEpoch);
        }
        let events = self.of(batch.producer_id);
        let Some(epoch) = events.last().map(Event::epoch) else {
            return Decision::Append;
        };
        let batches = self.batches(batch.producer_id);
        let recent = &batches[batches.len().saturating_sub(BATCHES_KEPT)..];
        let same = |(kept, _): &&(ProducerBatch, AppendedAt)| {
            kept.first_sequence == batch.first_sequence && kept.last_sequence == batch.last_sequence
        };
        if batch.producer_epoch == epoch
            && let Some((_, at)) = recent.iter().find(same)
        {
            return Decision::Duplicate {
                first_offset: at.first_offset,
                last_offset: at.last_offset,
                timestamp_ms: at.timestamp_ms,
                lsn: at.lsn,
            };
        }
        let next = if batch.producer_epoch == epoch {
            batches
                .last()
                .map_or(0, |(last, _)| sequence_after(last.last_sequence, 1))
        } else {
            0
        };
        if batch.producer_epoch < epoch {
            Decision::Reject(Rejection::InvalidProducerEpoch)
        } else if batch.first_sequence != next {
            OUT_OF_ORDER
        } else if self.open_from(batch.producer_id).is_some() && !batch.transactional {
            Decision::Reject(Rejection::InvalidTransactionState)
        } else {
            Decision::Append
        }
    }

    fn describe(&self, id: ProducerId) -> Option<ProducerInfo> {
        let events = self.of(id);
        let last = events.last()?;
        let batches = self.batches(id);
        let coordinator = |event: &Event| match event {
            Event::Marker(marker, _) => Some(marker.coordinator_epoch),
            Event::Batch(..) => None,
        };
        Some(ProducerInfo {
            producer_id: id,
            producer_epoch: last.epoch(),
            last_sequence: batches
                .last()
                .map_or(NO_SEQUENCE, |(last, _)| last.last_sequence),
            last_timestamp_ms: last.at().timestamp_ms,
            coordinator_epoch: events.iter().rev().find_map(coordinator).unwrap_or(-1),
            open_from: self.open_from(id),
            last_offset: batches
                .last()
                .map_or(last.at().last_offset, |(_, at)| at.last_offset),
        })
    }

    fn last_stable(&self, high_watermark: i64) -> i64 {
        let mut stable = high_watermark;
        for (at, event) in self.log.iter().enumerate() {
            let Event::Batch(batch, appended) = event else {
                continue;
            };
            let marker = self.log[at..].iter().find(|later| {
                matches!(later, Event::Marker(..)) && later.producer_id() == batch.producer_id
            });
            let decided = marker.is_some_and(|marker| marker.at().last_offset.0 < high_watermark);
            if batch.transactional && !decided {
                stable = stable.min(appended.first_offset.0);
            }
        }
        stable
    }

    fn replay(&self) -> Producers {
        let mut state = Producers::new(Offset(0));
        for event in &self.log {
            match event {
                Event::Batch(batch, at) => state.apply_batch(batch, at),
                Event::Marker(marker, at) => drop_ended(state.apply_marker(marker, at)),
            }
        }
        state
    }
}

fn drop_ended(_: Option<EndedTransaction>) {}

/// A batch that is often right and often almost right.
fn random_batch(model: &Model, rng: &mut Rng) -> ProducerBatch {
    let id = ProducerId(rng.i64(0..4));
    let batches = model.batches(id);
    let epoch = model.of(id).last().map_or(0, |last| last.epoch().0);
    let next = batches
        .last()
        .map_or(0, |(last, _)| sequence_after(last.last_sequence, 1));
    let open = model.open_from(id).is_some();
    let count = rng.i32(1..4);
    let mut made = batch(id.0, epoch, next, count);
    made.transactional = if rng.u8(..8) == 0 {
        !open
    } else {
        open || rng.bool()
    };
    match rng.u8(..12) {
        0 => {
            made = ProducerBatch {
                transactional: made.transactional,
                ..batch(id.0, epoch + 1, 0, count)
            }
        }
        1 => made.producer_epoch = ProducerEpoch(epoch - 1),
        2 => made = batch(id.0, epoch, sequence_after(next, 1), count),
        3 if !batches.is_empty() => {
            let back = rng.usize(0..batches.len().min(7));
            made = batches[batches.len() - 1 - back].0;
        }
        // The end of the sequences, now and then.
        4 if batches.is_empty() => made = batch(id.0, epoch, i32::MAX - 2, count),
        _ => {}
    }
    made
}

#[test]
fn decisions_agree_with_a_list_of_all_batches() // rules T1, T2, T3, T5, T13, R7
{
    let mut rebuilt = 0;
    let mut undone = 0;
    for seed in 0..100 {
        let mut rng = Rng::with_seed(seed);
        let mut model = Model::default();
        let mut state = Producers::new(Offset(0));
        // After a cut in memory, batches older than those left may be forgotten.
        let mut window_whole = true;
        for _ in 0..120 {
            let end = model.end();
            match rng.u8(..20) {
                0..=1 => {
                    let id = rng.i64(0..4);
                    let epoch = model
                        .of(ProducerId(id))
                        .last()
                        .map_or(0, |last| last.epoch().0);
                    let made = marker(id, epoch + i16::from(rng.bool()), end as i32 / 20);
                    if state.check_marker(&made, false).is_ok() {
                        let open = model.open_from(ProducerId(id));
                        let ended = state.apply_marker(&made, &at(end, 1));
                        assert_eq!(ended.map(|ended| ended.first_offset), open);
                        model.log.push(Event::Marker(made, at(end, 1)));
                    }
                }
                2 => {
                    let kept = rng.usize(model.log.len().saturating_sub(8)..=model.log.len());
                    model.log.truncate(kept);
                    if state.truncate_to(Offset(model.end())) == Cut::Rebuild {
                        state = model.replay();
                        window_whole = true;
                        rebuilt += 1;
                    } else {
                        window_whole &= model.end() == end;
                        undone += usize::from(model.end() < end);
                    }
                }
                3 => {
                    let mut out = Writer::new();
                    state.encode(&mut out);
                    assert_eq!(out.len(), state.encoded_bytes());
                    let mut read = Producers::decode(out.as_slice(), Lsn(7)).expect("as written");
                    let mut again = Writer::new();
                    read.encode(&mut again);
                    assert_eq!(again.as_slice(), out.as_slice());
                    // Only the LSNs are not kept: what is in a snapshot was durable.
                    for (id, producer) in &mut read.producers {
                        for at in 0..usize::from(producer.kept) {
                            assert_eq!(producer.batches[at].lsn, Lsn(7));
                            producer.batches[at].lsn = state.producers[id].batches[at].lsn;
                        }
                        // Slots not in use hold what was dropped from them.
                        for at in usize::from(producer.kept)..BATCHES_KEPT {
                            producer.batches[at] = state.producers[id].batches[at];
                        }
                    }
                    assert_eq!(read, state);
                    state = read;
                }
                _ => {
                    let made = random_batch(&model, &mut rng);
                    let (decision, expected) = (state.check(&made, false), model.check(&made));
                    let forgotten = matches!(expected, Decision::Duplicate { .. })
                        && decision == OUT_OF_ORDER
                        && !window_whole;
                    assert!(
                        decision == expected || forgotten,
                        "seed {seed}: {made:?} {decision:?} {expected:?}"
                    );
                    if decision == Decision::Append {
                        let count = i64::from(
                            made.last_sequence.wrapping_sub(made.first_sequence) & i32::MAX,
                        ) + 1;
                        state.apply_batch(&made, &at(end, count));
                        model.log.push(Event::Batch(made, at(end, count)));
                    }
                }
            }
            for id in (0..4).map(ProducerId) {
                let mut known = state.producer(id);
                let expected = model.describe(id);
                if let (Some(known), Some(expected), false) = (&mut known, &expected, window_whole)
                {
                    known.last_timestamp_ms = expected.last_timestamp_ms;
                }
                assert_eq!(known, expected, "seed {seed}");
            }
            let high_watermark = rng.i64(0..=model.end());
            let stable = state.last_stable(Offset(high_watermark)).0;
            assert_eq!(stable, model.last_stable(high_watermark), "seed {seed}");
        }
    }
    assert!(
        rebuilt > 30 && undone > 30,
        "{rebuilt} cuts rebuilt, {undone} undone in memory"
    );
}

#[test]
fn the_bytes_are_those_of_the_page() {
    let mut state = Producers::new(Offset(0x10));
    append(&mut state, transactional(5, 2, 7, 3), 3);
    let open = state.clone();
    end_transaction(&mut state, marker(5, 3, 4));
    let mut out = Writer::new();
    open.encode(&mut out);
    #[rustfmt::skip]
    let golden = [
        1, 0, 0, 0, // version, flags
        1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // producers, ended transactions, reserved
        0x13, 0, 0, 0, 0, 0, 0, 0, // end offset
        5, 0, 0, 0, 0, 0, 0, 0, // producer id
        2, 0, 1, 0, // epoch, batches, flags
        0xff, 0xff, 0xff, 0xff, // coordinator epoch
        0x10, 0, 0, 0, 0, 0, 0, 0, // open from
        0xf8, 3, 0, 0, 0, 0, 0, 0, // last timestamp: 1,016
        0x98, 0x13, 0, 0, 0, 0, 0, 0, // active: 5,016
        0x10, 0, 0, 0, 0, 0, 0, 0, // born
        0x10, 0, 0, 0, 0, 0, 0, 0, // settled
        9, 0, 0, 0, 2, 0, 0, 0, // last sequence, delta
        0x12, 0, 0, 0, 0, 0, 0, 0, // last offset
        0xf8, 3, 0, 0, 0, 0, 0, 0, // timestamp
    ];
    assert_eq!(out.as_slice(), golden);
    let mut out = Writer::new();
    state.encode(&mut out);
    #[rustfmt::skip]
    let golden = [
        1, 0, 0, 0,
        1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0,
        0x14, 0, 0, 0, 0, 0, 0, 0,
        5, 0, 0, 0, 0, 0, 0, 0,
        3, 0, 0, 0,
        4, 0, 0, 0,
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, // nothing open
        0xfb, 3, 0, 0, 0, 0, 0, 0,
        0x9b, 0x13, 0, 0, 0, 0, 0, 0,
        0x10, 0, 0, 0, 0, 0, 0, 0,
        0x13, 0, 0, 0, 0, 0, 0, 0, // settled by the marker
        5, 0, 0, 0, 0, 0, 0, 0, // the ended transaction: producer id
        0x10, 0, 0, 0, 0, 0, 0, 0, // first offset
        0x13, 0, 0, 0, 0, 0, 0, 0, // marker
    ];
    assert_eq!(out.as_slice(), golden);
}

#[test]
fn hostile_bytes_are_refused_or_read_and_nothing_else() {
    let mut state = Producers::new(Offset(0));
    for id in 0..8 {
        append(&mut state, transactional(id, 0, 0, 2), 2);
        append(&mut state, transactional(id, 0, 2, 2), 2);
        if id % 2 == 0 {
            end_transaction(&mut state, marker(id, 1, 0));
        }
    }
    let mut out = Writer::new();
    state.encode(&mut out);
    for_each_mutation(out.as_slice(), 8, 5_000, |bytes| {
        if let Ok(mut state) = Producers::decode(bytes, Lsn::ZERO) {
            assert!(state.encoded_bytes() <= bytes.len());
            for id in 0..8 {
                let _ = state.check(&batch(id, 0, 4, 1), false);
            }
            let _ = state.last_stable(Offset(i64::MAX));
            state.expire(i64::MIN, i64::MAX);
            let _ = state.truncate_to(Offset(5));
        }
    });
}
