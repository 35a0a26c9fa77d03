//! A whole node: proposals, restarts, snapshots, failures.

use std::sync::Arc;
use std::time::Duration;

use openraft::entry::RaftEntry;
use world::World;
use world::disk::Disk;
use world::sim::{Fault, Injection, Operation, SimRandom, SimWorld};

use super::Memory;
use crate::journal::{Journal, JournalError, Sizes};
use crate::record::State;
use crate::{COMMAND_BYTES_MAX, Decided, MetadataQuorum, QuorumError, Settings, SingleNode};

fn settings() -> Settings {
    Settings {
        node: 1,
        address: "localhost:9093".into(),
    }
}

async fn start(world: &World) -> Result<(SingleNode, Memory), QuorumError> {
    let memory = Memory::default();
    let node = SingleNode::start(world, settings(), Box::new(memory.clone())).await?;
    Ok((node, memory))
}

fn command(number: u32) -> Vec<u8> {
    format!("command {number}").into_bytes()
}

async fn story(world: &World) {
    let (node, memory) = start(world).await.expect("a first start");
    let leadership = node.leadership().borrow().clone();
    assert!(
        leadership.is_local && leadership.stopped.is_none(),
        "{leadership:?}"
    );
    assert_eq!(leadership.leader, Some(1));
    let mut last = 0;
    for number in 0..20 {
        let Decided { index, answer } = node.propose(command(number)).await.expect("decided");
        assert!(index > last);
        assert_eq!(answer, (number + 1).to_string().into_bytes());
        last = index;
    }
    assert_eq!(memory.commands().len(), 20, "applied when it is answered");
    assert!(node.barrier().await.expect("leads") >= last);
    let large = node.propose(vec![0; COMMAND_BYTES_MAX + 1]).await;
    assert_eq!(
        large,
        Err(QuorumError::TooLarge {
            bytes: COMMAND_BYTES_MAX + 1
        })
    );
    assert!(node.change_voters([1].into()).await.is_ok());
    assert!(matches!(
        node.change_voters([1, 2].into()).await,
        Err(QuorumError::Unsupported { .. })
    ));
    node.close().await;
    assert!(matches!(
        node.propose(command(99)).await,
        Err(QuorumError::Stopped { .. })
    ));

    let (node, memory) = start(world).await.expect("a restart");
    assert_eq!(memory.commands(), (0..20).map(command).collect::<Vec<_>>());
    assert!(node.leadership().borrow().term > leadership.term);
    let snapshot = node.snapshot().await.expect("taken");
    assert!(snapshot.index >= last);
    node.propose(command(20)).await.expect("decided");
    node.close().await;

    let (node, memory) = start(world).await.expect("a restart from a snapshot");
    assert_eq!(memory.commands(), (0..21).map(command).collect::<Vec<_>>());
    node.propose(command(21)).await.expect("decided");
    node.close().await;
}

#[test]
fn a_node_alone_decides_restarts_and_remembers_on_a_real_disk() {
    let directory = tempfile::tempdir().expect("a directory");
    let world = World::real(directory.path()).expect("a world");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(story(&world));
}

#[test]
fn a_node_alone_decides_restarts_and_remembers_in_the_simulation() {
    let node = World::sim(3);
    node.block_on(story(&node.world));
}

