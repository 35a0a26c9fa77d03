//! What consumers of the classic protocol say in their join metadata, and read in their
//! assignments: Kafka's consumer protocol, versions 0 to 3. Later versions begin like version 3.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use crate::record::{Reader, put_string};

/// The protocol type of consumers; only theirs is read.
pub(crate) const CONSUMER: &str = "consumer";

/// Partitions by topic name, as the protocol carries them.
pub(crate) type Named = Vec<(Arc<str>, Vec<i32>)>;

/// A subscription.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Subscription {
    /// The version it is written in; the assignment is answered in the same.
    pub(crate) version: i16,
    pub(crate) topics: BTreeSet<Arc<str>>,
    /// What the member has; nothing before version 1, whose members give up everything first.
    pub(crate) owned: Named,
    pub(crate) rack: Option<Arc<str>>,
}

/// Topics named in a subscription, or `None` if the bytes are not one.
pub(crate) fn topics(metadata: &[u8]) -> Option<BTreeSet<Arc<str>>> {
    let mut reader = Reader::new(metadata);
    head(&mut reader).map(|(_, topics)| topics)
}

/// A whole subscription, or `None` if the bytes are not one.
pub(crate) fn read(metadata: &[u8]) -> Option<Subscription> {
    let mut reader = Reader::new(metadata);
    let (version, topics) = head(&mut reader)?;
    let mut subscription = Subscription {
        version,
        topics,
        ..Subscription::default()
    };
    user_data(&mut reader)?;
    if version >= 1 {
        subscription.owned = named(&mut reader)?;
    }
    if version >= 2 {
        // The generation in which it had them.
        reader.int32().ok()?;
    }
    if version >= 3 {
        subscription.rack = reader
            .nullable_string()
            .ok()?
            .filter(|rack| !rack.is_empty());
    }
    Some(subscription)
}

/// An assignment's partitions, and whether an assignor of the client's own left data with them; or
/// `None` if the bytes are not one. No bytes are no partitions.
pub(crate) fn read_assignment(bytes: &[u8]) -> Option<(Named, bool)> {
    if bytes.is_empty() {
        return Some((Named::new(), false));
    }
    let mut reader = Reader::new(bytes);
    if reader.int16().ok()? < 0 {
        return None;
    }
    let partitions = named(&mut reader)?;
    let user_data = user_data(&mut reader)?;
    Some((partitions, user_data > 0))
}

/// An assignment in the version of a subscription.
pub(crate) fn write_assignment(version: i16, partitions: &Named) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i16(version);
    out.put_i32(partitions.len() as i32);
    for (topic, numbers) in partitions {
        put_string(&mut out, topic);
        out.put_i32(numbers.len() as i32);
        for number in numbers {
            out.put_i32(*number);
        }
    }
    // No user data.
    out.put_i32(-1);
    out.freeze()
}

fn head(reader: &mut Reader) -> Option<(i16, BTreeSet<Arc<str>>)> {
    let version = reader.int16().ok()?;
    if version < 0 {
        return None;
    }
    let count = reader.int32().ok()?;
    let mut topics = BTreeSet::new();
    for _ in 0..u32::try_from(count).ok()? {
        // Each topic takes at least its length from the input, so a false count ends here.
        topics.insert(reader.string().ok()?);
    }
    // Beyond 3 the layout begins as in 3.
    Some((version.min(3), topics))
}

/// Skips a client's own data; how long it is.
fn user_data(reader: &mut Reader) -> Option<usize> {
    match reader.int32().ok()? {
        -1 => Some(0),
        length => {
            let length = usize::try_from(length).ok()?;
            reader.take(length).ok()?;
            Some(length)
        }
    }
}

fn named(reader: &mut Reader) -> Option<Named> {
    let count = u32::try_from(reader.int32().ok()?).ok()?;
    let mut named = Named::new();
    for _ in 0..count {
        let topic = reader.string().ok()?;
        let count = u32::try_from(reader.int32().ok()?).ok()?;
        let numbers: Option<Vec<i32>> = (0..count).map(|_| reader.int32().ok()).collect();
        named.push((topic, numbers?));
    }
    Some(named)
}
