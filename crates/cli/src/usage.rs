//! A wrong command line, in three lines: what is wrong, what is allowed, the nearest right one.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, Error};
use stdx::nearest::nearest;

use crate::Failure;

/// What clap refused, as a failure; none for what is no error, such as `--help`.
///
/// `words` are the words of the command line behind the program's name.
pub fn explain(error: &Error, root: &Command, words: &[String]) -> Option<Failure> {
    let (path, command) = innermost(root, words);
    let shown = path.join(" ");
    let help = format!("{shown} --help");
    let given = |kind| context(error, kind);
    let failure = match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => return None,
        ErrorKind::UnknownArgument => {
            let flag = given(ContextKind::InvalidArg).unwrap_or_default();
            unknown_argument(&flag, &shown, root, command, &help)
        }
        ErrorKind::InvalidSubcommand => {
            let word = given(ContextKind::InvalidSubcommand).unwrap_or_default();
            unknown_command(&word, &shown, command, &help)
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            let argument = given(ContextKind::InvalidArg).unwrap_or_default();
            let value = given(ContextKind::InvalidValue).unwrap_or_default();
            invalid_value(error, &shown, &argument, &value, &help)
        }
        ErrorKind::MissingRequiredArgument => {
            let missing = given(ContextKind::InvalidArg).unwrap_or_default();
            Failure::usage(
                format!("{shown}: {missing} is missing"),
                format!("usage: {}", usage(command, &path)),
                help,
            )
        }
        ErrorKind::ArgumentConflict => {
            let one = given(ContextKind::InvalidArg).unwrap_or_default();
            let other = given(ContextKind::PriorArg).unwrap_or_default();
            Failure::usage(
                format!("{shown}: {one} together with {other}"),
                "they exclude each other",
                format!("leave one of them out, or see {help}"),
            )
        }
        ErrorKind::MissingSubcommand => Failure::usage(
            format!("{shown}: which one?"),
            format!("there are: {}", names(command).join(", ")),
            help,
        ),
        _ => {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            Failure::usage(
                format!("{shown}: {}", first.trim_start_matches("error: ")),
                format!("usage: {}", usage(command, &path)),
                help,
            )
        }
    };
    Some(failure)
}

fn unknown_argument(
    flag: &str,
    shown: &str,
    root: &Command,
    command: &Command,
    help: &str,
) -> Failure {
    let longs = |command: &Command, global: bool| -> Vec<String> {
        command
            .get_arguments()
            .filter(|argument| argument.is_global_set() == global && !argument.is_hide_set())
            .filter_map(|argument| argument.get_long())
            .map(|long| format!("--{long}"))
            .collect()
    };
    let own = longs(command, false);
    let known = [own.clone(), longs(root, true)].concat();
    let bare = flag.split('=').next().unwrap_or(flag);
    if !flag.starts_with('-') {
        return Failure::usage(
            format!("{shown}: `{flag}` is one word too many"),
            "nothing is expected there",
            help,
        );
    }
    let next = match nearest(bare, known.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`? Otherwise: {help}"),
        None => help.to_owned(),
    };
    Failure::usage(
        format!("{shown}: no flag {bare}"),
        format!("it has {}, and those of every command", own.join(" ")),
        next,
    )
}

fn unknown_command(word: &str, shown: &str, command: &Command, help: &str) -> Failure {
    let names = names(command);
    let near = nearest(word, names.iter().map(String::as_str));
    // A short name that begins the same is meant more often than it is mistyped.
    let near = near.map(str::to_owned).or_else(|| {
        let mut same = names.iter().filter(|name| name.starts_with(word));
        same.next().filter(|_| word.len() > 1).cloned()
    });
    let next = match near {
        Some(near) => format!("did you mean `{shown} {near}`? Otherwise: {help}"),
        None => help.to_owned(),
    };
    Failure::usage(
        format!("{shown}: no command `{word}`"),
        format!("there are: {}", names.join(", ")),
        next,
    )
}

fn invalid_value(error: &Error, shown: &str, argument: &str, value: &str, help: &str) -> Failure {
    let possible = match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(values)) => values.clone(),
        _ => Vec::new(),
    };
    if value.is_empty() {
        return Failure::usage(
            format!("{shown}: {argument} without a value"),
            match possible.is_empty() {
                true => "a value belongs behind it".to_owned(),
                false => format!("one of: {}", possible.join(", ")),
            },
            help,
        );
    }
    let cause = match std::error::Error::source(error) {
        Some(source) => source.to_string(),
        None if possible.is_empty() => "it is not allowed there".to_owned(),
        None => format!("one of: {}", possible.join(", ")),
    };
    let next = match nearest(value, possible.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`? Otherwise: {help}"),
        None => help.to_owned(),
    };
    Failure::usage(
        format!("{shown}: `{value}` for {argument}"),
        cause.replace('\n', " "),
        next,
    )
}

