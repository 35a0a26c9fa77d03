//! Which partition of `__consumer_offsets` a group lives in.

/// The partition of `group` among `partitions`: Kafka's `Utils.abs(id.hashCode()) % partitions`.
///
/// `hashCode` is Java's, over UTF-16 units; `abs` is Kafka's, which maps `i32::MIN` to 0 (not the
/// `& 0x7fffffff` of the producer's partitioner). `partitions` below 1 counts as 1. // rule G9
pub fn shard_of_group(group: &str, partitions: i32) -> i32 {
    let hash = group.encode_utf16().fold(0i32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    });
    hash.checked_abs().unwrap_or(0) % partitions.max(1)
}

#[cfg(test)]
mod tests {
    use super::shard_of_group;

    #[test]
    fn groups_live_where_kafka_put_them() {
        // rule G9; observed on Kafka 4.3.0 with 50 partitions
        assert_eq!(shard_of_group("fixed", 50), 48);
        assert_eq!(shard_of_group("readers", 50), 28);
        assert_eq!(shard_of_group("simple", 50), 26);
    }

    #[test]
    fn the_smallest_hash_goes_to_partition_zero() {
        // rule G9; this string's Java hashCode is i32::MIN
        assert_eq!(shard_of_group("polygenelubricants", 50), 0);
    }

    #[test]
    fn hashing_counts_utf16_units_not_bytes() {
        // rule G9: one emoji is two units (0xd83d, 0xde00): 31 * 55357 + 56832 = 1772899
        assert_eq!(shard_of_group("\u{1f600}", 1_000_000), 772_899);
        assert_eq!(shard_of_group("", 50), 0);
    }
}
