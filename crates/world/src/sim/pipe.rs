//! A connection in memory: two bounded pipes, one each way.
//!
//! Used by the simulated network, which adds delay, fragments, holds and resets, and plain by
//! whoever wants to talk to the node from inside its own process.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use crate::clock::{Clock, Instant};
use crate::disk::FileSlice;
use crate::net::{Accepted, Stream};
use crate::sim::clock::Sleep;
use crate::sim::{Rng, SimClock};

/// Bytes copied per call from a file.
const COPY_BYTES_MAX: u64 = 128 << 10;

/// Bytes that arrive together.
struct Piece {
    arrival: Instant,
    bytes: Vec<u8>,
    /// How many were read already.
    taken: usize,
}

/// One direction.
struct Pipe {
    pieces: VecDeque<Piece>,
    bytes: usize,
    capacity: usize,
    /// No more bytes will come.
    ended: bool,
    /// Nobody reads any more.
    abandoned: bool,
    reset: bool,
    /// Nothing arrives for now.
    held: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    weather: Option<Weather>,
}

/// What the simulated network does to a connection.
pub(super) struct Weather {
    pub(super) clock: SimClock,
    pub(super) rng: Rng,
    /// Least and most time a piece is under way, nanoseconds.
    pub(super) delay: (u64, u64),
}

impl Pipe {
    fn new(capacity: usize, weather: Option<Weather>) -> Pipe {
        Pipe {
            pieces: VecDeque::new(),
            bytes: 0,
            capacity,
            ended: false,
            abandoned: false,
            reset: false,
            held: false,
            reader: None,
            writer: None,
            weather,
        }
    }

    /// A real connection gives and takes less than it could, now and then.
    fn some_of(&mut self, count: usize) -> usize {
        if count > 1
            && let Some(weather) = &mut self.weather
            && weather.rng.chance(0.125)
        {
            return 1 + weather.rng.index(count - 1);
        }
        count
    }

    /// When a piece written now arrives: never before the one ahead of it.
    fn arrival(&mut self) -> Instant {
        let Some(weather) = &mut self.weather else {
            return Instant::default();
        };
        let (least, most) = weather.delay;
        let under_way = least + weather.rng.below(most.saturating_sub(least) + 1);
        let arrival = Instant(weather.clock.now().0.saturating_add(under_way));
        arrival.max(self.pieces.back().map_or(arrival, |ahead| ahead.arrival))
    }

    fn wake(&mut self) {
        for waker in [self.reader.take(), self.writer.take()]
            .into_iter()
            .flatten()
        {
            waker.wake();
        }
    }
}

/// Both directions, for whoever controls the network.
#[derive(Clone)]
pub(super) struct Connection {
    pipes: [Arc<Mutex<Pipe>>; 2],
}

impl Connection {
    pub(super) fn is_closed(&self) -> bool {
        self.pipes.iter().all(|pipe| lock(pipe).abandoned)
    }

    /// Both sides learn that the connection is gone; bytes under way are lost.
    pub(super) fn reset(&self) {
        for pipe in &self.pipes {
            let mut pipe = lock(pipe);
            pipe.reset = true;
            pipe.pieces.clear();
            pipe.bytes = 0;
            pipe.wake();
        }
    }

    /// Nothing arrives while held; nobody is told.
    pub(super) fn hold(&self, held: bool) {
        for pipe in &self.pipes {
            let mut pipe = lock(pipe);
            pipe.held = held;
            pipe.wake();
        }
    }
}

/// One side of a connection, not yet tied to a task.
pub(super) struct End {
    incoming: Arc<Mutex<Pipe>>,
    outgoing: Arc<Mutex<Pipe>>,
    local: SocketAddr,
    peer: SocketAddr,
    arriving: Option<Pin<Box<Sleep>>>,
}

/// Makes a connection: its two sides, and its controls.
pub(super) fn connection(
    capacity: usize,
    addresses: [SocketAddr; 2],
    weather: [Option<Weather>; 2],
) -> (End, End, Connection) {
    let [there, back] = weather.map(|weather| Arc::new(Mutex::new(Pipe::new(capacity, weather))));
    let [one, two] = addresses;
    let end = |incoming: &Arc<Mutex<Pipe>>, outgoing: &Arc<Mutex<Pipe>>, local, peer| End {
        incoming: Arc::clone(incoming),
        outgoing: Arc::clone(outgoing),
        local,
        peer,
        arriving: None,
    };
    let first = end(&back, &there, one, two);
    let second = end(&there, &back, two, one);
    (
        first,
        second,
        Connection {
            pipes: [there, back],
        },
    )
}

/// A connection inside the process: both sides, each for one task on any thread. Each direction
/// buffers `capacity` bytes.
pub fn loopback(
    capacity: usize,
    addresses: [SocketAddr; 2],
) -> (Box<dyn Accepted>, Box<dyn Accepted>) {
    let (one, two, _) = connection(capacity, addresses, [None, None]);
    (Box::new(one), Box::new(two))
}

