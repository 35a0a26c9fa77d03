//! The sending half of a connection: answers as head bytes and file ranges, sent in order.
//!
//! A head goes out by vectored writes that span answers; a file range by `send_file`. A range
//! that comes up short closes the connection: its length has been promised, and padding would
//! be a lie.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use world::Stream;
use world::disk::FileSlice;

use crate::close::CloseReason;
use crate::limits::WRITE_SLICES_MAX;
use crate::quotas::Throttle;

/// One encoded answer: head bytes, and records to be sent between them.
#[derive(Clone)]
pub struct Outgoing {
    /// The frame, size field included, without what is inserted.
    pub head: Bytes,
    /// What is sent within, and the position in `head` before which it is, in order.
    pub inserts: Vec<(u32, Insert)>,
    /// How long its client is held back; the connection writes it into the head.
    pub throttle: Throttle,
}

/// Records within an answer.
#[derive(Clone)]
pub enum Insert {
    /// A few bytes, copied.
    Bytes(Bytes),
    /// A range of a file, sent from the page cache.
    File(FileSlice),
}

impl Outgoing {
    /// An answer without inserts.
    pub fn bytes(head: Bytes) -> Outgoing {
        Outgoing {
            head,
            inserts: Vec::new(),
            throttle: Throttle::NONE,
        }
    }

    /// The same answer to a client that is held back.
    pub fn throttled(self, throttle: Throttle) -> Outgoing {
        Outgoing { throttle, ..self }
    }
}

type Piece = Insert;

/// What is decided and not yet sent.
#[derive(Default)]
pub struct Outbox {
    pieces: VecDeque<Piece>,
    unsent_bytes: usize,
}

impl Outbox {
    /// Puts an answer behind the others.
    pub fn push(&mut self, answer: Outgoing) {
        let mut head = answer.head;
        let mut sent = 0;
        for (at, insert) in answer.inserts {
            let part = head.split_to((at as usize).saturating_sub(sent).min(head.len()));
            sent += part.len();
            self.push_bytes(part);
            match insert {
                Insert::Bytes(bytes) => self.push_bytes(bytes),
                Insert::File(slice) if slice.length == 0 => {}
                Insert::File(_) => self.pieces.push_back(insert),
            }
        }
        self.push_bytes(head);
    }

    fn push_bytes(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.unsent_bytes += bytes.len();
            self.pieces.push_back(Piece::Bytes(bytes));
        }
    }

    /// Whether everything was sent.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Head bytes that wait for the client to read.
    pub fn unsent_bytes(&self) -> usize {
        self.unsent_bytes
    }

    /// Sends until done (`Ready`) or the socket is full (`Pending`). Adds what left to `sent`.
    pub fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut dyn Stream,
        sent: &mut u64,
    ) -> Poll<Result<(), CloseReason>> {
        loop {
            let step = match self.pieces.front_mut() {
                None => return Poll::Ready(Ok(())),
                Some(Piece::File(slice)) => match stream.poll_send_file(cx, slice) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(CloseReason::ShortFile)),
                    Poll::Ready(Ok(count)) => {
                        let count = count as u64;
                        slice.position += count;
                        slice.length = slice.length.saturating_sub(count);
                        if slice.length == 0 {
                            self.pieces.pop_front();
                        }
                        Poll::Ready(Ok(count))
                    }
                    other => other.map_ok(|count| count as u64),
                },
                Some(Piece::Bytes(_)) => self.poll_write(cx, stream),
            };
            match step {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(count)) => *sent += count,
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(Err(CloseReason::Peer(error.kind())));
                }
            }
        }
    }

    /// One vectored write over the leading head bytes, of however many answers.
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut dyn Stream,
    ) -> Poll<io::Result<u64>> {
        let mut slices = [IoSlice::new(&[]); WRITE_SLICES_MAX];
        let mut count = 0;
        let mut more = false;
        for piece in &self.pieces {
            match piece {
                Piece::Bytes(bytes) if count < WRITE_SLICES_MAX => {
                    slices[count] = IoSlice::new(bytes);
                    count += 1;
                }
                _ => {
                    more = true;
                    break;
                }
            }
        }
        match stream.poll_write(cx, &slices[..count], more) {
            Poll::Ready(Ok(0)) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Poll::Ready(Ok(written)) => {
                self.forget(written);
                Poll::Ready(Ok(written as u64))
            }
            other => other.map_ok(|count| count as u64),
        }
    }

    fn forget(&mut self, mut written: usize) {
        self.unsent_bytes -= written.min(self.unsent_bytes);
        while written > 0 {
            let Some(Piece::Bytes(bytes)) = self.pieces.front_mut() else {
                return;
            };
            let taken = written.min(bytes.len());
            bytes.advance(taken);
            written -= taken;
            if bytes.is_empty() {
                self.pieces.pop_front();
            }
        }
    }
}
