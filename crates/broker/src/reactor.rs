//! One thread's share of the node: its connections, and everything that wakes them.
//!
//! A reactor is a single-threaded runtime. All that other threads may do to it is ring its
//! [`Bell`]; its pump task then looks what happened (the log became durable, partitions moved,
//! permits came back) and wakes each connection concerned once. So a group of a thousand
//! answers costs one wake-up of the thread and one write per connection.
//!
//! The pump is also the clock of long polls and the sweep that ends idle and slow connections.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

use commitlog::{DurableListener, Lsn, StoreHealth};
use world::{Clock, Instant};

use crate::bell::Bell;
use crate::buffers::Shelf;
use crate::close::CloseReason;
use crate::connection::Shared;
use crate::metrics::Counters;
use crate::node::Node;

/// How often limits on time are checked. They are long, so a coarse look is enough.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// The part of a reactor that other threads may touch.
#[derive(Default)]
pub struct Doorstep {
    /// Wakes the pump.
    pub bell: Arc<Bell>,
    advanced: Mutex<Vec<u64>>,
}

impl DurableListener for Doorstep {
    fn durable(&self, _: Lsn) {
        self.bell.ring();
    }
}

/// Raised by a partition that moved; names the connection whose fetch waits for it.
pub struct AdvanceFlag {
    connection: u64,
    raised: AtomicBool,
    doorstep: Arc<Doorstep>,
}

impl AdvanceFlag {
    /// Raises the flag. The first raise tells the reactor; further ones cost one atomic.
    pub fn raise(&self) {
        if !self.raised.swap(true, Ordering::AcqRel) {
            self.doorstep
                .advanced
                .lock()
                .unwrap_or_else(|poisoned| poisoned.into_inner())
                .push(self.connection);
            self.doorstep.bell.ring();
        }
    }

    /// Lowers the flag; says whether it was raised.
    pub fn take(&self) -> bool {
        self.raised.swap(false, Ordering::AcqRel)
    }
}

impl commitlog::AdvanceWaiter for AdvanceFlag {
    fn advanced(&self) {
        self.raise();
    }
}

/// What a connection is woken for; each cause has its own deadline.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// A long poll's time is over.
    Poll,
    /// It was held back long enough.
    Rest,
}

/// One reactor. Lives on its thread.
pub struct Reactor {
    /// Which one.
    pub index: usize,
    /// Its read buffers.
    pub shelf: Shelf,
    /// Its counters.
    pub counters: Arc<Counters>,
    clock: Arc<dyn Clock>,
    doorstep: Arc<Doorstep>,
    ids: Cell<u64>,
    connections: RefCell<BTreeMap<u64, Rc<Shared>>>,
    /// Answers that wait for the log, by LSN.
    due: RefCell<VecDeque<(Lsn, Rc<Shared>)>>,
    /// Long polls and rests, by their ends.
    deadlines: RefCell<BTreeMap<(Instant, u64, Cause), Rc<Shared>>>,
    /// Connections that are held back.
    resting: RefCell<BTreeMap<u64, Rc<Shared>>>,
    /// The quotas that those were last told of.
    quotas_known: Cell<u64>,
    without_room: RefCell<Vec<Rc<Shared>>>,
    without_permits: RefCell<Vec<Rc<Shared>>>,
    no_room: Cell<bool>,
    appended: Cell<bool>,
    draining: Cell<Option<Instant>>,
    pump: RefCell<Option<Waker>>,
}

impl Reactor {
    /// A reactor without connections.
    pub fn new(
        index: usize,
        clock: Arc<dyn Clock>,
        doorstep: Arc<Doorstep>,
        counters: Arc<Counters>,
    ) -> Rc<Reactor> {
        Rc::new(Reactor {
            index,
            shelf: Shelf::new(),
            counters,
            clock,
            doorstep,
            ids: Cell::new(0),
            connections: RefCell::default(),
            due: RefCell::default(),
            deadlines: RefCell::default(),
            resting: RefCell::default(),
            quotas_known: Cell::new(0),
            without_room: RefCell::default(),
            without_permits: RefCell::default(),
            no_room: Cell::new(false),
            appended: Cell::new(false),
            draining: Cell::new(None),
            pump: RefCell::new(None),
        })
    }

    /// Monotonic now.
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Wall clock, milliseconds.
    pub fn wall_ms(&self) -> i64 {
        self.clock.wall_ms()
    }

