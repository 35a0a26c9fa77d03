use super::*;
use crate::mutation::for_each_mutation;
use fastrand::Rng;
use stdx::crc32c;

/// A segment as a list of batches and its bytes: what the index stands for.
#[derive(Clone)]
struct Model {
    base: i64,
    batches: Vec<IndexedBatch>,
    bytes: Vec<u8>,
}

impl Model {
    fn new(base: i64) -> Model {
        Model {
            base,
            batches: Vec::new(),
            bytes: Vec::new(),
        }
    }

    fn random(seed: u64) -> Model {
        let mut rng = Rng::with_seed(seed);
        let mut model = Model::new(rng.i64(0..1_000_000));
        for _ in 0..rng.usize(0..60) {
            model.append(&mut rng);
        }
        model
    }

    fn end(&self) -> i64 {
        self.batches
            .last()
            .map_or(self.base, |last| last.last_offset.0 + 1)
    }

    fn append(&mut self, rng: &mut Rng) {
        let length = match rng.u8(..10) {
            0 => rng.usize(60_000..70_000),
            1 => rng.usize(70_000..200_000),
            _ => rng.usize(61..9_000),
        };
        // Compaction leaves holes; producers' timestamps jump.
        let base_offset = self.end() + if rng.u8(..4) == 0 { rng.i64(0..50) } else { 0 };
        let max_timestamp_ms = match rng.u8(..12) {
            0 => -1,
            1 => i64::MAX - rng.i64(0..10),
            2 => rng.i64(0..1 << 40),
            _ => 1_700_000_000_000 + rng.i64(0..100_000),
        };
        self.batches.push(IndexedBatch {
            base_offset: Offset(base_offset),
            last_offset: Offset(base_offset + rng.i64(0..20)),
            position: self.bytes.len() as u32,
            length: length as u32,
            max_timestamp_ms,
        });
        let start = self.bytes.len();
        self.bytes.resize(start + length, 0);
        rng.fill(&mut self.bytes[start..]);
    }

    fn bytes_of(&self, batch: &IndexedBatch) -> &[u8] {
        &self.bytes[batch.position as usize..][..batch.length as usize]
    }

    fn feed(&self, index: &mut SparseIndex) {
        for batch in &self.batches {
            if batch.position >= index.end_position() {
                index.add(batch, self.bytes_of(batch)).expect("room");
            }
        }
    }

    fn index(&self) -> SparseIndex {
        let mut index = SparseIndex::new(Offset(self.base));
        self.feed(&mut index);
        index
    }

    fn within(&self, range: &Range) -> impl Iterator<Item = &IndexedBatch> {
        let (from, to) = (range.position, range.end_position);
        self.batches
            .iter()
            .filter(move |b| from <= b.position && b.position < to)
    }

    fn check(&self, index: &SparseIndex, rng: &mut Rng) {
        let mut at = 0;
        for range in index.ranges() {
            assert_eq!(range.position, at, "ranges lie back to back");
            at = range.end_position;
            let inside: Vec<_> = self.within(&range).collect();
            assert_eq!(inside[0].base_offset, range.first_offset);
            let bytes = range.end_position - range.position;
            assert!(
                bytes <= RANGE_BYTES_MAX || inside.len() == 1,
                "{bytes} bytes to scan"
            );
            assert_eq!(
                range.crc,
                crc32c(&self.bytes[range.position as usize..range.end_position as usize])
            );
            let highest = inside.iter().map(|batch| batch.max_timestamp_ms).max();
            assert_eq!(Some(range.max_timestamp_ms), highest);
        }
        assert_eq!(at as usize, self.bytes.len(), "every byte is in a range");
        let last = self.batches.last().map(|last| last.last_offset);
        assert_eq!(index.last_offset(), last);
        for _ in 0..60 {
            self.check_offset(index, rng.i64(self.base..self.end() + 3));
            let batch = rng.choice(&self.batches);
            let target = batch.map_or(5, |batch| batch.max_timestamp_ms);
            let target = target.saturating_add(rng.i64(-2..3));
            self.check_timestamp(index, target, rng.i64(self.base..self.end() + 3));
        }
        let highest = self
            .batches
            .iter()
            .map(|batch| batch.max_timestamp_ms)
            .max();
        let first = self
            .batches
            .iter()
            .find(|b| Some(b.max_timestamp_ms) == highest);
        let found = index.max_timestamp();
        assert_eq!(found.map(|range| range.max_timestamp_ms), highest);
        if let (Some(range), Some(first)) = (found, first) {
            assert!(
                self.within(&range).any(|batch| batch == first),
                "the first of equals"
            );
        }
    }

