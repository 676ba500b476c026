//! `tallystick config`: is the configuration right, and what is in force?

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{Common, Exit, checks, output};
use crate::clock::Clock;
use crate::config::{Config, Environment, GoEnvironment};

/// Check or show the configuration
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tallystick config check --config /etc/tallystick.toml
  tallystick config show
  tallystick config show --json")]
pub(super) struct ConfigCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Say everything that is wrong with the configuration, and how to fix it
    Check,
    /// Show every value in force and who set it; secrets are hidden
    Show {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

impl ConfigCommand {
    pub(super) fn run(self, common: &Common) -> anyhow::Result<Exit> {
        let mut config = common.load()?;
        config.discover(&GoEnvironment::read(&Environment::of_process()))?;
        match self.action {
            Action::Check => check(&config),
            Action::Show { json } => show(&config, json),
        }
    }
}

fn check(config: &Config) -> anyhow::Result<Exit> {
    let warnings = checks::check(config, &Clock::system()).or_refuse_faults()?;
    checks::check_founding(config)?;
    for notice in config.notices.iter().chain(&warnings) {
        output::warning(notice);
    }
    let what = config.file.as_ref().map_or("the defaults".to_owned(), |file| file.display().to_string());
    let routes = if config.routes.len() == 1 { "route" } else { "routes" };
    output::print(&format!("ok: {what}, {} {routes}\n", config.routes.len()))?;
    Ok(Exit::Done)
}

fn show(config: &Config, as_json: bool) -> anyhow::Result<Exit> {
    let entries = config.entries();
    if as_json {
        output::print_json(&json!({ "settings": entries, "notices": config.notices }))?;
        return Ok(Exit::Done);
    }
    let rows = entries.into_iter().map(|entry| [entry.key, plain(&entry.value), entry.origin]);
    output::print_table(["key", "value", "from"], rows)?;
    for notice in &config.notices {
        output::warning(notice);
    }
    Ok(Exit::Done)
}

/// A value for people: text without quotes, lists with commas, a dash for nothing.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}
