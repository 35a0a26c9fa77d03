//! The commands of the metadata log, and their bytes: `docs/formats/metadata-command.md`.

use stdx::{CursorError, Reader, Writer};
use wire::ids::{BrokerId, LeaderEpoch, TopicId};

use crate::config::RULES;
use crate::image::{Endpoint, Resource, Security};
use crate::partition::{DirectoryId, Recovery};
use crate::quota::{QuotaChange, read_changes, write_changes};

/// The newest version of the layout. Readers know all versions up to their own.
///
/// - 1: kinds 1 to 12.
/// - 2: kind 13. Only commands of that kind carry it, so that a log without them stays readable to
///   the older build, and one with them tells it which build is needed.
const VERSION: u8 = 2;

/// Where one partition's replicas go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The brokers; the first is the preferred leader.
    pub replicas: Vec<BrokerId>,
    /// The data directory of each, in the same order.
    pub directories: Vec<DirectoryId>,
}

/// How a setting changes (rule M12). The numbers are Kafka's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Takes the value.
    Set = 0,
    /// Falls back to the default.
    Delete = 1,
    /// Adds the value's entries to the list.
    Append = 2,
    /// Takes the value's entries from the list.
    Subtract = 3,
}

/// One change of one setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub name: String,
    /// How it changes.
    pub operation: Operation,
    /// The value; not looked at for `Delete`.
    pub value: Option<String>,
}

/// A leader's wish to change a partition's ISR.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsrChange {
    /// The topic.
    pub topic: TopicId,
    /// The partition.
    pub partition: i32,
    /// The epoch the sender leads in.
    pub leader_epoch: LeaderEpoch,
    /// The partition epoch the wish is based on.
    pub partition_epoch: i32,
    /// The new ISR.
    pub isr: Vec<BrokerId>,
    /// Whether the leader has caught up after an unclean election.
    pub recovery: Recovery,
}

/// One decision put before the cluster. Decided by [`crate::apply`], never beforehand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Names the cluster at its first start; the same name again changes nothing.
    NameCluster {
        /// The id.
        cluster_id: String,
    },
    /// A broker's start. It is fenced until it asks to be unfenced.
    RegisterBroker {
        /// Its number.
        broker: BrokerId,
        /// Random per start of the process.
        incarnation: [u8; 16],
        /// Where it can be reached.
        endpoints: Vec<Endpoint>,
        /// Where it stands.
        rack: Option<String>,
        /// Its data directories.
        directories: Vec<DirectoryId>,
    },
    /// A broker is ready to serve.
    UnfenceBroker {
        /// Its number.
        broker: BrokerId,
        /// The epoch of its registration.
        epoch: i64,
    },
    /// A broker has not been heard of.
    FenceBroker {
        /// Its number.
        broker: BrokerId,
        /// The epoch of its registration.
        epoch: i64,
    },
    /// A broker wants to stop and gives up its leaderships.
    DrainBroker {
        /// Its number.
        broker: BrokerId,
        /// The epoch of its registration.
        epoch: i64,
    },
    /// One new topic.
    CreateTopic {
        /// Its name.
        name: String,
        /// Its identity, drawn by the proposer.
        id: TopicId,
        /// Where each partition goes.
        partitions: Vec<Placement>,
        /// Its settings.
        settings: Vec<(String, String)>,
    },
    /// One topic goes.
    DeleteTopic {
        /// Which.
        id: TopicId,
    },
    /// A topic gets more partitions.
    CreatePartitions {
        /// Which.
        topic: TopicId,
        /// How many it shall have.
        count: i32,
        /// Where the new ones go.
        placements: Vec<Placement>,
    },
    /// Settings of one resource change, all or none.
    ChangeConfig {
        /// Whose settings.
        resource: Resource,
        /// Whether what is not named falls back to its default (the older AlterConfigs).
        replace: bool,
        /// The changes.
        changes: Vec<Change>,
    },
    /// A block of producer ids for a broker to hand out.
    AllocateProducerIds {
        /// For whom.
        broker: BrokerId,
        /// The epoch of its registration.
        epoch: i64,
    },
    /// Leaders change ISRs; many partitions in one entry.
    ChangeIsr {
        /// The leader of all of them.
        broker: BrokerId,
        /// The epoch of its registration.
        epoch: i64,
        /// The wishes.
        changes: Vec<IsrChange>,
    },
    /// Finalizes a feature level.
    SetFeature {
        /// The feature's name.
        name: String,
        /// The level; 0 is off.
        level: i16,
    },
    /// Client quotas change, all or none; many entities in one entry.
    ChangeQuotas {
        /// The changes, each entity once.
        changes: Vec<QuotaChange>,
    },
}

