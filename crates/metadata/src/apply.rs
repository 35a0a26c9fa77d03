//! The controller's decisions: one command against one image, same result on every node.

use std::sync::Arc;

use wire::ErrorCode;
use wire::ids::{BrokerId, LeaderEpoch, ProducerId, TopicId};

use crate::answer::{Answer, Refusal};
use crate::command::{Change, Command, IsrChange, Operation, Placement, Proposed};
use crate::config::broker::check_broker;
use crate::config::group::check_group;
use crate::config::topic::{check_topic, find_topic};
use crate::config::{ConfigError, Key, RULES, broker, group, split_list};
use crate::delta::Delta;
use crate::election;
use crate::image::{Broker, ConfigMap, Image, MetadataOffset, Resource, Topic};
use crate::partition::{Partition, Recovery, Replicas};
use crate::placement::{check_partition_count, has_duplicates};
use crate::quota::{
    self, QUOTA_ENTITIES_MAX, QuotaChange, QuotaKey, check_quota, check_quota_entity,
};
use crate::topic_name::{check_name, unified};

/// Producer ids are handed to brokers in blocks of this many, as Kafka does: one log entry per
/// thousand producers, and a restarted broker forgets less than a thousand of 2^63.
const PRODUCER_IDS_PER_BLOCK: i32 = 1_000;

/// A partition has at most this many replicas, far above any use.
const REPLICAS_MAX: usize = 64;

/// A command names at most this many settings, several times the number of keys there are.
const SETTINGS_MAX: usize = 1_000;

/// A resource's settings take at most this many bytes: each node holds them in memory.
const SETTINGS_BYTES_MAX: usize = 64 * 1024;

/// Decides a command and carries it out on the image.
///
/// A refused command changes nothing but the image's offset. `offset` is the command's own
/// position, larger than all before it.
pub fn apply(image: &mut Image, offset: MetadataOffset, proposed: Proposed) -> (Answer, Delta) {
    debug_assert!(
        offset > image.offset || offset.0 == 0,
        "commands are applied in order"
    );
    image.offset = offset;
    let partitions_before = image.partition_count;
    let mut delta = Delta::default();
    let answer = decide(image, proposed, &mut delta).unwrap_or_else(Answer::Refused);
    if !delta.topics_created.is_empty()
        || !delta.topics_deleted.is_empty()
        || image.partition_count != partitions_before
    {
        image.topics_version = offset;
    }
    debug_assert!(
        delta.is_empty() || !matches!(answer, Answer::Refused(_)),
        "refused, yet changed"
    );
    (answer, delta)
}

/// What [`apply`] would say now, without changing anything: `validate_only`.
pub fn dry_run(image: &Image, command: Command) -> Answer {
    let mut copy = image.clone();
    let next = MetadataOffset(image.offset.0 + 1);
    apply(
        &mut copy,
        next,
        Proposed {
            rules: RULES,
            command,
        },
    )
    .0
}

type Decision = Result<Answer, Refusal>;

/// Checks come first and change nothing; whatever returns an error has left the image alone.
fn decide(image: &mut Image, proposed: Proposed, delta: &mut Delta) -> Decision {
    let rules = proposed.rules;
    match proposed.command {
        Command::NameCluster { cluster_id } => name_cluster(image, cluster_id, delta),
        Command::RegisterBroker {
            broker,
            incarnation,
            endpoints,
            rack,
            directories,
        } => {
            let broker = Broker {
                id: broker,
                epoch: i64::try_from(image.offset.0).unwrap_or(i64::MAX),
                incarnation,
                endpoints,
                rack,
                fenced: true,
                shutting_down: false,
                directories,
            };
            register_broker(image, broker, delta)
        }
        Command::UnfenceBroker { broker, epoch } => {
            change_broker(image, broker, epoch, delta, |broker| broker.fenced = false)
        }
        Command::FenceBroker { broker, epoch } => {
            change_broker(image, broker, epoch, delta, |broker| broker.fenced = true)
        }
        Command::DrainBroker { broker, epoch } => {
            change_broker(image, broker, epoch, delta, |broker| {
                broker.shutting_down = true
            })
        }
        Command::CreateTopic {
            name,
            id,
            partitions,
            settings,
        } => create_topic(image, name, id, &partitions, &settings, rules, delta),
        Command::DeleteTopic { id } => delete_topic(image, id, delta),
        Command::CreatePartitions {
            topic,
            count,
            placements,
        } => create_partitions(image, topic, count, &placements, delta),
        Command::ChangeConfig {
            resource,
            replace,
            changes,
        } => change_config(image, resource, replace, &changes, rules, delta),
        Command::AllocateProducerIds { broker, epoch } => {
            allocate_producer_ids(image, broker, epoch, delta)
        }
        Command::ChangeIsr {
            broker,
            epoch,
            changes,
        } => change_isr(image, broker, epoch, &changes, delta),
        Command::SetFeature { name, level } => set_feature(image, name, level, delta),
        Command::ChangeQuotas { changes } => change_quotas(image, &changes, delta),
    }
}

