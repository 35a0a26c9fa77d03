//! The whole image as bytes: `docs/formats/metadata-snapshot.md`.

use std::sync::Arc;

use stdx::{CursorError, Reader, Writer, crc32c};
use wire::ids::{BrokerId, LeaderEpoch, TopicId};

use crate::command::{
    Corrupt, count, read_brokers, read_directories, read_each, read_endpoints, read_flag,
    read_option, read_recovery, read_resource, read_text, text, write_brokers, write_directories,
    write_endpoints, write_option, write_resource,
};
use crate::image::{Broker, ConfigMap, Image, MetadataOffset, Topic};
use crate::partition::{Partition, Recovery, Replicas};
use crate::quota::{
    QuotaMap, read_amount, read_entity, read_key, write_amount, write_entity, write_key,
};
use crate::topic_name::unified;

const MAGIC: [u8; 4] = *b"MIMG";
/// The newest version of the layout.
///
/// - 1: without quotas.
/// - 2: quotas behind the configs. An image without quotas is written as version 1, so that the
///   older build can read it.
const VERSION: u16 = 2;
/// Magic, version and the checksum at the end.
const FRAME_BYTES: usize = 4 + 2 + 4;
const WHAT: &str = "metadata snapshot";

/// The image's bytes. The same image gives the same bytes on every node.
pub fn snapshot(image: &Image) -> Vec<u8> {
    let mut out = Writer::with_capacity(1_024 + image.partition_count * 64);
    let version = if image.has_quotas() { 2 } else { 1 };
    out.raw(&MAGIC).u16_le(version);
    out.u64_le(image.offset.0).i64_le(image.producer_id_next);
    write_option(&mut out, image.cluster_id());
    count(&mut out, image.features.len());
    for (name, level) in image.features() {
        text(&mut out, name);
        out.i16_le(level);
    }
    count(&mut out, image.brokers.len());
    for broker in image.brokers() {
        write_broker(&mut out, broker);
    }
    count(&mut out, image.topics.len());
    for (id, topic) in image.topics.iter() {
        out.raw(&id.0);
        text(&mut out, &topic.name);
        count(&mut out, topic.partitions.len());
        for partition in &topic.partitions {
            write_partition(&mut out, partition);
        }
    }
    count(&mut out, image.configs.len());
    for (resource, map) in image.configs() {
        write_resource(&mut out, resource);
        count(&mut out, map.0.len());
        for (name, value) in map.iter() {
            text(&mut out, name);
            text(&mut out, value);
        }
    }
    if version >= 2 {
        count(&mut out, image.quotas.len());
        for (entity, map) in image.quotas() {
            write_entity(&mut out, entity);
            count(&mut out, map.len());
            for (key, amount) in map {
                write_key(&mut out, *key);
                write_amount(&mut out, *amount);
            }
        }
    }
    let checksum = crc32c(out.as_slice());
    out.u32_le(checksum);
    out.into_bytes()
}

/// Reads [`snapshot`]'s bytes.
pub fn restore(bytes: &[u8]) -> Result<Image, Corrupt> {
    let malformed = |reason: CursorError| Corrupt::malformed(WHAT, reason);
    if bytes.len() < FRAME_BYTES || bytes[..4] != MAGIC {
        return Err(Corrupt::malformed(WHAT, "it does not begin like one"));
    }
    let (body, tail) = bytes.split_at(bytes.len() - 4);
    let version = u16::from_le_bytes([body[4], body[5]]);
    if version == 0 || version > VERSION {
        return Err(Corrupt::TooNew {
            what: WHAT,
            version: u32::from(version),
            known: u32::from(VERSION),
        });
    }
    if crc32c(body).to_le_bytes() != *tail {
        return Err(Corrupt::malformed(WHAT, "its checksum does not agree"));
    }
    let mut input = Reader::new(&body[6..]);
    let image = read_image(&mut input, version).map_err(malformed)?;
    input.finish().map_err(malformed)?;
    if image.names.len() != image.topics.len() {
        return Err(Corrupt::malformed(WHAT, "two topics have one name"));
    }
    Ok(image)
}