    /// A number no other connection of this reactor has or had.
    pub fn next_connection_id(&self) -> u64 {
        let id = self.ids.get();
        self.ids.set(id + 1);
        id
    }

    /// Enters a connection into the register.
    pub fn register(&self, shared: Rc<Shared>) {
        self.connections.borrow_mut().insert(shared.id, shared);
        self.counters.opened();
    }

    /// Removes a connection that ended.
    pub fn deregister(&self, id: u64) {
        self.connections.borrow_mut().remove(&id);
        self.wake_pump();
    }

    /// Connections at present.
    pub fn connections(&self) -> usize {
        self.connections.borrow().len()
    }

    /// The flag by which partitions tell connection `id` that they moved.
    pub fn advance_flag(&self, connection: u64) -> Arc<AdvanceFlag> {
        Arc::new(AdvanceFlag {
            connection,
            raised: AtomicBool::new(false),
            doorstep: self.doorstep.clone(),
        })
    }

    /// Whether the log is durable up to `lsn`; an error if it never will be.
    pub fn is_durable(&self, node: &Node, lsn: Lsn) -> Result<bool, CloseReason> {
        if node.store.durable_lsn() >= lsn {
            return Ok(true);
        }
        if matches!(node.store.health(), StoreHealth::Dead(_)) {
            Err(CloseReason::LogFailed)
        } else {
            Ok(false)
        }
    }

    /// Wakes the connection when the log is durable up to `lsn`.
    pub fn due(&self, lsn: Lsn, shared: &Rc<Shared>) {
        let mut due = self.due.borrow_mut();
        // LSNs come in order, but for the repeats of an idempotent producer.
        let at = match due.back() {
            Some((last, _)) if *last > lsn => due.partition_point(|(other, _)| *other <= lsn),
            _ => due.len(),
        };
        due.insert(at, (lsn, shared.clone()));
    }

    /// Notes an append: before the reactor sleeps, it helps to copy groups into the segments.
    pub fn note_append(&self) {
        if !self.appended.replace(true) {
            self.wake_pump();
        }
    }

    /// Wakes the connection at `deadline`.
    pub fn wake_at(&self, deadline: Instant, cause: Cause, shared: &Rc<Shared>) {
        let mut deadlines = self.deadlines.borrow_mut();
        let sooner = deadlines
            .first_key_value()
            .is_none_or(|((first, ..), _)| deadline < *first);
        deadlines.insert((deadline, shared.id, cause), shared.clone());
        drop(deadlines);
        if sooner {
            self.wake_pump();
        }
    }

    /// Forgets a wake-up that is not needed any more.
    pub fn cancel_wake(&self, deadline: Instant, cause: Cause, shared: &Shared) {
        self.deadlines
            .borrow_mut()
            .remove(&(deadline, shared.id, cause));
    }

    /// Notes that a connection is held back: it is woken at that time, and when quotas change.
    pub fn rest_until(&self, until: Instant, shared: &Rc<Shared>) {
        self.resting.borrow_mut().insert(shared.id, shared.clone());
        self.wake_at(until, Cause::Rest, shared);
    }

    /// Notes that a connection that was held back until then is so no longer.
    pub fn end_rest(&self, until: Instant, shared: &Shared) {
        self.resting.borrow_mut().remove(&shared.id);
        self.cancel_wake(until, Cause::Rest, shared);
    }

    /// Whether the staging buffer was full and no room has been announced since.
    pub fn has_no_room(&self) -> bool {
        self.no_room.get()
    }

    /// Notes that the staging buffer is full: no producer's connection of this reactor reads on.
    pub fn note_no_room(&self) {
        self.no_room.set(true);
        self.counters.stalled();
    }

    /// Wakes the connection when the log may have room again.
    pub fn wait_for_room(&self, shared: &Rc<Shared>) {
        self.without_room.borrow_mut().push(shared.clone());
        self.wake_pump();
    }

    /// Wakes the connection when request bytes came back.
    pub fn wait_for_permits(&self, shared: &Rc<Shared>) {
        self.without_permits.borrow_mut().push(shared.clone());
    }

    /// Whether the node is going down: no new requests.
    pub fn is_draining(&self) -> bool {
        self.draining.get().is_some()
    }

