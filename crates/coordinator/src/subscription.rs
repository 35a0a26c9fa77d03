//! What a consumer's join metadata says about topics: the version-0 prefix of Kafka's consumer
//! protocol, which every version begins with. The rest is the clients' business.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::record::Reader;

/// The protocol type of consumers; only theirs is read.
pub(crate) const CONSUMER: &str = "consumer";

/// Topics named in a subscription, or `None` if the bytes are not one.
pub(crate) fn topics(metadata: &[u8]) -> Option<BTreeSet<Arc<str>>> {
    let mut reader = Reader::new(metadata);
    if reader.int16().ok()? < 0 {
        return None;
    }
    let count = reader.int32().ok()?;
    let mut topics = BTreeSet::new();
    for _ in 0..u32::try_from(count).ok()? {
        // Each topic takes at least its length from the input, so a false count ends here.
        topics.insert(reader.string().ok()?);
    }
    Some(topics)
}
