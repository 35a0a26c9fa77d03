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
//! - A frame that takes too long and a connection on which nothing moves are closed by the
//!   reactor's sweep, through [`Shared`].

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};

use commitlog::Lsn;
use wire::api::ApiKey;
use world::net::LocalFuture;
use world::{Instant, Stream};

use crate::close::CloseReason;
use crate::dispatch::{Answer, Context, Reply, dispatch};
use crate::fetch::{ParkedFetch, Waits};
use crate::input::Input;
use crate::limits::READ_BYTES_MAX;
use crate::outgoing::{Outbox, Outgoing};
use crate::permits::Charge;
use crate::produce::StalledProduce;
use crate::reactor::AdvanceFlag;

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

/// An answer's place in the order.
struct Slot {
    key: ApiKey,
    began: Instant,
    state: SlotState,
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
    stalled: Option<(ApiKey, Instant, Box<StalledProduce>)>,
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
                match self.input.poll_read(cx, &mut *self.stream) {
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
        while let Some(slot) = self.slots.front_mut() {
            let decided = match &mut slot.state {
                SlotState::Decided(_) => true,
                SlotState::Durable(lsn, _) => {
                    if !self.context.reactor.is_durable(&self.context.node, *lsn)? {
                        break;
                    }
                    true
                }
                SlotState::Later(future) => match future.as_mut().poll(cx) {
                    Poll::Pending => break,
                    Poll::Ready(answer) => {
                        let Answer { outgoing, after } = answer?;
                        slot.state = match after {
                            None => SlotState::Decided(outgoing),
                            Some(lsn) => {
                                self.context.reactor.due(lsn, &self.shared);
                                SlotState::Durable(lsn, outgoing)
                            }
                        };
                        continue;
                    }
                },
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
                    self.context.reactor.cancel_wake(deadline, &self.shared);
                    slot.state = SlotState::Decided(outgoing);
                    true
                }
            };
            if decided && let Some(slot) = self.slots.pop_front() {
                let reactor = &self.context.reactor;
                reactor
                    .counters
                    .answered(slot.key, reactor.now().since(slot.began));
                match slot.state {
                    SlotState::Decided(outgoing) | SlotState::Durable(_, outgoing) => {
                        self.outbox.push(outgoing);
                    }
                    SlotState::Later(_) | SlotState::Fetch(_) => {}
                }
            }
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
        let Some((key, began, stalled)) = self.stalled.take() else {
            return Ok(false);
        };
        let reply = stalled.resume(&self.context)?;
        let still = matches!(reply, Reply::Stalled(_));
        self.place(key, began, reply);
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
            let (key, reply) = dispatch(&self.context, frame)?;
            self.context.reactor.counters.requested(key);
            self.produces |= key == ApiKey::Produce;
            self.place(key, began, reply);
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
                .cancel_wake(parked.deadline(), &self.shared);
            parked.hurry(self.context.reactor.now());
            self.shared.wake();
        }
        false
    }

    /// Puts a reply into the order.
    fn place(&mut self, key: ApiKey, began: Instant, reply: Reply) {
        let reactor = &self.context.reactor;
        let state = match reply {
            Reply::Never => {
                reactor.counters.answered(key, reactor.now().since(began));
                return;
            }
            Reply::Stalled(stalled) => {
                self.stalled = Some((key, began, stalled));
                reactor.wait_for_room(&self.shared);
                return;
            }
            // Nothing is ahead: no slot needed.
            Reply::Now(outgoing) if self.slots.is_empty() => {
                reactor.counters.answered(key, reactor.now().since(began));
                self.outbox.push(outgoing);
                return;
            }
            Reply::Now(outgoing) => SlotState::Decided(outgoing),
            Reply::WhenDurable(lsn, outgoing) => {
                // Durable already for the `os` policy and for repeats: no need to be woken.
                if !matches!(reactor.is_durable(&self.context.node, lsn), Ok(true)) {
                    reactor.due(lsn, &self.shared);
                }
                SlotState::Durable(lsn, outgoing)
            }
            Reply::Later(future) => SlotState::Later(future),
            Reply::Fetch(parked) => {
                reactor.wake_at(parked.deadline(), &self.shared);
                parked.park(&self.advanced, &mut self.waits);
                SlotState::Fetch(parked)
            }
        };
        self.slots.push_back(Slot { key, began, state });
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
