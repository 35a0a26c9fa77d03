//! One connection: one task that reads, handles and answers, on one reactor.
//!
//! A turn of the task goes: settle what was decided meanwhile, send, handle whole frames, read
//! once, and around again while something moved. So all requests of one read are handled before
//! their answers leave in one write, and one busy connection gives way after each read.
//!
//! Invariants:
//! - Answers leave in request order (W7). Only Produce requests are handled while earlier ones
//!   are unanswered, and only behind other Produce requests; everything else waits its turn.
//! - It does not read while it has unhandled frames, too much unanswered or unsent, no byte
//!   permit, or, once it has sent records, while the log has no room. TCP then holds the client
//!   back; nothing is dropped.
//! - A client that is held back by a quota has its answers at once; then it is not read for so long
//!   (W9). What was read before is handled, and a frame that was cut is read to its end: so a
//!   connection that rests holds no more memory than one that is silent.
//! - A frame that takes too long and a connection on which nothing moves are closed by the
//!   reactor's sweep, through [`Shared`].

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

use commitlog::Lsn;
use metadata::QuotaKey;
use wire::api::ApiKey;
use world::net::LocalFuture;
use world::{Instant, Stream};

use crate::close::CloseReason;
use crate::dispatch::{Answer, Context, Dispatched, Reply, dispatch};
use crate::fetch::{ParkedFetch, Waits};
use crate::input::Input;
use crate::limits::READ_BYTES_MAX;
use crate::outgoing::{Outbox, Outgoing};
use crate::permits::Charge;
use crate::produce::StalledProduce;
use crate::quotas::{ClientMeters, Throttle};
use crate::reactor::{AdvanceFlag, Cause, Reactor};

/// What the reactor sees of a connection.
pub struct Shared {
    /// Names it on its reactor.
    pub id: u64,
    waker: RefCell<Option<Waker>>,
    /// When a byte last moved.
    last_moved: Cell<Instant>,
    /// Since when a cut frame has been waited for, and how much of it is here.
    cut_frame: Cell<Option<(Instant, u64)>>,
    doom: RefCell<Option<CloseReason>>,
}

impl Shared {
    /// Runs the connection's task soon.
    pub fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Ends the connection for `reason`.
    pub fn doom(&self, reason: CloseReason) {
        *self.doom.borrow_mut() = Some(reason);
        self.wake();
    }

    /// Dooms the connection if it broke a limit on time.
    pub fn check_limits(&self, now: Instant, limits: &crate::limits::Limits) {
        if let Some((since, received)) = self.cut_frame.get() {
            let allowance = received / limits.frame_bytes_per_second_min.max(1);
            let allowed = limits.frame_time_max + std::time::Duration::from_secs(allowance);
            if now.since(since) > allowed {
                return self.doom(CloseReason::SlowFrame);
            }
        }
        if now.since(self.last_moved.get()) > limits.idle {
            self.doom(CloseReason::Idle);
        }
    }

    fn note_waker(&self, waker: &Waker) {
        let mut noted = self.waker.borrow_mut();
        if !noted.as_ref().is_some_and(|noted| noted.will_wake(waker)) {
            *noted = Some(waker.clone());
        }
    }
}

/// A request that is being worked on.
struct Ticket {
    key: ApiKey,
    version: i16,
    began: Instant,
    /// What its client is measured by, if at all.
    meters: Option<Rc<ClientMeters>>,
    /// The time that its handler took so far; only where it is measured.
    worked: Duration,
}

impl Ticket {
    fn counts_time(&self) -> bool {
        self.meters
            .as_ref()
            .is_some_and(|meters| meters.counts_time())
    }
}

/// An answer's place in the order.
struct Slot {
    ticket: Ticket,
    state: SlotState,
}

/// Why and until when a connection is not read.
struct Rest {
    until: Instant,
    by: QuotaKey,
    client_id: Box<str>,
    /// The quotas it was decided by.
    generation: u64,
}

