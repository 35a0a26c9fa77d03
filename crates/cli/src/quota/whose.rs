//! Whose quotas: the flags, and how an entity is called.

use clap::Args;
use client::{QuotaPart, QuotaView};
use serde::Serialize;

use crate::Failure;

/// The flags that name an entity. `--user` and `--client-id` together mean that user's client id.
#[derive(Debug, Clone, Default, Args)]
pub struct Whose {
    /// Of this user. Without authentication every client is ANONYMOUS.
    #[arg(short, long, value_name = "NAME", conflicts_with = "every_user", add = crate::complete::with_quotas("user"))]
    user: Option<String>,
    /// Of each user without a quota of its own.
    #[arg(long)]
    every_user: bool,
    /// Of this client id.
    #[arg(short, long, value_name = "NAME", conflicts_with = "every_client_id", add = crate::complete::with_quotas("client-id"))]
    client_id: Option<String>,
    /// Of each client id without a quota of its own.
    #[arg(long)]
    every_client_id: bool,
    /// Of this address.
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["every_ip", "user", "every_user", "client_id", "every_client_id"], add = crate::complete::with_quotas("ip"))]
    ip: Option<String>,
    /// Of each address without a quota of its own.
    #[arg(long, conflicts_with_all = ["user", "every_user", "client_id", "every_client_id"])]
    every_ip: bool,
}

/// A part of an entity. Field names are API.
#[derive(Debug, Clone, Serialize)]
pub struct Part {
    r#type: String,
    /// None is everybody without a quota of their own.
    name: Option<String>,
}

impl Whose {
    /// The parts that were named; none if nobody was.
    pub fn parts(&self) -> Vec<QuotaPart> {
        let part = |kind: &str, name: &Option<String>, every: bool| {
            (name.is_some() || every).then(|| QuotaPart {
                kind: kind.to_owned(),
                name: name.clone(),
            })
        };
        [
            part("user", &self.user, self.every_user),
            part("client-id", &self.client_id, self.every_client_id),
            part("ip", &self.ip, self.every_ip),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// The entity that was named.
    ///
    /// # Errors
    /// None was.
    pub fn entity(&self, verb: &str) -> Result<Vec<QuotaPart>, Failure> {
        let parts = self.parts();
        if parts.is_empty() {
            return Err(Failure::usage(
                format!("quota {verb}: nobody is named"),
                "a quota belongs to a user, a client id, a user's client id, or an address",
                format!("name one: duramen quota {verb} --user NAME"),
            ));
        }
        Ok(parts)
    }

    /// The user and client id of one client, for questions about it.
    pub fn client(&self) -> (Option<&str>, Option<&str>) {
        (self.user.as_deref(), self.client_id.as_deref())
    }

    /// The address.
    pub fn address(&self) -> Option<&str> {
        self.ip.as_deref()
    }
}

/// How an entity is called in tables and messages.
pub fn title(entity: &[QuotaPart]) -> String {
    let parts = entity.iter().map(|part| {
        let kind = match part.kind.as_str() {
            "client-id" => "client id",
            "ip" => "address",
            other => other,
        };
        match &part.name {
            Some(name) => format!("{kind} {name}"),
            None => format!("every {kind}"),
        }
    });
    parts.collect::<Vec<_>>().join(", ")
}

/// The flags that name an entity, for the next command.
pub fn flags(entity: &[QuotaPart]) -> String {
    let flags = entity.iter().map(|part| match &part.name {
        Some(name) if name.contains(char::is_whitespace) => format!("--{} '{name}'", part.kind),
        Some(name) => format!("--{} {name}", part.kind),
        None => format!("--every-{}", part.kind),
    });
    flags.collect::<Vec<_>>().join(" ")
}

/// An entity for programs.
pub fn parts(entity: &[QuotaPart]) -> Vec<Part> {
    let parts = entity.iter();
    parts
        .map(|part| Part {
            r#type: part.kind.clone(),
            name: part.name.clone(),
        })
        .collect()
}

/// The quotas of exactly this entity.
pub fn exact<'a>(quotas: &'a [QuotaView], entity: &[QuotaPart]) -> Option<&'a QuotaView> {
    quotas.iter().find(|quota| quota.entity == entity)
}
