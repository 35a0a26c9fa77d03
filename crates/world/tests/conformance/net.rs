//! What every network does.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Poll;

use tokio::task::spawn_local;
use world::disk::FileSlice;
use world::net::Accepted;
use world::{Listener, Net, OpenMode, Stream, World};

/// Runs each fact on the real network and on the simulated one.
macro_rules! facts {
    ($($fact:ident),* $(,)?) => {
        mod real {
            $(
                #[test]
                fn $fact() {
                    let (world, _guard) = crate::real();
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .enable_all()
                        .build()
                        .expect("runtime");
                    tokio::task::LocalSet::new().block_on(&runtime, super::$fact(world));
                }
            )*
        }
        mod sim {
            $(
                #[test]
                fn $fact() {
                    for seed in 0..10 {
                        let sim = world::World::sim(seed);
                        sim.net.set_delay(
                            std::time::Duration::ZERO,
                            std::time::Duration::from_millis(seed * 3),
                        );
                        sim.block_on(super::$fact(sim.world.clone()));
                    }
                }
            )*
        }
    };
}

facts! {
    what_one_side_writes_the_other_reads,
    each_side_knows_both_addresses,
    the_end_of_one_direction_leaves_the_other_open,
    a_slow_reader_holds_the_writer_up,
    a_header_and_a_file_range_arrive_in_order,
    a_file_range_beyond_the_end_sends_nothing,
    nobody_listening_is_refused,
    a_closed_connection_tells_its_peer,
    unread_bytes_reset_the_connection,
    an_address_is_bound_once,
    connections_wait_in_line_to_be_accepted,
    nonsense_is_no_address,
}

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().expect("address")
}

fn listen(world: &World) -> Box<dyn Listener> {
    world.net.listen(any_port()).expect("listen")
}

async fn connected(world: &World) -> (Box<dyn Stream>, Box<dyn Stream>) {
    let mut listener = listen(world);
    let address = listener.local_address().to_string();
    let client = world.net.connect(&address).await.expect("connect");
    let server = listener
        .accept()
        .await
        .expect("accept")
        .adopt()
        .expect("adopt");
    (client, server)
}

async fn read(stream: &mut dyn Stream, buffer: &mut [u8]) -> io::Result<usize> {
    poll_fn(|cx| stream.poll_read(cx, buffer)).await
}

async fn read_exactly(stream: &mut dyn Stream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let mut filled = 0;
    while filled < length {
        let taken = read(stream, &mut bytes[filled..]).await.expect("read");
        assert!(
            taken > 0,
            "the stream ended after {filled} of {length} bytes"
        );
        filled += taken;
    }
    bytes
}

async fn write_all(stream: &mut dyn Stream, mut bytes: &[u8], more: bool) {
    while !bytes.is_empty() {
        // In two slices, so that a partial write may end in either.
        let (head, tail) = bytes.split_at(bytes.len() / 2);
        let slices = [IoSlice::new(head), IoSlice::new(tail)];
        let written = poll_fn(|cx| stream.poll_write(cx, &slices, more))
            .await
            .expect("write");
        bytes = &bytes[written..];
    }
}

async fn send_file(stream: &mut dyn Stream, slice: &FileSlice) {
    let mut slice = slice.clone();
    while slice.length > 0 {
        let sent = poll_fn(|cx| stream.poll_send_file(cx, &slice))
            .await
            .expect("send_file");
        assert!(sent > 0, "the file ended");
        slice.position += sent as u64;
        slice.length -= sent as u64;
    }
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at / 5 + at / 3000) as u8).collect()
}

async fn what_one_side_writes_the_other_reads(world: World) {
    let (mut client, mut server) = connected(&world).await;
    let bytes = pattern(1 << 20);
    let echo = spawn_local(async move {
        let received = read_exactly(&mut *server, 1 << 20).await;
        write_all(&mut *server, &received, false).await;
    });
    write_all(&mut *client, &bytes, false).await;
    assert_eq!(read_exactly(&mut *client, 1 << 20).await, bytes);
    echo.await.expect("echo");
}

