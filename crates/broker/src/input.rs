//! Bytes from the socket become whole frames.
//!
//! Invariants:
//! - Memory grows with received bytes, never with an announced length.
//! - Between two turns a silent connection holds nothing; one with a cut small frame holds
//!   exactly that frame's bytes.
//! - Frames come out in the order they came in, each exactly once.

use std::io;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use wire::frame::{FrameStep, split_frame};
use world::Stream;

use crate::buffers::Shelf;
use crate::close::CloseReason;
use crate::limits::{READ_BYTES_MAX, SMALL_FRAME_BYTES};

/// Length of the size field in front of each frame.
const SIZE_BYTES: usize = 4;

/// The receiving half of one connection.
pub struct Input {
    shelf: Shelf,
    frame_bytes_max: usize,
    /// Where the next read goes; its first `filled` bytes are a cut frame.
    filling: Vec<u8>,
    filled: usize,
    /// What the cut frame needs in all, as far as it is known.
    announced: usize,
    /// Whole frames, not yet handled.
    whole: Bytes,
    /// Size of the buffer `whole` keeps alive.
    pinned: usize,
}

impl Input {
    /// An empty input; longer frames than `frame_bytes_max` are an error.
    pub fn new(shelf: Shelf, frame_bytes_max: usize) -> Input {
        Input {
            shelf,
            frame_bytes_max,
            filling: Vec::new(),
            filled: 0,
            announced: 0,
            whole: Bytes::new(),
            pinned: 0,
        }
    }

    /// Whether no whole frame is waiting.
    pub fn is_drained(&self) -> bool {
        self.whole.is_empty()
    }

    /// Whether the begin of a frame is here, but not its end; how many bytes of it.
    pub fn cut_bytes(&self) -> usize {
        self.filled
    }

    /// The API key of the next whole frame; −1 if the frame is too short to have one.
    pub fn next_key(&self) -> Option<i16> {
        if self.whole.is_empty() {
            return None;
        }
        let key = self.whole.get(SIZE_BYTES..SIZE_BYTES + 2);
        Some(key.map_or(-1, |key| i16::from_be_bytes([key[0], key[1]])))
    }

    /// The next whole frame, without its size.
    pub fn take_frame(&mut self) -> Option<Bytes> {
        if self.whole.is_empty() {
            return None;
        }
        let size = i32::from_be_bytes([self.whole[0], self.whole[1], self.whole[2], self.whole[3]]);
        self.whole.advance(SIZE_BYTES);
        // `sort` let only whole frames through, so the size is right.
        Some(self.whole.split_to(usize::try_from(size).unwrap_or(0)))
    }

    /// One read, then a look for whole frames. Only while drained. `Ok(0)` is the end. A greedy read
    /// takes what there is; else no more than the cut frame needs.
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut dyn Stream,
        greedy: bool,
    ) -> Poll<Result<usize, CloseReason>> {
        self.make_room();
        let end = if greedy {
            self.filling.len()
        } else {
            self.filling.len().min(self.announced.max(self.filled + 1))
        };
        match stream.poll_read(cx, &mut self.filling[self.filled..end]) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(0)) => Poll::Ready(Ok(0)),
            Poll::Ready(Ok(read)) => {
                self.filled += read;
                self.sort()?;
                Poll::Ready(Ok(read))
            }
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(CloseReason::Peer(error.kind()))),
        }
    }

    /// Gives back what a waiting connection does not need. Called at the end of each turn.
    pub fn settle(&mut self) {
        if self.filled == 0 {
            self.shelf.give_back(std::mem::take(&mut self.filling));
        } else if self.filled < SMALL_FRAME_BYTES && self.filling.len() != self.filled {
            let exact = self.filling[..self.filled].to_vec();
            self.shelf
                .give_back(std::mem::replace(&mut self.filling, exact));
        }
        if self.whole.is_empty() {
            self.whole = Bytes::new();
            self.pinned = 0;
        } else if self.whole.len() < self.pinned / 2 {
            self.whole = Bytes::copy_from_slice(&self.whole);
            self.pinned = self.whole.len();
        }
    }

    /// Bytes of memory held between turns.
    pub fn held_bytes(&self) -> usize {
        self.filling.len() + self.pinned
    }

    fn make_room(&mut self) {
        if self.filling.len() < READ_BYTES_MAX {
            let mut buffer = self.shelf.take();
            buffer[..self.filled].copy_from_slice(&self.filling[..self.filled]);
            self.filling = buffer;
        } else if self.filled == self.filling.len() {
            // Doubling, so the memory follows what was received; the announced size, already
            // checked against the limit, only ends the growth.
            let target = self
                .announced
                .max(READ_BYTES_MAX)
                .min(self.filling.len() * 2);
            let target = target.max(self.filled + READ_BYTES_MAX / 2);
            self.filling.resize(target, 0);
        }
    }

    /// Cuts what was received into whole frames and a rest.
    fn sort(&mut self) -> Result<(), CloseReason> {
        let mut end = 0;
        loop {
            match split_frame(&self.filling[end..self.filled], self.frame_bytes_max) {
                FrameStep::Frame { len } => end += SIZE_BYTES + len,
                FrameStep::Need(more) => {
                    self.announced = self.filled - end + more;
                    break;
                }
                FrameStep::TooLong { .. } => return Err(CloseReason::FrameTooLong),
            }
        }
        if end == 0 {
            return Ok(());
        }
        let rest = &self.filling[end..self.filled];
        let next = if rest.is_empty() {
            Vec::new()
        } else if rest.len() < SMALL_FRAME_BYTES {
            rest.to_vec()
        } else if rest.len() <= READ_BYTES_MAX {
            let mut buffer = self.shelf.take();
            buffer[..rest.len()].copy_from_slice(rest);
            buffer
        } else {
            rest.to_vec()
        };
        self.filled -= end;
        self.pinned = self.filling.len();
        let full = std::mem::replace(&mut self.filling, next);
        self.whole = self.shelf.freeze(full, end);
        Ok(())
    }
}