fn refuse<T>(code: ErrorCode, message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal {
        code,
        message: message.into(),
    })
}

fn name_cluster(image: &mut Image, cluster_id: String, delta: &mut Delta) -> Decision {
    match image.cluster_id() {
        Some(known) if known == cluster_id => return Ok(Answer::Done),
        Some(known) => {
            return refuse(
                ErrorCode::InconsistentClusterId,
                format!("This cluster is {known}, not {cluster_id}."),
            );
        }
        None if cluster_id.is_empty() || cluster_id.len() > 64 => {
            return refuse(ErrorCode::InvalidRequest, "A cluster id has 1 to 64 bytes.");
        }
        None => {}
    }
    image.cluster_id = Some(cluster_id.into());
    delta.cluster = true;
    Ok(Answer::Done)
}

fn register_broker(image: &mut Image, broker: Broker, delta: &mut Delta) -> Decision {
    let id = broker.id;
    if id.0 < 0 {
        return refuse(
            ErrorCode::InvalidRequest,
            format!("Broker id {id} is negative."),
        );
    }
    if let Some(known) = image.broker(id)
        && known.incarnation == broker.incarnation
    {
        // The same start asked twice: an answer was lost on the way.
        return Ok(Answer::Registered { epoch: known.epoch });
    }
    let epoch = broker.epoch;
    Arc::make_mut(&mut image.brokers).insert(id, Arc::new(broker));
    delta.brokers.push(id);
    election::retire(image, id, delta);
    Ok(Answer::Registered { epoch })
}

fn known_broker(image: &Image, id: BrokerId, epoch: i64) -> Result<Arc<Broker>, Refusal> {
    let Some(broker) = image.broker(id) else {
        return refuse(
            ErrorCode::BrokerIdNotRegistered,
            format!("Broker {id} is not registered."),
        );
    };
    if broker.epoch != epoch {
        return refuse(
            ErrorCode::StaleBrokerEpoch,
            format!(
                "Broker {id} is registered in epoch {}, not {epoch}.",
                broker.epoch
            ),
        );
    }
    Ok(Arc::clone(broker))
}

fn change_broker(
    image: &mut Image,
    id: BrokerId,
    epoch: i64,
    delta: &mut Delta,
    change: impl FnOnce(&mut Broker),
) -> Decision {
    let before = known_broker(image, id, epoch)?;
    let mut broker = Broker::clone(&before);
    change(&mut broker);
    if broker == *before {
        return Ok(Answer::Done);
    }
    let active = broker.is_active();
    Arc::make_mut(&mut image.brokers).insert(id, Arc::new(broker));
    delta.brokers.push(id);
    if active {
        election::welcome(image, id, delta);
    } else {
        election::retire(image, id, delta);
    }
    Ok(Answer::Done)
}

