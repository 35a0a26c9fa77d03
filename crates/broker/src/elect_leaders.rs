//! ElectLeaders: the preferred replica leads again, or any that is alive.
//!
//! A partition here has one replica, which leads whenever it can: there is nothing to move, and
//! that is told as Kafka tells it.

use metadata::{Image, Partition};
use wire::ErrorCode;
use wire::messages::elect_leaders::{
    PartitionResult, ReplicaElectionResult, Request as Asked, Response,
};
use wire::messages::text;

use crate::dispatch::{Context, Handled, Request};

/// The preferred replica is to lead.
const PREFERRED: i8 = 0;

/// Any live replica is to lead where none does.
const UNCLEAN: i8 = 1;

/// Answers from the image at hand.
pub fn handle(context: &Context, request: Request) -> Handled {
    let mut asked: Asked = request.decode()?;
    if request.version() == 0 {
        asked.election_type = PREFERRED;
    }
    request.reply(&elect(&context.node.image(), &asked))
}

fn elect(image: &Image, asked: &Asked) -> Response {
    if !matches!(asked.election_type, PREFERRED | UNCLEAN) {
        return refused(asked);
    }
    let preferred = asked.election_type == PREFERRED;
    let replica_election_results = match &asked.topic_partitions {
        Some(topics) => topics
            .iter()
            .map(|topic| {
                let name = topic.topic.as_str();
                let numbers = topic.partitions.iter();
                result(
                    name,
                    numbers
                        .map(|number| (*number, outcome(image, name, *number, preferred)))
                        .collect(),
                )
            })
            .collect(),
        // Of all partitions only those are told where something happened or could not.
        None => image
            .topics()
            .map(|topic| {
                let outcomes = (0..).zip(&topic.partitions);
                result(
                    &topic.name,
                    outcomes
                        .map(|(number, partition)| (number, elected(partition, preferred)))
                        .filter(|(_, (code, _))| *code != ErrorCode::ElectionNotNeeded)
                        .collect(),
                )
            })
            .collect(),
    };
    Response {
        replica_election_results,
        ..Response::default()
    }
}

/// An error, and what is said of it.
type Outcome = (ErrorCode, String);

fn outcome(image: &Image, topic: &str, number: i32, preferred: bool) -> Outcome {
    let Some(topic) = image.topic(topic) else {
        let message = format!("No such topic as {topic}");
        return (ErrorCode::UnknownTopicOrPartition, message);
    };
    match image.partition(topic.id, number) {
        Some(partition) => elected(partition, preferred),
        None => {
            let message = format!("No such partition as {}-{number}", topic.name);
            (ErrorCode::UnknownTopicOrPartition, message)
        }
    }
}

fn elected(partition: &Partition, preferred: bool) -> Outcome {
    let leads_already = match partition.leader {
        Some(leader) => !preferred || partition.replicas.as_slice().first() == Some(&leader),
        None => false,
    };
    let code = match (leads_already, preferred) {
        (true, _) => ErrorCode::ElectionNotNeeded,
        // The only replica is not there; it leads as soon as it is.
        (false, true) => ErrorCode::PreferredLeaderNotAvailable,
        (false, false) => ErrorCode::EligibleLeadersNotAvailable,
    };
    (code, sentence(code))
}

/// The error's own words as a sentence.
fn sentence(code: ErrorCode) -> String {
    let message = code.message();
    let mut letters = message.chars();
    let first: String = letters
        .next()
        .into_iter()
        .flat_map(char::to_uppercase)
        .collect();
    format!("{first}{}.", letters.as_str())
}

fn result(topic: &str, outcomes: Vec<(i32, Outcome)>) -> ReplicaElectionResult {
    ReplicaElectionResult {
        topic: text(topic),
        partition_result: outcomes
            .into_iter()
            .map(|(partition_id, (code, message))| PartitionResult {
                partition_id,
                error_code: code.code(),
                error_message: Some(text(&message)),
                ..PartitionResult::default()
            })
            .collect(),
        ..ReplicaElectionResult::default()
    }
}

/// Another kind of election than the two: each named partition says so too.
fn refused(asked: &Asked) -> Response {
    let message = format!("Unknown election type {}", asked.election_type);
    let topics = asked.topic_partitions.iter().flatten();
    Response {
        error_code: ErrorCode::InvalidRequest.code(),
        replica_election_results: topics
            .map(|topic| {
                let numbers = topic.partitions.iter();
                let refusal = (ErrorCode::InvalidRequest, message.clone());
                result(
                    topic.topic.as_str(),
                    numbers.map(|number| (*number, refusal.clone())).collect(),
                )
            })
            .collect(),
        ..Response::default()
    }
}
