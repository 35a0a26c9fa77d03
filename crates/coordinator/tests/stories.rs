//! Stories of groups, as text: a command per line after `>`, then what the shard does.
//!
//! Each file of `tests/stories` is run from an empty shard. After every step the shard is compared
//! with a second one that has only read the log: what a restart keeps must be the same. With
//! `UPDATE_STORIES=1` the files are rewritten; read the difference before believing it.
//!
//! Lines of an outcome: `+` a record, `name api:` an answer, `(after …)` the time at which a timer
//! did something. Member ids are shortened to `client#chance`.
#![expect(
    clippy::unwrap_used,
    reason = "a story that cannot be read is a failed test"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "the stories are files of this repository"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use coordinator::*;
use wire::ErrorCode;

enum Entry {
    Record(RecordOrigin, Record),
    Marker(i64, bool),
}

struct Teller {
    shard: Shard,
    settings: Settings,
    log: Vec<Entry>,
    at_ms: i64,
    token: u64,
    chance: u128,
    /// Token to who asked what.
    asked: BTreeMap<Token, (String, &'static str)>,
    /// Last member id and generation of each name.
    members: BTreeMap<String, (Arc<str>, i32)>,
    out: String,
}

impl Teller {
    fn new() -> Teller {
        let settings = Settings::default();
        let mut shard = Shard::new(settings.clone());
        shard.loaded(now_at(0));
        Teller {
            shard,
            settings,
            log: Vec::new(),
            at_ms: 0,
            token: 0,
            chance: 0,
            asked: BTreeMap::new(),
            members: BTreeMap::new(),
            out: String::new(),
        }
    }

    fn now(&self) -> Now {
        now_at(self.at_ms)
    }

    fn replayed(&self) -> Shard {
        let mut shard = Shard::new(self.settings.clone());
        for entry in &self.log {
            match entry {
                Entry::Record(origin, record) => {
                    shard
                        .apply(*origin, &record.key, record.value.as_deref())
                        .unwrap();
                }
                Entry::Marker(producer, committed) => shard.apply_marker(*producer, *committed),
            }
        }
        shard
    }

    fn take(&mut self, effects: Effects) {
        for record in effects.records {
            let origin = RecordOrigin {
                offset: self.log.len() as i64,
                producer_id: effects.producer.map(|producer| producer.id),
            };
            self.shard
                .apply(origin, &record.key, record.value.as_deref())
                .unwrap();
            let pending = if origin.producer_id.is_some() {
                " (pending)"
            } else {
                ""
            };
            writeln!(self.out, "+ {}{pending}", told_record(&record)).unwrap();
            self.log.push(Entry::Record(origin, record));
        }
        self.answer(effects.replies);
        assert_eq!(
            self.replayed().persistent(),
            self.shard.persistent(),
            "replay differs"
        );
    }

    fn answer(&mut self, replies: Vec<(Token, GroupResponse)>) {
        for (token, response) in replies {
            let (who, api) = self.asked.remove(&token).expect("a token is answered once");
            if let GroupResponse::Join(join) = &response
                && !join.member_id.is_empty()
            {
                self.members
                    .insert(who.clone(), (join.member_id.clone(), join.generation));
            }
            let told = told_response(&response);
            let lead = if who.is_empty() {
                String::new()
            } else {
                format!("{who} ")
            };
            writeln!(self.out, "{lead}{api}: {told}").unwrap();
        }
    }

    fn ask(&mut self, who: &str, api: &'static str, version: i16, request: GroupRequest) {
        self.token += 1;
        self.chance += 1;
        let token = Token(self.token);
        self.asked.insert(token, (who.to_owned(), api));
        let caller = Caller {
            version,
            client_id: Arc::from(who),
            client_host: Arc::from("/127.0.0.1"),
            chance: self.chance,
        };
        let effects = self.shard.handle(self.now(), token, &caller, request);
        self.take(effects);
    }