/// Proposes until something fails. How many were answered, and how many tried.
async fn load(world: &World) -> (u32, u32) {
    let Ok((node, _)) = start(world).await else {
        return (0, 0);
    };
    let mut answered = 0;
    for number in 0..12 {
        if number == 6 {
            let _ = node.snapshot().await;
        }
        if number % 4 == 3 {
            // A quiet moment: what waits for one is among the operations that are cut.
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        if node.propose(command(number)).await.is_err() {
            break;
        }
        answered += 1;
    }
    (answered, answered + 1)
}

#[test]
fn no_crash_of_a_node_loses_an_answered_command() {
    let whole = World::sim(1);
    assert_eq!(whole.block_on(load(&whole.world)).0, 12);
    for stop in 1..=whole.disk.operations() {
        let crashed: SimWorld = World::sim(stop);
        crashed.disk.stop_at(stop);
        let (answered, tried) = crashed.block_on(load(&crashed.world));
        let again = crashed.restart_after_power_cut(stop);
        let memory = again.block_on(async {
            let (node, memory) = start(&again.world).await.expect("starts again");
            node.propose(b"after".to_vec()).await.expect("decided");
            node.close().await;
            memory
        });
        let mut commands = memory.commands();
        assert_eq!(commands.pop(), Some(b"after".to_vec()));
        let count = commands.len() as u32;
        assert!(
            (answered..=tried).contains(&count),
            "{answered} answered, {count} found"
        );
        assert_eq!(commands, (0..count).map(command).collect::<Vec<_>>());
    }
}

/// What a restart would find, and how many snapshots there are.
fn at_rest(sim: &SimWorld) -> (State, usize) {
    let disk = sim.disk.crash_image(1);
    let names = disk.list("meta-log").expect("there");
    let snapshots = names
        .iter()
        .filter(|entry| entry.name.ends_with(".snap"))
        .count();
    let random = Arc::new(SimRandom::new(1));
    let journal = Journal::open(Arc::new(disk), random, 1, true, Sizes::default()).expect("opens");
    (journal.state().clone(), snapshots)
}

// replication.md 4: a snapshot each 10,000 entries or 60 s of change; two are kept
#[test]
fn a_node_keeps_its_log_short_by_time_and_by_entries() {
    let sim = World::sim(8);
    sim.block_on(async {
        let (node, memory) = start(&sim.world).await.expect("starts");
        let minute = Duration::from_secs(65);
        node.propose(command(0)).await.expect("decided");
        assert_eq!(at_rest(&sim).1, 0);
        tokio::time::sleep(minute).await;
        assert_eq!(at_rest(&sim).1, 1, "a minute after a change");
        tokio::time::sleep(minute).await;
        assert_eq!(at_rest(&sim).1, 1, "nothing changed since");
        node.propose(command(1)).await.expect("decided");
        tokio::time::sleep(minute).await;
        node.propose(command(2)).await.expect("decided");
        let (state, snapshots) = at_rest(&sim);
        assert_eq!(snapshots, 2);
        let purged = state.purged.expect("up to the older snapshot").index();
        assert!(purged > 0);
        let first = state.entries.front().expect("some").index();
        assert_eq!(
            first,
            purged + 1,
            "the newer snapshot's entries are still there"
        );
        for _ in 0..42 {
            let many = (0..500).map(|number| node.propose(command(number)));
            for decided in futures_util::future::join_all(many).await {
                decided.expect("decided");
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        node.propose(command(3)).await.expect("decided");
        let (state, _) = at_rest(&sim);
        assert!(
            state.entries.len() < 21_100,
            "{} entries",
            state.entries.len()
        );
        assert!(state.purged.expect("purged").index() > purged);
        let commands = memory.commands();
        node.close().await;
        let (node, memory) = start(&sim.world).await.expect("a restart");
        assert_eq!(memory.commands(), commands);
        node.close().await;
    });
}

// replication.md D1
#[test]
fn a_node_whose_flush_failed_stops_and_says_so() {
    let sim = World::sim(5);
    sim.block_on(async {
        let (node, _) = start(&sim.world).await.expect("starts");
        node.propose(command(0)).await.expect("decided");
        sim.disk
            .inject(Injection::on(Operation::WriteDurable, Fault::Io));
        let mut leadership = node.leadership();
        let refused = node
            .propose(command(1))
            .await
            .expect_err("nothing is promised");
        assert!(matches!(refused, QuorumError::Stopped { .. }), "{refused}");
        let seen = leadership
            .wait_for(|now| now.stopped.is_some())
            .await
            .expect("told")
            .clone();
        assert!(!seen.is_local);
        node.close().await;
    });
}

/// Damages the last block that holds the command.
fn damage(sim: &SimWorld, command: &[u8]) {
    let file = sim.disk.open("meta-log/0.log", world::OpenMode::Read);
    let file = file.expect("there");
    let mut bytes = vec![0; file.len().expect("there") as usize];
    file.read_at(&mut bytes, 0).expect("reads");
    let found = bytes
        .windows(command.len())
        .rposition(|window| window == command);
    let at = found.expect("the command is in the first slot");
    sim.disk
        .flip_bit("meta-log/0.log", at as u64, 2)
        .expect("there");
}

// rule D2
#[test]
fn damage_to_the_last_answered_command_is_told_behind_a_quiet_second_and_a_clean_stop() {
    for stops in [false, true] {
        let sim = World::sim(9);
        sim.block_on(async {
            let (node, _) = start(&sim.world).await.expect("starts");
            node.propose(command(77)).await.expect("decided");
            if stops {
                node.close().await;
            } else {
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
        });
        let sim = sim.restart_after_power_cut(1);
        damage(&sim, &command(77));
        let refused = sim.block_on(start(&sim.world)).map(drop);
        assert!(
            matches!(
                refused,
                Err(QuorumError::Journal(JournalError::Corrupt { .. }))
            ),
            "{refused:?}"
        );
    }
}

#[test]
fn a_node_that_is_never_quiet_flushes_once_for_each_command() {
    let sim = World::sim(10);
    sim.block_on(async {
        let (node, _) = start(&sim.world).await.expect("starts");
        tokio::time::sleep(Duration::from_secs(3)).await;
        let before = sim.disk.operations();
        for number in 0..20 {
            node.propose(command(number)).await.expect("decided");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        assert_eq!(sim.disk.operations() - before, 20);
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(sim.disk.operations() - before, 21, "one vouches for all");
        node.close().await;
        assert_eq!(sim.disk.operations() - before, 21);
    });
}

#[test]
fn many_proposals_at_once_share_flushes() {
    let sim = World::sim(6);
    sim.block_on(async {
        let (node, memory) = start(&sim.world).await.expect("starts");
        let before = sim.disk.operations();
        let all = (0..200).map(|number| node.propose(command(number)));
        for decided in futures_util::future::join_all(all).await {
            decided.expect("decided");
        }
        assert_eq!(memory.commands().len(), 200);
        let flushes = sim.disk.operations() - before;
        assert!(flushes < 100, "{flushes} disk operations for 200 commands");
        node.close().await;
    });
}
