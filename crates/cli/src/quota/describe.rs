//! `quota describe`: which quotas hold for a client, and by whose setting.

use client::{Client, QuotaPart, QuotaView};
use serde::Serialize;

use super::key::{self, Key};
use super::read;
use super::whose::{Part, Whose, exact, parts, title};
use crate::Failure;
use crate::output::Output;

/// The user of a client that has not said who it is.
const ANONYMOUS: &str = "ANONYMOUS";

/// Arguments of `quota describe`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    whose: Whose,
}

/// One key. Field names are API.
#[derive(Serialize)]
struct Row {
    key: &'static str,
    /// None where nothing holds the client back.
    value: Option<f64>,
    /// Whose quota it is.
    set_on: Option<Vec<Part>>,
    #[serde(skip)]
    meaning: String,
    #[serde(skip)]
    title: String,
}

pub(super) async fn run(
    client: &mut Client,
    arguments: &Arguments,
    output: &mut Output,
) -> Result<(), Failure> {
    let asked = arguments.whose.entity("describe")?;
    let quotas = read(client).await?;
    let of_address = asked.iter().any(|part| part.kind == "ip");
    let order = match of_address {
        true => addresses(arguments.whose.address()),
        false => {
            let (user, client_id) = arguments.whose.client();
            clients(user.unwrap_or(ANONYMOUS), client_id.unwrap_or_default())
        }
    };
    let keys = key::ALL.into_iter();
    let rows: Vec<Row> = keys
        .filter(|key| key.is_of_addresses() == of_address)
        .map(|key| row(key, &quotas, &order))
        .collect();
    output.rows(&["key", "value", "meaning", "set on"], &rows, |row| {
        let value = row
            .value
            .map_or_else(|| "-".to_owned(), |value| value.to_string());
        vec![
            row.key.to_owned(),
            value,
            row.meaning.clone(),
            row.title.clone(),
        ]
    })
}

fn row(key: Key, quotas: &[QuotaView], order: &[Vec<QuotaPart>]) -> Row {
    let holds = order.iter().find_map(|entity| {
        let values = &exact(quotas, entity)?.values;
        let (_, value) = values.iter().find(|(name, _)| name == key.name())?;
        Some((entity, *value))
    });
    Row {
        key: key.name(),
        value: holds.map(|(_, value)| value),
        set_on: holds.map(|(entity, _)| parts(entity)),
        meaning: holds.map_or_else(|| "no limit".to_owned(), |(_, value)| key.spell(value)),
        title: holds.map_or_else(|| "-".to_owned(), |(entity, _)| title(entity)),
    }
}

fn part(kind: &str, name: Option<&str>) -> QuotaPart {
    QuotaPart {
        kind: kind.to_owned(),
        name: name.map(str::to_owned),
    }
}

/// The entities a broker looks at for a client, in its order: the first that sets a key decides.
// rule S7
fn clients(user: &str, client_id: &str) -> Vec<Vec<QuotaPart>> {
    let (user, any_user) = (part("user", Some(user)), part("user", None));
    let (id, any_id) = (part("client-id", Some(client_id)), part("client-id", None));
    vec![
        vec![user.clone(), id.clone()],
        vec![user.clone(), any_id.clone()],
        vec![user],
        vec![any_user.clone(), id.clone()],
        vec![any_user.clone(), any_id.clone()],
        vec![any_user],
        vec![id],
        vec![any_id],
    ]
}

fn addresses(address: Option<&str>) -> Vec<Vec<QuotaPart>> {
    let own = address.map(|address| vec![part("ip", Some(address))]);
    own.into_iter().chain([vec![part("ip", None)]]).collect()
}
