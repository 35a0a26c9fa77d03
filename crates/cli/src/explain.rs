//! `explain`: what an error of Kafka's means, and what to do about it.

use serde::Serialize;
use wire::ErrorCode;

use crate::output::Output;
use crate::{Failure, connect, errors};

/// Arguments of `explain`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The error's name or number, such as NOT_LEADER_OR_FOLLOWER or 6. Without it: all of them.
    #[arg(value_name = "ERROR", allow_hyphen_values = true)]
    error: Option<String>,
}

#[derive(Serialize)]
struct Row {
    error: &'static str,
    code: i16,
    retried: bool,
    meaning: &'static str,
    cause: Option<&'static str>,
    then: &'static str,
}

/// Shows one error, or lists them all.
pub fn run(arguments: &Arguments, output: &mut Output) -> Result<(), Failure> {
    let Some(asked) = &arguments.error else {
        let rows: Vec<Row> = ErrorCode::ALL.iter().map(|code| row(*code)).collect();
        return output.rows(&["error", "code", "meaning"], &rows, |row| {
            let meaning = row.meaning.to_owned();
            vec![row.error.to_owned(), row.code.to_string(), meaning]
        });
    };
    let row = row(find(asked)?);
    if !output.is_table() {
        output.json(&row)?;
        return output.flush();
    }
    let retried = match row.retried {
        true => "clients ask again by themselves",
        false => "clients give it to the application",
    };
    let Row { error, code, .. } = row;
    let mut text = format!("{error} ({code})\n\n  {}\n", sentence(row.meaning));
    if let Some(cause) = row.cause {
        text.push_str(&format!("  Usual cause: {cause}.\n"));
    }
    text.push_str(&format!("  {retried}.\n  {}\n", row.then).replace("  clients", "  Clients"));
    output.text(&text)
}

fn row(code: ErrorCode) -> Row {
    let entry = errors::entry(code);
    Row {
        error: code.name(),
        code: code.code(),
        retried: code.is_retriable(),
        meaning: code.message(),
        cause: entry.cause,
        then: entry.then.unwrap_or_else(|| errors::in_general(code)),
    }
}

/// By number, by Kafka's name, or by the name of Java's exception.
fn find(asked: &str) -> Result<ErrorCode, Failure> {
    if let Ok(number) = asked.parse::<i16>() {
        return ErrorCode::from_code(number).ok_or_else(|| {
            Failure::usage(
                format!("error {number}: there is none"),
                "Kafka's errors have the numbers -1 to 133",
                "duramen explain",
            )
        });
    }
    let folded = |name: &str| -> String {
        let bare = name.rsplit('.').next().unwrap_or(name).to_ascii_lowercase();
        let bare = bare.strip_suffix("exception").unwrap_or(&bare).to_owned();
        bare.chars().filter(char::is_ascii_alphanumeric).collect()
    };
    let wanted = folded(asked);
    let same = |code: &&ErrorCode| folded(code.name()) == wanted;
    if let Some(code) = ErrorCode::ALL.iter().find(same) {
        return Ok(*code);
    }
    let names = ErrorCode::ALL.iter().map(|code| code.name());
    let begun = ErrorCode::ALL
        .iter()
        .find(|code| wanted.len() > 2 && folded(code.name()).contains(&wanted))
        .map(|code| code.name().to_owned());
    let near = connect::near(&asked.to_ascii_uppercase(), names).or(begun);
    Err(Failure::usage(
        format!("error {asked}: there is none"),
        "Kafka's protocol has no error of that name",
        match near {
            Some(near) => format!("did you mean `{near}`? duramen explain {near}"),
            None => "duramen explain".to_owned(),
        },
    ))
}

fn sentence(clause: &str) -> String {
    let mut text = format!("{clause}.");
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_found_by_number_name_and_exception() {
        let wanted = Ok(ErrorCode::NotLeaderOrFollower);
        for asked in [
            "6",
            "NOT_LEADER_OR_FOLLOWER",
            "not-leader-or-follower",
            "org.apache.kafka.common.errors.NotLeaderOrFollowerException",
        ] {
            assert_eq!(find(asked), wanted, "{asked}");
        }
        assert_eq!(find("-1"), Ok(ErrorCode::UnknownServerError));
        let failure = find("NOT_LEADER_OR_FOLLOWR").expect_err("a slip");
        assert!(failure.next.contains("NOT_LEADER_OR_FOLLOWER"), "{failure}");
        let failure = find("NotLeader").expect_err("a part");
        assert!(failure.next.contains("NOT_LEADER_OR_FOLLOWER"), "{failure}");
        assert!(find("9999").is_err());
    }
}