    fn run(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        let verb = words.next().unwrap();
        let (named, plain): (Vec<&str>, Vec<&str>) = words.partition(|word| {
            word.split_once('=')
                .is_some_and(|(name, _)| !name.contains(':'))
        });
        let named: BTreeMap<&str, &str> = named
            .into_iter()
            .map(|word| word.split_once('=').unwrap())
            .collect();
        let text = |name: &str| named.get(name).map(|value| Arc::<str>::from(*value));
        let number =
            |name: &str, otherwise: i32| named.get(name).map_or(otherwise, |n| n.parse().unwrap());
        let version = |otherwise: i16| named.get("v").map_or(otherwise, |n| n.parse().unwrap());
        let span = |name: &str, otherwise: i64| named.get(name).map_or(otherwise, |s| ms(s));
        let group: Arc<str> = Arc::from(match plain.first() {
            Some(&"''") | None => "",
            Some(group) => group,
        });
        let who = plain.get(1).copied().unwrap_or("");
        let (known, generation) = match text("as") {
            Some(id) if &*id == "new" => (Arc::from(""), -1),
            Some(id) => self.members.get(&*id).cloned().unwrap_or((id, -1)),
            None => self
                .members
                .get(who)
                .cloned()
                .unwrap_or((Arc::from(""), -1)),
        };
        let generation = number("gen", generation);
        let instance_id = text("instance");
        match verb {
            "setting" => {
                for (name, value) in &named {
                    match *name {
                        "initial-delay" => {
                            self.settings.initial_rebalance_delay_ms = ms(value) as i32;
                        }
                        "group-size" => self.settings.group_size_max = value.parse().unwrap(),
                        "groups" => self.settings.groups_max = value.parse().unwrap(),
                        "offsets" => self.settings.offsets_per_group_max = value.parse().unwrap(),
                        "metadata" => {
                            self.settings.group_metadata_bytes_max = value.parse().unwrap();
                        }
                        "record" => self.settings.group_record_bytes_max = value.parse().unwrap(),
                        "retention" => self.settings.offsets_retention_ms = ms(value),
                        "check" => self.settings.offsets_retention_check_interval_ms = ms(value),
                        other => panic!("setting {other}"),
                    }
                }
                self.restart();
            }
            "join" => {
                let protocols = named.get("protocols").copied().unwrap_or("range:orders");
                let request = JoinRequest {
                    group,
                    session_timeout_ms: span("session", 10_000) as i32,
                    rebalance_timeout_ms: span("rebalance", 60_000) as i32,
                    member_id: known,
                    instance_id,
                    protocol_type: text("type").unwrap_or_else(|| Arc::from("consumer")),
                    protocols: protocols
                        .split(',')
                        .filter(|p| !p.is_empty())
                        .map(protocol)
                        .collect(),
                };
                self.ask(who, "join", version(9), GroupRequest::Join(request));
            }
            "sync" => {
                let assignments = named.get("assign").copied().unwrap_or("");
                let assignments = assignments
                    .split(',')
                    .filter_map(|one| one.split_once(':'))
                    .map(|(member, given)| {
                        let id = self.members.get(member).map(|(id, _)| id.clone());
                        let id = id.unwrap_or_else(|| Arc::from(member));
                        (id, Bytes::copy_from_slice(given.as_bytes()))
                    })
                    .collect();
                let v5 = |name: &str, otherwise: &str| match named.get(name) {
                    Some(&"none") => None,
                    Some(value) => Some(Arc::from(*value)),
                    None if version(5) < 5 => None,
                    None => Some(Arc::from(otherwise)),
                };
                let request = SyncRequest {
                    group,
                    generation,
                    member_id: known,
                    instance_id,
                    protocol_type: v5("type", "consumer"),
                    protocol_name: v5("protocol", "range"),
                    assignments,
                };
                self.ask(who, "sync", version(5), GroupRequest::Sync(request));
            }
            "heartbeat" => {
                let request = HeartbeatRequest {
                    group,
                    generation,
                    member_id: known,
                    instance_id,
                };
                self.ask(
                    who,
                    "heartbeat",
                    version(4),
                    GroupRequest::Heartbeat(request),
                );
            }
            "leave" => {
                let mut members: Vec<LeavingMember> = plain[1..]
                    .iter()
                    .map(|name| LeavingMember {
                        member_id: self
                            .members
                            .get(*name)
                            .map_or_else(|| Arc::from(*name), |(id, _)| id.clone()),
                        instance_id: instance_id.clone(),
                    })
                    .collect();
                if members.is_empty() {
                    members.push(LeavingMember {
                        member_id: Arc::from(""),
                        instance_id,
                    });
                }
                let request = LeaveRequest { group, members };
                self.ask(who, "leave", version(5), GroupRequest::Leave(request));
            }
            "commit" => {
                let outside = who == "-";
                let request = CommitRequest {
                    group,
                    generation: if outside {
                        number("gen", -1)
                    } else {
                        generation
                    },
                    member_id: if outside { Arc::from("") } else { known },
                    instance_id,
                    retention_ms: span("retention", -1),
                    topics: plain[2..].iter().map(|word| commit_topic(word)).collect(),
                };
                let who = if outside { "" } else { who };
                self.ask(who, "commit", version(9), GroupRequest::Commit(request));
            }
            "txn-commit" => {
                let request = TxnCommitRequest {
                    group,
                    producer_id: i64::from(number("producer", 1)),
                    producer_epoch: 0,
                    generation: number("gen", -1),
                    member_id: text("as").map_or_else(|| Arc::from(""), |_| known),
                    instance_id,
                    topics: plain[1..].iter().map(|word| commit_topic(word)).collect(),
                };
                self.ask(
                    "",
                    "txn-commit",
                    version(3),
                    GroupRequest::TxnCommit(request),
                );
            }
            "marker" => {
                let (producer, committed) = (number("producer", 1).into(), plain[0] == "commit");
                self.shard.apply_marker(producer, committed);
                self.log.push(Entry::Marker(producer, committed));
                self.take(Effects::default());
            }
            "seek" => {
                let topics = plain[1..].iter().map(|word| commit_topic(word)).collect();
                self.ask(
                    "",
                    "seek",
                    0,
                    GroupRequest::Seek(SeekRequest { group, topics }),
                );
            }
            "fetch" => {
                let partitions: Vec<TopicPartitions> = plain[1..]
                    .iter()
                    .filter(|w| w.contains(':'))
                    .map(|w| partitions(w))
                    .collect();
                let request = FetchRequest {
                    group,
                    topics: (!plain.contains(&"all")).then_some(partitions),
                    member_id: None,
                    member_epoch: -1,
                    require_stable: plain.contains(&"stable"),
                };
                self.ask("", "fetch", version(9), GroupRequest::Fetch(request));
            }
            "delete-offsets" => {
                let topics = plain[1..].iter().map(|word| partitions(word)).collect();
                let request = DeleteOffsetsRequest { group, topics };
                self.ask(
                    "",
                    "delete-offsets",
                    0,
                    GroupRequest::DeleteOffsets(request),
                );
            }
            "partitions-deleted" => {
                let gone: Vec<(Arc<str>, i32)> = plain
                    .iter()
                    .map(|word| partitions(word))
                    .flat_map(|t| t.partitions.into_iter().map(move |p| (t.name.clone(), p)))
                    .collect();
                let effects = self.shard.partitions_deleted(&gone);
                self.take(effects);
            }
            "delete" => {
                let ids = plain.iter().map(|id| Arc::from(*id)).collect();
                self.ask("", "delete", 2, GroupRequest::Delete(ids));
            }
            "describe" => {
                let ids = plain.iter().map(|id| Arc::from(*id)).collect();
                self.ask("", "describe", version(6), GroupRequest::Describe(ids));
            }
            "list" => {
                let filter = |name: &str| text(name).into_iter().collect();
                let request = ListRequest {
                    states: filter("state"),
                    types: filter("type"),
                };
                self.ask("", "list", 5, GroupRequest::List(request));
            }
            "wait" => self.wait(ms(plain[0])),
            "restart" => self.restart(),
            "loading" => {
                self.shard = self.replayed();
            }
            "loaded" => self.shard.loaded(self.now()),
            "unload" => {
                let shard = std::mem::replace(&mut self.shard, Shard::new(self.settings.clone()));
                self.answer(shard.unload(ErrorCode::NotCoordinator));
                self.shard = self.replayed();
                self.shard.loaded(self.now());
            }
            other => panic!("a story cannot `{other}`"),
        }
    }

