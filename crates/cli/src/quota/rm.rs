//! `quota rm`: takes quotas of one entity away, after saying which.

use client::Client;

use super::change::{Row, write};
use super::key::{self, Key};
use super::read;
use super::whose::{Whose, exact, flags, title};
use crate::consent::Consent;
use crate::output::Output;
use crate::{Failure, connect};

/// Arguments of `quota rm`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Only these keys; all of the entity's without any.
    #[arg(value_name = "KEY")]
    keys: Vec<String>,
    #[command(flatten)]
    whose: Whose,
    #[command(flatten)]
    consent: Consent,
}

pub(super) async fn run(
    client: &mut Client,
    arguments: &Arguments,
    output: &mut Output,
) -> Result<(), Failure> {
    let entity = arguments.whose.entity("rm")?;
    let mut named: Vec<Key> = Vec::new();
    for name in &arguments.keys {
        named.push(key::find(name)?);
    }
    let quotas = read(client).await?;
    let (name, flags) = (title(&entity), flags(&entity));
    let Some(held) = exact(&quotas, &entity) else {
        let titles: Vec<String> = quotas.iter().map(|quota| title(&quota.entity)).collect();
        let next = match connect::near(&name, titles.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`? Otherwise: duramen quota ls"),
            None => "duramen quota ls".to_owned(),
        };
        return Err(Failure::new(
            format!("quota of {name}: there is none"),
            "no quota was set for exactly this entity",
            next,
        ));
    };
    let goes = |name: &str| named.is_empty() || named.iter().any(|key| key.name() == name);
    let mut rows: Vec<Row> = Vec::new();
    for key in key::ALL {
        let value = held.values.iter().find(|(name, _)| name == key.name());
        if let Some((name, value)) = value
            && goes(name)
        {
            rows.push(Row {
                key: key.name(),
                before: Some(*value),
                after: None,
                dry_run: !arguments.consent.is_given(),
            });
        }
    }
    if let Some(missing) = named
        .iter()
        .find(|key| rows.iter().all(|row| row.key != key.name()))
    {
        return Err(Failure::new(
            format!("quota {} of {name}: there is none", missing.name()),
            "this key was not set for exactly this entity",
            format!("duramen quota ls {flags}"),
        ));
    }
    if arguments.consent.is_given() {
        let changes: Vec<(String, Option<f64>)> =
            rows.iter().map(|row| (row.key.to_owned(), None)).collect();
        client
            .alter_quotas(&entity, &changes, false)
            .await
            .map_err(|error| {
                let what = format!("quota of {name}: not removed");
                connect::explain(what, error, format!("duramen quota ls {flags}"))
            })?;
    }
    write(&rows, output)?;
    let keys = arguments.keys.iter().map(|key| format!(" {key}"));
    arguments.consent.settle(
        format!("quota of {name}: nothing removed"),
        ": without them nothing holds these clients back",
        format!("duramen quota rm --yes {flags}{}", keys.collect::<String>()),
    )
}