async fn each_side_knows_both_addresses(world: World) {
    let mut listener = listen(&world);
    let address = listener.local_address();
    assert_ne!(address.port(), 0);
    let name = format!("localhost:{}", address.port());
    let client = world.net.connect(&name).await.expect("connect by name");
    let accepted = listener.accept().await.expect("accept");
    assert_eq!(accepted.peer_address(), client.local_address());
    let server = accepted.adopt().expect("adopt");
    assert_eq!(server.peer_address(), client.local_address());
    assert_eq!(client.peer_address(), server.local_address());
    assert_eq!(client.peer_address().port(), address.port());
}

async fn the_end_of_one_direction_leaves_the_other_open(world: World) {
    let (mut client, mut server) = connected(&world).await;
    write_all(&mut *client, b"last words", false).await;
    client.shutdown().expect("shutdown");
    assert_eq!(read_exactly(&mut *server, 10).await, b"last words");
    let mut buffer = [0; 8];
    assert_eq!(read(&mut *server, &mut buffer).await.expect("read"), 0);
    assert_eq!(read(&mut *server, &mut buffer).await.expect("and again"), 0);
    write_all(&mut *server, b"answer", false).await;
    assert_eq!(read_exactly(&mut *client, 6).await, b"answer");
}

async fn a_slow_reader_holds_the_writer_up(world: World) {
    const ROOM_MAX: usize = 64 << 20;
    let (mut client, mut server) = connected(&world).await;
    let piece = pattern(64 << 10);
    let mut sent = 0;
    loop {
        let from = sent % piece.len();
        let slices = [IoSlice::new(&piece[from..])];
        let polled = poll_fn(|cx| Poll::Ready(client.poll_write(cx, &slices, false))).await;
        match polled {
            Poll::Ready(written) => sent += written.expect("write"),
            // One more turn for the runtime: only then is "full" final.
            Poll::Pending => break,
        }
        assert!(sent < ROOM_MAX, "nothing holds the writer up");
        if sent % (1 << 20) < (64 << 10) {
            tokio::task::yield_now().await;
        }
    }
    let received = read_exactly(&mut *server, sent).await;
    for (at, byte) in received.iter().enumerate() {
        assert_eq!(*byte, piece[at % piece.len()]);
    }
    write_all(&mut *client, b"room again", false).await;
    assert_eq!(read_exactly(&mut *server, 10).await, b"room again");
}

async fn a_header_and_a_file_range_arrive_in_order(world: World) {
    let bytes = pattern(3_000_000);
    // Files with a descriptor and without one go through every network.
    let (real, _guard) = crate::real();
    let (sim, ()) = crate::sim();
    for disk in [&real.disk, &sim.disk] {
        let file = disk.open("seg", OpenMode::CreateNew).expect("create");
        file.write_at(&bytes, 0).expect("write");
        let (mut client, mut server) = connected(&world).await;
        let slice = FileSlice {
            file,
            position: 1_001,
            length: 2_500_000,
        };
        let sender = spawn_local(async move {
            write_all(&mut *server, b"header", true).await;
            send_file(&mut *server, &slice).await;
            write_all(&mut *server, b"trailer", false).await;
        });
        assert_eq!(read_exactly(&mut *client, 6).await, b"header");
        assert!(read_exactly(&mut *client, 2_500_000).await == bytes[1_001..2_501_001]);
        assert_eq!(read_exactly(&mut *client, 7).await, b"trailer");
        sender.await.expect("sender");
    }
    // A file read around the page cache is sent all the same.
    real.disk
        .open("wal", OpenMode::CreateNew)
        .expect("create")
        .zero_fill(8192)
        .expect("fill");
    let file = real.disk.open("wal", OpenMode::Durable).expect("open");
    let (mut client, mut server) = connected(&world).await;
    send_file(
        &mut *server,
        &FileSlice {
            file,
            position: 100,
            length: 8000,
        },
    )
    .await;
    assert_eq!(read_exactly(&mut *client, 8000).await, [0; 8000]);
}

