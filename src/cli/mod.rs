//! The command line: one file a command. Parsing and printing are here; what a command does is in the engines, and
//! each command that needs one calls it through a function named `engine` that takes plain options.

mod address;
mod anchor;
mod audit;
mod bypass;
mod check;
mod checks;
mod client;
mod clock_watch;
mod completions;
mod config;
mod doors;
mod engines;
mod env;
mod exit;
mod exit_codes;
mod founding;
mod fsck;
mod go_sum;
mod gossip;
mod import;
mod incidents;
mod key;
mod logging;
mod lookup;
mod mirror;
mod monitor;
mod notify;
mod output;
mod process;
mod prove;
mod reload;
mod remote;
mod reverify;
mod running;
mod serve;
mod session;
mod textfile;
mod verify;
mod witness;
mod witnesses;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, FromArgMatches as _, Parser, Subcommand};

use crate::config::{Config, Environment, LogFormat, Overrides};
use exit::{Exit, text_of};
use output::ProgressMeter;

/// A private Go checksum database: one log for public and private modules, verified to the byte.
#[derive(Debug, Parser)]
#[command(
    name = "tallystick",
    version,
    max_term_width = 110,
    after_help = "\
Examples:
  tallystick serve
  eval \"$(tallystick env)\"
  tallystick lookup rsc.io/quote@v1.5.2"
)]
pub struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// What a command logs unless it is told otherwise: its progress, where there is no terminal for a bar, and warnings, but
/// none of those that its result shows anyway.
const COMMAND_LOG_FILTER: &str = "warn,tallystick::cli=info,tallystick::notary=off,tallystick::operate=off,tallystick::operate::incidents=error";

/// What every command takes.
#[derive(Clone, Debug, Args)]
struct Common {
    /// Configuration file (TOML); also TALLYSTICK_CONFIG
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Directory of the log (or witness), its keys and its control socket [default: tallystick-data; of a witness: tallystick-witness]
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Certificate of an authority (PEM) to trust when a server is asked, beside `roots` or the system's; may be given several times
    #[arg(long, global = true, value_name = "FILE")]
    cacert: Vec<PathBuf>,
}

impl Common {
    fn overrides(&self) -> Overrides {
        Overrides {
            config: self.config.clone(),
            data: self.data.clone(),
            cacert: self.cacert.clone(),
            ..Overrides::default()
        }
    }

    /// The configuration for a command that is not `serve`, and logging as it says.
    fn load(&self) -> anyhow::Result<Config> {
        let config = load_config(&self.overrides())?;
        logging::start(*config.log_format, config.log_filter.as_deref(), COMMAND_LOG_FILTER);
        Ok(config)
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::ServeCommand),
    Reload(reload::ReloadCommand),
    Env(env::EnvCommand),
    Key(key::KeyCommand),
    Check(check::CheckCommand),
    Lookup(lookup::LookupCommand),
    Import(import::ImportCommand),
    Prove(prove::ProveCommand),
    Verify(verify::VerifyCommand),
    Fsck(fsck::FsckCommand),
    Mirror(mirror::MirrorCommand),
    Audit(audit::AuditCommand),
    Gossip(gossip::GossipCommand),
    Monitor(monitor::MonitorCommand),
    Anchor(anchor::AnchorCommand),
    Incidents(incidents::IncidentsCommand),
    Witness(witness::WitnessCommand),
    Witnesses(witnesses::WitnessesCommand),
    Config(config::ConfigCommand),
    Completions(completions::CompletionsCommand),
}

/// Loads the configuration. The errors of one that cannot be used have the form that it asks for, too.
fn load_config(overrides: &Overrides) -> anyhow::Result<Config> {
    let environment = Environment::of_process();
    let loaded = Config::load(overrides, &environment);
    Ok(loaded.inspect_err(|_| logging::set_format(LogFormat::guess(overrides, &environment)))?)
}

/// The shape of the command line, for completions, the manual and the tests.
pub fn command() -> clap::Command {
    exit_codes::documented(Cli::command())
}

/// Runs one command line; the first argument is the program's name.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    // Before there is a configuration only the environment can say so.
    logging::set_format(LogFormat::of_environment(&Environment::of_process()).unwrap_or(LogFormat::Text));
    let parsed =
        command().try_get_matches_from(arguments).and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors: they go to stdout and end with 0.
            output::usage(&error);
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Done.into() };
        }
    };
    match dispatch(cli) {
        Ok(exit) => exit.into(),
        Err(error) => {
            output::error(&text_of(&error));
            Exit::of(&error).into()
        }
    }
}

fn dispatch(cli: Cli) -> anyhow::Result<Exit> {
    let common = &cli.common;
    match cli.command {
        Command::Serve(serve) => serve.run(common),
        Command::Reload(reload) => reload.run(common),
        Command::Env(env) => env.run(common),
        Command::Key(key) => key.run(common),
        Command::Check(check) => check.run(common),
        Command::Lookup(lookup) => lookup.run(common),
        Command::Import(import) => import.run(common),
        Command::Prove(prove) => prove.run(common),
        Command::Verify(verify) => verify.run(common),
        Command::Fsck(fsck) => fsck.run(common),
        Command::Mirror(mirror) => mirror.run(common),
        Command::Audit(audit) => audit.run(common),
        Command::Gossip(gossip) => gossip.run(common),
        Command::Monitor(monitor) => monitor.run(common),
        Command::Anchor(anchor) => anchor.run(common),
        Command::Incidents(incidents) => incidents.run(common),
        Command::Witness(witness) => witness.run(common),
        Command::Witnesses(witnesses) => witnesses.run(common),
        Command::Config(config) => config.run(common),
        Command::Completions(completions) => completions.run(),
    }
}

/// Runs the part of a command that waits for the network.
fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(future)
}
