//! `duramen server start`: the same broker from a configuration file.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Subcommand;
use cli::Failure;

use crate::logging::Levels;
use crate::running::{DRAIN_GRACE, Place, Running, Signals, absolute};
use crate::settings::{self, Setting};
use crate::{notify, ready};

/// What to do with the server.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start the broker and serve until SIGTERM or Ctrl-C.
    Start(Arguments),
}

/// Arguments of `server start`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Configuration: TOML, or Kafka's server.properties as it is.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The data directory; wins over log.dirs.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Address of /healthz, /readyz and /metrics.
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "HOST:PORT")]
    http: SocketAddr,
    /// A single setting; may be repeated.
    #[arg(short = 's', long = "set", value_name = "KEY=VALUE", value_parser = parse_setting)]
    set: Vec<(String, String)>,
}

/// Runs until a signal.
///
/// # Errors
/// Whatever stood in the way of the start, or of a clean stop.
pub async fn run(command: Command, levels: Levels) -> Result<(), Failure> {
    let Command::Start(arguments) = command;
    let mut layers = match &arguments.config {
        Some(path) => settings::read_file(path)?,
        None => Vec::new(),
    };
    layers.extend(settings::read_environment());
    layers.extend(
        arguments
            .set
            .iter()
            .map(|(key, value)| Setting::flag("--set", key, value)),
    );
    let data_dir = match arguments.data_dir {
        Some(path) => absolute(&path),
        None => absolute(&data_dir(&layers)?),
    };
    // What clients are told of the directory is where it really is.
    layers.push(Setting::flag(
        "--data-dir",
        "log.dirs",
        data_dir.display().to_string(),
    ));
    let settings = settings::check(layers)?;
    let place = Place {
        data_dir,
        http: Some((arguments.http, levels)),
        push: settings::read_push()?,
        drain_grace: DRAIN_GRACE,
    };
    // Whoever is told that it is ready may ask it to stop at once.
    let signals = Signals::listen()?;
    let running = Running::start(settings, place)?;
    ready::print_block(&running, "server")?;
    notify::ready();
    running.until_signal(signals).await
}

/// `log.dirs`, else `log.dir`, of the highest layer that has it: one directory.
fn data_dir(layers: &[Setting]) -> Result<PathBuf, Failure> {
    let given = ["log.dirs", "log.dir"]
        .iter()
        .find_map(|key| layers.iter().rev().find(|setting| setting.key == *key));
    let Some(Setting { key, value, .. }) = given else {
        return Err(Failure::usage(
            "data directory: none given",
            "neither log.dirs nor --data-dir says where the data is kept",
            "add --data-dir DIR, or log.dirs=DIR to the configuration",
        ));
    };
    if value.contains(',') {
        return Err(Failure::usage(
            format!("{key}: more than one directory"),
            "several data directories are not there yet",
            "name one directory",
        ));
    }
    Ok(PathBuf::from(value.trim()))
}

fn parse_setting(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
        .ok_or_else(|| "write it as key=value".to_owned())
}