enum SlotState {
    Decided(Outgoing),
    Durable(Lsn, Outgoing),
    Later(LocalFuture<'static, Result<Answer, CloseReason>>),
    Fetch(Box<ParkedFetch>),
}

/// The task's state.
pub struct Connection {
    context: Context,
    shared: Rc<Shared>,
    stream: Box<dyn Stream>,
    input: Input,
    slots: VecDeque<Slot>,
    outbox: Outbox,
    stalled: Option<(Ticket, Box<StalledProduce>)>,
    rest: Option<Rest>,
    /// It has sent records: while the log has no room its next request would most likely only wait.
    /// The others read on, for who consumes or asks is not to wait for who writes.
    produces: bool,
    charge: Charge,
    /// Raised when a partition that a parked fetch waits for has moved. One per connection.
    advanced: Arc<AdvanceFlag>,
    waits: Waits,
    ended: bool,
}

impl Connection {
    /// A connection that has just arrived. It is entered in the reactor's register.
    pub fn new(context: Context, stream: Box<dyn Stream>) -> Box<Connection> {
        let reactor = &context.reactor;
        let id = reactor.next_connection_id();
        let shared = Rc::new(Shared {
            id,
            waker: RefCell::new(None),
            last_moved: Cell::new(reactor.now()),
            cut_frame: Cell::new(None),
            doom: RefCell::new(None),
        });
        reactor.register(shared.clone());
        reactor.counters.entered(context.session.listener_name());
        Box::new(Connection {
            input: Input::new(reactor.shelf.clone(), context.node.limits.request_bytes_max),
            charge: Charge::new(context.node.permits.clone()),
            advanced: reactor.advance_flag(id),
            waits: Waits::default(),
            slots: VecDeque::new(),
            outbox: Outbox::default(),
            stalled: None,
            rest: None,
            produces: false,
            ended: false,
            shared,
            stream,
            context,
        })
    }

    /// Serves until the connection ends.
    pub async fn serve(mut self: Box<Self>) {
        let reason = std::future::poll_fn(|cx| self.poll(cx)).await;
        self.end_rest();
        let counters = &self.context.reactor.counters;
        counters.closed(&reason);
        counters.left(self.context.session.listener_name());
        if reason.is_noteworthy() {
            tracing::info!(peer = %self.context.session.peer, %reason, "connection closed");
        } else {
            tracing::debug!(peer = %self.context.session.peer, %reason, "connection closed");
        }
        self.context.reactor.deregister(self.shared.id);
    }

    fn poll(&mut self, cx: &mut TaskContext<'_>) -> Poll<CloseReason> {
        self.shared.note_waker(cx.waker());
        if let Some(reason) = self.shared.doom.borrow_mut().take() {
            return Poll::Ready(reason);
        }
        match self.turn(cx) {
            Err(reason) => Poll::Ready(reason),
            Ok(()) => Poll::Pending,
        }
    }

    fn turn(&mut self, cx: &mut TaskContext<'_>) -> Result<(), CloseReason> {
        let mut has_read = false;
        loop {
            self.settle(cx)?;
            self.flush(cx)?;
            if self.is_finished() {
                return Err(if self.ended {
                    CloseReason::Ended
                } else {
                    CloseReason::Draining
                });
            }
            let mut moved = self.resume()?;
            moved |= self.handle_frames()?;
            if !has_read && self.may_read() {
                let greedy = self.rest.is_none();
                match self.input.poll_read(cx, &mut *self.stream, greedy) {
                    Poll::Pending => {}
                    Poll::Ready(Err(reason)) => return Err(reason),
                    Poll::Ready(Ok(0)) => {
                        self.ended = true;
                        moved = true;
                    }
                    Poll::Ready(Ok(count)) => {
                        self.note_received(count);
                        has_read = true;
                        moved = true;
                    }
                }
            }
            if !moved {
                break;
            }
        }
        if has_read {
            // There may be more; the others first.
            cx.waker().wake_by_ref();
        }
        self.rest();
        Ok(())
    }

    /// Whether nothing is left to do on a connection that takes no more requests.
    fn is_finished(&self) -> bool {
        let closing = self.ended || self.context.reactor.is_draining();
        let owes_answers = self.stalled.is_some()
            || self.slots.iter().any(|slot| match slot.state {
                SlotState::Decided(_) | SlotState::Durable(..) => true,
                // Nobody is there to read what these would say.
                SlotState::Later(_) | SlotState::Fetch(_) => !self.ended,
            });
        closing
            && !owes_answers
            && self.outbox.is_empty()
            && (self.ended || self.input.is_drained())
    }

