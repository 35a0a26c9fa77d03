//! `generate`: what other programs need to work with this one.

mod dashboard;
mod files;

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use clap_complete::env::Shells;

use crate::output::Output;
use crate::{Failure, Global, Program, context};

/// What to write. Everything goes to standard output unless a directory is named.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Completion for a shell: `source <(duramen generate completions bash)`.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// The manual page, or with --dir one for every command.
    Man {
        /// Write the pages into this directory.
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// A unit for systemd.
    Systemd,
    /// A compose file with one broker, Prometheus and Grafana.
    Compose,
    /// A scrape configuration for Prometheus.
    Prometheus {
        /// Where the brokers serve /metrics, HOST:PORT; else port 8080 of the brokers named.
        #[arg(value_name = "HOST:PORT")]
        targets: Vec<String>,
    },
    /// A dashboard for Grafana.
    Grafana,
    /// The settings a client needs, in its own words.
    ClientConfig {
        /// Whose words.
        #[arg(default_value = "java")]
        client: Client,
    },
}

/// Shells that are completed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// bash
    Bash,
    /// zsh
    Zsh,
    /// fish
    Fish,
    /// elvish
    Elvish,
    /// PowerShell
    Powershell,
}

/// Clients whose settings are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Client {
    /// client.properties of Java's clients and of kafka-*.sh.
    Java,
    /// librdkafka's, as kcat -F and its bindings take them.
    Librdkafka,
    /// Environment variables.
    Env,
}

/// Writes one of them.
pub fn run(
    global: &Global,
    command: Command,
    program: &Program,
    output: &mut Output,
) -> Result<(), Failure> {
    let text = match command {
        Command::Completions { shell } => completions(shell)?,
        Command::Man { dir: Some(dir) } => {
            clap_mangen::generate_to(program.root.clone(), &dir).map_err(|error| {
                Failure::new(
                    format!("{}: manual pages not written", dir.display()),
                    error.to_string(),
                    "name a directory that exists and can be written",
                )
            })?;
            return Ok(());
        }
        Command::Man { dir: None } => {
            let mut page = Vec::new();
            clap_mangen::Man::new(program.root.clone())
                .render(&mut page)
                .map_err(unwritten)?;
            page
        }
        Command::Systemd => files::SYSTEMD.as_bytes().to_vec(),
        Command::Compose => files::COMPOSE.as_bytes().to_vec(),
        Command::Prometheus { targets } => {
            let targets = match targets.is_empty() {
                true => metrics_addresses(&context::resolve(global)?.brokers),
                false => targets,
            };
            files::prometheus(&targets).into_bytes()
        }
        Command::Grafana => dashboard::page().into_bytes(),
        Command::ClientConfig { client } => {
            files::client_config(client, &context::resolve(global)?.brokers).into_bytes()
        }
    };
    output.bytes(&text)?;
    output.flush()
}

fn completions(shell: Shell) -> Result<Vec<u8>, Failure> {
    let name = match shell {
        Shell::Bash => "bash",
        Shell::Zsh => "zsh",
        Shell::Fish => "fish",
        Shell::Elvish => "elvish",
        Shell::Powershell => "powershell",
    };
    let mut script = Vec::new();
    if let Some(completer) = Shells::builtins().completer(name) {
        completer
            .write_registration("COMPLETE", "duramen", "duramen", "duramen", &mut script)
            .map_err(unwritten)?;
    }
    Ok(script)
}

fn unwritten(error: std::io::Error) -> Failure {
    Failure::new("generate", error.to_string(), "report this as a bug")
}

/// Where brokers at these addresses serve /metrics unless told otherwise.
fn metrics_addresses(brokers: &str) -> Vec<String> {
    let hosts = brokers
        .split(',')
        .map(str::trim)
        .filter(|host| !host.is_empty());
    hosts
        .map(|address| {
            let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
            format!("{host}:8080")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_gets_a_script_that_calls_the_program() {
        for shell in Shell::value_variants() {
            let script = completions(*shell).expect("a script");
            let script = String::from_utf8(script).expect("text");
            assert!(script.contains("duramen"), "{shell:?}");
        }
    }

    #[test]
    fn metrics_are_looked_for_beside_the_brokers() {
        assert_eq!(metrics_addresses("a:9092, b:9093"), ["a:8080", "b:8080"]);
    }
}