/// A command and the validation rules it was proposed under (design note 0050).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposed {
    /// [`RULES`] of the proposer.
    pub rules: u16,
    /// The command.
    pub command: Command,
}

/// Bytes that are not a command or snapshot of a version this build knows.
///
/// In a metadata log that was agreed on, this is never skipped: the node must stop.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Corrupt {
    /// Written by a newer build.
    #[error("{what} of version {version}, this build knows up to {known}: start the newer build")]
    TooNew {
        /// What it is.
        what: &'static str,
        /// Its version.
        version: u32,
        /// The newest this build knows.
        known: u32,
    },
    /// Not ours, or damaged.
    #[error("{what}: {reason}")]
    Malformed {
        /// What it should have been.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

impl Corrupt {
    pub(crate) fn malformed(what: &'static str, reason: impl ToString) -> Corrupt {
        Corrupt::Malformed {
            what,
            reason: reason.to_string(),
        }
    }
}

impl Command {
    /// The command's bytes, under today's rules.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.u8(self.version()).u16_le(RULES);
        match self {
            Command::NameCluster { cluster_id } => {
                out.u8(1);
                text(&mut out, cluster_id);
            }
            Command::RegisterBroker {
                broker,
                incarnation,
                endpoints,
                rack,
                directories,
            } => {
                out.u8(2).i32_le(broker.0).raw(incarnation);
                write_endpoints(&mut out, endpoints);
                write_option(&mut out, rack.as_deref());
                write_directories(&mut out, directories);
            }
            Command::UnfenceBroker { broker, epoch } => {
                out.u8(3).i32_le(broker.0).i64_le(*epoch);
            }
            Command::FenceBroker { broker, epoch } => {
                out.u8(4).i32_le(broker.0).i64_le(*epoch);
            }
            Command::DrainBroker { broker, epoch } => {
                out.u8(5).i32_le(broker.0).i64_le(*epoch);
            }
            Command::CreateTopic {
                name,
                id,
                partitions,
                settings,
            } => {
                out.u8(6);
                text(&mut out, name);
                out.raw(&id.0);
                write_placements(&mut out, partitions);
                count(&mut out, settings.len());
                for (name, value) in settings {
                    text(&mut out, name);
                    text(&mut out, value);
                }
            }
            Command::DeleteTopic { id } => {
                out.u8(7).raw(&id.0);
            }
            Command::CreatePartitions {
                topic,
                count,
                placements,
            } => {
                out.u8(8).raw(&topic.0).i32_le(*count);
                write_placements(&mut out, placements);
            }
            Command::ChangeConfig {
                resource,
                replace,
                changes,
            } => {
                out.u8(9);
                write_resource(&mut out, resource);
                out.u8(u8::from(*replace));
                count(&mut out, changes.len());
                for change in changes {
                    text(&mut out, &change.name);
                    out.u8(change.operation as u8);
                    write_option(&mut out, change.value.as_deref());
                }
            }
            Command::AllocateProducerIds { broker, epoch } => {
                out.u8(10).i32_le(broker.0).i64_le(*epoch);
            }
            Command::ChangeIsr {
                broker,
                epoch,
                changes,
            } => {
                out.u8(11).i32_le(broker.0).i64_le(*epoch);
                count(&mut out, changes.len());
                for change in changes {
                    out.raw(&change.topic.0).i32_le(change.partition);
                    out.i32_le(change.leader_epoch.0)
                        .i32_le(change.partition_epoch);
                    write_brokers(&mut out, &change.isr);
                    out.u8(u8::from(change.recovery == Recovery::Recovering));
                }
            }
            Command::SetFeature { name, level } => {
                out.u8(12);
                text(&mut out, name);
                out.i16_le(*level);
            }
            Command::ChangeQuotas { changes } => {
                out.u8(13);
                write_changes(&mut out, changes);
            }
        }
        out.into_bytes()
    }

    /// The oldest version that has this kind.
    fn version(&self) -> u8 {
        match self {
            Command::ChangeQuotas { .. } => 2,
            _ => 1,
        }
    }

    /// Reads a command. Lengths are checked before anything is allocated.
    pub fn decode(bytes: &[u8]) -> Result<Proposed, Corrupt> {
        let malformed = |reason: CursorError| Corrupt::malformed("metadata command", reason);
        let mut input = Reader::new(bytes);
        let version = input.u8().map_err(malformed)?;
        if version == 0 || version > VERSION {
            return Err(Corrupt::TooNew {
                what: "metadata command",
                version: u32::from(version),
                known: u32::from(VERSION),
            });
        }
        let rules = input.u16_le().map_err(malformed)?;
        if rules == 0 || rules > RULES {
            return Err(Corrupt::TooNew {
                what: "metadata rules",
                version: u32::from(rules),
                known: u32::from(RULES),
            });
        }
        let command = read_command(&mut input).map_err(malformed)?;
        input.finish().map_err(malformed)?;
        Ok(Proposed { rules, command })
    }
}

