//! Client quotas at work: who is measured by which meter, and how long it must wait.
//!
//! Invariants:
//! - Where nobody has a quota, a request costs one atomic load. Where somebody has, a connection
//!   looks its meters up once for each client id and each change of the quotas.
//! - At most [`METERS_MAX`] clients and [`ADDRESSES_MAX`] addresses are measured one by one. A meter
//!   that is back where a new one begins is dropped; beyond the bound all further clients of a kind
//!   of quota share one meter, so that a stream of invented client ids gets one allowance and not
//!   one each.
//!
//! It must never know sockets: it says how long, the connection rests.

use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metadata::config::StaticConfig;
use metadata::{Image, QuotaKey, Refusal, Whom};
use wire::ErrorCode;
use world::Instant;

use crate::bell::Bell;
use crate::rate::{Bucket, Rate, Windows};

/// The user of a connection that has not said who it is; Kafka's name for it.
pub const ANONYMOUS: &str = "ANONYMOUS";

/// Clients measured one by one, at about 400 bytes each.
const METERS_MAX: usize = 20_000;

/// Addresses measured one by one.
const ADDRESSES_MAX: usize = 20_000;

/// How often what is measured is looked through for what need not be, once there is much of it.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// How long a client is held back, and by which quota.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Throttle {
    /// The quota; `None` if it is not held back.
    pub by: Option<QuotaKey>,
    /// How long, milliseconds.
    pub ms: i32,
}

impl Throttle {
    /// Not held back.
    pub const NONE: Throttle = Throttle { by: None, ms: 0 };

    fn new(by: QuotaKey, wait: Duration) -> Throttle {
        // To the nearest millisecond, as Kafka.
        let ms = wait.saturating_add(Duration::from_micros(500)).as_millis();
        match i32::try_from(ms).unwrap_or(i32::MAX) {
            0 => Throttle::NONE,
            ms => Throttle { by: Some(by), ms },
        }
    }

    /// The longer of two.
    pub fn max(self, other: Throttle) -> Throttle {
        if other.ms > self.ms { other } else { self }
    }

    /// Whether nobody is held back.
    pub fn is_none(self) -> bool {
        self.by.is_none()
    }

    /// How long.
    pub fn wait(self) -> Duration {
        Duration::from_millis(u64::try_from(self.ms).unwrap_or(0))
    }
}

/// The quotas of a node.
pub struct Quotas {
    windows: Windows,
    mutation_windows: Windows,
    /// Counts the changes.
    generation: AtomicU64,
    /// Whether a user or client id has a quota.
    has_clients: AtomicBool,
    /// Whether an address has one.
    has_addresses: AtomicBool,
    meters: Mutex<Meters>,
    addresses: Mutex<Addresses>,
    bells: Mutex<Vec<Arc<Bell>>>,
}

#[derive(Default)]
struct Meters {
    of: HashMap<MeterKey, Arc<Meter>>,
    swept: Option<Instant>,
}

/// Who shares a meter.
#[derive(Clone, PartialEq, Eq, Hash)]
enum MeterKey {
    /// A user, a client id, or a user's client id; what does not matter is `None`.
    Of(QuotaKey, Option<Box<str>>, Option<Box<str>>),
    /// All beyond the bound.
    Others(QuotaKey),
}

/// What is measured of one client for one kind of quota.
struct Meter(Mutex<Measure>);

enum Measure {
    Rate(Rate),
    Bucket(Bucket),
}

#[derive(Default)]
struct Addresses {
    limits: HashMap<IpAddr, f64>,
    limit_default: Option<f64>,
    rates: HashMap<IpAddr, Rate>,
    others: Option<Rate>,
    swept: Option<Instant>,
}

/// The meters of one client id, as of one generation of the quotas.
pub struct ClientMeters {
    generation: u64,
    client_id: Box<str>,
    windows: Windows,
    produce: Option<Metered>,
    fetch: Option<Metered>,
    request: Option<Metered>,
    mutation: Option<Metered>,
}

/// A meter and what it is held against.
struct Metered {
    key: QuotaKey,
    limit: f64,
    meter: Arc<Meter>,
}