    /// Moves every decided answer at the front into the outbox.
    fn settle(&mut self, cx: &mut TaskContext<'_>) -> Result<(), CloseReason> {
        let advanced = self.advanced.take();
        let reactor = &*self.context.reactor;
        let mut held_back = None;
        while let Some(slot) = self.slots.front_mut() {
            let decided = match &mut slot.state {
                SlotState::Decided(_) => true,
                SlotState::Durable(lsn, _) => {
                    if !self.context.reactor.is_durable(&self.context.node, *lsn)? {
                        break;
                    }
                    true
                }
                SlotState::Later(future) => {
                    match measured(reactor, &mut slot.ticket, |_| future.as_mut().poll(cx)) {
                        Poll::Pending => break,
                        Poll::Ready(answer) => {
                            let Answer { outgoing, after } = answer?;
                            let (outgoing, throttle) = charged(reactor, &slot.ticket, outgoing);
                            held_back = longer(held_back, throttle, &slot.ticket);
                            slot.state = match after {
                                None => SlotState::Decided(outgoing),
                                Some(lsn) => {
                                    reactor.due(lsn, &self.shared);
                                    SlotState::Durable(lsn, outgoing)
                                }
                            };
                            continue;
                        }
                    }
                }
                SlotState::Fetch(parked) => {
                    let draining = self.context.reactor.is_draining();
                    let deadline = parked.deadline();
                    let due = self.context.reactor.now() >= deadline;
                    let outgoing = if draining || due {
                        parked.finish(&self.context)?
                    } else if advanced {
                        match parked.retry(&self.context, &self.advanced, &mut self.waits)? {
                            Some(outgoing) => outgoing,
                            None => break,
                        }
                    } else {
                        break;
                    };
                    reactor.cancel_wake(deadline, Cause::Poll, &self.shared);
                    let (outgoing, throttle) = charged(reactor, &slot.ticket, outgoing);
                    held_back = longer(held_back, throttle, &slot.ticket);
                    slot.state = SlotState::Decided(outgoing);
                    true
                }
            };
            if decided && let Some(slot) = self.slots.pop_front() {
                let took = reactor.now().since(slot.ticket.began);
                reactor.counters.answered(slot.ticket.key, took);
                match slot.state {
                    SlotState::Decided(outgoing) | SlotState::Durable(_, outgoing) => {
                        self.outbox.push(outgoing);
                    }
                    SlotState::Later(_) | SlotState::Fetch(_) => {}
                }
            }
        }
        if let Some((throttle, meters)) = held_back {
            self.hold_back(throttle, &meters);
        }
        Ok(())
    }

    fn flush(&mut self, cx: &mut TaskContext<'_>) -> Result<(), CloseReason> {
        if self.outbox.is_empty() {
            return Ok(());
        }
        let mut sent = 0;
        let outcome = self.outbox.poll_flush(cx, &mut *self.stream, &mut sent);
        if sent > 0 {
            self.shared.last_moved.set(self.context.reactor.now());
            self.context.reactor.counters.sent(sent);
        }
        match outcome {
            Poll::Pending => Ok(()),
            Poll::Ready(result) => result,
        }
    }

    /// Goes on with a produce that met a full staging buffer.
    fn resume(&mut self) -> Result<bool, CloseReason> {
        let Some((mut ticket, stalled)) = self.stalled.take() else {
            return Ok(false);
        };
        let reply = measured(&self.context.reactor, &mut ticket, |_| {
            stalled.resume(&self.context)
        })?;
        let still = matches!(reply, Reply::Stalled(_));
        self.place(ticket, reply);
        Ok(!still)
    }

    fn handle_frames(&mut self) -> Result<bool, CloseReason> {
        let mut moved = false;
        while let Some(key) = self.input.next_key() {
            if !self.may_handle(key) {
                break;
            }
            let Some(frame) = self.input.take_frame() else {
                break;
            };
            moved = true;
            let began = self.context.reactor.now();
            let Dispatched {
                key,
                version,
                meters,
                reply,
            } = dispatch(&self.context, frame)?;
            self.context.reactor.counters.requested(key);
            self.produces |= key == ApiKey::Produce;
            let mut ticket = Ticket {
                key,
                version,
                began,
                meters,
                worked: Duration::ZERO,
            };
            if ticket.counts_time() {
                ticket.worked = self.context.reactor.now().since(began);
            }
            self.place(ticket, reply);
        }
        Ok(moved)
    }