fn read_image(input: &mut Reader<'_>, version: u16) -> Result<Image, CursorError> {
    let offset = MetadataOffset(input.u64_le()?);
    let mut image = Image {
        offset,
        topics_version: offset,
        producer_id_next: input.i64_le()?,
        cluster_id: read_option(input)?.map(Arc::from),
        ..Image::default()
    };
    let features = read_each(input, 3, |input| Ok((read_text(input)?, input.i16_le()?)))?;
    image.features = Arc::new(features.into_iter().collect());
    let brokers = read_each(input, 35, read_broker)?;
    image.brokers = Arc::new(
        brokers
            .into_iter()
            .map(|broker| (broker.id, Arc::new(broker)))
            .collect(),
    );
    for _ in 0..input.count_varint(18)? {
        let id = TopicId(input.array()?);
        let name: Arc<str> = read_text(input)?.into();
        let mut partitions: Vec<Partition> = Vec::new();
        for _ in 0..input.count_varint(17)? {
            let mut partition = read_partition(input)?;
            // Most partitions of a topic lie in the same directories: hold the list once.
            if let Some(last) = partitions.last()
                && last.directories == partition.directories
            {
                partition.directories = Arc::clone(&last.directories);
            }
            partitions.push(partition);
        }
        partitions.shrink_to_fit();
        image.partition_count += partitions.len();
        if let Some(unified) = unified(&name) {
            image.unified.insert(unified.into(), Arc::clone(&name));
        }
        image.names.insert(Arc::clone(&name), id);
        image.topics.insert(
            id,
            Arc::new(Topic {
                name,
                id,
                partitions,
            }),
        );
    }
    for _ in 0..input.count_varint(2)? {
        let resource = read_resource(input)?;
        let entries = read_each(input, 2, |input| Ok((read_text(input)?, read_text(input)?)))?;
        let map: ConfigMap = entries
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        image.configs.insert(resource, Arc::new(map));
    }
    if version >= 2 {
        for _ in 0..input.count_varint(2)? {
            let entity = read_entity(input)?;
            let amounts = read_each(input, 9, |input| {
                Ok((read_key(input)?, read_amount(input)?))
            })?;
            let map: QuotaMap = amounts.into_iter().collect();
            image.quotas.insert(entity, Arc::new(map));
        }
    }
    Ok(image)
}

fn write_broker(out: &mut Writer, broker: &Broker) {
    out.i32_le(broker.id.0)
        .i64_le(broker.epoch)
        .raw(&broker.incarnation);
    out.u8(u8::from(broker.fenced))
        .u8(u8::from(broker.shutting_down));
    write_endpoints(out, &broker.endpoints);
    write_option(out, broker.rack.as_deref());
    write_directories(out, &broker.directories);
}

fn read_broker(input: &mut Reader<'_>) -> Result<Broker, CursorError> {
    Ok(Broker {
        id: BrokerId(input.i32_le()?),
        epoch: input.i64_le()?,
        incarnation: input.array()?,
        fenced: read_flag(input)?,
        shutting_down: read_flag(input)?,
        endpoints: read_endpoints(input)?,
        rack: read_option(input)?,
        directories: read_directories(input)?,
    })
}

fn write_partition(out: &mut Writer, partition: &Partition) {
    write_brokers(out, partition.replicas.as_slice());
    write_brokers(out, partition.isr.as_slice());
    write_brokers(out, partition.elr.as_slice());
    write_directories(out, &partition.directories);
    out.i32_le(partition.leader.unwrap_or(BrokerId::NONE).0);
    out.i32_le(partition.leader_epoch.0)
        .i32_le(partition.partition_epoch);
    out.u8(u8::from(partition.recovery == Recovery::Recovering));
}

fn read_partition(input: &mut Reader<'_>) -> Result<Partition, CursorError> {
    let replicas = Replicas::from_slice(&read_brokers(input)?);
    let isr = Replicas::from_slice(&read_brokers(input)?);
    let elr = Replicas::from_slice(&read_brokers(input)?);
    let directories = read_directories(input)?.into();
    let leader = BrokerId(input.i32_le()?);
    Ok(Partition {
        replicas,
        isr,
        elr,
        directories,
        leader: Some(leader).filter(|leader| *leader != BrokerId::NONE),
        leader_epoch: LeaderEpoch(input.i32_le()?),
        partition_epoch: input.i32_le()?,
        recovery: read_recovery(input)?,
    })
}
