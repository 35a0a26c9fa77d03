//! Client quotas: whose, of what, how much; what may be set, and which one holds for a client.
//!
//! Invariant: what the image holds has passed [`check_quota`], and no entity without a quota is
//! kept.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use stdx::{CursorError, Reader, Writer};

use crate::command::{count, read_each, read_text, text};
use crate::image::Image;
use crate::shelf::Shelf;

/// Entities with quotas, in all. Each node holds them in memory and looks through them when one is
/// asked for; a cluster names its heavy clients, not its hundred thousand others.
pub const QUOTA_ENTITIES_MAX: usize = 10_000;

/// Bytes of a user's name or client id that has a quota of its own.
pub const QUOTA_NAME_BYTES_MAX: usize = 1_024;

/// One name, or everybody who has no quota of their own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Whom {
    /// All that have none of their own.
    Default,
    /// One.
    Named(Box<str>),
}

/// Whose quota it is: of a user, a client id, a user's client id, or an address.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QuotaEntity {
    /// The user.
    pub user: Option<Whom>,
    /// The client id.
    pub client_id: Option<Whom>,
    /// The address; never beside one of the others.
    pub ip: Option<Whom>,
}

/// What a quota bounds. The numbers are those of the formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QuotaKey {
    /// Bytes a second of Produce requests.
    ProducerByteRate = 1,
    /// Bytes a second of Fetch answers.
    ConsumerByteRate = 2,
    /// Percent of one thread's time.
    RequestPercentage = 3,
    /// Partitions created and deleted a second.
    ControllerMutationRate = 4,
    /// Connections a second, of an address.
    ConnectionCreationRate = 5,
}

/// How much: any number but NaN, so that equal ones are equal.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Amount(f64);

impl Eq for Amount {}

/// The quotas of one entity.
pub type QuotaMap = BTreeMap<QuotaKey, Amount>;

/// New and removed quotas of one entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaChange {
    /// Whose.
    pub entity: QuotaEntity,
    /// The new values; `None` takes the quota away.
    pub amounts: Vec<(QuotaKey, Option<Amount>)>,
}

/// The quota that holds for a client, and who shares it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Allowance {
    /// How much.
    pub amount: Amount,
    /// Whether each user has this much for itself; otherwise the user does not matter.
    pub by_user: bool,
    /// Whether each client id has this much for itself; otherwise all of the user's share it.
    pub by_client_id: bool,
}

impl Amount {
    /// The number, unless it is none.
    pub fn new(value: f64) -> Option<Amount> {
        (!value.is_nan()).then_some(Amount(value))
    }

    /// The number.
    pub fn value(self) -> f64 {
        self.0
    }
}

impl Whom {
    /// One, or the default without a name: as Kafka's messages write it.
    pub fn of(name: Option<&str>) -> Whom {
        name.map_or(Whom::Default, |name| Whom::Named(name.into()))
    }

    /// The name; `None` for the default.
    pub fn name(&self) -> Option<&str> {
        match self {
            Whom::Default => None,
            Whom::Named(name) => Some(name),
        }
    }
}

impl QuotaEntity {
    /// Kafka's names of the kinds of entities.
    pub const TYPES: [&'static str; 3] = ["user", "client-id", "ip"];

    /// The parts that are there, with Kafka's name of their kind.
    pub fn parts(&self) -> impl Iterator<Item = (&'static str, &Whom)> {
        let parts = [&self.user, &self.client_id, &self.ip];
        QuotaEntity::TYPES
            .into_iter()
            .zip(parts)
            .filter_map(|(kind, part)| part.as_ref().map(|whom| (kind, whom)))
    }

    /// The part of that kind, to be filled; `None` for a kind that does not exist.
    pub fn part_mut(&mut self, kind: &str) -> Option<&mut Option<Whom>> {
        match kind {
            "user" => Some(&mut self.user),
            "client-id" => Some(&mut self.client_id),
            "ip" => Some(&mut self.ip),
            _ => None,
        }
    }
}

impl QuotaKey {
    /// All of them.
    pub const ALL: [QuotaKey; 5] = [
        QuotaKey::ProducerByteRate,
        QuotaKey::ConsumerByteRate,
        QuotaKey::RequestPercentage,
        QuotaKey::ControllerMutationRate,
        QuotaKey::ConnectionCreationRate,
    ];