fn read_command(input: &mut Reader<'_>) -> Result<Command, CursorError> {
    let position = input.position();
    Ok(match input.u8()? {
        1 => Command::NameCluster {
            cluster_id: read_text(input)?,
        },
        2 => Command::RegisterBroker {
            broker: BrokerId(input.i32_le()?),
            incarnation: input.array()?,
            endpoints: read_endpoints(input)?,
            rack: read_option(input)?,
            directories: read_directories(input)?,
        },
        3 => Command::UnfenceBroker {
            broker: BrokerId(input.i32_le()?),
            epoch: input.i64_le()?,
        },
        4 => Command::FenceBroker {
            broker: BrokerId(input.i32_le()?),
            epoch: input.i64_le()?,
        },
        5 => Command::DrainBroker {
            broker: BrokerId(input.i32_le()?),
            epoch: input.i64_le()?,
        },
        6 => Command::CreateTopic {
            name: read_text(input)?,
            id: TopicId(input.array()?),
            partitions: read_placements(input)?,
            settings: read_each(input, 2, |input| Ok((read_text(input)?, read_text(input)?)))?,
        },
        7 => Command::DeleteTopic {
            id: TopicId(input.array()?),
        },
        8 => Command::CreatePartitions {
            topic: TopicId(input.array()?),
            count: input.i32_le()?,
            placements: read_placements(input)?,
        },
        9 => Command::ChangeConfig {
            resource: read_resource(input)?,
            replace: read_flag(input)?,
            changes: read_each(input, 3, |input| {
                Ok(Change {
                    name: read_text(input)?,
                    operation: read_operation(input)?,
                    value: read_option(input)?,
                })
            })?,
        },
        10 => Command::AllocateProducerIds {
            broker: BrokerId(input.i32_le()?),
            epoch: input.i64_le()?,
        },
        11 => Command::ChangeIsr {
            broker: BrokerId(input.i32_le()?),
            epoch: input.i64_le()?,
            changes: read_each(input, 30, |input| {
                Ok(IsrChange {
                    topic: TopicId(input.array()?),
                    partition: input.i32_le()?,
                    leader_epoch: LeaderEpoch(input.i32_le()?),
                    partition_epoch: input.i32_le()?,
                    isr: read_brokers(input)?,
                    recovery: read_recovery(input)?,
                })
            })?,
        },
        12 => Command::SetFeature {
            name: read_text(input)?,
            level: input.i16_le()?,
        },
        13 => Command::ChangeQuotas {
            changes: read_changes(input)?,
        },
        kind => {
            return Err(CursorError::BadLength {
                position,
                length: i64::from(kind),
            });
        }
    })
}

// The pieces below are shared with the snapshot.

pub(crate) fn count(out: &mut Writer, count: usize) {
    out.varint_u64(count as u64);
}

pub(crate) fn text(out: &mut Writer, value: &str) {
    out.bytes_varint(value.as_bytes());
}

pub(crate) fn read_text(input: &mut Reader<'_>) -> Result<String, CursorError> {
    input.text_varint().map(str::to_string)
}

/// Reads a count and that many items of at least `bytes_min` bytes.
pub(crate) fn read_each<T>(
    input: &mut Reader<'_>,
    bytes_min: usize,
    mut item: impl FnMut(&mut Reader<'_>) -> Result<T, CursorError>,
) -> Result<Vec<T>, CursorError> {
    let count = input.count_varint(bytes_min)?;
    // In memory an item is larger than its bytes; so no room is reserved for more than this.
    let mut items = Vec::with_capacity(count.min(1_024));
    for _ in 0..count {
        items.push(item(input)?);
    }
    Ok(items)
}

pub(crate) fn write_option(out: &mut Writer, value: Option<&str>) {
    match value {
        None => {
            out.u8(0);
        }
        Some(value) => {
            out.u8(1);
            text(out, value);
        }
    }
}

pub(crate) fn read_option(input: &mut Reader<'_>) -> Result<Option<String>, CursorError> {
    Ok(if read_flag(input)? {
        Some(read_text(input)?)
    } else {
        None
    })
}

pub(crate) fn read_flag(input: &mut Reader<'_>) -> Result<bool, CursorError> {
    let position = input.position();
    match input.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(CursorError::BadLength {
            position,
            length: i64::from(other),
        }),
    }
}