fn create_topic(
    image: &mut Image,
    name: String,
    id: TopicId,
    placements: &[Placement],
    settings: &[(String, String)],
    rules: u16,
    delta: &mut Delta,
) -> Decision {
    if let Err(reason) = check_name(&name) {
        return refuse(ErrorCode::InvalidTopicException, reason);
    }
    if image.names.get(name.as_str()).is_some() {
        return refuse(
            ErrorCode::TopicAlreadyExists,
            format!("Topic '{name}' already exists."),
        );
    }
    let unified_name = unified(&name);
    if let Some(other) = unified_name
        .as_deref()
        .and_then(|unified| image.unified.get(unified))
    {
        // rule M9: metric names could not tell the two apart
        return refuse(
            ErrorCode::InvalidTopicException,
            format!("Topic '{name}' collides with existing topic: {other}"),
        );
    }
    if id.is_none() || image.topics.get(&id).is_some() {
        return refuse(
            ErrorCode::InvalidRequest,
            format!("Topic id {id} is taken."),
        );
    }
    if placements.is_empty() {
        return refuse(
            ErrorCode::InvalidPartitions,
            "Number of partitions must be larger than 0.",
        );
    }
    check_partition_count(placements.len())?;
    check_placements(image, placements, placements[0].replicas.len())?;
    check_setting_count(settings.len())?;
    if let Some((at, (twice, _))) = settings
        .iter()
        .enumerate()
        .find(|(at, (name, _))| settings[..*at].iter().any(|(other, _)| other == name))
    {
        return refuse(
            ErrorCode::InvalidConfig,
            format!("{twice} is given twice, the second time as entry {at}."),
        );
    }
    let map: ConfigMap = settings
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    check_settings(&Resource::Topic(name.clone()), &map, rules)?;

    let name: Arc<str> = name.into();
    let partitions: Vec<Partition> = new_partitions(image, placements, None);
    image.partition_count += partitions.len();
    image.topics.insert(
        id,
        Arc::new(Topic {
            name: Arc::clone(&name),
            id,
            partitions,
        }),
    );
    image.names.insert(Arc::clone(&name), id);
    if let Some(unified) = unified_name {
        image.unified.insert(unified.into(), Arc::clone(&name));
    }
    if !map.is_empty() {
        let resource = Resource::Topic(name.to_string());
        image.configs.insert(resource.clone(), Arc::new(map));
    }
    delta.topics_created.push(id);
    Ok(Answer::TopicCreated { id })
}

fn check_placements(
    image: &Image,
    placements: &[Placement],
    replication: usize,
) -> Result<(), Refusal> {
    for placement in placements {
        let replicas = &placement.replicas;
        if replicas.is_empty() {
            return refuse(
                ErrorCode::InvalidReplicationFactor,
                "Replication factor must be larger than 0.",
            );
        }
        if replicas.len() > REPLICAS_MAX {
            return refuse(
                ErrorCode::InvalidReplicationFactor,
                format!(
                    "{} replicas, at most {REPLICAS_MAX} are allowed.",
                    replicas.len()
                ),
            );
        }
        if replicas.len() != replication {
            return refuse(
                ErrorCode::InvalidReplicaAssignment,
                "All partitions of a topic must have the same number of replicas.",
            );
        }
        if has_duplicates(replicas) {
            return refuse(
                ErrorCode::InvalidReplicaAssignment,
                format!("A broker is named twice for one partition: {replicas:?}."),
            );
        }
        if placement.directories.len() != replicas.len() {
            return refuse(
                ErrorCode::InvalidReplicaAssignment,
                "Each replica needs the data directory it lies in.",
            );
        }
        if let Some(stranger) = replicas
            .iter()
            .find(|broker| image.broker(**broker).is_none())
        {
            return refuse(
                ErrorCode::InvalidReplicaAssignment,
                format!("Broker {stranger} is not registered."),
            );
        }
    }
    Ok(())
}

/// New partitions start with every active replica in sync: none has anything yet.
fn new_partitions(
    image: &Image,
    placements: &[Placement],
    like: Option<&Partition>,
) -> Vec<Partition> {
    let mut directories = like.map(|partition| Arc::clone(&partition.directories));
    placements
        .iter()
        .map(|placement| {
            let active: Vec<BrokerId> = placement
                .replicas
                .iter()
                .copied()
                .filter(|broker| {
                    image
                        .broker(*broker)
                        .is_some_and(|broker| broker.is_active())
                })
                .collect();
            let shared = directories
                .take()
                .filter(|known| **known == placement.directories[..])
                .unwrap_or_else(|| placement.directories.as_slice().into());
            directories = Some(Arc::clone(&shared));
            let isr = if active.is_empty() {
                &placement.replicas[..1]
            } else {
                &active[..]
            };
            Partition {
                replicas: Replicas::from_slice(&placement.replicas),
                isr: Replicas::from_slice(isr),
                elr: Replicas::none(),
                directories: shared,
                leader: active.first().copied(),
                leader_epoch: LeaderEpoch(0),
                partition_epoch: 0,
                recovery: Recovery::Recovered,
            }
        })
        .collect()
}

