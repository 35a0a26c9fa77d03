//! The network seam: byte streams with back-pressure, and file ranges sent without a copy.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::disk::FileSlice;

/// A boxed future that stays on its thread.
pub type LocalFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Listens and connects.
pub trait Net: Send + Sync + 'static {
    /// Binds an address (port 0: any free one). Several reactors may accept from one listener.
    fn listen(&self, address: SocketAddr) -> io::Result<Box<dyn Listener>>;
    /// Connects to `host:port`, resolving the host.
    fn connect<'a>(&'a self, address: &'a str) -> LocalFuture<'a, io::Result<Box<dyn Stream>>>;
}

/// A bound, listening socket.
pub trait Listener: Send {
    /// Where it listens, with the real port.
    fn local_address(&self) -> SocketAddr;
    /// The next connection that arrives, not yet tied to the calling thread's runtime.
    fn accept(&mut self) -> LocalFuture<'_, io::Result<Box<dyn Accepted>>>;
}

/// A connection between threads: accepted on one, to be served on another.
pub trait Accepted: Send {
    /// The other side: what connection limits per address count by.
    fn peer_address(&self) -> SocketAddr;
    /// Ties the connection to the calling thread's runtime.
    fn adopt(self: Box<Self>) -> io::Result<Box<dyn Stream>>;
}

/// One connection. Used from one task on one thread.
pub trait Stream {
    /// The other side.
    fn peer_address(&self) -> SocketAddr;
    /// Our side.
    fn local_address(&self) -> SocketAddr;
    /// Reads at least one byte into the buffer; `Ok(0)` is the end.
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>>;
    /// Writes some bytes of `slices` in order. `more` says that further bytes follow at once
    /// (MSG_MORE), so that a header shares a packet with the file range behind it.
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
        more: bool,
    ) -> Poll<io::Result<usize>>;
    /// Sends some bytes of a file range without copying them through user space where the
    /// platform can. `Ok(0)` means the file ended before the range did.
    fn poll_send_file(
        &mut self,
        cx: &mut Context<'_>,
        slice: &FileSlice,
    ) -> Poll<io::Result<usize>>;
    /// Sends the end of the stream to the peer; reading goes on.
    fn shutdown(&mut self) -> io::Result<()>;
}
