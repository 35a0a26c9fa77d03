//! TCP on the machine's own stack, driven by the calling thread's reactor.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendFlags, sockopt};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, Interest, ReadBuf};
use tokio::net::TcpStream;

use crate::disk::FileSlice;
use crate::net::{Accepted, Listener, LocalFuture, Net, Stream};

/// Connections the kernel completes before we accept them; it cuts to its own `somaxconn`.
const BACKLOG: i32 = 1024;
/// Pause of the accept loop when descriptors or memory ran out: nothing tells when some are free
/// again, and the listening socket stays readable.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Silence before the kernel asks whether the peer is alive, the pause between questions, and
/// how many go unanswered: a vanished peer is noticed within two minutes.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_PAUSE: Duration = Duration::from_secs(15);
const KEEPALIVE_TRIES: u32 = 4;
/// Slices one `sendmsg` takes (IOV_MAX).
const SLICES_MAX: usize = 1024;
/// Bytes per `sendfile` call, so that pages missing in the cache hold up a reactor only so long.
const SEND_FILE_BYTES_MAX: u64 = 1 << 20;
/// Bytes copied per call where `sendfile` cannot be used.
const COPY_BYTES_MAX: u64 = 128 << 10;

/// Listens and connects with TCP.
#[derive(Debug, Default)]
pub struct RealNet;

impl Net for RealNet {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is what world::Net stands for"
    )]
    fn listen(&self, address: SocketAddr) -> io::Result<Box<dyn Listener>> {
        // std sets SO_REUSEADDR: a restart need not wait for old connections to be forgotten.
        let socket = std::net::TcpListener::bind(address)?;
        socket.set_nonblocking(true)?;
        // Listening again with a longer queue is allowed, and all that std lacks.
        rustix::net::listen(&socket, BACKLOG)?;
        let local = socket.local_addr()?;
        Ok(Box::new(TcpAcceptor {
            local,
            state: State::Idle(socket),
        }))
    }

    fn connect<'a>(&'a self, address: &'a str) -> LocalFuture<'a, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            prepare(&stream)?;
            Ok(Box::new(TcpConnection::new(stream)?) as Box<dyn Stream>)
        })
    }
}

struct TcpAcceptor {
    local: SocketAddr,
    state: State,
}

enum State {
    /// Not yet tied to a reactor: bound on one thread, used on another.
    Idle(std::net::TcpListener),
    Tied(AsyncFd<std::net::TcpListener>),
    /// While one of the above becomes the other.
    Moving,
}

impl Listener for TcpAcceptor {
    fn local_address(&self) -> SocketAddr {
        self.local
    }

    fn accept(&mut self) -> LocalFuture<'_, io::Result<Box<dyn Accepted>>> {
        Box::pin(async move {
            let local = self.local;
            let listener = self.tie()?;
            let mut starving = false;
            loop {
                let mut ready = listener.readable().await?;
                let accepted = match ready.try_io(|listener| listener.get_ref().accept()) {
                    // Another reactor was faster.
                    Err(_would_block) => continue,
                    Ok(accepted) => accepted,
                };
                match accepted {
                    Ok((stream, peer)) => {
                        return Ok(Box::new(AcceptedTcp { stream, peer }) as Box<dyn Accepted>);
                    }
                    Err(error) if is_starving(&error) => {
                        if !starving {
                            tracing::warn!(
                                address = %local,
                                %error,
                                "no connection can be accepted for now; raise the limit of open files"
                            );
                            starving = true;
                        }
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                    // The connection died before it was accepted (accept(2), "Error handling").
                    Err(error) if is_of_the_connection(&error) => {}
                    Err(error) => return Err(error),
                }
            }
        })
    }
}

