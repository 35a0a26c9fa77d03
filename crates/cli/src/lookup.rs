//! Topics and groups by the names people type: there, or a failure that names the nearest.

use client::{Client, GroupListing, Place, TopicView};

use crate::{Failure, connect};

/// A topic that is there.
pub async fn topic(client: &mut Client, name: &str) -> Result<TopicView, Failure> {
    let asked = name.to_owned();
    let topics = client
        .topics(Some(std::slice::from_ref(&asked)))
        .await
        .map_err(|error| connect::explain(format!("topic {name}"), error, "duramen topic ls"))?;
    let found = topics
        .into_iter()
        .find(|topic| topic.name == name && topic.exists);
    match found {
        Some(topic) => Ok(topic),
        None => Err(unknown_topic(client, name).await),
    }
}

/// The numbers of a topic's partitions.
pub fn partitions(topic: &TopicView) -> Vec<i32> {
    topic.partitions.iter().map(|part| part.index).collect()
}

/// The partitions meant: those given, which must be there, or all.
pub fn chosen(topic: &TopicView, wanted: &[i32]) -> Result<Vec<i32>, Failure> {
    let all = partitions(topic);
    if let Some(stranger) = wanted.iter().find(|wanted| !all.contains(wanted)) {
        let name = &topic.name;
        return Err(Failure::usage(
            format!("topic {name}: no partition {stranger}"),
            format!("it has {} partitions, from 0", all.len()),
            format!("duramen topic describe {name}"),
        ));
    }
    Ok(match wanted.is_empty() {
        true => all,
        false => wanted.to_vec(),
    })
}

/// `TOPIC` or `TOPIC:PARTITION`, as places that are there.
pub async fn places(client: &mut Client, given: &str) -> Result<Vec<Place>, Failure> {
    let (name, partition) = match given.rsplit_once(':') {
        Some((name, partition)) => match partition.parse::<i32>() {
            Ok(partition) => (name, Some(partition)),
            Err(_) => (given, None),
        },
        None => (given, None),
    };
    let topic = topic(client, name).await?;
    let wanted: Vec<i32> = partition.into_iter().collect();
    let chosen = chosen(&topic, &wanted)?;
    Ok(chosen
        .into_iter()
        .map(|partition| (name.to_owned(), partition))
        .collect())
}

/// The failure for a topic the cluster does not have, naming the nearest one it has.
pub async fn unknown_topic(client: &mut Client, name: &str) -> Failure {
    let names: Vec<String> = match client.topics(None).await {
        Ok(topics) => topics.into_iter().map(|topic| topic.name).collect(),
        Err(_) => Vec::new(),
    };
    let next = match connect::near(name, names.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`? Otherwise: duramen topic create {name}"),
        None => format!("duramen topic create {name}, or duramen topic ls"),
    };
    Failure::new(
        format!("topic {name}: UNKNOWN_TOPIC_OR_PARTITION (3)"),
        "the cluster has no such topic",
        next,
    )
}

/// A group that is there. `verb` is what was to be done with it.
pub async fn group(client: &mut Client, name: &str, verb: &str) -> Result<GroupListing, Failure> {
    let known = client.groups().await.map_err(|error| {
        connect::explain(
            format!("group {name}: not found"),
            error,
            "duramen group ls",
        )
    })?;
    let near = connect::near(name, known.iter().map(|group| group.id.as_str()));
    let found = known.into_iter().find(|group| group.id == name);
    found.ok_or_else(|| {
        let next = near.map_or_else(
            || "duramen group ls".to_owned(),
            |near| format!("did you mean `{near}`? duramen group {verb} {near}"),
        );
        Failure::new(
            format!("group {name}: GROUP_ID_NOT_FOUND (69)"),
            "the cluster has no such group",
            next,
        )
    })
}
