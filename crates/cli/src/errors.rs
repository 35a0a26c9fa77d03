//! The catalogue of Kafka's errors in words: the usual cause of each, and what to do.
//!
//! `duramen explain`, the second line of every failure and `docs/errors.md` are this one text.

use wire::ErrorCode;

/// What is known of an error beyond its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The usual cause, one clause; none where the name says all.
    pub cause: Option<&'static str>,
    /// What to do, a sentence; none where only the caller can know.
    pub then: Option<&'static str>,
}

/// What is known of an error.
pub fn entry(code: ErrorCode) -> Entry {
    let known = KNOWN.iter().find(|(known, ..)| *known == code);
    match known {
        Some((_, cause, then)) => Entry {
            cause: Some(cause),
            then: Some(then),
        },
        None => Entry {
            cause: None,
            then: None,
        },
    }
}

/// What a client should do about an error nothing more is known of.
pub fn in_general(code: ErrorCode) -> &'static str {
    match code.is_retriable() {
        true => "It passes by itself: clients ask again, and so may you.",
        false => {
            "Asking again will not help: the request, the configuration or the rights must change."
        }
    }
}

/// The page of all errors, in Markdown: `docs/errors.md`.
#[cfg(test)]
fn page() -> String {
    use std::fmt::Write;
    let mut page = String::from(
        "# Errors\n\n\
         Every error of Kafka's protocol: its number, whether clients ask again by themselves, and what it\n\
         means. `duramen explain NAME` shows the same. This page is written from the code; a test holds it\n\
         to it.\n\n\
         | number | name | retried | meaning |\n|---|---|---|---|\n",
    );
    // A string takes everything.
    let shown = |code: &&ErrorCode| **code != ErrorCode::None;
    for code in ErrorCode::ALL.iter().filter(shown) {
        let retried = if code.is_retriable() { "yes" } else { "no" };
        let _ = writeln!(
            page,
            "| {} | `{}` | {retried} | {} |",
            code.code(),
            code.name(),
            code.message()
        );
    }
    page.push_str("\n## The usual cause, and what to do\n");
    for (code, cause, then) in KNOWN {
        let mut cause = (*cause).to_owned();
        if let Some(first) = cause.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        let _ = write!(
            page,
            "\n**{}** ({})\n\n{cause}.\n{then}\n",
            code.name(),
            code.code()
        );
    }
    page
}