    fn check_offset(&self, index: &SparseIndex, offset: i64) {
        let truth = self
            .batches
            .iter()
            .find(|batch| batch.last_offset.0 >= offset);
        let range = index.find_offset(Offset(offset));
        assert_eq!(range.is_none(), self.batches.is_empty());
        let (Some(range), Some(truth)) = (range, truth) else {
            return;
        };
        let next = index.range_at(range.end_position);
        let first_of_next = next.and_then(|next| self.within(&next).next());
        assert!(
            self.within(&range).any(|batch| batch == truth) || first_of_next == Some(truth),
            "{offset}: {truth:?} is neither in {range:?} nor behind it"
        );
    }

    fn check_timestamp(&self, index: &SparseIndex, target_ms: i64, from: i64) {
        let matches = |batch: &&IndexedBatch| {
            batch.last_offset.0 >= from && batch.max_timestamp_ms >= target_ms
        };
        let truth = self.batches.iter().find(matches);
        // As a caller walks: a range whose match lies below `from` is passed over.
        let mut start = Offset(from);
        let found = loop {
            let Some(range) = index.find_timestamp(target_ms, start) else {
                break None;
            };
            if let Some(batch) = self.within(&range).find(matches) {
                break Some(batch);
            }
            match index.range_at(range.end_position) {
                Some(next) => start = next.first_offset,
                None => break None,
            }
        };
        assert_eq!(found, truth, "timestamp {target_ms} from {from}");
    }
}

#[test]
fn an_empty_index_finds_nothing() {
    let index = SparseIndex::new(Offset(5));
    assert_eq!(index.find_offset(Offset(5)), None);
    assert_eq!(index.find_timestamp(0, Offset(5)), None);
    assert_eq!(index.max_timestamp(), None);
    assert_eq!(index.range_at(0), None);
}

#[test]
fn lookups_agree_with_a_scan_of_all_batches() // rules F1, M1, M2
{
    for seed in 0..60 {
        let model = Model::random(seed);
        model.check(&model.index(), &mut Rng::with_seed(seed));
    }
}

#[test]
fn a_decoded_index_goes_on_where_it_ended() // storage.md 2.4
{
    for seed in 0..30 {
        let mut rng = Rng::with_seed(seed);
        let mut model = Model::random(seed);
        let index = model.index();
        let mut out = Writer::new();
        index.encode(&mut out);
        assert_eq!(out.len(), index.encoded_bytes());
        let mut read = SparseIndex::decode(out.as_slice()).expect("as written");
        assert!(read.ranges().eq(index.ranges()));
        model.append(&mut rng);
        model.append(&mut rng);
        model.feed(&mut read);
        model.check(&read, &mut rng);
    }
}

#[test]
fn a_cut_index_goes_on_after_the_cut_range_was_added_again() // rule R7
{
    for seed in 0..60 {
        let mut rng = Rng::with_seed(seed);
        let mut model = Model::random(seed);
        let mut index = model.index();
        let kept = rng.usize(..=model.batches.len());
        let cut = model
            .batches
            .get(kept)
            .map_or(model.bytes.len() as u32, |b| b.position);
        model.batches.truncate(kept);
        model.bytes.truncate(cut as usize);
        let from = index.truncate_to(cut);
        assert!(from <= cut);
        assert_eq!(index.end_position(), from);
        model.feed(&mut index);
        model.append(&mut rng);
        model.feed(&mut index);
        model.check(&index, &mut rng);
    }
}

#[test]
fn a_batch_that_does_not_follow_is_known_before_it_is_added() // storage.md 8: bad bytes are data
{
    let mut index = SparseIndex::new(Offset(10));
    let batch = IndexedBatch {
        base_offset: Offset(10),
        last_offset: Offset(12),
        position: 0,
        length: 3,
        max_timestamp_ms: 0,
    };
    assert!(
        !index.follows(&IndexedBatch {
            base_offset: Offset(9),
            ..batch
        }),
        "below the segment"
    );
    assert!(
        !index.follows(&IndexedBatch {
            last_offset: Offset(9),
            ..batch
        }),
        "ends before itself"
    );
    assert!(
        !index.follows(&IndexedBatch {
            position: 1,
            ..batch
        }),
        "a gap in the file"
    );
    index.add(&batch, &[0; 3]).expect("room");
    assert!(
        !index.follows(&IndexedBatch {
            position: 3,
            ..batch
        }),
        "the same offsets again"
    );
    assert!(index.follows(&IndexedBatch {
        base_offset: Offset(20),
        last_offset: Offset(20),
        position: 3,
        ..batch
    }));
}

