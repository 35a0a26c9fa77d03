//! CreatePartitions: a topic grows to a total number of partitions.

use metadata::{Command, Placement, Refusal, dry_run, place};
use wire::ErrorCode;
use wire::ids::BrokerId;
use wire::messages::create_partitions::{
    CreatePartitionsTopic, CreatePartitionsTopicResult, Request as Asked, Response,
};
use wire::messages::text;

use crate::create_topics::place_on;
use crate::dispatch::{Context, Handled, Reply, Request};
use crate::mentions::Mentions;
use crate::quotas::Mutations;

/// The first version whose clients know that they may have to come back.
const STRICT_VERSION: i16 = 3;

/// Grows the topics one after the other; each has its own answer (rule M10).
pub fn handle(context: &Context, request: Request) -> Handled {
    let asked: Asked = request.decode()?;
    let context = context.clone();
    Ok(Reply::later(async move {
        let strict = request.version() >= STRICT_VERSION;
        let mut mutations = Mutations::new(request.meters.clone(), strict);
        let mut mentions = Mentions::of(asked.topics.iter().map(|topic| topic.name.as_str()));
        let mut results = Vec::with_capacity(asked.topics.len());
        for topic in &asked.topics {
            let outcome = match mentions.take(topic.name.as_str()) {
                Some(Ok(())) => grow(&context, topic, asked.validate_only, &mut mutations).await,
                Some(Err(refusal)) => Err(refusal),
                None => continue,
            };
            let mut result = CreatePartitionsTopicResult {
                name: text(topic.name.as_str()),
                ..CreatePartitionsTopicResult::default()
            };
            if let Err(refusal) = outcome {
                result.error_code = refusal.code.code();
                result.error_message = Some(text(&refusal.message));
            }
            results.push(result);
        }
        let outgoing = request.answer(&Response {
            results,
            ..Response::default()
        })?;
        Ok(outgoing.throttled(mutations.throttle(context.reactor.now())))
    }))
}

async fn grow(
    context: &Context,
    topic: &CreatePartitionsTopic,
    validate_only: bool,
    mutations: &mut Mutations,
) -> Result<(), Refusal> {
    let image = context.node.image();
    let Some(known) = image.topic(topic.name.as_str()).cloned() else {
        return Err(Refusal {
            code: ErrorCode::UnknownTopicOrPartition,
            message: "This server does not host this topic-partition.".into(),
        });
    };
    let now = known.partitions.len();
    let wanted = usize::try_from(topic.count).unwrap_or(0);
    if wanted == now {
        return Err(invalid(format!("Topic already has {now} partition(s).")));
    }
    if wanted < now {
        return Err(invalid(format!(
            "The topic {} currently has {now} partition(s); {} would not be an increase.",
            topic.name, topic.count
        )));
    }
    let fresh = wanted - now;
    let replicas = known
        .partitions
        .first()
        .map_or(1, |partition| partition.replicas.len());
    let placements: Vec<Placement> = match &topic.assignments {
        None => place(
            &image,
            fresh,
            replicas,
            context.node.world.random.next_u64(),
        )?,
        Some(assignments) if assignments.len() != fresh => {
            return Err(Refusal {
                code: ErrorCode::InvalidReplicaAssignment,
                message: format!(
                    "Attempted to add {fresh} additional partition(s), but only {} assignment(s) \
                     were specified.",
                    assignments.len()
                ),
            });
        }
        Some(assignments) => assignments
            .iter()
            .map(|assignment| {
                let brokers = assignment
                    .broker_ids
                    .iter()
                    .copied()
                    .map(BrokerId)
                    .collect();
                place_on(&image, brokers)
            })
            .collect::<Result<_, _>>()?,
    };
    let command = Command::CreatePartitions {
        topic: known.id,
        count: topic.count,
        placements,
    };
    if validate_only || mutations.are_measured() {
        dry_run(&image, command.clone()).accepted()?;
    }
    mutations.take(fresh, context.reactor.now())?;
    if validate_only {
        return Ok(());
    }
    context.node.propose(command).await.map(drop)
}

fn invalid(message: String) -> Refusal {
    Refusal {
        code: ErrorCode::InvalidPartitions,
        message,
    }
}