/// The command the words lead to, and the words that name it.
fn innermost<'c>(root: &'c Command, words: &[String]) -> (Vec<String>, &'c Command) {
    let mut path = vec![root.get_name().to_owned()];
    let mut command = root;
    for word in words {
        if let Some(inner) = command.find_subcommand(word) {
            path.push(inner.get_name().to_owned());
            command = inner;
        }
    }
    (path, command)
}

fn names(command: &Command) -> Vec<String> {
    command
        .get_subcommands()
        .filter(|inner| !inner.is_hide_set())
        .map(|inner| inner.get_name().to_owned())
        .collect()
}

fn usage(command: &Command, path: &[String]) -> String {
    let text = command.clone().render_usage().to_string();
    let bare = text.trim_start_matches("Usage: ");
    // The program goes by the name it was called by: only what is behind the command's own counts.
    let own: Vec<&str> = bare.split_whitespace().skip(path.len()).collect();
    format!("{} {}", path.join(" "), own.join(" "))
}

fn context(error: &Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        ContextValue::Strings(texts) => Some(texts.join(" and ")),
        ContextValue::StyledStr(text) => Some(text.to_string()),
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    #[command(name = "duramen")]
    struct Arguments {
        #[command(flatten)]
        global: crate::Global,
        #[command(subcommand)]
        command: crate::Command,
    }

    fn told(line: &str) -> [String; 3] {
        use clap::CommandFactory;
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let all = std::iter::once("duramen".to_owned()).chain(words.clone());
        let error = Arguments::try_parse_from(all).expect_err(line);
        let mut root = Arguments::command();
        root.build();
        let failure = explain(&error, &root, &words).expect(line);
        assert_eq!(failure.exit, crate::failure::EXIT_USAGE, "{line}");
        assert_eq!(failure.to_string().lines().count(), 3, "{failure}");
        [failure.what, failure.cause, failure.next]
    }

    #[test]
    fn a_mistyped_command_finds_the_nearest() {
        let [what, cause, next] = told("topc ls");
        assert_eq!(what, "duramen: no command `topc`");
        assert!(cause.contains("topic"), "{cause}");
        assert!(next.starts_with("did you mean `duramen topic`?"), "{next}");
        let [what, _, next] = told("topic creat x");
        assert_eq!(what, "duramen topic: no command `creat`");
        assert!(next.contains("`duramen topic create`"), "{next}");
        let [_, _, next] = told("topic desc x");
        assert!(next.contains("`duramen topic describe`"), "{next}");
    }

    #[test]
    fn a_mistyped_flag_finds_the_nearest() {
        let [what, cause, next] = told("topic create x --partitons 3");
        assert_eq!(what, "duramen topic create: no flag --partitons");
        assert!(cause.contains("--partitions"), "{cause}");
        assert!(next.starts_with("did you mean `--partitions`?"), "{next}");
        let [_, _, next] = told("topic ls --broker x");
        assert!(next.starts_with("did you mean `--brokers`?"), "{next}");
    }

    #[test]
    fn a_wrong_value_says_what_is_allowed() {
        let [what, cause, next] = told("topic ls --output jsn");
        assert!(what.starts_with("duramen topic ls: `jsn`"), "{what}");
        assert!(cause.contains("json"), "{cause}");
        assert!(next.starts_with("did you mean `json`?"), "{next}");
        let [_, cause, _] = told("consume x -o soon");
        assert!(cause.contains("@TIME"), "{cause}");
    }

    #[test]
    fn what_is_missing_or_too_much_is_named() {
        let [what, cause, _] = told("topic create");
        assert!(what.contains("<NAME> is missing"), "{what}");
        assert_eq!(cause, "usage: duramen topic create [OPTIONS] <NAME>");
        let [what, ..] = told("topic create a b");
        assert_eq!(what, "duramen topic create: `b` is one word too many");
    }
}