    fn restart(&mut self) {
        self.shard = self.replayed();
        self.shard.loaded(self.now());
        self.asked.clear();
    }

    fn wait(&mut self, span: i64) {
        let until = self.at_ms + span;
        let from = self.at_ms;
        while let Some(deadline) = self.shard.deadline() {
            let at = i64::try_from(deadline.0.div_ceil(1_000_000)).unwrap();
            if at > until {
                break;
            }
            self.at_ms = self.at_ms.max(at);
            let before = self.out.len();
            let effects = self.shard.tick(self.now());
            self.take(effects);
            if self.out.len() > before {
                let after = format!("(after {})\n", told_ms(self.at_ms - from));
                self.out.insert_str(before, &after);
            }
        }
        self.at_ms = until;
    }
}

fn now_at(ms: i64) -> Now {
    Now {
        monotonic: Instant(ms as u64 * 1_000_000),
        wall_ms: 1_000_000_000_000 + ms,
    }
}

fn ms(text: &str) -> i64 {
    let split = text.find(|c: char| c.is_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        other => panic!("a unit of time: {other}"),
    };
    number.parse::<i64>().unwrap() * unit
}

fn told_ms(ms: i64) -> String {
    if ms % 1_000 == 0 {
        format!("{}s", ms / 1_000)
    } else {
        format!("{ms}ms")
    }
}

/// `name:topic+topic` with a subscription, `name=bytes` or `name` with other metadata.
fn protocol(text: &str) -> Protocol {
    let (name, metadata) = match text.split_once(':') {
        None => (text, Bytes::new()),
        Some((name, topics)) => {
            let mut out = BytesMut::new();
            out.put_i16(3);
            let topics: Vec<&str> = topics.split('+').filter(|t| !t.is_empty()).collect();
            out.put_i32(topics.len() as i32);
            for topic in topics {
                out.put_i16(topic.len() as i16);
                out.put_slice(topic.as_bytes());
            }
            out.put_i32(-1);
            (name, out.freeze())
        }
    };
    Protocol {
        name: Arc::from(name),
        metadata,
    }
}

/// `topic:partition=offset/note`; a note `*N` is N letters long.
fn commit_topic(word: &str) -> CommitTopic {
    let (place, value) = word.split_once('=').unwrap();
    let (topic, partition) = place.split_once(':').unwrap();
    let (offset, note) = value.split_once('/').unwrap_or((value, ""));
    let note = match note.strip_prefix('*') {
        Some(length) => "x".repeat(length.parse().unwrap()),
        None => note.to_owned(),
    };
    CommitTopic {
        name: Arc::from(topic),
        partitions: vec![CommitPartition {
            partition: partition.parse().unwrap(),
            offset: offset.parse().unwrap(),
            leader_epoch: -1,
            metadata: (!note.is_empty()).then(|| Arc::from(note)),
        }],
    }
}

/// `topic:0,1`
fn partitions(word: &str) -> TopicPartitions {
    let (topic, numbers) = word.split_once(':').unwrap();
    TopicPartitions {
        name: Arc::from(topic),
        partitions: numbers
            .split(',')
            .map(|number| number.parse().unwrap())
            .collect(),
    }
}

fn short(id: &str) -> String {
    match id
        .len()
        .checked_sub(36)
        .and_then(|at| Some((id.get(..at)?, id.get(at..)?)))
    {
        Some((prefix, uuid)) if uuid.starts_with("00000000-0000-4000-8000-") => {
            let number = u64::from_str_radix(&uuid[24..], 16).unwrap();
            format!("{}#{number}", prefix.trim_end_matches('-'))
        }
        _ => id.to_owned(),
    }
}

fn told_bytes(bytes: &Bytes) -> String {
    format!("{:?}", String::from_utf8_lossy(bytes))
}

fn told_record(record: &Record) -> String {
    match (decode_key(&record.key).unwrap(), &record.value) {
        (
            Key::Offset {
                group,
                topic,
                partition,
            },
            None,
        ) => {
            format!("offset {group} {topic}:{partition} gone")
        }
        (
            Key::Offset {
                group,
                topic,
                partition,
            },
            Some(value),
        ) => {
            let value = decode_offset_value(value).unwrap();
            let note = match value.metadata.len() {
                0 => String::new(),
                length if length > 40 => format!("/*{length}"),
                _ => format!("/{}", value.metadata),
            };
            let expiry = value.expire_timestamp_ms.map_or(String::new(), |at| {
                format!(" expires in {}", told_ms(at - value.commit_timestamp_ms))
            });
            format!(
                "offset {group} {topic}:{partition} = {}{note}{expiry}",
                value.offset
            )
        }
        (Key::Group { group }, None) => format!("group {group} gone"),
        (Key::Group { group }, Some(value)) => {
            let image = decode_group_value(value).unwrap();
            let mut told = format!("group {group}: generation {}", image.generation);
            if !image.protocol_type.is_empty() {
                write!(told, " {}", image.protocol_type).unwrap();
            }
            if let (Some(protocol), Some(leader)) = (&image.protocol, &image.leader) {
                write!(told, " {protocol} leader {}", short(leader)).unwrap();
            }
            for member in &image.members {
                let id = short(&member.member_id);
                write!(told, " {id}={}", told_bytes(&member.assignment)).unwrap();
            }
            told
        }
        (Key::Consumer(key), value) => {
            let gone = if value.is_none() { " gone" } else { "" };
            format!("{key:?}{gone}")
        }
        (Key::Unknown(kind), _) => format!("unknown {kind}"),
    }
}

fn told_topics(topics: &[CommittedTopic]) -> String {
    topics
        .iter()
        .flat_map(|topic| {
            topic.partitions.iter().map(|p| {
                let error = if p.error.is_error() {
                    p.error.name()
                } else {
                    "ok"
                };
                format!("{}:{} {error}", topic.name, p.partition)
            })
        })
        .collect::<Vec<_>>()
        .join(", ")
}

fn told_response(response: &GroupResponse) -> String {
    match response {
        GroupResponse::ConsumerHeartbeat(_) | GroupResponse::ConsumerDescribe(_) => {
            format!("{response:?}")
        }
        GroupResponse::Join(join) if join.error.is_error() => {
            format!("{} {}", join.error.name(), short(&join.member_id))
                .trim_end()
                .to_owned()
        }
        GroupResponse::Join(join) => {
            let mut told = format!(
                "generation {} {} leader {} as {}",
                join.generation,
                join.protocol_name.as_deref().unwrap_or("-"),
                short(&join.leader),
                short(&join.member_id),
            );
            if !join.members.is_empty() {
                let members: Vec<String> = join
                    .members
                    .iter()
                    .map(|member| short(&member.member_id))
                    .collect();
                write!(told, " members {}", members.join(" ")).unwrap();
            }
            if join.skip_assignment {
                told.push_str(" skip-assignment");
            }
            told
        }
        GroupResponse::Sync(sync) if sync.error.is_error() => sync.error.name().to_owned(),
        GroupResponse::Sync(sync) => told_bytes(&sync.assignment),
        GroupResponse::Heartbeat(error) => error.name().to_owned(),
        GroupResponse::Leave(leave) => {
            let mut told = leave.error.name().to_owned();
            for member in &leave.members {
                let id = match member.instance_id.as_deref() {
                    Some(instance) if member.member_id.is_empty() => instance.to_owned(),
                    _ => short(&member.member_id),
                };
                write!(told, ", {id} {}", member.error.name()).unwrap();
            }
            told
        }
        GroupResponse::Commit(topics)
        | GroupResponse::TxnCommit(topics)
        | GroupResponse::Seek(topics) => told_topics(topics),
        GroupResponse::Fetch(fetched) => {
            let mut told = Vec::new();
            if fetched.error.is_error() {
                told.push(fetched.error.name().to_owned());
            }
            for topic in &fetched.topics {
                for p in &topic.partitions {
                    let note = match p.metadata.len() {
                        0 => String::new(),
                        length if length > 40 => format!("/*{length}"),
                        _ => format!("/{}", p.metadata),
                    };
                    let error = if p.error.is_error() {
                        format!(" {}", p.error.name())
                    } else {
                        String::new()
                    };
                    told.push(format!(
                        "{}:{} = {}{note}{error}",
                        topic.name, p.partition, p.offset
                    ));
                }
            }
            if told.is_empty() {
                "nothing".to_owned()
            } else {
                told.join(", ")
            }
        }
        GroupResponse::DeleteOffsets(deleted) => {
            if deleted.error.is_error() {
                deleted.error.name().to_owned()
            } else {
                told_topics(&deleted.topics)
            }
        }
        GroupResponse::Describe(groups) => groups
            .iter()
            .map(|group| {
                let mut told = format!("{} {}", group.group, group.state);
                for word in [&group.protocol_type, &group.protocol] {
                    if !word.is_empty() {
                        write!(told, " {word}").unwrap();
                    }
                }
                if group.error.is_error() {
                    write!(told, " {}", group.error.name()).unwrap();
                }
                if let Some(message) = &group.error_message {
                    write!(told, " {message:?}").unwrap();
                }
                for member in &group.members {
                    let id = short(&member.member_id);
                    let (assignment, bytes) =
                        (told_bytes(&member.assignment), member.metadata.len());
                    write!(told, " {id}={assignment} ({bytes} bytes of metadata)").unwrap();
                }
                told
            })
            .collect::<Vec<_>>()
            .join("; "),
        GroupResponse::Delete(groups) => groups
            .iter()
            .map(|(group, error)| format!("{group} {}", error.name()))
            .collect::<Vec<_>>()
            .join(", "),
        GroupResponse::List(listed) => {
            let mut told = Vec::new();
            if listed.error.is_error() {
                told.push(listed.error.name().to_owned());
            }
            for group in &listed.groups {
                told.push(format!(
                    "{} {:?} {} {}",
                    group.group, &*group.protocol_type, group.state, group.group_type
                ));
            }
            if told.is_empty() {
                "nothing".to_owned()
            } else {
                told.join(", ")
            }
        }
    }
}

/// Runs a story and returns it as it happens to be told now.
fn tell(text: &str) -> String {
    let mut teller = Teller::new();
    let mut told = String::new();
    for line in text.lines() {
        if line.starts_with('#') || line.is_empty() {
            told.push_str(line);
            told.push('\n');
        } else if let Some(command) = line.strip_prefix("> ") {
            told.push_str(line);
            told.push('\n');
            teller.run(command);
            told.push_str(&std::mem::take(&mut teller.out));
        }
    }
    told
}

/// Tells one file, and compares or rewrites it.
fn check(name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stories");
    let path = folder.join(name).with_extension("txt");
    let text = std::fs::read_to_string(&path).unwrap();
    let told = tell(&text);
    if std::env::var_os("UPDATE_STORIES").is_some() {
        std::fs::write(&path, told).unwrap();
    } else {
        assert_eq!(told, text, "{}", path.display());
    }
}

macro_rules! stories {
    ($($test:ident = $file:literal;)*) => {
        $(
            #[test]
            fn $test() {
                check($file);
            }
        )*

        #[test]
        fn every_story_is_told() {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stories");
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_stem().unwrap().to_str().unwrap();
                assert!([$($file),*].contains(&name), "no test tells {name}");
            }
        }
    };
}

