//! Which topics the patterns of a group stand for. // rule N5
//!
//! A heartbeat only notices that patterns want looking at; a step of its own does it, at once or, if
//! they were looked at just now, a little later. So a burst of new topics or members costs one look
//! in [`REFRESH_MS_MIN`], and no request waits for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use wire::ErrorCode;

use crate::consumer::ConsumerGroup;
use crate::consumer::heartbeat::Refusal;
use crate::consumer::member::ConsumerMember;
use crate::consumer::pattern::Pattern;
use crate::consumer::record::{ConsumerKey, ResolvedPattern, epoch_record, pattern_record};
use crate::rebalance::Stage;
use crate::record::Record;
use crate::settings::CONSUMER_PATTERNS_MAX;
use crate::time::Alarm;

/// Shortest time between two looks at the topics.
const REFRESH_MS_MIN: i64 = 10_000;

/// What a member has done to its pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PatternChange {
    None,
    /// It has another, and what that stands for is not known yet.
    Changed,
    /// It has another, and what that stands for is known; or none any more.
    Resolved,
}

impl ConsumerGroup {
    /// What a member's heartbeat means for the group's patterns; asks for a look at the topics if
    /// one is due.
    pub(crate) fn pattern_change(
        &self,
        stage: &mut Stage,
        member: &ConsumerMember,
        updated: &ConsumerMember,
        records: &mut Vec<Record>,
    ) -> Result<PatternChange, Refusal> {
        let (former, new) = (member.pattern(), updated.pattern());
        let mut change = PatternChange::None;
        let mut unknown = false;
        if former != new {
            change = PatternChange::Changed;
            if let Some(former) = former
                && self.patterns.get(former) == Some(&1)
            {
                let (group, pattern) = (self.id.clone(), former.clone());
                records.push(ConsumerKey::Pattern { group, pattern }.tombstone());
            }
            match new {
                Some(new) if !self.patterns.contains_key(new) => {
                    self.check_pattern(new)?;
                    unknown = true;
                }
                Some(new) if !self.resolved.contains_key(new) => {}
                _ => change = PatternChange::Resolved,
            }
        }
        if !unknown && self.patterns.is_empty() {
            return Ok(change);
        }
        let alarm = Alarm::Patterns(self.id.clone());
        if stage.alarms.is_set(&alarm) {
            return Ok(change);
        }
        let now_ms = stage.now.wall_ms;
        let last_ms = self.resolved.values().map(|one| one.timestamp_ms).max();
        let mut wanted: BTreeMap<&Arc<str>, usize> = self
            .patterns
            .iter()
            .map(|(pattern, count)| (pattern, *count))
            .collect();
        if let Some(former) = former
            && let Some(count) = wanted.get_mut(former)
        {
            *count -= 1;
        }
        if let Some(new) = new {
            *wanted.entry(new).or_default() += 1;
        }
        wanted.retain(|_, count| *count > 0);
        let version = stage.cluster.topics_version() as i64;
        let interval_ms = i64::from(stage.settings.consumer.pattern_refresh_interval_ms);
        let due = unknown
            || wanted
                .keys()
                .any(|pattern| !self.resolved.contains_key(*pattern))
            || self.resolved.values().any(|one| one.version != version)
            || last_ms.is_some_and(|last| now_ms > last.saturating_add(interval_ms));
        if due && !wanted.is_empty() {
            let wait_ms = match last_ms {
                None => 0,
                Some(last) => {
                    let allowed = last.saturating_add(REFRESH_MS_MIN + 1);
                    allowed.saturating_sub(now_ms).clamp(0, REFRESH_MS_MIN + 1)
                }
            };
            stage.alarm_in(alarm, wait_ms);
        }
        Ok(change)
    }

    fn check_pattern(&self, text: &str) -> Result<(), Refusal> {
        if self.patterns.len() >= CONSUMER_PATTERNS_MAX {
            return Err(Refusal::new(
                ErrorCode::PolicyViolation,
                format!("The consumer group has {CONSUMER_PATTERNS_MAX} patterns already."),
            ));
        }
        match Pattern::new(text) {
            Ok(_) => Ok(()),
            Err(words) => Err(Refusal::new(
                ErrorCode::InvalidRegularExpression,
                format!(
                    "SubscribedTopicRegex `{text}` is not a valid regular expression: {words}."
                ),
            )),
        }
    }

    /// Looks at all topics: what each pattern stands for now, and a new epoch if that is something
    /// else than before.
    pub(crate) fn resolve_patterns(
        &self,
        stage: &mut Stage,
        seen_topics: &mut Option<u64>,
        records: &mut Vec<Record>,
    ) {
        let version = stage.cluster.topics_version();
        let mut found: Vec<(&Arc<str>, Option<Pattern>, ResolvedPattern)> = self
            .patterns
            .keys()
            .map(|text| {
                let resolved = ResolvedPattern {
                    version: version as i64,
                    timestamp_ms: stage.now.wall_ms,
                    ..ResolvedPattern::default()
                };
                // One that came in by a log of Kafka's may not be ours to read; it means nothing.
                (text, Pattern::new(text).ok(), resolved)
            })
            .collect();
        stage.cluster.each_topic(&mut |name| {
            for (_, pattern, resolved) in &mut found {
                if pattern
                    .as_ref()
                    .is_some_and(|pattern| pattern.matches(name))
                {
                    resolved.topics.insert(name.clone());
                }
            }
        });

        let mut topics = self.topics.clone();
        let mut changed = false;
        for (text, _, resolved) in &found {
            let former = self.resolved.get(*text).map(|one| &one.topics);
            if former.is_none_or(|former| *former != resolved.topics)
                && (former.is_some() || !resolved.topics.is_empty())
            {
                changed = true;
                self.lose_pattern(&mut topics, text);
                for topic in &resolved.topics {
                    topics.entry(topic.clone()).or_default().patterns += 1;
                }
            }
            records.push(pattern_record(&self.id, text, resolved));
        }
        let hash = ConsumerGroup::hash_of(stage.cluster, &topics);
        if changed || hash != self.topics_hash {
            records.push(epoch_record(&self.id, self.epoch.saturating_add(1), hash));
            stage.effects.rebalances.consumer += 1;
        }
        *seen_topics = Some(version);
    }
}