fn delete_topic(image: &mut Image, id: TopicId, delta: &mut Delta) -> Decision {
    let Some(topic) = image.topics.remove(&id) else {
        return refuse(
            ErrorCode::UnknownTopicId,
            format!("There is no topic with id {id}."),
        );
    };
    image.names.remove(&*topic.name);
    if let Some(unified) = unified(&topic.name) {
        image.unified.remove(unified.as_str());
    }
    image
        .configs
        .remove(&Resource::Topic(topic.name.to_string()));
    image.partition_count -= topic.partitions.len();
    delta.topics_deleted.push((id, Arc::clone(&topic.name)));
    Ok(Answer::Done)
}

fn create_partitions(
    image: &mut Image,
    id: TopicId,
    count: i32,
    placements: &[Placement],
    delta: &mut Delta,
) -> Decision {
    let Some(topic) = image.topics.get(&id).map(Arc::clone) else {
        return refuse(
            ErrorCode::UnknownTopicId,
            format!("There is no topic with id {id}."),
        );
    };
    let current = topic.partitions.len();
    let wanted = usize::try_from(count).unwrap_or(0);
    if wanted == current {
        return refuse(
            ErrorCode::InvalidPartitions,
            format!("Topic already has {current} partition(s)."),
        );
    }
    if wanted < current {
        return refuse(
            ErrorCode::InvalidPartitions,
            format!(
                "The topic {} currently has {current} partition(s); {count} would not be an increase.",
                topic.name
            ),
        );
    }
    check_partition_count(wanted)?;
    if placements.len() != wanted - current {
        // Also when someone else added partitions since this was proposed.
        return refuse(
            ErrorCode::InvalidReplicaAssignment,
            format!(
                "{} new partition(s), but {} placed.",
                wanted - current,
                placements.len()
            ),
        );
    }
    check_placements(image, placements, topic.partitions[0].replicas.len())?;
    let added = new_partitions(image, placements, topic.partitions.last());
    image.partition_count += added.len();
    delta
        .partitions
        .extend((current..wanted).map(|number| (id, number as i32)));
    if let Some(topic) = image.topics.get_mut(&id) {
        Arc::make_mut(topic).partitions.extend(added);
    }
    Ok(Answer::Done)
}

fn change_config(
    image: &mut Image,
    resource: Resource,
    replace: bool,
    changes: &[Change],
    rules: u16,
    delta: &mut Delta,
) -> Decision {
    check_setting_count(changes.len())?;
    for (at, change) in changes.iter().enumerate() {
        if changes[..at].iter().any(|other| other.name == change.name) {
            // rule M12
            return refuse(
                ErrorCode::InvalidRequest,
                format!("{} is changed twice in one request.", change.name),
            );
        }
    }
    match &resource {
        Resource::Topic(name) if image.names.get(name.as_str()).is_none() => {
            return refuse(
                ErrorCode::UnknownTopicOrPartition,
                format!("The topic '{name}' does not exist."),
            );
        }
        Resource::Group(id) if id.is_empty() => {
            return refuse(ErrorCode::InvalidRequest, "A group id is not empty.");
        }
        _ => {}
    }
    let before = image.config(&resource).cloned().unwrap_or_default();
    let mut after = if replace {
        ConfigMap::default()
    } else {
        before.clone()
    };
    for change in changes {
        change_setting(&mut after, &resource, change)?;
    }
    check_fixed(&resource, &before, &mut after, replace)?;
    check_settings(&resource, &after, rules)?;
    if after == before {
        return Ok(Answer::Done);
    }
    if after.is_empty() {
        image.configs.remove(&resource);
    } else {
        image.configs.insert(resource.clone(), Arc::new(after));
    }
    delta.configs.push(resource);
    Ok(Answer::Done)
}

fn check_setting_count(count: usize) -> Result<(), Refusal> {
    if count <= SETTINGS_MAX {
        return Ok(());
    }
    refuse(
        ErrorCode::InvalidConfig,
        format!("{count} settings at once, at most {SETTINGS_MAX} are allowed."),
    )
}

fn find_key(resource: &Resource, name: &str) -> Result<&'static Key, ConfigError> {
    match resource {
        Resource::Topic(_) => find_topic(name),
        Resource::Broker(_) | Resource::ClusterDefault => broker::find_broker(name),
        Resource::Group(_) => group::find_group(name),
    }
}

