//! `tallystick config`: is the configuration right, and what is in force?

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{Common, Exit, checks, output};
use crate::clock::Clock;
use crate::config::{Config, ConfigError, Environment, GoEnvironment, Problem};

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
    Check {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show every value in force and who set it; secrets are hidden
    Show {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

impl ConfigCommand {
    pub(super) fn run(self, common: &Common) -> anyhow::Result<Exit> {
        match self.action {
            Action::Check { json: false } => {
                let mut config = load(common)?;
                check(&mut config)?;
                print_checked(&config)
            }
            Action::Check { json: true } => {
                let checked = load(common).and_then(|mut config| check(&mut config).map(|()| config));
                print_checked_json(&checked)
            }
            Action::Show { json } => show(&load(common)?, json),
        }
    }
}

fn load(common: &Common) -> anyhow::Result<Config> {
    let mut config = common.load()?;
    config.discover(&GoEnvironment::read(&Environment::of_process()))?;
    Ok(config)
}

/// Finds what is wrong. What should be known is among the notices afterwards.
fn check(config: &mut Config) -> anyhow::Result<()> {
    let warnings = checks::check(config, &Clock::system()).or_refuse_faults()?;
    checks::check_founding(config)?;
    config.notices.extend(warnings);
    Ok(())
}

fn print_checked(config: &Config) -> anyhow::Result<Exit> {
    for notice in &config.notices {
        output::warning(notice);
    }
    let what = config.file.as_ref().map_or("the defaults".to_owned(), |file| file.display().to_string());
    output::print(&format!("ok: {what}, {}\n", output::count(config.routes.len() as u64, "route")))?;
    Ok(Exit::Done)
}

/// The result for a program: what is wrong is the result, too.
fn print_checked_json(checked: &anyhow::Result<Config>) -> anyhow::Result<Exit> {
    let (problems, exit) = match checked {
        Ok(_) => (Vec::new(), Exit::Done),
        Err(error) => (problems(error), Exit::of(error)),
    };
    let config = checked.as_ref().ok();
    output::print_json(&json!({
        "ok": problems.is_empty(),
        "file": config.and_then(|config| config.file.as_ref()),
        "routes": config.map(|config| config.routes.len()),
        "problems": problems,
        "warnings": config.map_or(&[][..], |config| &config.notices),
    }))?;
    Ok(exit)
}

fn problems(error: &anyhow::Error) -> Vec<Value> {
    if let Some(ConfigError { problems }) = error.downcast_ref::<ConfigError>() {
        let one = |problem: &Problem| {
            let (place, why) = (problem.place.to_string(), problem.kind.to_string());
            json!({ "place": place, "why": why, "fix": problem.kind.fix() })
        };
        return problems.iter().map(one).collect();
    }
    let text = format!("{error:#}");
    let (why, fix) = text.split_once("\n  fix: ").map_or((&*text, None), |(why, fix)| (why, Some(fix)));
    vec![json!({ "place": null, "why": why, "fix": fix })]
}

fn show(config: &Config, as_json: bool) -> anyhow::Result<Exit> {
    let entries = config.entries();
    if as_json {
        output::print_json(&json!({
            "settings": entries,
            "warnings": config.notices,
            // Deprecated: the name of before.
            "notices": config.notices,
        }))?;
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
