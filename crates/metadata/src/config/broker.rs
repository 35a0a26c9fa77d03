//! The broker keys that mean something here: they act, or are taken for the sake of images and
//! compose files in the wild. Kafka's remaining keys are in `foreign.rs`.

use super::topic::NO_COMPACTION;
use super::{Check, ConfigError, Effect, FOREIGN, Key, Kind, Unit, find};

/// Broker keys that act or are accepted, by name.
pub static BROKER: &[Key] = &[
    Key::new(
        "advertised.listeners",
        Kind::List,
        "",
        "The addresses clients are told to connect to, as NAME://host:port. \
         Without it, those of listeners.",
    )
    .null(),
    Key::new(
        "authorizer.class.name",
        Kind::Text,
        "",
        "The class that checks access in Kafka.",
    )
    .effect(Effect::RefusedWhenOn("access rules do not exist here yet")),
    Key::new(
        "auto.create.topics.enable",
        Kind::Boolean,
        "true",
        "Whether asking for an unknown topic creates it.",
    ),
    Key::new(
        "broker.heartbeat.interval.ms",
        Kind::Int,
        "2000",
        "How often brokers report to the controller.",
    )
    .unit(Unit::Millis)
    .effect(Effect::Accepted("one node decides alone for now")),
    Key::new(
        "broker.id",
        Kind::Int,
        "-1",
        "This broker's number in the cluster; the older name of node.id.",
    ),
    Key::new(
        "broker.rack",
        Kind::Text,
        "",
        "Where this broker stands, so that replicas are spread and consumers can \
         read nearby.",
    )
    .null(),
    Key::new(
        "broker.session.timeout.ms",
        Kind::Int,
        "9000",
        "After how much silence the controller takes a broker for dead.",
    )
    .unit(Unit::Millis)
    .effect(Effect::Accepted("one node decides alone for now")),
    Key::new(
        "cluster.id",
        Kind::Text,
        "",
        "The cluster this broker belongs to, checked against the data directory; \
         without it the stored one, or a new one at the first start. Ours: Kafka \
         takes it from its format step.",
    )
    .null(),
    Key::new(
        "compression.gzip.level",
        Kind::Int,
        "-1",
        "The default of the topic key of the same name.",
    )
    .check(Check::GzipLevel)
    .dynamic()
    .effect(Effect::Accepted(
        "recompression takes each codec's default level",
    )),
    Key::new(
        "compression.lz4.level",
        Kind::Int,
        "9",
        "The default of the topic key of the same name.",
    )
    .check(Check::Between(1, 17))
    .dynamic()
    .effect(Effect::Accepted(
        "recompression takes each codec's default level",
    )),
    Key::new(
        "compression.type",
        Kind::Text,
        "producer",
        "The default of the topic key of the same name.",
    )
    .check(Check::OneOf(&[
        "uncompressed",
        "zstd",
        "lz4",
        "snappy",
        "gzip",
        "producer",
    ]))
    .dynamic(),
    Key::new(
        "compression.zstd.level",
        Kind::Int,
        "3",
        "The default of the topic key of the same name.",
    )
    .check(Check::Between(-131_072, 22))
    .dynamic()
    .effect(Effect::Accepted(
        "recompression takes each codec's default level",
    )),
    Key::new(
        "connections.max.idle.ms",
        Kind::Long,
        "600000",
        "After how much silence a client's connection is closed.",
    )
    .unit(Unit::Millis),
    Key::new(
        "controlled.shutdown.enable",
        Kind::Boolean,
        "true",
        "Whether a stopping broker gives up its leaderships first.",
    )
    .effect(Effect::Accepted("a stop always drains")),
    Key::new(
        "controller.listener.names",
        Kind::List,
        "",
        "Which listeners the controllers use among themselves.",
    )
    .null()
    .effect(Effect::Accepted("one node decides alone for now")),
    Key::new(
        "controller.quorum.bootstrap.servers",
        Kind::List,
        "",
        "Where to find the controllers.",
    )
    .effect(Effect::Accepted("one node decides alone for now")),
    Key::new(
        "controller.quorum.voters",
        Kind::List,
        "",
        "The controllers, as id@host:port.",
    )
    .effect(Effect::Accepted("one node decides alone for now")),
    Key::new(
        "controller.quota.window.num",
        Kind::Int,
        "11",
        "How many windows of the quota on creating and deleting partitions may be used up at once.",
    )
    .check(Check::AtLeast(1)),
    Key::new(
        "controller.quota.window.size.seconds",
        Kind::Int,
        "1",
        "How long each of those windows is.",
    )
    .unit(Unit::Seconds)
    .check(Check::AtLeast(1)),
    Key::new(
        "default.replication.factor",
        Kind::Int,
        "1",
        "How many replicas a topic gets when its creator does not say.",
    ),
    Key::new(
        "delete.topic.enable",
        Kind::Boolean,
        "true",
        "Whether topics may be deleted.",
    ),
    Key::new(
        "disk.free.bytes.min",
        Kind::Long,
        "",
        "Below so many free bytes of the filesystem with the data, producers are refused with a \
         retriable error until there are more; without it the size of the log, 512 MiB and a \
         hundredth of the filesystem, but no more than an eighth of it. Ours.",
    )
    .null()
    .unit(Unit::Bytes)
    .check(Check::AtLeast(0)),
    Key::new(
        "disk.free.bytes.resume",
        Kind::Long,
        "",
        "From so many free bytes on, producers are served again; at least disk.free.bytes.min, \
         without it a quarter more. Ours.",
    )
    .null()
    .unit(Unit::Bytes)
    .check(Check::AtLeast(0)),
    Key::new(
        "fetch.max.bytes",
        Kind::Int,
        "57671680",
        "The most bytes one fetch is answered with.",
    )
    .unit(Unit::Bytes)
    .check(Check::AtLeast(1_024)),
    Key::new(
        "group.consumer.assignment.interval.ms",
        Kind::Int,
        "1000",
        "The least time between two assignments of a consumer group.",
    )
    .unit(Unit::Millis)
    .check(Check::AtLeast(0)),
    Key::new(
        "group.consumer.assignors",
        Kind::List,
        "uniform,range",
        "The assignors a consumer group may ask for, the first by default.",
    )
    .check(Check::EachOf(&["uniform", "range"])),
    Key::new(
        "group.consumer.heartbeat.interval.ms",
        Kind::Int,
        "5000",
        "How often members of a consumer group report.",
    )
    .unit(Unit::Millis)
    .check(Check::AtLeast(1)),
    Key::new(
        "group.consumer.max.assignment.interval.ms",
        Kind::Int,
        "15000",
        "The largest value of consumer.assignment.interval.ms.",
    )
    .unit(Unit::Millis)
    .check(Check::AtLeast(0)),
    Key::new(
        "group.consumer.max.heartbeat.interval.ms",
        Kind::Int,
        "15000",
        "The largest value of consumer.heartbeat.interval.ms.",
    )
    .unit(Unit::Millis)
    .check(Check::AtLeast(1)),
    Key::new(
        "group.consumer.max.session.timeout.ms",
        Kind::Int,
        "60000",
        "The largest value of consumer.session.timeout.ms.",
    )
    .unit(Unit::Millis)
    .check(Check::AtLeast(1)),
    Key::new(
        "group.consumer.max.size",
        Kind::Int,
        "2147483647",
        "How many members a consumer group may have.",
    )
    .check(Check::AtLeast(1)),
    Key::new(
        "group.consumer.migration.policy",
        Kind::Text,
        "bidirectional",
        "Whether groups change online between the classic and the consumer protocol.",
    )
    .check(Check::OneOf(&[
        "disabled",
        "upgrade",
        "downgrade",
        "bidirectional",
    ])),
    Key::new(
        "group.consumer.min.assignment.interval.ms",
        Kind::Int,
        "0",
        "The smallest value of consumer.assignment.interval.ms.",
    )
    .unit(Unit::Millis)
    .check(Check::AtLeast(0)),
    Key::new(
        "group.consumer.min.heartbeat.interval.ms",
        Kind::Int,
        "5000",
        "The smallest value of consumer.heartbeat.interval.ms.",
    )
    .unit(Unit::Millis)
    .check(Check::AtLeast(1)),
    Key::new(
        "group.consumer.min.session.timeout.ms",
        Kind::Int,
        "45000",
        "The smallest value of consumer.session.timeout.ms.",
    )
    .unit(Unit::Millis)
    .check(Check::AtLeast(1)),
    Key::new(
        "group.consumer.session.timeout.ms",
        Kind::Int,
        "45000",
        "After how much silence a member of a consumer group is removed.",
    )
    .unit(Unit::Millis)
    .check(Check::AtLeast(1)),
    Key::new(
        "group.coordinator.rebalance.protocols",
        Kind::List,
        "classic,consumer,streams",
        "Which group protocols are served.",
    )
    .check(Check::EachOf(&["consumer", "classic", "share", "streams"])),
    Key::new(
        "group.initial.rebalance.delay.ms",
        Kind::Int,
        "3000",
        "How long a new group waits for more members before its first assignment.",
    )
    .unit(Unit::Millis),
    Key::new(
        "group.max.session.timeout.ms",
        Kind::Int,
        "1800000",
        "The longest session timeout a member of a classic group may ask for.",
    )
    .unit(Unit::Millis),
    Key::new(
        "group.max.size",
        Kind::Int,
        "2147483647",
        "How many members a classic group may have.",
    )
    .check(Check::AtLeast(1)),
    Key::new(
        "group.min.session.timeout.ms",
        Kind::Int,
        "6000",
        "The shortest session timeout a member of a classic group may ask for.",
    )
    .unit(Unit::Millis),
    Key::new(
        "inter.broker.listener.name",
        Kind::Text,
        "",
        "Which listener brokers use among themselves.",
    )
    .null(),
    Key::new(
        "listener.security.protocol.map",
        Kind::Text,
        "SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT",
        "Which protocol each listener name speaks, as NAME:PROTOCOL.",
    ),
    Key::new(
        "listeners",
        Kind::List,
        "PLAINTEXT://:9092",
        "The addresses to listen on, as NAME://host:port; an empty host is every \
         interface.",
    ),
    Key::new(
        "log.cleaner.delete.retention.ms",
        Kind::Long,
        "86400000",
        "The default of delete.retention.ms.",
    )
    .unit(Unit::Millis)
    .check(Check::AtLeast(0))
    .dynamic(),
    Key::new(
        "log.cleaner.enable",
        Kind::Boolean,
        "true",
        "Whether Kafka's compaction runs.",
    )
    .effect(Effect::Accepted(
        "compaction runs for every topic whose cleanup.policy asks for it",
    )),
    Key::new(
        "log.cleaner.max.compaction.lag.ms",
        Kind::Long,
        "9223372036854775807",
        "The default of max.compaction.lag.ms.",
    )
    .unit(Unit::Millis)
    .check(Check::AtLeast(1))
    .dynamic(),
    Key::new(
        "log.cleaner.min.cleanable.ratio",
        Kind::Double,
        "0.5",
        "The default of min.cleanable.dirty.ratio.",
    )
    .check(Check::Ratio)
    .dynamic(),
    Key::new(
        "log.cleaner.min.compaction.lag.ms",
        Kind::Long,
        "0",
        "The default of min.compaction.lag.ms.",
    )
    .unit(Unit::Millis)
    .check(Check::AtLeast(0))
    .dynamic(),
    Key::new(
        "log.cleanup.policy",
        Kind::List,
        "delete",
        "The default of cleanup.policy.",
    )
    .check(Check::EachOf(&["compact", "delete"]))
    .dynamic()
    .refused_before(2, "compact", NO_COMPACTION),
    Key::new(
        "log.dir",
        Kind::List,
        "/tmp/kafka-logs",
        "The data directory; the older name of log.dirs.",
    ),
    Key::new(
        "log.dirs",
        Kind::List,
        "",
        "The data directory. One only: several are refused for now.",
    )
    .null(),
    Key::new(
        "log.flush.interval.messages",
        Kind::Long,
        "9223372036854775807",
        "The default of flush.messages.",
    )
    .check(Check::AtLeast(1))
    .dynamic()
    .effect(Effect::Accepted(
        "sync.policy decides when a record is durable",
    )),
    Key::new(
        "log.flush.interval.ms",
        Kind::Long,
        "",
        "The default of flush.ms.",
    )
    .null()
    .unit(Unit::Millis)
    .dynamic()
    .effect(Effect::Accepted(
        "sync.policy decides when a record is durable",
    )),
    Key::new(
        "log.flush.scheduler.interval.ms",
        Kind::Long,
        "9223372036854775807",
        "The default of flush.ms where log.flush.interval.ms is not set.",
    )
    .unit(Unit::Millis)
    .effect(Effect::Accepted(
        "sync.policy decides when a record is durable",
    )),
    Key::new(
        "log.index.interval.bytes",
        Kind::Int,
        "4096",
        "The default of index.interval.bytes.",
    )
    .unit(Unit::Bytes)
    .check(Check::AtLeast(0))
    .dynamic()
    .effect(Effect::Accepted(
        "every record goes through one shared log; there is no such file",
    )),
    Key::new(
        "log.index.size.max.bytes",
        Kind::Int,
        "10485760",
        "The default of segment.index.bytes.",
    )
    .unit(Unit::Bytes)
    .check(Check::AtLeast(4))
    .dynamic()
    .effect(Effect::Accepted(
        "every record goes through one shared log; there is no such file",
    )),
    Key::new(
        "log.local.retention.bytes",
        Kind::Long,
        "-2",
        "The default of local.retention.bytes.",
    )
    .unit(Unit::Bytes)
    .check(Check::AtLeast(-2))
    .dynamic()
    .effect(Effect::RefusedWhenOn(
        "tiered storage does not exist here yet",
    )),
    Key::new(
        "log.local.retention.ms",
        Kind::Long,
        "-2",
        "The default of local.retention.ms.",
    )
    .unit(Unit::Millis)
    .check(Check::AtLeast(-2))
    .dynamic()
    .effect(Effect::RefusedWhenOn(
        "tiered storage does not exist here yet",
    )),
    Key::new(
        "log.message.timestamp.after.max.ms",
        Kind::Long,
        "3600000",
        "The default of message.timestamp.after.max.ms.",
    )
    .unit(Unit::Millis)
    .check(Check::AtLeast(0))
    .dynamic(),
    Key::new(
        "log.message.timestamp.before.max.ms",
        Kind::Long,
        "9223372036854775807",
        "The default of message.timestamp.before.max.ms.",
    )
    .unit(Unit::Millis)
    .check(Check::AtLeast(0))
    .dynamic(),
    Key::new(
        "log.message.timestamp.type",
        Kind::Text,
        "CreateTime",
        "The default of message.timestamp.type.",
    )
    .check(Check::OneOf(&["CreateTime", "LogAppendTime"]))
    .dynamic(),
    Key::new(
        "log.preallocate",
        Kind::Boolean,
        "false",
        "The default of preallocate.",
    )
    .dynamic()
    .effect(Effect::Accepted(
        "every record goes through one shared log; there is no such file",
    )),
    Key::new(
        "log.retention.bytes",
        Kind::Long,
        "-1",
        "The default of retention.bytes.",
    )
    .unit(Unit::Bytes)
    .dynamic(),
    Key::new(
        "log.retention.check.interval.ms",
        Kind::Long,
        "300000",
        "How often retention looks for segments to remove.",
    )
    .unit(Unit::Millis)
    .check(Check::AtLeast(1)),
    Key::new(
        "log.retention.hours",
        Kind::Int,
        "168",
        "The default of retention.ms in hours, where the finer keys are not set.",
    )
    .unit(Unit::Hours),
    Key::new(
        "log.retention.minutes",
        Kind::Int,
        "",
        "The default of retention.ms in minutes, where log.retention.ms is not \
         set.",
    )
    .null()
    .unit(Unit::Minutes),
    Key::new(
        "log.retention.ms",
        Kind::Long,
        "",
        "The default of retention.ms.",
    )
    .null()
    .unit(Unit::Millis)
    .dynamic(),
    Key::new(
        "log.roll.hours",
        Kind::Int,
        "168",
        "The default of segment.ms in hours, where log.roll.ms is not set.",
    )
    .unit(Unit::Hours)
    .check(Check::AtLeast(1)),
    Key::new(
        "log.roll.jitter.hours",
        Kind::Int,
        "0",
        "The default of segment.jitter.ms in hours.",
    )
    .unit(Unit::Hours)
    .check(Check::AtLeast(0))
    .effect(Effect::Accepted("rolling a segment costs no flush here")),
    Key::new(
        "log.roll.jitter.ms",
        Kind::Long,
        "",
        "The default of segment.jitter.ms.",
    )
    .null()
    .unit(Unit::Millis)
    .dynamic()
    .effect(Effect::Accepted("rolling a segment costs no flush here")),
    Key::new("log.roll.ms", Kind::Long, "", "The default of segment.ms.")
        .null()
        .unit(Unit::Millis)
        .dynamic(),
    Key::new(
        "log.segment.bytes",
        Kind::Int,
        "1073741824",
        "The default of segment.bytes.",
    )
    .unit(Unit::Bytes)
    .check(Check::AtLeast(1_048_576))
    .dynamic(),
    Key::new(
        "log.segment.delete.delay.ms",
        Kind::Long,
        "60000",
        "The default of file.delete.delay.ms.",
    )
    .unit(Unit::Millis)
    .check(Check::AtLeast(0))
    .dynamic()
    .effect(Effect::Accepted(
        "a file is removed when its last reader lets go",
    )),
    Key::new(
        "log.sync.policy",
        Kind::Text,
        "durable",
        "What an acknowledgement means for topics that do not say: the default of \
         sync.policy. Ours.",
    )
    .check(Check::OneOf(&["durable", "os"])),
    Key::new(
        "max.connections",
        Kind::Int,
        "2147483647",
        "How many connections the broker holds at once.",
    )
    .check(Check::AtLeast(0)),
    Key::new(
        "max.connections.per.ip",
        Kind::Int,
        "2147483647",
        "How many connections one address may hold at once.",
    )
    .check(Check::AtLeast(0)),
    Key::new(
        "max.incremental.fetch.session.cache.slots",
        Kind::Int,
        "1000",
        "How many readers' fetch sessions are remembered; the others name all they want each \
         time.",
    )
    .check(Check::AtLeast(0)),
    Key::new(
        "message.max.bytes",
        Kind::Int,
        "1048588",
        "The default of max.message.bytes.",
    )
    .unit(Unit::Bytes)
    .check(Check::AtLeast(0))
    .dynamic(),
    Key::new(
        "metrics.partitions.max",
        Kind::Int,
        "5000",
        "/metrics tells of single partitions up to so many of them, and of single committed offsets \
         likewise; more are left out together, and counted. 0 tells of none. Ours.",
    )
    .check(Check::AtLeast(0)),
    Key::new(
        "min.insync.replicas",
        Kind::Int,
        "1",
        "The default of the topic key of the same name.",
    )
    .check(Check::AtLeast(1))
    .dynamic(),
    Key::new(
        "node.id",
        Kind::Int,
        "",
        "This broker's number in the cluster.",
    )
    .null()
    .check(Check::AtLeast(0)),
    Key::new(
        "num.io.threads",
        Kind::Int,
        "8",
        "How many threads work on requests in Kafka.",
    )
    .check(Check::AtLeast(1))
    .effect(Effect::Accepted("one reactor per core does the work")),
    Key::new(
        "num.network.threads",
        Kind::Int,
        "3",
        "How many threads read and write sockets in Kafka.",
    )
    .check(Check::AtLeast(1))
    .effect(Effect::Accepted("one reactor per core does the work")),
    Key::new(
        "num.partitions",
        Kind::Int,
        "1",
        "How many partitions a topic gets when its creator does not say.",
    )
    .check(Check::AtLeast(1)),
    Key::new(
        "num.recovery.threads.per.data.dir",
        Kind::Int,
        "2",
        "How many threads recover logs at a start of Kafka.",
    )
    .check(Check::AtLeast(1))
    .effect(Effect::Accepted("recovery is bounded by the shared log")),
    Key::new(
        "num.replica.fetchers",
        Kind::Int,
        "1",
        "How many threads copy from each leader in Kafka.",
    )
    .check(Check::AtLeast(1))
    .effect(Effect::Accepted("one node decides alone for now")),
    Key::new(
        "offset.metadata.max.bytes",
        Kind::Int,
        "4096",
        "The longest text a consumer may store beside an offset.",
    )
    .unit(Unit::Bytes),
    Key::new(
        "offsets.retention.check.interval.ms",
        Kind::Long,
        "600000",
        "How often expired offsets are looked for.",
    )
    .unit(Unit::Millis)
    .check(Check::AtLeast(1)),
    Key::new(
        "offsets.retention.minutes",
        Kind::Int,
        "10080",
        "How long the offsets of an empty group are kept.",
    )
    .unit(Unit::Minutes)
    .check(Check::AtLeast(1)),
    Key::new(
        "offsets.topic.num.partitions",
        Kind::Int,
        "50",
        "How many partitions __consumer_offsets has; fixed once it exists.",
    )
    .check(Check::AtLeast(1)),
    Key::new(
        "offsets.topic.replication.factor",
        Kind::Short,
        "3",
        "How many replicas __consumer_offsets has, at most one for each broker.",
    )
    .check(Check::AtLeast(1)),
    Key::new(
        "offsets.topic.segment.bytes",
        Kind::Int,
        "104857600",
        "How large a segment of __consumer_offsets grows.",
    )
    .unit(Unit::Bytes)
    .check(Check::AtLeast(1)),
    Key::new(
        "process.roles",
        Kind::List,
        "",
        "What this node is in Kafka: broker, controller or both.",
    )
    .null()
    .check(Check::EachOf(&["broker", "controller"]))
    .effect(Effect::Accepted("every node is a broker and a controller")),
    Key::new(
        "producer.id.expiration.ms",
        Kind::Int,
        "86400000",
        "How long the state of an idle producer is kept.",
    )
    .unit(Unit::Millis)
    .check(Check::AtLeast(1))
    .dynamic(),
    Key::new(
        "queued.max.requests",
        Kind::Int,
        "500",
        "How many requests may wait for a thread in Kafka.",
    )
    .check(Check::AtLeast(1))
    .effect(Effect::Accepted("requests wait in their own connection")),
    Key::new(
        "quota.window.num",
        Kind::Int,
        "11",
        "Over how many windows the rates of client quotas are measured, the current one included.",
    )
    .check(Check::AtLeast(1)),
    Key::new(
        "quota.window.size.seconds",
        Kind::Int,
        "1",
        "How long each of those windows is.",
    )
    .unit(Unit::Seconds)
    .check(Check::AtLeast(1)),
    Key::new(
        "remote.log.storage.system.enable",
        Kind::Boolean,
        "false",
        "Whether tiered storage is on.",
    )
    .effect(Effect::RefusedWhenOn(
        "tiered storage does not exist here yet",
    )),
    Key::new(
        "replica.fetch.max.bytes",
        Kind::Int,
        "1048576",
        "How much a follower asks for at once.",
    )
    .unit(Unit::Bytes)
    .check(Check::AtLeast(0))
    .effect(Effect::Accepted("one node decides alone for now")),
    Key::new(
        "replica.lag.time.max.ms",
        Kind::Long,
        "30000",
        "After how much lag a follower leaves the in-sync replicas.",
    )
    .unit(Unit::Millis)
    .effect(Effect::Accepted("one node decides alone for now")),
    Key::new(
        "request.timeout.ms",
        Kind::Int,
        "30000",
        "How long brokers wait for each other.",
    )
    .unit(Unit::Millis)
    .effect(Effect::Accepted("one node decides alone for now")),
    Key::new(
        "sasl.enabled.mechanisms",
        Kind::List,
        "GSSAPI",
        "Which ways to log in are offered.",
    )
    .effect(Effect::Accepted("SASL does not exist here yet")),
    Key::new(
        "sasl.mechanism.inter.broker.protocol",
        Kind::Text,
        "GSSAPI",
        "How brokers log in to each other.",
    )
    .effect(Effect::Accepted("SASL does not exist here yet")),
    Key::new(
        "security.inter.broker.protocol",
        Kind::Text,
        "PLAINTEXT",
        "The protocol brokers speak among themselves where no listener is named.",
    )
    .check(Check::OneOf(&[
        "PLAINTEXT",
        "SSL",
        "SASL_PLAINTEXT",
        "SASL_SSL",
    ]))
    .effect(Effect::Accepted("one node decides alone for now")),
    Key::new(
        "socket.listen.backlog.size",
        Kind::Int,
        "50",
        "How many connections may wait to be accepted.",
    )
    .check(Check::AtLeast(1)),
    Key::new(
        "socket.receive.buffer.bytes",
        Kind::Int,
        "102400",
        "The receive buffer of a client's socket; -1 is the system's.",
    )
    .unit(Unit::Bytes),
    Key::new(
        "socket.request.max.bytes",
        Kind::Int,
        "104857600",
        "The largest request; a larger one closes the connection.",
    )
    .unit(Unit::Bytes)
    .check(Check::AtLeast(1)),
    Key::new(
        "socket.send.buffer.bytes",
        Kind::Int,
        "102400",
        "The send buffer of a client's socket; -1 is the system's.",
    )
    .unit(Unit::Bytes),
    Key::new(
        "transaction.max.timeout.ms",
        Kind::Int,
        "900000",
        "The longest a transaction may stay open.",
    )
    .unit(Unit::Millis)
    .check(Check::AtLeast(1))
    .effect(Effect::Accepted("transactions do not exist here yet")),
    Key::new(
        "transaction.state.log.min.isr",
        Kind::Int,
        "2",
        "min.insync.replicas of __transaction_state.",
    )
    .check(Check::AtLeast(1))
    .effect(Effect::Accepted("transactions do not exist here yet")),
    Key::new(
        "transaction.state.log.num.partitions",
        Kind::Int,
        "50",
        "How many partitions __transaction_state has.",
    )
    .check(Check::AtLeast(1))
    .effect(Effect::Accepted("transactions do not exist here yet")),
    Key::new(
        "transaction.state.log.replication.factor",
        Kind::Short,
        "3",
        "How many replicas __transaction_state has.",
    )
    .check(Check::AtLeast(1))
    .effect(Effect::Accepted("transactions do not exist here yet")),
    Key::new(
        "transaction.state.log.segment.bytes",
        Kind::Int,
        "104857600",
        "How large a segment of __transaction_state grows.",
    )
    .unit(Unit::Bytes)
    .check(Check::AtLeast(1))
    .effect(Effect::Accepted("transactions do not exist here yet")),
    Key::new(
        "transactional.id.expiration.ms",
        Kind::Int,
        "604800000",
        "How long an unused transactional id is remembered.",
    )
    .unit(Unit::Millis)
    .check(Check::AtLeast(1))
    .effect(Effect::Accepted("transactions do not exist here yet")),
    Key::new(
        "unclean.leader.election.enable",
        Kind::Boolean,
        "false",
        "The default of the topic key of the same name.",
    )
    .dynamic(),
    Key::new(
        "wal.slot.bytes",
        Kind::Long,
        "67108864",
        "How large a slot of the shared log is; a batch takes no more than half of one. A multiple \
         of 4096. It may be changed after a clean stop. Ours.",
    )
    .unit(Unit::Bytes)
    .check(Check::Between(32 << 20, 1 << 30)),
    Key::new(
        "wal.slots",
        Kind::Int,
        "8",
        "How many slots the shared log has: more take longer bursts, and longer to read back after \
         a crash. They are never given back to the filesystem. Ours.",
    )
    .check(Check::Between(4, 1024)),
];

/// The declaration of a broker key, foreign ones included.
pub fn find_broker(name: &str) -> Result<&'static Key, ConfigError> {
    find(BROKER, name)
        .or_else(|| find(FOREIGN, name))
        .ok_or_else(|| ConfigError::Unknown {
            scope: "broker",
            name: name.into(),
            nearest: stdx::nearest(name, BROKER.iter().chain(FOREIGN).map(|key| key.name)),
        })
}

/// Checks a broker's dynamic settings, or the cluster's: names, values, and that each may change
/// while the broker runs. `rules` as in [`super::topic::check_topic`].
pub fn check_broker<'a>(
    settings: impl Iterator<Item = (&'a str, &'a str)>,
    rules: u16,
) -> Result<(), ConfigError> {
    for (name, value) in settings {
        let key = find_broker(name)?;
        if !key.dynamic {
            return Err(ConfigError::NotDynamic { key: key.name });
        }
        key.validate_under(rules, value)?;
    }
    Ok(())
}