/// Error, usual cause as one clause, what to do as sentences.
const KNOWN: &[(ErrorCode, &str, &str)] = &[
    (
        ErrorCode::OffsetOutOfRange,
        "no record has that offset any more, because retention removed it, or not yet",
        "See the range with `duramen topic describe TOPIC`; begin at its start with `-o start`, or move a \
         group there with `duramen group seek GROUP --to start`.",
    ),
    (
        ErrorCode::CorruptMessage,
        "the bytes were damaged on their way, or the client writes batches that contradict themselves",
        "If it stays, update the client; if it comes from one host only, suspect its memory or network.",
    ),
    (
        ErrorCode::UnknownTopicOrPartition,
        "the cluster has no such topic or partition",
        "List them with `duramen topic ls`; create it with `duramen topic create TOPIC`.",
    ),
    (
        ErrorCode::LeaderNotAvailable,
        "the partition has no leader: it was just created, or the brokers that hold it are away",
        "If it stays, see which with `duramen cluster health`.",
    ),
    (
        ErrorCode::NotLeaderOrFollower,
        "the partition's leader has just moved to another broker",
        "Clients look the leader up and ask again. If it stays, see `duramen cluster health`.",
    ),
    (
        ErrorCode::RequestTimedOut,
        "the broker, or the replicas it waits for, did not finish in time",
        "See `duramen cluster health`; a full or slow disk shows in `duramen doctor`.",
    ),
    (
        ErrorCode::MessageTooLarge,
        "the batch is larger than max.message.bytes of its topic",
        "Raise it with `duramen config set max.message.bytes=4MiB --topic TOPIC`, or send smaller batches.",
    ),
    (
        ErrorCode::RecordListTooLarge,
        "the batch is larger than segment.bytes of its topic",
        "Raise segment.bytes, or send smaller batches.",
    ),
    (
        ErrorCode::OffsetMetadataTooLarge,
        "the note beside the committed offset is longer than offset.metadata.max.bytes",
        "Commit a shorter note.",
    ),
    (
        ErrorCode::CoordinatorLoadInProgress,
        "the broker that answers for the group reads the group's log after a start or a move",
        "It passes within seconds.",
    ),
    (
        ErrorCode::CoordinatorNotAvailable,
        "the topic __consumer_offsets is being created, or the broker that leads its partition is away",
        "If it stays, see `duramen cluster health`.",
    ),
    (
        ErrorCode::NotCoordinator,
        "the group is answered for by another broker now",
        "Clients look it up and ask again.",
    ),
    (
        ErrorCode::InvalidTopicException,
        "the name has other characters than letters, digits, dots, dashes and underscores, is longer than \
         249, or belongs to the cluster itself",
        "Choose another name.",
    ),
    (
        ErrorCode::NotEnoughReplicas,
        "fewer replicas are in sync than min.insync.replicas wants, so nothing was written",
        "See which brokers are away with `duramen cluster health`.",
    ),
    (
        ErrorCode::NotEnoughReplicasAfterAppend,
        "the record was written, but fewer replicas are in sync than min.insync.replicas wants",
        "Producers with idempotence may send it again without a duplicate. See `duramen cluster health`.",
    ),
    (
        ErrorCode::IllegalGeneration,
        "the group was rebalanced after this member got its partitions",
        "The member joins again by itself. If it happens often, its work between two polls takes longer \
         than max.poll.interval.ms: see `duramen group explain GROUP`.",
    ),
    (
        ErrorCode::InconsistentGroupProtocol,
        "the members of the group have no assignor in common, or are no consumers",
        "Give all members the same partition.assignment.strategy.",
    ),
    (
        ErrorCode::UnknownMemberId,
        "the member was taken out of the group: it was silent too long, or was sent away by a seek",
        "It joins again by itself. An administrator sees this for a group that still has members: use \
         `duramen group seek`, which sends them away first.",
    ),
    (
        ErrorCode::InvalidSessionTimeout,
        "session.timeout.ms lies outside group.min.session.timeout.ms to group.max.session.timeout.ms",
        "Change the consumer's, or the broker's bounds.",
    ),
    (
        ErrorCode::RebalanceInProgress,
        "the group is sharing out its partitions anew",
        "The member joins again by itself. See why with `duramen group explain GROUP`.",
    ),
    (
        ErrorCode::TopicAuthorizationFailed,
        "the user may not do this with the topic",
        "Ask whoever keeps the access rules for the operation on this topic.",
    ),
    (
        ErrorCode::GroupAuthorizationFailed,
        "the user may not do this with the group",
        "Ask whoever keeps the access rules for READ on this group.",
    ),
    (
        ErrorCode::ClusterAuthorizationFailed,
        "the user may not do this with the cluster",
        "Ask whoever keeps the access rules.",
    ),
    (
        ErrorCode::InvalidTimestamp,
        "the record's time is further from now than message.timestamp.before.max.ms or after.max.ms allow",
        "Check the producer's clock, or that it counts milliseconds, not seconds.",
    ),
    (
        ErrorCode::UnsupportedVersion,
        "client and broker have no version of this request in common",
        "See what the broker offers with `duramen doctor --apis`.",
    ),
    (
        ErrorCode::TopicAlreadyExists,
        "a topic of that name exists",
        "See it with `duramen topic describe TOPIC`; change it with `duramen topic alter TOPIC`.",
    ),
    (
        ErrorCode::InvalidPartitions,
        "a topic cannot have fewer partitions than it has, nor none, nor too many",
        "See how many there are with `duramen topic describe TOPIC`.",
    ),
    (
        ErrorCode::InvalidReplicationFactor,
        "the cluster has fewer brokers than copies were asked for",
        "See them with `duramen cluster info`; ask for fewer with `-r`.",
    ),
    (
        ErrorCode::InvalidConfig,
        "a configuration key is unknown here, or its value is not allowed",
        "See keys and values with `duramen config get --topic TOPIC --all`.",
    ),
    (
        ErrorCode::NotController,
        "another broker takes administrative requests now",
        "Clients look it up and ask again.",
    ),
    (
        ErrorCode::OutOfOrderSequenceNumber,
        "batches of this producer are missing in front of the one sent: some were lost, or its state on \
         the broker was removed",
        "The producer must be started anew; records it was not told of as written may be missing.",
    ),
    (
        ErrorCode::InvalidProducerEpoch,
        "a newer producer uses the same transactional id",
        "Give each running producer a transactional id of its own.",
    ),
    (
        ErrorCode::ProducerFenced,
        "a newer producer uses the same transactional id",
        "Give each running producer a transactional id of its own.",
    ),
    (
        ErrorCode::KafkaStorageError,
        "the broker's disk failed, or has less free room than disk.free.bytes.min",
        "The broker's own log says which, and `/readyz` does on its operations port. On a full disk, let \
         records go with `duramen topic alter TOPIC --set retention.ms=1d`; writing resumes by itself.",
    ),
    (
        ErrorCode::SaslAuthenticationFailed,
        "user or password are wrong, or the user does not exist",
        "Check the client's credentials.",
    ),
    (
        ErrorCode::NonEmptyGroup,
        "the group has members",
        "Stop them, or move the group with `duramen group seek`, which works with members too.",
    ),
    (
        ErrorCode::GroupIdNotFound,
        "the cluster has no such group",
        "List them with `duramen group ls`.",
    ),
    (
        ErrorCode::FencedLeaderEpoch,
        "the client's picture of the partition's leader is old",
        "Clients look it up and ask again.",
    ),
    (
        ErrorCode::MemberIdRequired,
        "a new member is given its id first, and joins with it",
        "Clients do so by themselves.",
    ),
    (
        ErrorCode::GroupMaxSizeReached,
        "the group has group.max.size members",
        "Raise it, or run fewer members: more members than partitions are idle anyway.",
    ),
    (
        ErrorCode::FencedInstanceId,
        "another process uses the same group.instance.id",
        "Give each running member a group.instance.id of its own.",
    ),
    (
        ErrorCode::InvalidRecord,
        "a record breaks a rule of its topic, such as a missing key on a compacted one",
        "Look at the key and the headers the producer sends.",
    ),
    (
        ErrorCode::UnknownTopicId,
        "the topic was removed, or removed and created again under the same name",
        "Clients look it up and ask again.",
    ),
    (
        ErrorCode::FencedMemberEpoch,
        "the member's view of the group is old: it was taken out of it",
        "It joins again by itself.",
    ),
    (
        ErrorCode::StaleMemberEpoch,
        "the member's view of the group is one step old",
        "It tries again after its next heartbeat.",
    ),
    (
        ErrorCode::UnreleasedInstanceId,
        "another process uses the same group.instance.id",
        "Give each running member a group.instance.id of its own.",
    ),
    (
        ErrorCode::TransactionAbortable,
        "something went wrong inside the transaction",
        "The producer must abort it and may go on with the next.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../../docs/errors.md");

    #[test]
    fn the_page_of_errors_says_what_the_code_says() {
        let page = page();
        assert!(PAGE == page, "write docs/errors.md anew:\n{page}");
    }

    #[test]
    fn every_entry_is_there_once_and_whole() {
        for (at, (code, cause, then)) in KNOWN.iter().enumerate() {
            assert!(
                !KNOWN[..at].iter().any(|(other, ..)| other == code),
                "{code}"
            );
            assert!(
                !cause.ends_with('.') && !cause.contains('\n'),
                "{code}: one clause"
            );
            assert!(
                then.ends_with('.') && !then.contains('\n'),
                "{code}: sentences"
            );
        }
    }
}
