//! DeleteTopics: by name or by identity, one answer for each (rule M10).

use metadata::{Command, Refusal};
use wire::ErrorCode;
use wire::ids::TopicId;
use wire::messages::delete_topics::{
    DeletableTopicResult, DeleteTopicState, Request as Asked, Response,
};
use wire::messages::{Text, Uuid};

use crate::dispatch::{Context, Handled, Reply, Request};

/// Deletes the topics one after the other.
pub fn handle(context: &Context, request: Request) -> Handled {
    let asked: Asked = request.decode()?;
    let context = context.clone();
    Ok(Reply::later(async move {
        // A list of names up to version 5, names or ids from 6 on.
        let named = asked.topic_names.into_iter().map(|name| DeleteTopicState {
            name: Some(name),
            ..DeleteTopicState::default()
        });
        let wanted: Vec<DeleteTopicState> = asked.topics.into_iter().chain(named).collect();
        let mut responses = Vec::with_capacity(wanted.len());
        for topic in wanted {
            responses.push(delete_one(&context, topic, request.version()).await);
        }
        request.answer(&Response {
            responses,
            ..Response::default()
        })
    }))
}

async fn delete_one(
    context: &Context,
    topic: DeleteTopicState,
    version: i16,
) -> DeletableTopicResult {
    let asked_id = TopicId::from(topic.topic_id);
    let image = context.node.image();
    let found = match (&topic.name, asked_id.is_none()) {
        (Some(_), false) | (None, true) => Err(refusal(
            ErrorCode::InvalidRequest,
            "Name a topic by its name or by its id, not by both or neither.",
        )),
        (Some(name), true) => image.topic(name.as_str()).cloned().ok_or_else(|| {
            refusal(
                ErrorCode::UnknownTopicOrPartition,
                "This server does not host this topic-partition.",
            )
        }),
        (None, false) => image.topic_by_id(asked_id).cloned().ok_or_else(|| {
            refusal(
                ErrorCode::UnknownTopicId,
                "This server does not host this topic ID.",
            )
        }),
    };
    let (name, id, outcome) = match found {
        Err(refusal) => (topic.name, asked_id, Err(refusal)),
        Ok(found) => {
            let name = Some(Text::from(found.name.to_string()));
            let outcome = if context.node.settings.flag("delete.topic.enable") {
                let command = Command::DeleteTopic { id: found.id };
                context.node.propose(command).await.map(drop)
            } else {
                // Before version 3 there was no code for it.
                let code = if version < 3 {
                    ErrorCode::InvalidRequest
                } else {
                    ErrorCode::TopicDeletionDisabled
                };
                Err(refusal(
                    code,
                    "delete.topic.enable is false on this broker.",
                ))
            };
            (name, found.id, outcome)
        }
    };
    let mut result = DeletableTopicResult {
        name,
        topic_id: Uuid::from(id),
        ..DeletableTopicResult::default()
    };
    if let Err(refusal) = outcome {
        result.error_code = refusal.code.code();
        result.error_message = Some(Text::from(refusal.message));
    }
    result
}

fn refusal(code: ErrorCode, message: &str) -> Refusal {
    Refusal {
        code,
        message: message.to_owned(),
    }
}
