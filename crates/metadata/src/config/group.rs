//! The group keys: what one consumer, share or streams group may set for itself.

use super::{Alias, Check, ConfigError, Effect, Key, Kind, Unit, find};

const NO_SHARE: Effect = Effect::Accepted("share groups do not exist here yet");
const NO_STREAMS: Effect = Effect::Accepted("the streams protocol does not exist here yet");

macro_rules! alias {
    ($name:literal) => {
        &[Alias {
            name: $name,
            scale: 1,
        }]
    };
}

/// All group keys, by name.
pub static GROUP: &[Key] = &[
    Key::new(
        "consumer.assignment.interval.ms",
        Kind::Int,
        "1000",
        "The least time between two assignments of a consumer group.",
    )
    .unit(Unit::Millis)
    .check(Check::AtLeast(0))
    .dynamic()
    .aliases(alias!("group.consumer.assignment.interval.ms")),
    Key::new(
        "consumer.heartbeat.interval.ms",
        Kind::Int,
        "5000",
        "How often members of a consumer group report.",
    )
    .unit(Unit::Millis)
    .check(Check::AtLeast(1))
    .dynamic()
    .aliases(alias!("group.consumer.heartbeat.interval.ms")),
    Key::new(
        "consumer.session.timeout.ms",
        Kind::Int,
        "45000",
        "After how much silence a member of a consumer group is removed.",
    )
    .unit(Unit::Millis)
    .check(Check::AtLeast(1))
    .dynamic()
    .aliases(alias!("group.consumer.session.timeout.ms")),
    Key::new(
        "share.assignment.interval.ms",
        Kind::Int,
        "1000",
        "The least time between two assignments of a share group.",
    )
    .unit(Unit::Millis)
    .check(Check::AtLeast(0))
    .dynamic()
    .effect(NO_SHARE)
    .aliases(alias!("group.share.assignment.interval.ms")),
    Key::new(
        "share.auto.offset.reset",
        Kind::Text,
        "latest",
        "Where a share group starts in a partition it has not read.",
    )
    .check(Check::ShareReset)
    .dynamic()
    .effect(NO_SHARE),
    Key::new(
        "share.delivery.count.limit",
        Kind::Int,
        "5",
        "How often a share group is given a record before it is set aside.",
    )
    .check(Check::AtLeast(2))
    .dynamic()
    .effect(NO_SHARE)
    .aliases(alias!("group.share.delivery.count.limit")),
    Key::new(
        "share.heartbeat.interval.ms",
        Kind::Int,
        "5000",
        "How often members of a share group report.",
    )
    .unit(Unit::Millis)
    .check(Check::AtLeast(1))
    .dynamic()
    .effect(NO_SHARE)
    .aliases(alias!("group.share.heartbeat.interval.ms")),
    Key::new(
        "share.isolation.level",
        Kind::Text,
        "read_uncommitted",
        "Whether a share group sees records of open transactions.",
    )
    .check(Check::OneOf(&["read_committed", "read_uncommitted"]))
    .dynamic()
    .effect(NO_SHARE),
    Key::new(
        "share.partition.max.record.locks",
        Kind::Int,
        "2000",
        "How many records of a partition a share group may hold at once.",
    )
    .check(Check::AtLeast(100))
    .dynamic()
    .effect(NO_SHARE)
    .aliases(alias!("group.share.partition.max.record.locks")),
    Key::new(
        "share.record.lock.duration.ms",
        Kind::Int,
        "30000",
        "How long a member of a share group may hold a record.",
    )
    .unit(Unit::Millis)
    .check(Check::AtLeast(1000))
    .dynamic()
    .effect(NO_SHARE)
    .aliases(alias!("group.share.record.lock.duration.ms")),
    Key::new(
        "share.renew.acknowledge.enable",
        Kind::Boolean,
        "true",
        "Whether a member of a share group may ask for more time with a record.",
    )
    .dynamic()
    .effect(NO_SHARE),
    Key::new(
        "share.session.timeout.ms",
        Kind::Int,
        "45000",
        "After how much silence a member of a share group is removed.",
    )
    .unit(Unit::Millis)
    .check(Check::AtLeast(1))
    .dynamic()
    .effect(NO_SHARE)
    .aliases(alias!("group.share.session.timeout.ms")),
    Key::new(
        "streams.assignment.interval.ms",
        Kind::Int,
        "1000",
        "The least time between two assignments of a streams group.",
    )
    .unit(Unit::Millis)
    .check(Check::AtLeast(0))
    .dynamic()
    .effect(NO_STREAMS)
    .aliases(alias!("group.streams.assignment.interval.ms")),
    Key::new(
        "streams.heartbeat.interval.ms",
        Kind::Int,
        "5000",
        "How often members of a streams group report.",
    )
    .unit(Unit::Millis)
    .check(Check::AtLeast(1))
    .dynamic()
    .effect(NO_STREAMS)
    .aliases(alias!("group.streams.heartbeat.interval.ms")),
    Key::new(
        "streams.initial.rebalance.delay.ms",
        Kind::Int,
        "3000",
        "How long a new streams group waits for more members.",
    )
    .unit(Unit::Millis)
    .check(Check::AtLeast(0))
    .dynamic()
    .effect(NO_STREAMS)
    .aliases(alias!("group.streams.initial.rebalance.delay.ms")),
    Key::new(
        "streams.num.standby.replicas",
        Kind::Int,
        "0",
        "How many standby copies of each task a streams group keeps.",
    )
    .check(Check::AtLeast(0))
    .dynamic()
    .effect(NO_STREAMS)
    .aliases(alias!("group.streams.num.standby.replicas")),
    Key::new(
        "streams.session.timeout.ms",
        Kind::Int,
        "45000",
        "After how much silence a member of a streams group is removed.",
    )
    .unit(Unit::Millis)
    .check(Check::AtLeast(1))
    .dynamic()
    .effect(NO_STREAMS)
    .aliases(alias!("group.streams.session.timeout.ms")),
];

/// The declaration of a group key.
pub fn find_group(name: &str) -> Result<&'static Key, ConfigError> {
    find(GROUP, name).ok_or_else(|| ConfigError::Unknown {
        scope: "group",
        name: name.into(),
        nearest: stdx::nearest(name, GROUP.iter().map(|key| key.name)),
    })
}

/// Checks a group's whole set of own settings.
pub fn check_group<'a>(
    settings: impl Iterator<Item = (&'a str, &'a str)> + Clone,
) -> Result<(), ConfigError> {
    let mut heartbeat = 5000;
    let mut session = 45_000;
    for (name, value) in settings {
        find_group(name)?.validate(value)?;
        let number = value.trim().parse::<i64>();
        match (name, number) {
            ("consumer.heartbeat.interval.ms", Ok(number)) => heartbeat = number,
            ("consumer.session.timeout.ms", Ok(number)) => session = number,
            _ => {}
        }
    }
    if session <= heartbeat {
        return Err(ConfigError::Conflict {
            key: "consumer.session.timeout.ms",
            value: session.to_string(),
            why: format!("it must be longer than consumer.heartbeat.interval.ms, {heartbeat}"),
        });
    }
    Ok(())
}
