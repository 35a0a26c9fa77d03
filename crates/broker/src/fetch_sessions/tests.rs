use world::World;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn place(topic: &str, partition: i32) -> Place {
    Place {
        topic: text(topic),
        id: TopicId::default(),
        partition,
    }
}

fn told(high_watermark: i64, served: bool) -> Told {
    Told {
        news: served,
        served,
        high_watermark: Offset(high_watermark),
        log_start: Offset(0),
    }
}

/// Sessions, a clock that is moved by hand, and seeded chance.
struct Stage {
    sessions: FetchSessions,
    now: Instant,
    world: World,
}

impl Stage {
    fn new(slots: usize) -> Stage {
        Stage {
            sessions: FetchSessions::new(slots),
            now: Instant(1_000_000_000_000),
            world: World::sim(1).world.clone(),
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now.after(time);
    }

    fn open(&self, partitions: i32) -> i32 {
        let answered: Vec<_> = (0..partitions)
            .map(|p| (place("t", p), Wanted::default(), told(5, false)))
            .collect();
        let random = &*self.world.random;
        self.sessions
            .open(false, answered.into_iter(), self.now, random)
    }

    fn take(&self, id: i32, epoch: i32, wanted: &[Place]) -> Result<Manner, ErrorCode> {
        self.forget(id, epoch, wanted, &[])
    }

    fn forget(
        &self,
        id: i32,
        epoch: i32,
        wanted: &[Place],
        forgotten: &[Place],
    ) -> Result<Manner, ErrorCode> {
        let claim = Claim {
            id,
            epoch,
            by_id: false,
        };
        let wanted = wanted
            .iter()
            .map(|place| (place.clone(), Wanted::default()));
        let forgotten = forgotten.iter().cloned();
        self.sessions.take(claim, wanted, forgotten, self.now)
    }

    fn error(&self, id: i32, epoch: i32) -> Option<ErrorCode> {
        self.take(id, epoch, &[]).err()
    }
}

/// The partitions of a session in the order of the next answer.
fn order(manner: &Manner) -> Vec<i32> {
    let remembered = manner.remembered().unwrap();
    remembered
        .iter()
        .map(|(place, _)| place.partition)
        .collect()
}

fn settle(manner: &Manner, answers: &[(Place, Told)]) -> Result<Vec<bool>, ErrorCode> {
    let Manner::Within { session, epoch } = manner else {
        panic!("no session");
    };
    let copies = answers.iter().map(|(place, told)| {
        (
            place,
            Told {
                news: told.news,
                served: told.served,
                high_watermark: told.high_watermark,
                log_start: told.log_start,
            },
        )
    });
    Manner::settle(session, *epoch, copies)
        .map(|(_, kept)| kept)
        .map_err(|(_, error)| error)
}

#[test]
fn epochs_rise_by_one_and_another_one_changes_nothing() {
    // rule F5
    let stage = Stage::new(10);
    let id = stage.open(2);
    assert!(id > 0);
    assert_eq!(
        stage.error(id, 2),
        Some(ErrorCode::InvalidFetchSessionEpoch)
    );
    assert_eq!(stage.error(id, 1), None);
    assert_eq!(
        stage.error(id, 1),
        Some(ErrorCode::InvalidFetchSessionEpoch)
    );
    assert_eq!(stage.error(id, 2), None);
    assert_eq!(
        stage.error(id + 1, 1),
        Some(ErrorCode::FetchSessionIdNotFound)
    );
    assert_eq!(
        stage.error(id, -7),
        Some(ErrorCode::InvalidFetchSessionEpoch)
    );
    assert_eq!(next_epoch(i32::MAX), 1);
    assert_eq!(next_epoch(1), 2);
}

#[test]
fn names_and_ids_do_not_mix_in_a_session() {
    // rule F5
    let stage = Stage::new(10);
    let id = stage.open(1);
    let claim = Claim {
        id,
        epoch: 1,
        by_id: true,
    };
    let taken = stage
        .sessions
        .take(claim, std::iter::empty(), std::iter::empty(), stage.now);
    assert_eq!(taken.err(), Some(ErrorCode::FetchSessionTopicIdError));
}

#[test]
fn what_did_not_change_is_not_told_and_what_was_served_goes_last() {
    // rule F5
    let stage = Stage::new(10);
    let id = stage.open(3);
    let manner = stage.take(id, 1, &[]).unwrap();
    assert_eq!(order(&manner), [0, 1, 2]);
    let answers = [
        (place("t", 0), told(6, true)),
        (place("t", 1), told(5, false)),
        (place("t", 2), told(7, false)),
    ];
    assert_eq!(settle(&manner, &answers), Ok(vec![true, false, true]));
    let manner = stage.take(id, 2, &[]).unwrap();
    assert_eq!(order(&manner), [1, 2, 0]);
    let answers = [
        (place("t", 1), told(5, false)),
        (place("t", 2), told(7, false)),
        (place("t", 0), told(6, false)),
    ];
    assert_eq!(settle(&manner, &answers), Ok(vec![false, false, false]));
}

#[test]
fn after_an_error_the_watermark_is_told_again() {
    // rule F5
    let stage = Stage::new(10);
    let id = stage.open(1);
    let failed = Told {
        news: true,
        served: false,
        high_watermark: Offset::NONE,
        log_start: Offset::NONE,
    };
    let manner = stage.take(id, 1, &[]).unwrap();
    assert_eq!(settle(&manner, &[(place("t", 0), failed)]), Ok(vec![true]));
    let manner = stage.take(id, 2, &[]).unwrap();
    let fine = [(place("t", 0), told(5, false))];
    assert_eq!(settle(&manner, &fine), Ok(vec![true]));
}

#[test]
fn partitions_come_and_go_and_the_last_one_takes_the_session_along() {
    // rule F5
    let stage = Stage::new(10);
    let id = stage.open(2);
    let both = [place("t", 0), place("t", 1)];
    let manner = stage.forget(id, 1, &[place("u", 9)], &both[..1]).unwrap();
    assert_eq!(order(&manner), [1, 9]);
    let gone = [place("u", 9), place("t", 1)];
    let manner = stage.forget(id, 2, &[], &gone).unwrap();
    assert!(matches!(manner, Manner::Alone));
    assert_eq!(stage.error(id, 3), Some(ErrorCode::FetchSessionIdNotFound));
    let counts = stage.sessions.counts();
    let left = SessionCounts {
        sessions_max: 10,
        full: counts.full,
        incremental: 2,
        refused: 1,
        ..SessionCounts::default()
    };
    assert_eq!(counts, left);
}

#[test]
fn a_full_request_closes_the_session_that_it_names() {
    // rule F5
    let stage = Stage::new(10);
    let (first, second) = (stage.open(1), stage.open(1));
    let manner = stage.take(first, EPOCH_FIRST, &[]).unwrap();
    assert!(matches!(manner, Manner::Opening { by_id: false }));
    let manner = stage.take(second, EPOCH_NONE, &[]).unwrap();
    assert!(matches!(manner, Manner::Alone));
    assert_eq!(stage.sessions.counts().sessions, 0);
}

#[test]
fn an_answer_to_a_request_that_came_twice_is_refused() {
    // rule F5
    let stage = Stage::new(10);
    let id = stage.open(1);
    let early = stage.take(id, 1, &[]).unwrap();
    let _late = stage.take(id, 2, &[]).unwrap();
    let answers = [(place("t", 0), told(6, true))];
    assert_eq!(
        settle(&early, &answers),
        Err(ErrorCode::InvalidFetchSessionEpoch)
    );
}

#[test]
fn only_a_stale_or_an_old_and_smaller_session_gives_way() {
    // rule F5
    let mut stage = Stage::new(2);
    let (small, large) = (stage.open(2), stage.open(5));
    assert_eq!(stage.open(9), NO_SESSION, "both are new");
    stage.pass(100 * SECOND);
    assert_eq!(stage.error(small, 1), None);
    assert_eq!(stage.error(large, 1), None);
    stage.pass(21 * SECOND);
    assert_eq!(stage.error(small, 2), None);
    assert_eq!(stage.error(large, 2), None);
    assert_eq!(stage.open(2), NO_SESSION, "none is smaller");
    let larger = stage.open(3);
    assert_ne!(larger, NO_SESSION);
    assert_eq!(
        stage.error(small, 3),
        Some(ErrorCode::FetchSessionIdNotFound)
    );
    stage.pass(121 * SECOND);
    assert_ne!(stage.open(1), NO_SESSION, "the others are stale");
    let counts = stage.sessions.counts();
    assert_eq!((counts.sessions, counts.evictions), (2, 2));
}

#[test]
fn without_slots_nobody_gets_a_session() {
    let stage = Stage::new(0);
    assert_eq!(stage.open(1), NO_SESSION);
}

#[test]
fn the_partitions_of_all_sessions_are_bounded() {
    let mut stage = Stage::new(10);
    stage.sessions = FetchSessions::bounded(10, 5);
    let id = stage.open(3);
    assert_ne!(id, NO_SESSION);
    assert_eq!(stage.open(3), NO_SESSION);
    let more: Vec<Place> = (0..6).map(|p| place("u", p)).collect();
    assert_eq!(
        stage.take(id, 1, &more).err(),
        Some(ErrorCode::FetchSessionIdNotFound),
        "it reads on without a session"
    );
    assert_eq!(stage.sessions.counts().partitions, 0);
}
