//! Assignors against a small oracle: every partition once, with a reader; shares equal; nothing moves
//! that need not.

use fastrand::Rng;

use super::*;

fn topic(number: u8) -> TopicId {
    TopicId([number; 16])
}

fn member(number: usize) -> Arc<str> {
    Arc::from(format!("m{number:02}"))
}

fn load(target: &Partitions) -> usize {
    target.values().map(BTreeSet::len).sum()
}

/// Every partition of every topic with a reader belongs to one of its readers, and nobody has more.
fn check_complete(spec: &Spec, target: &BTreeMap<Arc<str>, Partitions>) {
    let mut seen: BTreeMap<(TopicId, i32), &Arc<str>> = BTreeMap::new();
    for (id, partitions) in target {
        for (topic, numbers) in partitions {
            assert!(spec.members[id].topics.contains(topic), "{id} reads it");
            assert!(!numbers.is_empty(), "an empty entry says nothing");
            for number in numbers {
                assert!(*number < spec.topics[topic]);
                let other = seen.insert((*topic, *number), id);
                assert_eq!(other, None, "a partition has one owner");
            }
        }
    }
    let all: usize = spec.topics.values().map(|count| *count as usize).sum();
    assert_eq!(seen.len(), all, "no partition is left out");
    assert!(target.keys().eq(spec.members.keys()));
}

/// No single partition can move to a reader with two fewer.
fn check_balanced(spec: &Spec, target: &BTreeMap<Arc<str>, Partitions>) {
    for (giver, partitions) in target {
        for topic in partitions.keys() {
            for (taker, reads) in &spec.members {
                if reads.topics.contains(topic) {
                    let (high, low) = (load(&target[giver]), load(&target[taker]));
                    assert!(high <= low + 1, "{giver} has {high}, {taker} has {low}");
                }
            }
        }
    }
}

fn kept(spec: &Spec, target: &BTreeMap<Arc<str>, Partitions>) -> usize {
    let of = |id: &Arc<str>, topic: &TopicId, number: &i32| {
        target[id]
            .get(topic)
            .is_some_and(|numbers| numbers.contains(number))
    };
    spec.members
        .iter()
        .flat_map(|(id, member)| {
            member
                .target
                .iter()
                .flat_map(move |(topic, numbers)| numbers.iter().map(move |n| (id, topic, n)))
        })
        .filter(|(id, topic, number)| of(id, topic, number))
        .count()
}

/// A group in which members, topics and partitions come and go.
struct History {
    rng: Rng,
    spec: Spec,
    next: usize,
    crosswise: bool,
}

impl History {
    fn new(seed: u64) -> History {
        let mut history = History {
            rng: Rng::with_seed(seed),
            spec: Spec::default(),
            next: 0,
            crosswise: seed % 2 == 1,
        };
        for number in 0..history.rng.u8(1..6) {
            let count = history.rng.i32(1..12);
            history.spec.topics.insert(topic(number), count);
        }
        history
    }

    fn change(&mut self) {
        match self.rng.u8(..10) {
            0..4 => {
                let all: Vec<TopicId> = self.spec.topics.keys().copied().collect();
                let topics = all
                    .into_iter()
                    .filter(|_| !self.crosswise || self.rng.bool())
                    .collect();
                let new = MemberSpec {
                    instance: (self.rng.u8(..4) == 0).then(|| member(90 - self.next)),
                    topics,
                    target: Partitions::new(),
                };
                self.spec.members.insert(member(self.next), new);
                self.next += 1;
            }
            4..7 => {
                let ids: Vec<Arc<str>> = self.spec.members.keys().cloned().collect();
                if let Some(id) = self.rng.choice(&ids) {
                    self.spec.members.remove(id);
                }
            }
            _ => {
                let grown = topic(self.rng.u8(..6));
                if let Some(count) = self.spec.topics.get_mut(&grown) {
                    *count += self.rng.i32(1..4);
                }
            }
        }
    }

    /// Topics that somebody reads, as the caller of an assignor gives them.
    fn spec(&self) -> Spec {
        let mut spec = self.spec.clone();
        let read = |topic: &TopicId| spec.members.values().any(|m| m.topics.contains(topic));
        spec.topics = spec
            .topics
            .iter()
            .filter(|(topic, _)| read(topic))
            .map(|(topic, count)| (*topic, *count))
            .collect();
        spec
    }

    fn adopt(&mut self, target: BTreeMap<Arc<str>, Partitions>) {
        for (id, partitions) in target {
            if let Some(member) = self.spec.members.get_mut(&id) {
                member.target = partitions;
            }
        }
    }
}

