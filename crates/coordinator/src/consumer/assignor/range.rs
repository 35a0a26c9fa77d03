//! Ranges: of each topic, every reader gets a run of neighbouring partitions, in an order of readers
//! that is the same for all topics.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::consumer::assignor::{MemberSpec, Spec};
use crate::consumer::member::Partitions;

pub(crate) fn assign(spec: &Spec) -> BTreeMap<Arc<str>, Partitions> {
    // Static members first, by instance, so that a restart under another member id changes nothing.
    let mut order: Vec<(&Arc<str>, &MemberSpec)> = spec.members.iter().collect();
    order.sort_by_key(|(id, member)| (member.instance.is_none(), member.instance.clone(), *id));

    let mut target: BTreeMap<Arc<str>, Partitions> = spec
        .members
        .keys()
        .map(|id| (id.clone(), Partitions::new()))
        .collect();
    for (topic, count) in &spec.topics {
        let readers: Vec<&Arc<str>> = order
            .iter()
            .filter(|(_, member)| member.topics.contains(topic))
            .map(|(id, _)| *id)
            .collect();
        let mut next = 0;
        for (at, reader) in readers.iter().enumerate() {
            // The first readers take one more each until the remainder is used up.
            let (share, rest) = (*count / readers.len() as i32, *count % readers.len() as i32);
            let end = next + share + i32::from((at as i32) < rest);
            if next < end
                && let Some(partitions) = target.get_mut(*reader)
            {
                partitions.insert(*topic, (next..end).collect());
            }
            next = end;
        }
    }
    target
}