fn change_setting(
    map: &mut ConfigMap,
    resource: &Resource,
    change: &Change,
) -> Result<(), Refusal> {
    let value = match (change.operation, &change.value) {
        (Operation::Delete, _) => {
            // rule M12: deleting what is not set is no error, and nor is a name nobody knows.
            map.0.remove(change.name.as_str());
            return Ok(());
        }
        (_, Some(value)) => value,
        (_, None) => {
            return refuse(
                ErrorCode::InvalidRequest,
                format!(
                    "{} needs a value; to go back to its default, delete it.",
                    change.name
                ),
            );
        }
    };
    if change.operation == Operation::Set {
        map.0
            .insert(change.name.as_str().into(), value.as_str().into());
        return Ok(());
    }
    let key = find_key(resource, &change.name)?;
    let word = if change.operation == Operation::Append {
        "APPEND"
    } else {
        "SUBTRACT"
    };
    if !key.is_list() {
        return Err(ConfigError::NotAList {
            key: change.name.clone(),
            operation: word,
        }
        .into());
    }
    let current = map
        .get(&change.name)
        .or(key.default)
        .unwrap_or_default()
        .to_string();
    let mut entries = split_list(&current);
    for entry in split_list(value) {
        match change.operation {
            Operation::Append if !entries.contains(&entry) => entries.push(entry),
            Operation::Subtract => entries.retain(|other| *other != entry),
            _ => {}
        }
    }
    map.0
        .insert(change.name.as_str().into(), entries.join(",").into());
    Ok(())
}

/// What only the creation of a topic may set stays as it is.
fn check_fixed(
    resource: &Resource,
    before: &ConfigMap,
    after: &mut ConfigMap,
    replace: bool,
) -> Result<(), Refusal> {
    if !matches!(resource, Resource::Topic(_)) {
        return Ok(());
    }
    for key in crate::config::topic::TOPIC.iter().filter(|key| key.fixed) {
        let held = before
            .get(key.name)
            .or(key.default)
            .unwrap_or_default()
            .to_string();
        match after.get(key.name) {
            Some(value) if value == held => {}
            // The older call names everything it wants to keep, and does not know this key.
            None if replace => {
                if before.get(key.name).is_some() {
                    after.0.insert(key.name.into(), held.as_str().into());
                }
            }
            None if before.get(key.name).is_none() => {}
            _ => {
                return Err(ConfigError::Fixed {
                    key: key.name,
                    value: held,
                }
                .into());
            }
        }
    }
    Ok(())
}

fn check_settings(resource: &Resource, map: &ConfigMap, rules: u16) -> Result<(), Refusal> {
    let bytes: usize = map
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if bytes > SETTINGS_BYTES_MAX {
        return refuse(
            ErrorCode::InvalidConfig,
            format!("{bytes} bytes of settings, at most {SETTINGS_BYTES_MAX} are allowed."),
        );
    }
    match resource {
        Resource::Topic(name) => check_topic(name, map.iter(), rules)?,
        Resource::Broker(_) | Resource::ClusterDefault => check_broker(map.iter(), rules)?,
        Resource::Group(_) => check_group(map.iter())?,
    }
    Ok(())
}

impl From<ConfigError> for Refusal {
    fn from(error: ConfigError) -> Refusal {
        let code = match error {
            ConfigError::NotDynamic { .. } => ErrorCode::InvalidRequest,
            _ => ErrorCode::InvalidConfig,
        };
        Refusal {
            code,
            message: error.to_string(),
        }
    }
}

fn allocate_producer_ids(
    image: &mut Image,
    broker: BrokerId,
    epoch: i64,
    delta: &mut Delta,
) -> Decision {
    known_broker(image, broker, epoch)?;
    let first = image.producer_id_next;
    let Some(next) = first.checked_add(i64::from(PRODUCER_IDS_PER_BLOCK)) else {
        return refuse(
            ErrorCode::UnknownServerError,
            "All producer ids have been handed out.",
        );
    };
    image.producer_id_next = next;
    delta.cluster = true;
    Ok(Answer::ProducerIds {
        first: ProducerId(first),
        count: PRODUCER_IDS_PER_BLOCK,
    })
}

fn change_isr(
    image: &mut Image,
    broker: BrokerId,
    epoch: i64,
    changes: &[IsrChange],
    delta: &mut Delta,
) -> Decision {
    known_broker(image, broker, epoch)?;
    let mut codes = Vec::with_capacity(changes.len());
    for change in changes {
        let code = match change_one_isr(image, broker, change) {
            Ok(true) => {
                delta.partitions.push((change.topic, change.partition));
                ErrorCode::None
            }
            Ok(false) => ErrorCode::None,
            Err(code) => code,
        };
        codes.push(code);
    }
    Ok(Answer::Partitions(codes))
}