impl Accepted for End {
    fn peer_address(&self) -> SocketAddr {
        self.peer
    }

    fn adopt(self: Box<Self>) -> io::Result<Box<dyn Stream>> {
        Ok(self)
    }
}

impl Stream for End {
    fn peer_address(&self) -> SocketAddr {
        self.peer
    }

    fn local_address(&self) -> SocketAddr {
        self.local
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut pipe = lock(&self.incoming);
            if pipe.reset {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            pipe.reader = Some(cx.waker().clone());
            if pipe.held {
                return Poll::Pending;
            }
            let Some(Piece { arrival, .. }) = pipe.pieces.front() else {
                return if pipe.ended {
                    Poll::Ready(Ok(0))
                } else {
                    Poll::Pending
                };
            };
            let arrival = *arrival;
            let now = pipe.weather.as_ref().map(|weather| weather.clock.now());
            if let (Some(now), Some(weather)) = (now, &pipe.weather)
                && now < arrival
            {
                let clock = weather.clock.clone();
                drop(pipe);
                let sleep = self
                    .arriving
                    .get_or_insert_with(|| Box::pin(clock.sleep_until(arrival)));
                if sleep.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                self.arriving = None;
                continue;
            }
            self.arriving = None;
            let wanted = pipe.some_of(buffer.len());
            let mut filled = 0;
            while filled < wanted {
                let Some(piece) = pipe.pieces.front_mut() else {
                    break;
                };
                if now.is_some_and(|now| now < piece.arrival) {
                    break;
                }
                let ready = &piece.bytes[piece.taken..];
                let count = ready.len().min(wanted - filled);
                buffer[filled..filled + count].copy_from_slice(&ready[..count]);
                piece.taken += count;
                filled += count;
                if piece.taken == piece.bytes.len() {
                    pipe.pieces.pop_front();
                }
            }
            pipe.bytes -= filled;
            let writer = pipe.writer.take();
            drop(pipe);
            if let Some(writer) = writer {
                writer.wake();
            }
            return Poll::Ready(Ok(filled));
        }
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
        _more: bool,
    ) -> Poll<io::Result<usize>> {
        let mut pipe = lock(&self.outgoing);
        if pipe.reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if pipe.ended || pipe.abandoned {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let offered: usize = slices.iter().map(|slice| slice.len()).sum();
        let room = pipe.capacity - pipe.bytes.min(pipe.capacity);
        if room == 0 && offered > 0 {
            pipe.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = pipe.some_of(offered.min(room));
        if count == 0 {
            return Poll::Ready(Ok(0));
        }
        let mut bytes = Vec::with_capacity(count);
        for slice in slices {
            let wanted = slice.len().min(count - bytes.len());
            bytes.extend_from_slice(&slice[..wanted]);
        }
        let arrival = pipe.arrival();
        pipe.pieces.push_back(Piece {
            arrival,
            bytes,
            taken: 0,
        });
        pipe.bytes += count;
        let reader = pipe.reader.take();
        drop(pipe);
        if let Some(reader) = reader {
            reader.wake();
        }
        Poll::Ready(Ok(count))
    }

    fn poll_send_file(
        &mut self,
        cx: &mut Context<'_>,
        slice: &FileSlice,
    ) -> Poll<io::Result<usize>> {
        let room = {
            let mut pipe = lock(&self.outgoing);
            let room = pipe.capacity - pipe.bytes.min(pipe.capacity);
            let open = !(pipe.reset || pipe.ended || pipe.abandoned);
            if room == 0 && open {
                pipe.writer = Some(cx.waker().clone());
                return Poll::Pending;
            }
            room
        };
        let count = slice.length.min(COPY_BYTES_MAX).min(room.max(1) as u64);
        let mut bytes = vec![0; count as usize];
        let taken = slice
            .file
            .read_at(&mut bytes, slice.position)
            .map_err(io::Error::other)?;
        if taken == 0 {
            return Poll::Ready(Ok(0));
        }
        self.poll_write(cx, &[io::IoSlice::new(&bytes[..taken])], false)
    }

    fn shutdown(&mut self) -> io::Result<()> {
        let mut pipe = lock(&self.outgoing);
        pipe.ended = true;
        pipe.wake();
        Ok(())
    }
}

impl Drop for End {
    /// Closing with unread bytes resets the connection, as TCP does.
    fn drop(&mut self) {
        let mut incoming = lock(&self.incoming);
        let unread = incoming.bytes > 0;
        incoming.abandoned = true;
        incoming.wake();
        drop(incoming);
        let mut outgoing = lock(&self.outgoing);
        outgoing.ended = true;
        if unread {
            outgoing.reset = true;
        }
        outgoing.wake();
    }
}

fn lock(pipe: &Mutex<Pipe>) -> MutexGuard<'_, Pipe> {
    pipe.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
