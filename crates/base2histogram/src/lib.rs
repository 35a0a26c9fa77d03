//! A histogram in a kilobyte, in the place of the library of the same name.
//!
//! openraft counts its own batches and stages in histograms. The library it takes for that fills
//! tables for sixteen resolutions when the first histogram is made, 26 MB of them, of which openraft
//! reads one; a whole idle node here is smaller than that (design note 0053). This crate offers what
//! openraft calls, under the library's names, and nothing else; the workspace's `[patch]` puts it in
//! the library's place.
//!
//! Invariants: a histogram is one small array; recording allocates nothing; a value is counted in a
//! bucket whose width is at most a quarter of it.
//!
//! This crate must never know openraft, or anything else of this workspace.

use std::fmt;
use std::marker::PhantomData;

/// Buckets of each power of two are split by this many further bits.
const SPLIT_BITS: u32 = 2;
/// Values below 4 have a bucket each; above, four buckets a power of two up to 2^63.
const BUCKETS: usize = (64 - SPLIT_BITS as usize + 1) << SPLIT_BITS;

/// Counts of values by magnitude. `T` is never looked at; the library labels its histograms with it.
pub struct Histogram<T = ()> {
    counts: Box<[u32; BUCKETS]>,
    samples: u64,
    label: PhantomData<T>,
}

impl<T> Histogram<T> {
    /// Nothing counted.
    pub fn new() -> Histogram<T> {
        Histogram {
            counts: Box::new([0; BUCKETS]),
            samples: 0,
            label: PhantomData,
        }
    }

    /// Counts one value.
    pub fn record(&mut self, value: u64) {
        self.record_n(value, 1);
    }

    /// Counts one value so many times.
    pub fn record_n(&mut self, value: u64, times: u64) {
        let count = &mut self.counts[bucket(value)];
        *count = count.saturating_add(u32::try_from(times).unwrap_or(u32::MAX));
        self.samples = self.samples.saturating_add(times);
    }

    /// The usual percentiles; zeros when nothing was counted.
    pub fn percentile_stats(&self) -> PercentileStats {
        let at = |permille: u64| self.percentile(permille);
        PercentileStats {
            samples: self.samples,
            p0_1: at(1),
            p1: at(10),
            p5: at(50),
            p10: at(100),
            p50: at(500),
            p90: at(900),
            p99: at(990),
            p99_9: at(999),
        }
    }

    /// The lowest value of the bucket in which the sample of this rank lies.
    fn percentile(&self, permille: u64) -> u64 {
        let total: u64 = self.counts.iter().map(|count| u64::from(*count)).sum();
        let rank = (total * permille).div_ceil(1000).max(1);
        let mut seen = 0;
        for (at, count) in self.counts.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= rank {
                return lowest(at);
            }
        }
        0
    }
}

impl<T> Default for Histogram<T> {
    fn default() -> Histogram<T> {
        Histogram::new()
    }
}

impl<T> Clone for Histogram<T> {
    fn clone(&self) -> Histogram<T> {
        Histogram {
            counts: self.counts.clone(),
            samples: self.samples,
            label: PhantomData,
        }
    }
}

impl<T> fmt::Debug for Histogram<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Histogram")
            .field("samples", &self.samples)
            .finish_non_exhaustive()
    }
}

impl<T> PartialEq for Histogram<T> {
    fn eq(&self, other: &Histogram<T>) -> bool {
        self.samples == other.samples && self.counts == other.counts
    }
}

impl<T> Eq for Histogram<T> {}

/// Percentiles of a histogram: each the lowest value of its bucket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PercentileStats {
    /// Values counted.
    pub samples: u64,
    /// 0.1 % of the values are not above this.
    pub p0_1: u64,
    /// 1 % of them.
    pub p1: u64,
    /// 5 % of them.
    pub p5: u64,
    /// 10 % of them.
    pub p10: u64,
    /// Half of them.
    pub p50: u64,
    /// 90 % of them.
    pub p90: u64,
    /// 99 % of them.
    pub p99: u64,
    /// 99.9 % of them.
    pub p99_9: u64,
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PercentileStats {
            samples,
            p50,
            p90,
            p99,
            ..
        } = self;
        write!(f, "n={samples} p50={p50} p90={p90} p99={p99}")
    }
}

/// Histograms by name, shown as a line of percentiles each.
#[derive(Debug, Clone, Default)]
pub struct AsciiChart(Vec<(String, Histogram)>);

impl AsciiChart {
    /// An empty one.
    pub fn new() -> AsciiChart {
        AsciiChart::default()
    }

    /// The same lines; the library draws bars here.
    pub fn detailed(&self) -> &AsciiChart {
        self
    }

    /// With one more histogram.
    pub fn add(mut self, name: impl Into<String>, histogram: Histogram) -> AsciiChart {
        self.0.push((name.into(), histogram));
        self
    }
}

impl fmt::Display for AsciiChart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, histogram) in &self.0 {
            writeln!(f, "{name}: {}", histogram.percentile_stats())?;
        }
        Ok(())
    }
}

fn bucket(value: u64) -> usize {
    let small = 1u64 << SPLIT_BITS;
    if value < small {
        return value as usize;
    }
    let power = value.ilog2();
    let within = (value >> (power - SPLIT_BITS)) - small;
    (((power - SPLIT_BITS + 1) as usize) << SPLIT_BITS) + within as usize
}

fn lowest(bucket: usize) -> u64 {
    let small = 1usize << SPLIT_BITS;
    if bucket < small {
        return bucket as u64;
    }
    let power = (bucket >> SPLIT_BITS) - 1;
    ((small + (bucket & (small - 1))) as u64) << power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_lies_in_a_bucket_no_wider_than_a_quarter_of_it() {
        for value in [
            0,
            1,
            3,
            4,
            5,
            7,
            8,
            100,
            1_000,
            65_535,
            u64::MAX / 3,
            u64::MAX,
        ] {
            let at = bucket(value);
            assert!(at < BUCKETS);
            assert!(lowest(at) <= value);
            assert!(value - lowest(at) <= value / 4, "{value}");
            assert_eq!(bucket(lowest(at)), at);
        }
    }

    #[test]
    fn percentiles_are_those_of_the_recorded_values() {
        let mut histogram = Histogram::<()>::new();
        assert_eq!(histogram.percentile_stats(), PercentileStats::default());
        for value in 0..1000 {
            histogram.record(value);
        }
        let stats = histogram.percentile_stats();
        assert_eq!(stats.samples, 1000);
        assert!((384..=499).contains(&stats.p50), "{stats}");
        assert!((768..=990).contains(&stats.p99), "{stats}");
    }
}