/// Says whether the partition changed.
fn change_one_isr(
    image: &mut Image,
    from: BrokerId,
    change: &IsrChange,
) -> Result<bool, ErrorCode> {
    let topic = image
        .topics
        .get(&change.topic)
        .ok_or(ErrorCode::UnknownTopicId)?;
    let minimum = election::insync_min(image, &topic.name);
    let number =
        usize::try_from(change.partition).map_err(|_| ErrorCode::UnknownTopicOrPartition)?;
    let partition = topic
        .partitions
        .get(number)
        .ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if change.leader_epoch < partition.leader_epoch {
        return Err(ErrorCode::FencedLeaderEpoch);
    }
    if change.leader_epoch > partition.leader_epoch {
        // The sender knows more than this log does, which cannot be.
        return Err(ErrorCode::NotController);
    }
    if partition.leader != Some(from) {
        return Err(ErrorCode::InvalidRequest);
    }
    if change.partition_epoch != partition.partition_epoch {
        return Err(ErrorCode::InvalidUpdateVersion);
    }
    let in_replicas = |broker: &BrokerId| partition.replicas.contains(*broker);
    if has_duplicates(&change.isr)
        || !change.isr.contains(&from)
        || !change.isr.iter().all(in_replicas)
        || (change.recovery == Recovery::Recovering && partition.recovery == Recovery::Recovered)
    {
        return Err(ErrorCode::InvalidRequest);
    }
    // An unsafe leader must first say that it is whole.
    if change.recovery == Recovery::Recovering && change.isr.len() > 1 {
        return Err(ErrorCode::InvalidRequest);
    }
    let newcomers = change
        .isr
        .iter()
        .filter(|broker| !partition.isr.contains(**broker));
    for newcomer in newcomers {
        if !image
            .broker(*newcomer)
            .is_some_and(|broker| broker.is_active())
        {
            return Err(ErrorCode::IneligibleReplica);
        }
    }
    let mut next = partition.clone();
    next.isr = Replicas::from_slice(&change.isr);
    next.recovery = change.recovery;
    election::settle_elr(&mut next, &partition.isr, minimum);
    if next == *partition {
        return Ok(false);
    }
    next.partition_epoch += 1;
    if let Some(topic) = image.topics.get_mut(&change.topic) {
        Arc::make_mut(topic).partitions[number] = next;
    }
    Ok(true)
}

fn set_feature(image: &mut Image, name: String, level: i16, delta: &mut Delta) -> Decision {
    if level < 0 || name.is_empty() || name.len() > 64 {
        return refuse(
            ErrorCode::InvalidUpdateVersion,
            format!("Feature '{name}' cannot have level {level}."),
        );
    }
    if image.feature(&name) == Some(level) {
        return Ok(Answer::Done);
    }
    // A level of 0 is kept: what was switched off is not what nobody has decided about.
    Arc::make_mut(&mut image.features).insert(name, level);
    delta.cluster = true;
    Ok(Answer::Done)
}

fn change_quotas(image: &mut Image, changes: &[QuotaChange], delta: &mut Delta) -> Decision {
    let invalid = |message| Refusal {
        code: ErrorCode::InvalidRequest,
        message,
    };
    let mut fresh = 0;
    for change in changes {
        let entity = &change.entity;
        check_quota_entity(entity).map_err(invalid)?;
        if change.amounts.len() > QuotaKey::ALL.len() {
            return Err(invalid("A quota is changed twice at once.".into()));
        }
        for (key, amount) in &change.amounts {
            if let Some(amount) = amount {
                check_quota(entity, *key, *amount).map_err(invalid)?;
            }
        }
        let sets = change.amounts.iter().any(|(_, amount)| amount.is_some());
        fresh += usize::from(sets && image.quotas_of(entity).is_none());
    }
    if image.quotas.len() + fresh > QUOTA_ENTITIES_MAX {
        return Err(invalid(format!(
            "{} entities have quotas; at most {QUOTA_ENTITIES_MAX} may.",
            image.quotas.len()
        )));
    }
    for change in changes {
        if quota::change(&mut image.quotas, change) {
            delta.quotas.push(change.entity.clone());
        }
    }
    Ok(Answer::Done)
}
