//! `tallystick incidents`: what a person must look at.

use clap::Args;
use serde_json::Value;

use super::engines::{exit_of_store, open_reader};
use super::exit::OrExit;
use super::{Common, Exit, output};
use crate::store::LogReader;

/// Show what a person must look at: conflicting hashes, misbehaviour of other logs, damage
#[derive(Debug, Args)]
#[command(after_help = "\
Newest first. An incident is kept for ever, once, however often it happens. Reads only, and may run beside a server.

Examples:
  tallystick incidents
  tallystick incidents --limit 1000 --json")]
pub(super) struct Incidents {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// How many at most
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
}

impl Incidents {
    pub(super) fn run(self, common: &Common) -> anyhow::Result<Exit> {
        let config = common.load()?;
        let incidents = open_reader(&config)?.incidents(self.limit as usize).or_else(|error| {
            let exit = exit_of_store(&error);
            Err(error).or_exit(exit)
        })?;
        if self.json {
            output::print_json(&incidents)?;
        } else if incidents.is_empty() {
            output::print("no incidents\n")?;
        } else {
            for incident in incidents {
                output::print(&format!(
                    "--- {}: {}, {:.0}\n{}\n",
                    incident.id,
                    incident.kind,
                    incident.at,
                    readable(&incident.detail)
                ))?;
            }
        }
        Ok(Exit::Done)
    }
}

/// The fields of a detail below each other; those of several lines, such as notes, at the end and indented.
fn readable(detail: &str) -> String {
    let Ok(Value::Object(fields)) = serde_json::from_str(detail) else {
        return format!("{detail}\n");
    };
    let (mut short, mut long) = (String::new(), String::new());
    for (name, value) in fields {
        match value {
            Value::String(lines) if lines.contains('\n') => {
                let lines = lines.trim_end_matches('\n').replace('\n', "\n\t");
                long += &format!("{name}:\n\t{lines}\n");
            }
            Value::String(line) => short += &format!("{name}: {line}\n"),
            other => short += &format!("{name}: {other}\n"),
        }
    }
    short + &long
}