stories! {
    first_members_come_back_with_an_id_and_wait_for_company = "first-members"; // rules G1, G2, G3
    the_first_join_phase_is_prolonged_up_to_the_rebalance_timeout = "initial-delay"; // rule G2
    heartbeats_and_commits_answer_by_state = "heartbeat-and-commit"; // rules G4, G6
    an_unchanged_follower_does_not_rebalance = "rejoin"; // rule G5
    the_silent_and_the_late_are_out = "timeouts"; // rules G1, G3
    who_leaves_passes_the_lead_on = "leave"; // rule G3
    static_members_come_back_unnoticed = "static-members"; // rule G7
    most_votes_choose_the_protocol = "protocols"; // rule G3
    limits_are_kept = "limits"; // rule G6
    offsets_and_groups_are_deleted_when_nobody_reads = "offsets"; // rule G10
    offsets_expire_by_what_became_of_their_group = "expiry"; // rule G8
    a_restart_remembers_the_last_generation = "restart"; // rules G9, T15
    offsets_in_a_transaction_count_when_it_commits = "transactions"; // rule T14
    a_seek_moves_an_active_group = "seek";
    groups_are_seen_from_outside = "admin";
    answers_are_those_of_kafka = "as-kafka"; // rules G1, G3, G4, G5, G6, G7, G10
}