#[test]
fn uniform_shares_are_complete_and_equal_whatever_happens() {
    // rule N5
    for seed in 0..200 {
        let mut history = History::new(seed);
        for _ in 0..40 {
            history.change();
            let spec = history.spec();
            let target = Assignor::Uniform.assign(&spec);
            check_complete(&spec, &target);
            check_balanced(&spec, &target);
            history.adopt(target);
        }
    }
}

#[test]
fn uniform_shares_stay_where_they_are_if_they_can() {
    // rule N5: among equals, everybody keeps up to its quota
    for seed in (0..200).step_by(2) {
        let mut history = History::new(seed);
        for _ in 0..40 {
            history.change();
            let spec = history.spec();
            let target = Assignor::Uniform.assign(&spec);
            let all: usize = spec.topics.values().map(|count| *count as usize).sum();
            let members = spec.members.len().max(1);
            let (share, mut larger) = (all / members, all % members);
            let mut held: Vec<usize> = spec
                .members
                .values()
                .map(|member| {
                    let read = member
                        .target
                        .iter()
                        .filter(|(t, _)| member.topics.contains(t));
                    read.map(|(_, numbers)| numbers.len()).sum()
                })
                .collect();
            held.sort_unstable_by(|a, b| b.cmp(a));
            let best: usize = held
                .iter()
                .map(|held| {
                    let quota = share + usize::from(larger > 0);
                    larger = larger.saturating_sub(1);
                    quota.min(*held)
                })
                .sum();
            assert_eq!(kept(&spec, &target), best, "seed {seed}");
            history.adopt(target.clone());
            assert_eq!(
                Assignor::Uniform.assign(&history.spec()),
                target,
                "it rests"
            );
        }
    }
}

#[test]
fn crosswise_shares_rest_when_nothing_happens() {
    for seed in (1..200).step_by(2) {
        let mut history = History::new(seed);
        for _ in 0..40 {
            history.change();
            let target = Assignor::Uniform.assign(&history.spec());
            history.adopt(target.clone());
            assert_eq!(
                Assignor::Uniform.assign(&history.spec()),
                target,
                "seed {seed}"
            );
        }
    }
}

#[test]
fn ranges_are_complete_and_the_same_for_all_topics() {
    // rule N5
    for seed in 0..200 {
        let mut history = History::new(seed);
        for _ in 0..20 {
            history.change();
            let spec = history.spec();
            let target = Assignor::Range.assign(&spec);
            check_complete(&spec, &target);
            for numbers in target.values().flat_map(BTreeMap::values) {
                let (first, last) = (numbers.first(), numbers.last());
                let width = last.zip(first).map(|(last, first)| last - first + 1);
                assert_eq!(width, Some(numbers.len() as i32), "a run without gaps");
            }
            history.adopt(target);
        }
    }
}

#[test]
fn ranges_of_equal_topics_are_equal_and_static_members_come_first() {
    let mut spec = Spec {
        topics: [(topic(1), 5), (topic(2), 5)].into(),
        ..Spec::default()
    };
    for (id, instance) in [("a", None), ("b", None), ("z", Some("i"))] {
        let member = MemberSpec {
            instance: instance.map(Arc::from),
            topics: spec.topics.keys().copied().collect(),
            target: Partitions::new(),
        };
        spec.members.insert(Arc::from(id), member);
    }
    let target = Assignor::Range.assign(&spec);
    let numbers = |id: &str| {
        assert_eq!(target[id][&topic(1)], target[id][&topic(2)]);
        target[id][&topic(1)].iter().copied().collect::<Vec<_>>()
    };
    assert_eq!(numbers("z"), [0, 1]);
    assert_eq!(numbers("a"), [2, 3]);
    assert_eq!(numbers("b"), [4]);
}

#[test]
fn a_member_that_reads_nothing_gets_nothing() {
    for assignor in [Assignor::Uniform, Assignor::Range] {
        let mut spec = Spec::default();
        spec.members.insert(Arc::from("a"), MemberSpec::default());
        assert_eq!(assignor.assign(&spec)["a"], Partitions::new());
        assert_eq!(assignor.assign(&Spec::default()), BTreeMap::new());
    }
}

#[test]
fn a_target_with_a_partition_twice_is_put_right() {
    let mut spec = Spec::default();
    spec.topics.insert(topic(1), 2);
    for id in ["a", "b"] {
        let member = MemberSpec {
            instance: None,
            topics: [topic(1)].into(),
            target: [(topic(1), [0, 1, 7].into())].into(),
        };
        spec.members.insert(Arc::from(id), member);
    }
    for crosswise in [false, true] {
        if crosswise {
            spec.topics.insert(topic(2), 1);
            if let Some(member) = spec.members.get_mut("b") {
                member.topics.insert(topic(2));
            }
        }
        let target = Assignor::Uniform.assign(&spec);
        check_complete(&spec, &target);
    }
}