async fn a_file_range_beyond_the_end_sends_nothing(world: World) {
    let file = world.disk.open("seg", OpenMode::CreateNew).expect("create");
    file.write_at(b"abc", 0).expect("write");
    let (_client, mut server) = connected(&world).await;
    let slice = FileSlice {
        file,
        position: 3,
        length: 10,
    };
    assert_eq!(
        poll_fn(|cx| server.poll_send_file(cx, &slice))
            .await
            .expect("send"),
        0
    );
}

async fn nobody_listening_is_refused(world: World) {
    let listener = listen(&world);
    let address = listener.local_address().to_string();
    drop(listener);
    let refused = world
        .net
        .connect(&address)
        .await
        .map(drop)
        .expect_err("refused");
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
}

async fn a_closed_connection_tells_its_peer(world: World) {
    let (client, mut server) = connected(&world).await;
    drop(client);
    let mut buffer = [0; 8];
    assert_eq!(read(&mut *server, &mut buffer).await.expect("the end"), 0);
    // Writing fails at once or soon.
    let mut tries = 0;
    loop {
        let slices = [IoSlice::new(&[0; 4096])];
        match poll_fn(|cx| server.poll_write(cx, &slices, false)).await {
            Ok(_) => {
                tries += 1;
                assert!(tries < 10_000, "nobody says that the peer is gone");
                tokio::task::yield_now().await;
            }
            Err(error) => {
                let known = [io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset];
                assert!(known.contains(&error.kind()), "{error}");
                break;
            }
        }
    }
}

async fn unread_bytes_reset_the_connection(world: World) {
    let (mut client, mut server) = connected(&world).await;
    write_all(&mut *client, b"never read", false).await;
    // Wait until they are there, and read one only.
    assert_eq!(read_exactly(&mut *server, 1).await, b"n");
    drop(server);
    let mut buffer = [0; 8];
    let error = read(&mut *client, &mut buffer).await.expect_err("reset");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

async fn an_address_is_bound_once(world: World) {
    let listener = listen(&world);
    let second = world
        .net
        .listen(listener.local_address())
        .map(drop)
        .expect_err("in use");
    assert_eq!(second.kind(), io::ErrorKind::AddrInUse);
    let address = listener.local_address();
    drop(listener);
    world.net.listen(address).map(drop).expect("free again");
}

async fn connections_wait_in_line_to_be_accepted(world: World) {
    let mut listener = listen(&world);
    let address = listener.local_address().to_string();
    let net: Rc<std::sync::Arc<dyn Net>> = Rc::new(world.net.clone());
    let mut clients = Vec::new();
    for number in 0..20u8 {
        let (net, address) = (Rc::clone(&net), address.clone());
        clients.push(spawn_local(async move {
            let mut stream = net.connect(&address).await.expect("connect");
            write_all(&mut *stream, &[number], false).await;
            read_exactly(&mut *stream, 1).await[0]
        }));
    }
    for _ in 0..20 {
        let accepted: Box<dyn Accepted> = listener.accept().await.expect("accept");
        let mut stream = accepted.adopt().expect("adopt");
        spawn_local(async move {
            let byte = read_exactly(&mut *stream, 1).await;
            write_all(&mut *stream, &byte, false).await;
        });
    }
    for (number, client) in clients.into_iter().enumerate() {
        assert_eq!(usize::from(client.await.expect("client")), number);
    }
}

async fn nonsense_is_no_address(world: World) {
    for address in ["", "no-port", "127.0.0.1:port", "127.0.0.1:99999"] {
        assert!(world.net.connect(address).await.is_err(), "{address}");
    }
}