    /// Whether the next request's turn has come.
    fn may_handle(&mut self, key: i16) -> bool {
        let limits = &self.context.node.limits;
        if self.stalled.is_some()
            || self.slots.len() >= limits.in_flight_max
            || self.outbox.unsent_bytes() >= limits.unsent_bytes_max
        {
            return false;
        }
        if key == ApiKey::Produce.code() {
            let blocked = self
                .slots
                .iter()
                .any(|slot| matches!(slot.state, SlotState::Later(_) | SlotState::Fetch(_)));
            if !blocked {
                return true;
            }
        } else if self.slots.is_empty() {
            return true;
        }
        // A request that waits behind a long poll ends it, for its client has better things to
        // do; unless it is another long poll, with which a client would spin.
        if key != ApiKey::Fetch.code()
            && let Some(Slot {
                state: SlotState::Fetch(parked),
                ..
            }) = self.slots.front_mut()
        {
            self.context
                .reactor
                .cancel_wake(parked.deadline(), Cause::Poll, &self.shared);
            parked.hurry(self.context.reactor.now());
            self.shared.wake();
        }
        false
    }

    /// Puts a reply into the order.
    fn place(&mut self, ticket: Ticket, reply: Reply) {
        let reactor = self.context.reactor.clone();
        let state = match reply {
            Reply::Never(throttle) => {
                let took = reactor.now().since(ticket.began);
                reactor.counters.answered(ticket.key, took);
                // rule W9: the time it took is not counted, what it brought is
                if let Some(meters) = &ticket.meters {
                    self.hold_back(throttle, meters);
                }
                return;
            }
            Reply::Stalled(stalled) => {
                self.stalled = Some((ticket, stalled));
                reactor.wait_for_room(&self.shared);
                return;
            }
            Reply::Now(outgoing) => {
                let outgoing = self.charge(&ticket, outgoing);
                // Nothing is ahead: no slot needed.
                if self.slots.is_empty() {
                    let took = reactor.now().since(ticket.began);
                    reactor.counters.answered(ticket.key, took);
                    self.outbox.push(outgoing);
                    return;
                }
                SlotState::Decided(outgoing)
            }
            Reply::WhenDurable(lsn, outgoing) => {
                let outgoing = self.charge(&ticket, outgoing);
                // Durable already for the `os` policy and for repeats: no need to be woken.
                if !matches!(reactor.is_durable(&self.context.node, lsn), Ok(true)) {
                    reactor.due(lsn, &self.shared);
                }
                SlotState::Durable(lsn, outgoing)
            }
            Reply::Later(future) => SlotState::Later(future),
            Reply::Fetch(parked) => {
                reactor.wake_at(parked.deadline(), Cause::Poll, &self.shared);
                parked.park(&self.advanced, &mut self.waits);
                SlotState::Fetch(parked)
            }
        };
        self.slots.push_back(Slot { ticket, state });
    }

    /// Settles what a decided answer costs its client.
    fn charge(&mut self, ticket: &Ticket, outgoing: Outgoing) -> Outgoing {
        let Some(meters) = &ticket.meters else {
            return outgoing;
        };
        let (outgoing, throttle) = charged(&self.context.reactor, ticket, outgoing);
        self.hold_back(throttle, meters);
        outgoing
    }

    /// Reads no more for so long.
    fn hold_back(&mut self, throttle: Throttle, meters: &ClientMeters) {
        let Some(by) = throttle.by else { return };
        let reactor = self.context.reactor.clone();
        reactor.counters.throttled(throttle);
        let until = reactor.now().after(throttle.wait());
        if self.rest.as_ref().is_some_and(|rest| rest.until >= until) {
            return;
        }
        self.end_rest();
        reactor.rest_until(until, &self.shared);
        self.rest = Some(Rest {
            until,
            by,
            client_id: meters.client_id().into(),
            generation: self.context.node.quotas.generation(),
        });
    }

    fn end_rest(&mut self) {
        if let Some(rest) = self.rest.take() {
            self.context.reactor.end_rest(rest.until, &self.shared);
        }
    }