    /// Kafka's name of it.
    pub fn name(self) -> &'static str {
        match self {
            QuotaKey::ProducerByteRate => "producer_byte_rate",
            QuotaKey::ConsumerByteRate => "consumer_byte_rate",
            QuotaKey::RequestPercentage => "request_percentage",
            QuotaKey::ControllerMutationRate => "controller_mutation_rate",
            QuotaKey::ConnectionCreationRate => "connection_creation_rate",
        }
    }

    /// By Kafka's name.
    pub fn named(name: &str) -> Option<QuotaKey> {
        QuotaKey::ALL.into_iter().find(|key| key.name() == name)
    }

    /// The largest whole number it takes, and what Kafka calls such numbers; `None` takes any.
    fn whole_max(self) -> Option<(f64, &'static str)> {
        match self {
            QuotaKey::ProducerByteRate | QuotaKey::ConsumerByteRate => {
                Some((i64::MAX as f64, "a LONG"))
            }
            QuotaKey::ConnectionCreationRate => Some((f64::from(i32::MAX), "an INT")),
            QuotaKey::RequestPercentage | QuotaKey::ControllerMutationRate => None,
        }
    }

    fn is_of_addresses(self) -> bool {
        self == QuotaKey::ConnectionCreationRate
    }
}

/// Whether this may be an entity, in Kafka's words and order.
///
/// # Errors
/// Kafka's message; the error is INVALID_REQUEST.
pub fn check_quota_entity(entity: &QuotaEntity) -> Result<(), String> {
    for (kind, whom) in entity.parts() {
        match whom.name() {
            Some("") => return Err(format!("Empty {kind} not supported")),
            Some(name) if name.len() > QUOTA_NAME_BYTES_MAX => {
                return Err(format!(
                    "The {kind} has {} bytes, at most {QUOTA_NAME_BYTES_MAX} may have a quota",
                    name.len()
                ));
            }
            _ => {}
        }
    }
    let is_of_client = entity.user.is_some() || entity.client_id.is_some();
    match &entity.ip {
        None if !is_of_client => Err("Invalid empty client quota entity".into()),
        None => Ok(()),
        // Kafka's sentence lacks the same space.
        Some(_) if is_of_client => Err(
            "Invalid quota entity combination, IP entity shouldnot be combined with User or \
             ClientId"
                .into(),
        ),
        Some(Whom::Named(ip)) if ip.parse::<IpAddr>().is_err() => {
            Err(format!("{ip} is not a valid IP or resolvable host."))
        }
        Some(_) => Ok(()),
    }
}

/// Whether an entity may have this quota, in Kafka's words and order.
///
/// # Errors
/// Kafka's message; the error is INVALID_REQUEST.
pub fn check_quota(entity: &QuotaEntity, key: QuotaKey, amount: Amount) -> Result<(), String> {
    let (name, value) = (key.name(), amount.value());
    if key.is_of_addresses() != entity.ip.is_some() {
        return Err(format!("Invalid configuration key {name}"));
    }
    if value <= 0.0 {
        return Err(format!("Quota {name} must be greater than 0"));
    }
    if let Some((max, kind)) = key.whole_max() {
        if value > max {
            return Err(format!(
                "Proposed value for {name} is too large for {kind}."
            ));
        }
        if (value % 1.0).abs() > 1e-6 {
            return Err(format!("{name} cannot be a fractional value."));
        }
    }
    Ok(())
}

impl Image {
    /// All entities with quotas, in order.
    pub fn quotas(&self) -> impl Iterator<Item = (&QuotaEntity, &QuotaMap)> {
        self.quotas.iter().map(|(entity, map)| (entity, &**map))
    }

    /// Whether anybody has a quota.
    pub fn has_quotas(&self) -> bool {
        !self.quotas.is_empty()
    }

    /// The quotas of exactly this entity.
    pub fn quotas_of(&self, entity: &QuotaEntity) -> Option<&QuotaMap> {
        self.quotas.get(entity).map(|map| &**map)
    }

    /// The quota that holds for a user's client: the most specific that sets this key. A user's
    /// goes before a client id's, a name's before the default's.
    // rule S7
    pub fn allowance(&self, user: &str, client_id: &str, key: QuotaKey) -> Option<Allowance> {
        let named = |name: &str| Some(Whom::Named(name.into()));
        let (user, client_id) = (named(user), named(client_id));
        let default = Some(Whom::Default);
        let order = [
            (&user, &client_id),
            (&user, &default),
            (&user, &None),
            (&default, &client_id),
            (&default, &default),
            (&default, &None),
            (&None, &client_id),
            (&None, &default),
        ];
        order.into_iter().find_map(|(user, client_id)| {
            let entity = QuotaEntity {
                user: user.clone(),
                client_id: client_id.clone(),
                ip: None,
            };
            let amount = *self.quotas_of(&entity)?.get(&key)?;
            Some(Allowance {
                amount,
                by_user: user.is_some(),
                by_client_id: client_id.is_some(),
            })
        })
    }
}

