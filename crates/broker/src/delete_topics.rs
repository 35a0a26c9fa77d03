//! DeleteTopics: by name or by identity, one answer for each (rule M10).

use std::collections::HashMap;

use metadata::{Command, Image, Refusal};
use wire::ErrorCode;
use wire::ids::TopicId;
use wire::messages::delete_topics::{
    DeletableTopicResult, DeleteTopicState, Request as Asked, Response,
};
use wire::messages::{Text, Uuid};

use crate::dispatch::{Context, Handled, Reply, Request};
use crate::quotas::Mutations;

/// The first version whose clients know that they may have to come back.
const STRICT_VERSION: i16 = 5;

/// Deletes the topics one after the other.
pub fn handle(context: &Context, request: Request) -> Handled {
    let asked: Asked = request.decode()?;
    let context = context.clone();
    Ok(Reply::later(async move {
        let strict = request.version() >= STRICT_VERSION;
        let mut mutations = Mutations::new(request.meters.clone(), strict);
        // A list of names up to version 5, names or ids from 6 on.
        let named = asked.topic_names.into_iter().map(|name| DeleteTopicState {
            name: Some(name),
            ..DeleteTopicState::default()
        });
        let wanted: Vec<DeleteTopicState> = asked.topics.into_iter().chain(named).collect();
        let mut responses: Vec<DeletableTopicResult> = Vec::with_capacity(wanted.len());
        let mut counts: HashMap<(Option<&str>, TopicId), usize> = HashMap::new();
        for topic in &wanted {
            *counts.entry(key(topic)).or_default() += 1;
        }
        for topic in &wanted {
            let outcome = match counts.remove(&key(topic)) {
                Some(1) => delete_one(&context, topic, request.version(), &mut mutations).await,
                Some(_) => Err((topic.name.clone(), topic.topic_id, duplicate(topic))),
                // Its other occurrence has answered for both.
                None => continue,
            };
            responses.push(result(outcome));
        }
        let outgoing = request.answer(&Response {
            responses,
            ..Response::default()
        })?;
        Ok(outgoing.throttled(mutations.throttle(context.reactor.now())))
    }))
}

fn key(topic: &DeleteTopicState) -> (Option<&str>, TopicId) {
    let name = topic.name.as_ref().map(Text::as_str);
    (name, topic.topic_id.into())
}

/// The name and the id of what was deleted, or what is known of what was not, and why.
type Outcome = Result<(Option<Text>, Uuid), (Option<Text>, Uuid, Refusal)>;

async fn delete_one(
    context: &Context,
    topic: &DeleteTopicState,
    version: i16,
    mutations: &mut Mutations,
) -> Outcome {
    let as_asked = |refusal| (topic.name.clone(), topic.topic_id, refusal);
    if !context.node.settings.flag("delete.topic.enable") {
        // Before version 3 there was no code for it.
        let code = if version < 3 {
            ErrorCode::InvalidRequest
        } else {
            ErrorCode::TopicDeletionDisabled
        };
        return Err(as_asked(refusal(
            code,
            "delete.topic.enable is false on this broker.",
        )));
    }
    let (name, id) = find(&context.node.image(), topic).map_err(as_asked)?;
    let name = Some(Text::from(name));
    let image = context.node.image();
    let partitions = image
        .topic_by_id(id)
        .map_or(0, |topic| topic.partitions.len());
    if let Err(refusal) = mutations.take(partitions, context.reactor.now()) {
        return Err((name, id.into(), refusal));
    }
    match context.node.propose(Command::DeleteTopic { id }).await {
        Ok(_) => Ok((name, id.into())),
        Err(refusal) => Err((name, id.into(), refusal)),
    }
}

fn find(image: &Image, topic: &DeleteTopicState) -> Result<(String, TopicId), Refusal> {
    let id = TopicId::from(topic.topic_id);
    let known = match (&topic.name, id.is_none()) {
        (Some(_), false) => {
            return Err(refusal(
                ErrorCode::InvalidRequest,
                "You may not specify both topic name and topic id.",
            ));
        }
        (None, true) => {
            return Err(refusal(
                ErrorCode::InvalidRequest,
                "Neither topic name nor id were specified.",
            ));
        }
        (Some(name), true) => image.topic(name.as_str()).ok_or(refusal(
            ErrorCode::UnknownTopicOrPartition,
            "This server does not host this topic-partition.",
        )),
        (None, false) => image.topic_by_id(id).ok_or(refusal(
            ErrorCode::UnknownTopicId,
            "This server does not host this topic ID.",
        )),
    }?;
    Ok((known.name.to_string(), known.id))
}

fn duplicate(topic: &DeleteTopicState) -> Refusal {
    let message = match topic.name {
        Some(_) => "Duplicate topic name.",
        None => "Duplicate topic id.",
    };
    refusal(ErrorCode::InvalidRequest, message)
}

fn result(outcome: Outcome) -> DeletableTopicResult {
    match outcome {
        Ok((name, topic_id)) => DeletableTopicResult {
            name,
            topic_id,
            ..DeletableTopicResult::default()
        },
        Err((name, topic_id, refusal)) => DeletableTopicResult {
            name,
            topic_id,
            error_code: refusal.code.code(),
            error_message: Some(Text::from(refusal.message)),
            ..DeletableTopicResult::default()
        },
    }
}

fn refusal(code: ErrorCode, message: &str) -> Refusal {
    Refusal {
        code,
        message: message.to_owned(),
    }
}