#[test]
fn a_segment_is_full_when_positions_or_offsets_leave_32_bits() // storage.md 12, trap 9
{
    let mut index = SparseIndex::new(Offset(10));
    let batch = |base: i64, last: i64| IndexedBatch {
        base_offset: Offset(base),
        last_offset: Offset(last),
        position: 0,
        length: 1,
        max_timestamp_ms: 0,
    };
    let far = 10 + i64::from(u32::MAX);
    assert_eq!(index.add(&batch(far, far + 1), &[0]), Err(IndexFull));
    assert_eq!(index.add(&batch(far, far), &[0]), Ok(()));
    let mut index = SparseIndex {
        end_position: i32::MAX as u32,
        ..SparseIndex::new(Offset(0))
    };
    let late = IndexedBatch {
        position: i32::MAX as u32,
        ..batch(0, 0)
    };
    assert_eq!(index.add(&late, &[0]), Err(IndexFull));
}

#[test]
fn the_index_bytes_are_those_of_the_page() {
    let mut index = SparseIndex::new(Offset(0x100));
    let mut batch = IndexedBatch {
        base_offset: Offset(0x100),
        last_offset: Offset(0x104),
        position: 0,
        length: 70_000,
        max_timestamp_ms: 1_000,
    };
    let first = vec![1; 70_000];
    index.add(&batch, &first).expect("room");
    batch.base_offset = Offset(0x105);
    batch.last_offset = Offset(0x109);
    batch.position = 70_000;
    batch.length = 2;
    // 2^32 ms later: does not fit a delta.
    batch.max_timestamp_ms = 1_000 + (1 << 32);
    index.add(&batch, &[1, 2]).expect("room");
    let mut out = Writer::new();
    index.encode(&mut out);
    let (crc_1, crc_2) = (crc32c(&first).to_le_bytes(), crc32c(&[1, 2]).to_le_bytes());
    #[rustfmt::skip]
    let golden = [
        1, 0, 0, 0, // version, flags
        2, 0, 0, 0, 1, 0, 0, 0, // ranges, wide timestamps
        0x72, 0x11, 1, 0, // end position: 70,002
        0, 1, 0, 0, 0, 0, 0, 0, // base offset
        9, 1, 0, 0, 0, 0, 0, 0, // last offset
        0xe8, 3, 0, 0, 0, 0, 0, 0, // base timestamp
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // offset, position, timestamp deltas
        crc_1[0], crc_1[1], crc_1[2], crc_1[3],
        5, 0, 0, 0, 0x70, 0x11, 1, 0, 0, 0, 0, 0x80, // timestamp: see the wide ones
        crc_2[0], crc_2[1], crc_2[2], crc_2[3],
        1, 0, 0, 0, 0xe8, 3, 0, 0, 1, 0, 0, 0, // range, its true timestamp
    ];
    assert_eq!(out.as_slice(), golden);
}

#[test]
fn hostile_index_bytes_are_refused_or_read_and_nothing_else() {
    let mut model = Model::random(11);
    let mut rng = Rng::with_seed(11);
    for _ in 0..30 {
        model.append(&mut rng);
    }
    let mut out = Writer::new();
    model.index().encode(&mut out);
    for_each_mutation(out.as_slice(), 6, 5_000, |bytes| {
        if let Ok(index) = SparseIndex::decode(bytes) {
            assert!(index.encoded_bytes() <= bytes.len());
            assert!(
                index
                    .ranges()
                    .all(|range| range.position < range.end_position)
            );
            for probe in [i64::MIN, 0, 1 << 20, i64::MAX] {
                let _ = index.find_offset(Offset(probe));
                let _ = index.find_timestamp(probe, Offset(probe));
            }
            let _ = index.max_timestamp();
        }
    });
}