impl Quotas {
    /// Nobody has quotas yet.
    pub fn new(settings: &StaticConfig) -> Arc<Quotas> {
        let windows = |count: &str, seconds: &str| Windows {
            count: u32::try_from(settings.number(count)).unwrap_or(1).max(1),
            length: Duration::from_secs(
                u64::try_from(settings.number(seconds)).unwrap_or(1).max(1),
            ),
        };
        Arc::new(Quotas {
            windows: windows("quota.window.num", "quota.window.size.seconds"),
            mutation_windows: windows(
                "controller.quota.window.num",
                "controller.quota.window.size.seconds",
            ),
            generation: AtomicU64::new(0),
            has_clients: AtomicBool::new(false),
            has_addresses: AtomicBool::new(false),
            meters: Mutex::default(),
            addresses: Mutex::default(),
            bells: Mutex::default(),
        })
    }

    /// Rings `bell` whenever quotas change.
    pub fn ring_when_changed(&self, bell: Arc<Bell>) {
        lock(&self.bells).push(bell);
    }

    /// Takes over what the image says, which must be the published one. Connections look their
    /// meters up anew; those that are held back are woken to look whether they still are.
    pub fn follow(&self, image: &Image) {
        let mut addresses = self.addresses();
        addresses.limits.clear();
        addresses.limit_default = None;
        let mut has_clients = false;
        for (entity, map) in image.quotas() {
            let limit = map.get(&QuotaKey::ConnectionCreationRate);
            let limit = limit.map(|amount| amount.value());
            match &entity.ip {
                None => has_clients = true,
                Some(Whom::Default) => addresses.limit_default = limit,
                Some(Whom::Named(ip)) => {
                    if let (Ok(ip), Some(limit)) = (ip.parse::<IpAddr>(), limit) {
                        addresses.limits.insert(ip.to_canonical(), limit);
                    }
                }
            }
        }
        let has_addresses = !addresses.limits.is_empty() || addresses.limit_default.is_some();
        if !has_addresses {
            addresses.rates.clear();
        }
        drop(addresses);
        self.has_addresses.store(has_addresses, Ordering::Release);
        self.has_clients.store(has_clients, Ordering::Release);
        self.generation.fetch_add(1, Ordering::AcqRel);
        for bell in lock(&self.bells).iter() {
            bell.ring();
        }
    }

    /// Counts the changes.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Whether a user or client id has a quota.
    pub fn has_clients(&self) -> bool {
        self.has_clients.load(Ordering::Relaxed)
    }

    /// The meters of a client. `image` was loaded after `generation` was.
    pub fn client(
        &self,
        image: &Image,
        generation: u64,
        user: &str,
        client_id: &str,
        now: Instant,
    ) -> ClientMeters {
        let metered = |key: QuotaKey| {
            let allowance = image.allowance(user, client_id, key)?;
            let own = MeterKey::Of(
                key,
                allowance.by_user.then(|| user.into()),
                allowance.by_client_id.then(|| client_id.into()),
            );
            Some(Metered {
                key,
                limit: allowance.amount.value(),
                meter: self.meter(key, own, now),
            })
        };
        ClientMeters {
            generation,
            client_id: client_id.into(),
            windows: self.windows,
            produce: metered(QuotaKey::ProducerByteRate),
            fetch: metered(QuotaKey::ConsumerByteRate),
            request: metered(QuotaKey::RequestPercentage),
            mutation: metered(QuotaKey::ControllerMutationRate),
        }
    }

    fn meter(&self, key: QuotaKey, own: MeterKey, now: Instant) -> Arc<Meter> {
        let mut meters = lock(&self.meters);
        if let Some(meter) = meters.of.get(&own) {
            return meter.clone();
        }
        if meters.of.len() >= METERS_MAX && is_due(&mut meters.swept, now) {
            // One that a connection holds must stay, or its client had two.
            meters
                .of
                .retain(|_, meter| Arc::strong_count(meter) > 1 || !meter.is_fresh(now));
        }
        let entry = if meters.of.len() >= METERS_MAX {
            MeterKey::Others(key)
        } else {
            own
        };
        meters
            .of
            .entry(entry)
            .or_insert_with(|| {
                let measure = match key {
                    QuotaKey::ControllerMutationRate => {
                        Measure::Bucket(Bucket::new(self.mutation_windows))
                    }
                    _ => Measure::Rate(Rate::new(self.windows)),
                };
                Arc::new(Meter(Mutex::new(measure)))
            })
            .clone()
    }