impl TcpAcceptor {
    /// Registers the socket with the calling thread's reactor, the first time.
    #[expect(unsafe_code, reason = "tokio has no safe registration for descriptors")]
    fn tie(&mut self) -> io::Result<&AsyncFd<std::net::TcpListener>> {
        match std::mem::replace(&mut self.state, State::Moving) {
            State::Idle(socket) => {
                // SAFETY: the listener owns its descriptor until it is dropped, with the AsyncFd,
                // and always answers with the same one.
                let tied = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) };
                match tied {
                    Ok(tied) => self.state = State::Tied(tied),
                    Err(refused) => {
                        let (socket, error) = refused.into_parts();
                        self.state = State::Idle(socket);
                        return Err(error);
                    }
                }
            }
            other => self.state = other,
        }
        match &self.state {
            State::Tied(listener) => Ok(listener),
            State::Idle(_) | State::Moving => unreachable!("tied above"),
        }
    }
}

fn is_starving(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
    )
}

fn is_of_the_connection(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNABORTED
                | libc::EINTR
                | libc::EPROTO
                | libc::EPERM
                | libc::ENETDOWN
                | libc::ENOPROTOOPT
                | libc::EHOSTDOWN
                | libc::ENONET
                | libc::EHOSTUNREACH
                | libc::EOPNOTSUPP
                | libc::ENETUNREACH
        )
    )
}

struct AcceptedTcp {
    stream: std::net::TcpStream,
    peer: SocketAddr,
}

impl Accepted for AcceptedTcp {
    fn peer_address(&self) -> SocketAddr {
        self.peer
    }

    fn adopt(self: Box<Self>) -> io::Result<Box<dyn Stream>> {
        self.stream.set_nonblocking(true)?;
        let stream = TcpStream::from_std(self.stream)?;
        prepare(&stream)?;
        Ok(Box::new(TcpConnection::new(stream)?))
    }
}

/// Small answers leave at once, and peers that vanished are noticed.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    sockopt::set_tcp_nodelay(stream, true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_PAUSE)?;
    sockopt::set_tcp_keepcnt(stream, KEEPALIVE_TRIES)?;
    Ok(())
}

struct TcpConnection {
    stream: TcpStream,
    peer: SocketAddr,
    local: SocketAddr,
}

impl TcpConnection {
    fn new(stream: TcpStream) -> io::Result<TcpConnection> {
        let (peer, local) = (stream.peer_addr()?, stream.local_addr()?);
        Ok(TcpConnection {
            stream,
            peer,
            local,
        })
    }

    /// Runs a non-blocking call when the socket takes bytes.
    fn poll_send(
        &self,
        cx: &mut Context<'_>,
        mut send: impl FnMut(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(cx))?;
            match self
                .stream
                .try_io(Interest::WRITABLE, || send(self.stream.as_fd()))
            {
                // try_io forgot the readiness: the next poll registers the waker.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => return Poll::Ready(outcome),
            }
        }
    }
}

impl Stream for TcpConnection {
    fn peer_address(&self) -> SocketAddr {
        self.peer
    }

    fn local_address(&self) -> SocketAddr {
        self.local
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
        more: bool,
    ) -> Poll<io::Result<usize>> {
        let slices = &slices[..slices.len().min(SLICES_MAX)];
        let mut flags = SendFlags::NOSIGNAL;
        flags.set(SendFlags::MORE, more);
        self.poll_send(cx, |socket| {
            let sent =
                rustix::net::sendmsg(socket, slices, &mut SendAncillaryBuffer::default(), flags)?;
            Ok(sent)
        })
    }

    fn poll_send_file(
        &mut self,
        cx: &mut Context<'_>,
        slice: &FileSlice,
    ) -> Poll<io::Result<usize>> {
        if let Some(descriptor) = slice.file.descriptor() {
            let count = slice.length.min(SEND_FILE_BYTES_MAX) as usize;
            return self.poll_send(cx, |socket| {
                let mut position = slice.position;
                Ok(rustix::fs::sendfile(
                    socket,
                    descriptor,
                    Some(&mut position),
                    count,
                )?)
            });
        }
        // Read only once the socket takes bytes, or a slow peer would have us read for nothing.
        ready!(self.stream.poll_write_ready(cx))?;
        let mut bytes = vec![0; slice.length.min(COPY_BYTES_MAX) as usize];
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
        match rustix::net::shutdown(&self.stream, rustix::net::Shutdown::Write) {
            // The peer was faster: there is nobody left to tell.
            Ok(()) | Err(rustix::io::Errno::NOTCONN) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}