#[test]
fn an_append_time_is_at_most_a_second_early() // experience.md 4.3
{
    let mut rng = Rng::with_seed(1);
    let mut times = AppendTimes::new(Offset(100));
    let mut truth = Vec::new();
    let mut now_ms = 1_700_000_000_000;
    for at in 0..60 {
        // Bursts, and idle hours.
        now_ms += if at % 40 == 0 {
            7_200_000
        } else {
            rng.i64(0..1_500)
        };
        times.note(Offset(100 + at * 5), now_ms);
        truth.push((100 + at * 5, now_ms));
    }
    for (offset, true_ms) in truth {
        for inside in 0..5 {
            let found_ms = times
                .append_time_ms(Offset(offset + inside))
                .expect("all known");
            assert!(
                (0..1_100).contains(&(true_ms - found_ms)),
                "{}",
                true_ms - found_ms
            );
        }
    }
    assert_eq!(times.append_time_ms(Offset(99)), None);
}

#[test]
fn older_append_times_grow_coarser_in_proportion_to_their_age() {
    let mut times = AppendTimes::new(Offset(0));
    let seconds = 86_400;
    for second in 0..seconds {
        times.note(Offset(second), second * 1_000);
        assert!(times.len() <= APPEND_TIMES_MAX);
    }
    for age in [1, 10, 60, 120, 600, 3_600, seconds - 1] {
        let true_ms = (seconds - age) * 1_000;
        let found_ms = times
            .append_time_ms(Offset(seconds - age))
            .expect("all known");
        let early_ms = true_ms - found_ms;
        assert!(
            early_ms >= 0 && early_ms <= 1_000 + age * 1_000 / 8,
            "{age} s: {early_ms} ms"
        );
    }
}

#[test]
fn a_clock_that_steps_back_stands_still() // experience.md 4.3
{
    let mut times = AppendTimes::new(Offset(0));
    times.note(Offset(0), 100_000);
    times.note(Offset(1), 102_000);
    times.note(Offset(2), 50_000);
    times.note(Offset(3), -5);
    times.note(Offset(4), i64::MAX);
    assert_eq!(times.append_time_ms(Offset(3)), Some(102_000));
    let far_ms = times.append_time_ms(Offset(4)).expect("known");
    assert!(
        far_ms > 102_000,
        "a time beyond the column's reach is cut, not wrapped"
    );
}

#[test]
fn a_cut_takes_the_append_times_above_it() // rule R7
{
    let mut times = AppendTimes::new(Offset(0));
    times.note(Offset(0), 0);
    times.note(Offset(10), 1_000);
    times.truncate_to(Offset(10));
    assert_eq!(times.append_time_ms(Offset(20)), Some(0));
}

#[test]
fn the_append_time_bytes_are_those_of_the_page() {
    let mut times = AppendTimes::new(Offset(0x0201));
    times.note(Offset(0x0201), 0x1000);
    times.note(Offset(0x0301), 0x1000 + 12_345);
    let mut out = Writer::new();
    times.encode(&mut out);
    #[rustfmt::skip]
    let golden = [
        1, 0, 0, 0, // version, flags
        2, 0, 0, 0, // count
        1, 2, 0, 0, 0, 0, 0, 0, // base offset
        0, 0x10, 0, 0, 0, 0, 0, 0, // base time
        0, 0, 0, 0, 0, 0, 0, 0, // offset delta, time delta
        0, 1, 0, 0, 123, 0, 0, 0, // in tenths of a second
    ];
    assert_eq!(out.as_slice(), golden);
    assert_eq!(AppendTimes::decode(out.as_slice()), Ok(times));
}

#[test]
fn hostile_append_time_bytes_are_refused_or_read_and_nothing_else() {
    let mut times = AppendTimes::new(Offset(3));
    for second in 0..40 {
        times.note(Offset(3 + second), second * 1_000);
    }
    let mut out = Writer::new();
    times.encode(&mut out);
    for_each_mutation(out.as_slice(), 7, 5_000, |bytes| {
        if let Ok(mut times) = AppendTimes::decode(bytes) {
            assert!(times.encoded_bytes() <= bytes.len());
            let _ = times.append_time_ms(Offset(i64::MAX));
            let _ = times.append_time_ms(Offset(i64::MIN));
            times.note(Offset(i64::MAX), i64::MAX);
            times.note(Offset(50), i64::MIN);
            for second in 0..2 * APPEND_TIMES_MAX as i64 {
                times.note(Offset(60 + second), second * 1_000);
            }
        }
    });
}