    /// Records a connection from an address: how long it is to be kept waiting and then closed, if
    /// they come too fast.
    pub fn connected(&self, address: IpAddr, now: Instant) -> Option<Throttle> {
        if !self.has_addresses.load(Ordering::Relaxed) {
            return None;
        }
        let address = address.to_canonical();
        let mut addresses = self.addresses();
        let Addresses {
            limits,
            limit_default,
            rates,
            others,
            swept,
        } = &mut *addresses;
        let limit = limits.get(&address).copied().or(*limit_default)?;
        if rates.len() >= ADDRESSES_MAX && !rates.contains_key(&address) && is_due(swept, now) {
            rates.retain(|_, rate| rate.sum(now) > 0.0);
        }
        let known = rates.contains_key(&address);
        let rate = if known || rates.len() < ADDRESSES_MAX {
            rates
                .entry(address)
                .or_insert_with(|| Rate::new(self.windows))
        } else {
            others.get_or_insert_with(|| Rate::new(self.windows))
        };
        rate.record(now, 1.0);
        let wait = rate.excess(now, limit);
        if wait.is_zero() {
            return None;
        }
        // It was not let in.
        rate.record(now, -1.0);
        let wait = wait.min(self.windows.length);
        Some(Throttle::new(QuotaKey::ConnectionCreationRate, wait))
    }

    fn addresses(&self) -> MutexGuard<'_, Addresses> {
        lock(&self.addresses)
    }
}