pub(crate) fn read_recovery(input: &mut Reader<'_>) -> Result<Recovery, CursorError> {
    Ok(if read_flag(input)? {
        Recovery::Recovering
    } else {
        Recovery::Recovered
    })
}

fn read_operation(input: &mut Reader<'_>) -> Result<Operation, CursorError> {
    let position = input.position();
    Ok(match input.u8()? {
        0 => Operation::Set,
        1 => Operation::Delete,
        2 => Operation::Append,
        3 => Operation::Subtract,
        other => {
            return Err(CursorError::BadLength {
                position,
                length: i64::from(other),
            });
        }
    })
}

pub(crate) fn write_brokers(out: &mut Writer, brokers: &[BrokerId]) {
    count(out, brokers.len());
    for broker in brokers {
        out.i32_le(broker.0);
    }
}

pub(crate) fn read_brokers(input: &mut Reader<'_>) -> Result<Vec<BrokerId>, CursorError> {
    read_each(input, 4, |input| input.i32_le().map(BrokerId))
}

pub(crate) fn write_directories(out: &mut Writer, directories: &[DirectoryId]) {
    count(out, directories.len());
    for directory in directories {
        out.raw(&directory.0);
    }
}

pub(crate) fn read_directories(input: &mut Reader<'_>) -> Result<Vec<DirectoryId>, CursorError> {
    read_each(input, 16, |input| input.array().map(DirectoryId))
}

fn write_placements(out: &mut Writer, placements: &[Placement]) {
    count(out, placements.len());
    for placement in placements {
        write_brokers(out, &placement.replicas);
        write_directories(out, &placement.directories);
    }
}

fn read_placements(input: &mut Reader<'_>) -> Result<Vec<Placement>, CursorError> {
    read_each(input, 2, |input| {
        Ok(Placement {
            replicas: read_brokers(input)?,
            directories: read_directories(input)?,
        })
    })
}

pub(crate) fn write_endpoints(out: &mut Writer, endpoints: &[Endpoint]) {
    count(out, endpoints.len());
    for endpoint in endpoints {
        text(out, &endpoint.listener);
        text(out, &endpoint.host);
        out.u16_le(endpoint.port).u8(endpoint.security as u8);
    }
}

pub(crate) fn read_endpoints(input: &mut Reader<'_>) -> Result<Vec<Endpoint>, CursorError> {
    read_each(input, 5, |input| {
        let (listener, host, port) = (read_text(input)?, read_text(input)?, input.u16_le()?);
        let position = input.position();
        let security = match input.u8()? {
            0 => Security::Plaintext,
            1 => Security::Tls,
            2 => Security::SaslPlaintext,
            3 => Security::SaslTls,
            other => {
                return Err(CursorError::BadLength {
                    position,
                    length: i64::from(other),
                });
            }
        };
        Ok(Endpoint {
            listener,
            host,
            port,
            security,
        })
    })
}

pub(crate) fn write_resource(out: &mut Writer, resource: &Resource) {
    match resource {
        Resource::Topic(name) => {
            out.u8(1);
            text(out, name);
        }
        Resource::Broker(broker) => {
            out.u8(2).i32_le(broker.0);
        }
        Resource::ClusterDefault => {
            out.u8(3);
        }
        Resource::Group(id) => {
            out.u8(4);
            text(out, id);
        }
    }
}

pub(crate) fn read_resource(input: &mut Reader<'_>) -> Result<Resource, CursorError> {
    let position = input.position();
    Ok(match input.u8()? {
        1 => Resource::Topic(read_text(input)?),
        2 => Resource::Broker(BrokerId(input.i32_le()?)),
        3 => Resource::ClusterDefault,
        4 => Resource::Group(read_text(input)?),
        other => {
            return Err(CursorError::BadLength {
                position,
                length: i64::from(other),
            });
        }
    })
}