    /// Whether it is still held back. After a change of the quotas it is as long as the new ones
    /// say, but no longer than it was told.
    fn is_resting(&mut self) -> bool {
        let Some(rest) = &self.rest else {
            return false;
        };
        let now = self.context.reactor.now();
        let generation = self.context.node.quotas.generation();
        let mut until = rest.until;
        if rest.generation != generation {
            let meters = self.context.meters(&rest.client_id);
            let owed = meters.map_or(Throttle::NONE, |meters| meters.owed(rest.by, now));
            until = until.min(now.after(owed.wait()));
        }
        if now >= until {
            self.end_rest();
            return false;
        }
        if let Some(rest) = &mut self.rest {
            rest.generation = generation;
            if until < rest.until {
                let reactor = &self.context.reactor;
                reactor.end_rest(rest.until, &self.shared);
                reactor.rest_until(until, &self.shared);
                rest.until = until;
            }
        }
        true
    }

    fn may_read(&mut self) -> bool {
        let limits = &self.context.node.limits;
        let reactor = &self.context.reactor;
        if self.ended
            || reactor.is_draining()
            || self.stalled.is_some()
            || !self.input.is_drained()
            || self.slots.len() >= limits.in_flight_max
            || self.outbox.unsent_bytes() >= limits.unsent_bytes_max
        {
            return false;
        }
        // What was begun is read to its end, or it would be held as long as the rest lasts.
        if self.is_resting() && self.input.cut_bytes() == 0 {
            return false;
        }
        let reactor = &self.context.reactor;
        if self.produces && reactor.has_no_room() {
            reactor.wait_for_room(&self.shared);
            return false;
        }
        if !self.charge.may_read() {
            reactor.wait_for_permits(&self.shared);
            return false;
        }
        true
    }

    fn note_received(&mut self, count: usize) {
        let now = self.context.reactor.now();
        self.shared.last_moved.set(now);
        self.context.reactor.counters.received(count as u64);
        let cut = self.input.cut_bytes() as u64;
        let whole = !self.input.is_drained();
        let since = match self.shared.cut_frame.get() {
            Some((since, _)) if !whole => since,
            _ => now,
        };
        self.shared.cut_frame.set((cut > 0).then_some((since, cut)));
    }

    /// The end of a turn: holds only what it must, and pays for it.
    fn rest(&mut self) {
        self.input.settle();
        let stalled = if self.stalled.is_some() {
            READ_BYTES_MAX
        } else {
            0
        };
        self.charge.set(self.input.held_bytes() + stalled);
        let reading = self.input.is_drained() && self.stalled.is_none();
        if !reading && let Some((_, received)) = self.shared.cut_frame.get() {
            // We keep the client waiting, not it us: the clock of its frame starts anew.
            self.shared
                .cut_frame
                .set(Some((self.context.reactor.now(), received)));
        }
    }
}

/// Does a stretch of a request's work, and notes how long it took where that is measured.
fn measured<T>(reactor: &Reactor, ticket: &mut Ticket, work: impl FnOnce(&Reactor) -> T) -> T {
    if !ticket.counts_time() {
        return work(reactor);
    }
    let began = reactor.now();
    let done = work(reactor);
    ticket.worked += reactor.now().since(began);
    done
}

/// The answer with the time its client is held back, and that time. The time a request took is
/// known here only; a fetch has counted its own, because its records stay back with it.
fn charged(reactor: &Reactor, ticket: &Ticket, outgoing: Outgoing) -> (Outgoing, Throttle) {
    let mut throttle = outgoing.throttle;
    if let Some(meters) = &ticket.meters
        && ticket.key != ApiKey::Fetch
        && meters.counts_time()
    {
        throttle = throttle.max(meters.worked(ticket.worked, reactor.now()));
    }
    if throttle.is_none() {
        return (outgoing, throttle);
    }
    let Outgoing { head, inserts, .. } = outgoing;
    // rule W9
    let head = wire::throttle::set(ticket.key.api(), ticket.version, head, throttle.ms);
    let outgoing = Outgoing {
        head,
        inserts,
        throttle,
    };
    (outgoing, throttle)
}

/// The longer of what holds a connection back, and whom it is for.
fn longer(
    before: Option<(Throttle, Rc<ClientMeters>)>,
    throttle: Throttle,
    ticket: &Ticket,
) -> Option<(Throttle, Rc<ClientMeters>)> {
    match (&ticket.meters, before) {
        (Some(meters), None) if !throttle.is_none() => Some((throttle, meters.clone())),
        (Some(meters), Some((known, _))) if throttle.ms > known.ms => {
            Some((throttle, meters.clone()))
        }
        (_, before) => before,
    }
}