/// Changes the quotas of one entity; whether something is different now.
pub(crate) fn change(quotas: &mut Shelf<QuotaEntity, Arc<QuotaMap>>, change: &QuotaChange) -> bool {
    let before = quotas.get(&change.entity);
    let mut map = before.map(|map| QuotaMap::clone(map)).unwrap_or_default();
    for (key, amount) in &change.amounts {
        match amount {
            Some(amount) => drop(map.insert(*key, *amount)),
            None => drop(map.remove(key)),
        }
    }
    if before.map_or(map.is_empty(), |before| **before == map) {
        return false;
    }
    if map.is_empty() {
        quotas.remove(&change.entity);
    } else {
        quotas.insert(change.entity.clone(), Arc::new(map));
    }
    true
}

pub(crate) fn write_entity(out: &mut Writer, entity: &QuotaEntity) {
    count(out, entity.parts().count());
    for (kind, whom) in entity.parts() {
        let at = QuotaEntity::TYPES.iter().position(|known| *known == kind);
        out.u8(at.map_or(0, |at| at as u8 + 1));
        match whom {
            Whom::Default => {
                out.u8(0);
            }
            Whom::Named(name) => {
                out.u8(1);
                text(out, name);
            }
        }
    }
}

pub(crate) fn read_entity(input: &mut Reader<'_>) -> Result<QuotaEntity, CursorError> {
    let mut entity = QuotaEntity::default();
    for _ in 0..input.count_varint(2)? {
        let position = input.position();
        let kind = input.u8()?;
        let bad = CursorError::BadLength {
            position,
            length: i64::from(kind),
        };
        let named = QuotaEntity::TYPES.get(usize::from(kind).wrapping_sub(1));
        let part = named.and_then(|kind| entity.part_mut(kind)).ok_or(bad)?;
        // Each kind once, or the same entity could be written in two ways.
        if part.is_some() {
            return Err(bad);
        }
        *part = Some(if crate::command::read_flag(input)? {
            Whom::Named(read_text(input)?.into())
        } else {
            Whom::Default
        });
    }
    Ok(entity)
}

pub(crate) fn write_key(out: &mut Writer, key: QuotaKey) {
    out.u8(key as u8);
}

pub(crate) fn read_key(input: &mut Reader<'_>) -> Result<QuotaKey, CursorError> {
    let position = input.position();
    let number = input.u8()?;
    QuotaKey::ALL
        .into_iter()
        .find(|key| *key as u8 == number)
        .ok_or(CursorError::BadLength {
            position,
            length: i64::from(number),
        })
}

pub(crate) fn write_amount(out: &mut Writer, amount: Amount) {
    out.u64_le(amount.0.to_bits());
}

pub(crate) fn read_amount(input: &mut Reader<'_>) -> Result<Amount, CursorError> {
    let position = input.position();
    Amount::new(f64::from_bits(input.u64_le()?)).ok_or(CursorError::BadLength {
        position,
        length: -1,
    })
}

pub(crate) fn write_changes(out: &mut Writer, changes: &[QuotaChange]) {
    count(out, changes.len());
    for change in changes {
        write_entity(out, &change.entity);
        count(out, change.amounts.len());
        for (key, amount) in &change.amounts {
            write_key(out, *key);
            match amount {
                None => {
                    out.u8(0);
                }
                Some(amount) => {
                    out.u8(1);
                    write_amount(out, *amount);
                }
            }
        }
    }
}

pub(crate) fn read_changes(input: &mut Reader<'_>) -> Result<Vec<QuotaChange>, CursorError> {
    read_each(input, 2, |input| {
        Ok(QuotaChange {
            entity: read_entity(input)?,
            amounts: read_each(input, 2, |input| {
                let key = read_key(input)?;
                let amount = match crate::command::read_flag(input)? {
                    true => Some(read_amount(input)?),
                    false => None,
                };
                Ok((key, amount))
            })?,
        })
    })
}