    /// Runs until the node has drained. Polled by the reactor's root future.
    pub async fn run_pump(self: Rc<Self>, node: Arc<Node>) {
        let mut sleep: Option<(Instant, world::net::LocalFuture<'static, ()>)> = None;
        let mut next_sweep = self.now().after(SWEEP_EVERY);
        std::future::poll_fn(move |cx| {
            self.note_pump(cx);
            while self.doorstep.bell.poll_rung(cx).is_ready() {
                self.answer_bell(&node);
            }
            if self.appended.replace(false) {
                node.store.gather();
            }
            let now = self.now();
            self.start_drain(&node, now);
            if self.is_drained(now) {
                return Poll::Ready(());
            }
            if now >= next_sweep {
                next_sweep = now.after(SWEEP_EVERY);
                self.sweep(&node, now);
            }
            self.wake_overdue(now);
            let until = self.next_deadline(now, next_sweep);
            if sleep.as_ref().is_none_or(|(armed, _)| *armed != until) {
                sleep = Some((until, crate::timer::sleep(until.since(now))));
            }
            if let Some((_, future)) = &mut sleep
                && future.as_mut().poll(cx).is_ready()
            {
                sleep = None;
                cx.waker().wake_by_ref();
            }
            Poll::Pending
        })
        .await;
    }

    fn note_pump(&self, cx: &TaskContext<'_>) {
        let mut pump = self.pump.borrow_mut();
        if !pump
            .as_ref()
            .is_some_and(|noted| noted.will_wake(cx.waker()))
        {
            *pump = Some(cx.waker().clone());
        }
    }

    fn wake_pump(&self) {
        if let Some(pump) = &*self.pump.borrow() {
            pump.wake_by_ref();
        }
    }

    fn answer_bell(&self, node: &Node) {
        let durable = node.store.durable_lsn();
        let dead = matches!(node.store.health(), StoreHealth::Dead(_));
        let mut due = self.due.borrow_mut();
        while due.front().is_some_and(|(lsn, _)| *lsn <= durable || dead) {
            if let Some((_, shared)) = due.pop_front() {
                shared.wake();
            }
        }
        drop(due);
        let advanced = std::mem::take(
            &mut *self
                .doorstep
                .advanced
                .lock()
                .unwrap_or_else(|poisoned| poisoned.into_inner()),
        );
        let connections = self.connections.borrow();
        for id in advanced {
            if let Some(shared) = connections.get(&id) {
                shared.wake();
            }
        }
        drop(connections);
        self.wake_without_room();
        for shared in self.without_permits.take() {
            shared.wake();
        }
        let quotas = node.quotas.generation();
        if self.quotas_known.replace(quotas) != quotas {
            for shared in self.resting.borrow().values() {
                shared.wake();
            }
        }
        // A finished group may have left another one sealed behind it.
        self.appended.set(true);
    }

    fn wake_without_room(&self) {
        self.no_room.set(false);
        for shared in self.without_room.take() {
            shared.wake();
        }
    }

    fn wake_overdue(&self, now: Instant) {
        let mut deadlines = self.deadlines.borrow_mut();
        while let Some(entry) = deadlines.first_entry() {
            if entry.key().0 > now {
                break;
            }
            entry.remove().wake();
        }
    }

    fn next_deadline(&self, now: Instant, next_sweep: Instant) -> Instant {
        let mut until = next_sweep;
        if let Some(((first, ..), _)) = self.deadlines.borrow().first_key_value() {
            until = until.min(*first);
        }
        if let Some(end) = self.draining.get() {
            until = until.min(end.max(now));
        }
        until
    }

    fn sweep(&self, node: &Node, now: Instant) {
        for shared in self.connections.borrow().values() {
            shared.check_limits(now, &node.limits);
        }
        // Permits and room are also announced by bells; a sweep makes a lost one harmless.
        self.wake_without_room();
        for shared in self.without_permits.take() {
            shared.wake();
        }
    }

    fn start_drain(&self, node: &Node, now: Instant) {
        if self.draining.get().is_none()
            && let Some(grace) = node.drain_grace()
        {
            self.draining.set(Some(now.after(grace)));
            for shared in self.connections.borrow().values() {
                shared.wake();
            }
        }
    }

    fn is_drained(&self, now: Instant) -> bool {
        match self.draining.get() {
            None => false,
            Some(end) => self.connections.borrow().is_empty() || now >= end,
        }
    }
}
