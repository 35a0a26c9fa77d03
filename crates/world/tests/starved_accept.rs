//! A process out of descriptors goes on accepting once it has some again. Alone in its binary:
//! the limit is the whole process's.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use world::World;

#[test]
fn accept_survives_a_process_out_of_descriptors() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let world = World::real(directory.path()).expect("real world");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("runtime");
    let limit = getrlimit(Resource::Nofile);
    runtime.block_on(async {
        let mut listener = world
            .net
            .listen("127.0.0.1:0".parse().expect("address"))
            .expect("listen");
        let address = listener.local_address().to_string();
        let _client = world
            .net
            .connect(&address)
            .await
            .expect("the kernel connects it");
        setrlimit(
            Resource::Nofile,
            Rlimit {
                current: Some(64),
                maximum: limit.maximum,
            },
        )
        .expect("setrlimit");
        let mut hoard = Vec::new();
        while let Ok(descriptor) = rustix::io::dup(std::io::stderr()) {
            hoard.push(descriptor);
            assert!(hoard.len() < 64);
        }
        let pause = std::time::Duration::from_millis(300);
        let starved = tokio::time::timeout(pause, listener.accept()).await;
        assert!(
            starved.is_err(),
            "accept neither fails nor succeeds without descriptors"
        );
        hoard.clear();
        let accepted = listener.accept().await.expect("accepts again");
        accepted.adopt().expect("adopt");
    });
}