/// Whether a sweep is due; notes that it takes place.
fn is_due(swept: &mut Option<Instant>, now: Instant) -> bool {
    let due = swept.is_none_or(|last| now.since(last) >= SWEEP_EVERY);
    if due {
        *swept = Some(now);
    }
    due
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Meter {
    /// Whether a new one would measure the same.
    fn is_fresh(&self, now: Instant) -> bool {
        match &mut *lock(&self.0) {
            Measure::Rate(rate) => rate.sum(now) <= 0.0,
            Measure::Bucket(bucket) => bucket.is_full(now),
        }
    }
}

impl Metered {
    fn throttle(&self, wait: Duration) -> Throttle {
        Throttle::new(self.key, wait)
    }

    /// Records so much; how long to wait.
    fn charge(&self, now: Instant, value: f64) -> Duration {
        match &mut *lock(&self.meter.0) {
            Measure::Rate(rate) => {
                rate.record(now, value);
                rate.excess(now, self.limit)
            }
            Measure::Bucket(bucket) => {
                bucket.take(now, self.limit, value);
                bucket.debt(now, self.limit)
            }
        }
    }

    /// How long to wait for what was recorded before.
    fn owed(&self, now: Instant) -> Duration {
        match &mut *lock(&self.meter.0) {
            Measure::Rate(rate) => rate.excess(now, self.limit),
            Measure::Bucket(bucket) => bucket.debt(now, self.limit),
        }
    }
}

impl ClientMeters {
    /// Whether these are the meters of this client as of now.
    pub fn are_of(&self, generation: u64, client_id: &str) -> bool {
        self.generation == generation && *self.client_id == *client_id
    }

    /// Whose they are.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// Whether nothing of this client is measured.
    pub fn is_empty(&self) -> bool {
        [&self.produce, &self.fetch, &self.request, &self.mutation]
            .into_iter()
            .all(Option::is_none)
    }

    /// A Produce request of so many bytes was taken.
    pub fn produced(&self, bytes: usize, now: Instant) -> Throttle {
        self.produce.as_ref().map_or(Throttle::NONE, |metered| {
            metered.throttle(metered.charge(now, bytes as f64))
        })
    }

    /// An answer with so many bytes of records is about to leave. Held back, it leaves without
    /// them, and they do not count.
    ///
    /// What alone is more than ten windows allow goes through where nothing went before it: a batch
    /// cannot be cut, and its reader would never get past it. (On Kafka it does not.)
    pub fn fetched(&self, bytes: u64, now: Instant) -> Throttle {
        let Some(metered) = &self.fetch else {
            return Throttle::NONE;
        };
        let bytes = bytes as f64;
        let Measure::Rate(rate) = &mut *lock(&metered.meter.0) else {
            return Throttle::NONE;
        };
        let alone = rate.sum(now) <= 0.0;
        rate.record(now, bytes);
        let wait = rate.excess(now, metered.limit);
        if wait.is_zero() || (alone && bytes > 0.0) {
            return Throttle::NONE;
        }
        rate.record(now, -bytes);
        metered.throttle(wait)
    }

    /// Bytes around the records of an answer left, or it was empty.
    pub fn fetched_around(&self, bytes: usize, now: Instant) {
        if let Some(metered) = &self.fetch {
            metered.charge(now, bytes as f64);
        }
    }

    /// The most bytes that are let through at once.
    pub fn fetch_bytes_max(&self) -> u64 {
        self.fetch.as_ref().map_or(u64::MAX, |metered| {
            (metered.limit * self.windows.span_ended().as_secs_f64()) as u64
        })
    }

    /// Whether the time of its requests is measured.
    pub fn counts_time(&self) -> bool {
        self.request.is_some()
    }

    /// A request took so long. Nobody waits longer than one window for that, as on Kafka: the time
    /// is spent already.
    pub fn worked(&self, spent: Duration, now: Instant) -> Throttle {
        self.request.as_ref().map_or(Throttle::NONE, |metered| {
            let wait = metered.charge(now, spent.as_secs_f64() * 100.0);
            metered.throttle(wait.min(self.windows.length))
        })
    }

    /// How long this quota still holds the client back.
    pub fn owed(&self, key: QuotaKey, now: Instant) -> Throttle {
        let metered = match key {
            QuotaKey::ProducerByteRate => &self.produce,
            QuotaKey::ConsumerByteRate => &self.fetch,
            QuotaKey::RequestPercentage => &self.request,
            QuotaKey::ControllerMutationRate => &self.mutation,
            QuotaKey::ConnectionCreationRate => &None,
        };
        metered.as_ref().map_or(Throttle::NONE, |metered| {
            metered.throttle(metered.owed(now))
        })
    }
}

/// The partitions that one request creates or deletes, against its client's quota.
pub struct Mutations {
    meters: Option<Rc<ClientMeters>>,
    /// Whether what is beyond is refused; else it is done, and the client waits afterwards.
    strict: bool,
    /// The wait, and when it began.
    wait: Option<(Throttle, Instant)>,
}

impl Mutations {
    /// Nothing has been done. Strict from the version on that knows the error.
    pub fn new(meters: Option<Rc<ClientMeters>>, strict: bool) -> Mutations {
        Mutations {
            meters,
            strict,
            wait: None,
        }
    }

    /// Whether a quota holds.
    pub fn are_measured(&self) -> bool {
        let meters = self.meters.as_ref();
        meters.is_some_and(|meters| meters.mutation.is_some())
    }

    /// Takes up so many partitions.
    ///
    /// # Errors
    /// THROTTLING_QUOTA_EXCEEDED: not now.
    pub fn take(&mut self, partitions: usize, now: Instant) -> Result<(), Refusal> {
        let metered = self
            .meters
            .as_ref()
            .and_then(|meters| meters.mutation.as_ref());
        let Some(metered) = metered else {
            return Ok(());
        };
        if self.strict {
            let owed = metered.throttle(metered.owed(now));
            if !owed.is_none() {
                self.wait = Some((owed, now));
                return Err(Refusal {
                    code: ErrorCode::ThrottlingQuotaExceeded,
                    message: "The throttling quota has been exceeded.".into(),
                });
            }
            metered.charge(now, partitions as f64);
            return Ok(());
        }
        let wait = metered.throttle(metered.charge(now, partitions as f64));
        if !wait.is_none() {
            self.wait = Some((wait, now));
        }
        Ok(())
    }

    /// What is left of the wait.
    pub fn throttle(&self, now: Instant) -> Throttle {
        self.wait.map_or(Throttle::NONE, |(throttle, began)| {
            let left = throttle.wait().saturating_sub(now.since(began));
            throttle
                .by
                .map_or(Throttle::NONE, |by| Throttle::new(by, left))
        })
    }
}

#[cfg(test)]
mod tests {
    use metadata::{Amount, Command, MetadataOffset, QuotaChange, QuotaEntity, apply};

    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant(seconds * 1_000_000_000)
    }

    /// An image in which each client id without a quota of its own has this one.
    fn image(key: QuotaKey, value: f64) -> Image {
        let mut image = Image::default();
        let changes = vec![QuotaChange {
            entity: QuotaEntity {
                client_id: Some(Whom::Default),
                ..QuotaEntity::default()
            },
            amounts: vec![(key, Amount::new(value))],
        }];
        let bytes = Command::ChangeQuotas { changes }.encode();
        let proposed = Command::decode(&bytes).expect("own bytes");
        apply(&mut image, MetadataOffset(1), proposed);
        image
    }

    #[test]
    fn a_stream_of_invented_client_ids_does_not_grow_what_is_measured() {
        // rule S7
        let image = image(QuotaKey::ProducerByteRate, 100.0);
        let quotas = Quotas::new(&StaticConfig::default());
        quotas.follow(&image);
        let client = |id: usize, now: Instant| {
            quotas.client(
                &image,
                quotas.generation(),
                ANONYMOUS,
                &format!("c{id}"),
                now,
            )
        };
        for id in 0..METERS_MAX + 100 {
            // Each takes all it may, and each of the last of what they share.
            let throttle = client(id, at(0)).produced(1_000, at(0));
            assert_eq!(throttle.is_none(), id <= METERS_MAX, "client {id}");
        }
        assert_eq!(lock(&quotas.meters).of.len(), METERS_MAX + 1);
        // One that is held goes on being measured by the same meter; silent ones are forgotten.
        let held = client(0, at(5));
        held.produced(1_000, at(5));
        assert!(client(METERS_MAX, at(20)).produced(1_000, at(20)).is_none());
        assert_eq!(lock(&quotas.meters).of.len(), 2);
        assert!(held.produced(1_000, at(20)).is_none());
        assert!(
            client(0, at(20)).produced(1, at(20)).ms > 0,
            "the same meter"
        );
    }

    #[test]
    fn a_client_id_shares_its_meter_over_connections_and_not_with_others() {
        // rule S7
        let image = image(QuotaKey::ConsumerByteRate, 100.0);
        let quotas = Quotas::new(&StaticConfig::default());
        quotas.follow(&image);
        let client = |id: &str| quotas.client(&image, 1, ANONYMOUS, id, at(0));
        let (one, same, other) = (client("a"), client("a"), client("b"));
        assert!(one.fetched(900, at(0)).is_none());
        assert_eq!(same.fetched(200, at(0)).ms, 1_000);
        assert!(
            same.fetched(100, at(0)).is_none(),
            "what stayed back does not count"
        );
        assert!(other.fetched(900, at(0)).is_none());
        assert_eq!(one.fetch_bytes_max(), 1_000);
        assert!(!one.counts_time() && !one.is_empty());
    }

    #[test]
    fn waits_are_rounded_as_kafka_rounds_them() {
        let wait =
            |micros| Throttle::new(QuotaKey::ProducerByteRate, Duration::from_micros(micros));
        assert_eq!(wait(499), Throttle::NONE);
        assert_eq!(wait(500).ms, 1);
        assert_eq!(wait(1_499).ms, 1);
        let longest = Throttle::new(QuotaKey::ProducerByteRate, Duration::MAX);
        assert_eq!(longest.ms, i32::MAX);
    }
}
