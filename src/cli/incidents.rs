//! `tallystick incidents`: what a person must look at, and the person's word about what has stopped the log.

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::Value;

use super::engines::open_reader;
use super::exit::{OrExit, OrStoreExit};
use super::{Common, Exit, output};
use crate::clock::Clock;
use crate::config::Config;
use crate::log::{Stop, StopError, end_stop, forget_stops, stops};
use crate::store::anchor::FileAnchor;
use crate::store::evidence::KeptIncident;
use crate::store::{LogObserver as _, LogReader};

/// Show what a person must look at: conflicting hashes, misbehaviour of other logs, damage
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Newest first. An incident is kept for ever, once, however often it happens. Showing reads only, and may run beside a server.

An incident with a stop is why the log signs nothing, also after a restart: somebody has a head with its signature that is not in this \
database, so it was rolled back, or another copy of it signs too. Put the right copy in place. Only when there is none, `resolve` lets this \
one go on; whoever has seen the other tree will refuse it for ever.

Examples:
  tallystick incidents
  tallystick incidents --limit 1000 --json
  tallystick incidents resolve 1"
)]
pub(super) struct IncidentsCommand {
    #[command(subcommand)]
    action: Option<Action>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// How many at most
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Resume signing despite a conflicting head; stop the server first
    Resolve {
        /// The number of the stop
        #[arg(value_name = "STOP", required_unless_present = "lost")]
        stop: Option<u64>,
        /// Answer for the stops in a file of stops that is lost or cannot be used
        #[arg(long, conflicts_with = "stop")]
        lost: bool,
    },
}

/// What is shown of an incident, or of a stop whose incident is not in this database.
#[derive(Serialize)]
struct Row {
    id: Option<u64>,
    at: jiff::Timestamp,
    kind: String,
    detail: String,
    /// The number of the stop that is open for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    stop: Option<u64>,
}

impl IncidentsCommand {
    pub(super) fn run(self, common: &Common) -> anyhow::Result<Exit> {
        let config = common.load()?;
        match self.action {
            None => show(&config, self.limit as usize, self.json),
            Some(Action::Resolve { stop: Some(stop), .. }) => resolve(&config, stop),
            Some(Action::Resolve { stop: None, .. }) => resolve_lost(&config),
        }
    }
}

fn show(config: &Config, limit: usize, as_json: bool) -> anyhow::Result<Exit> {
    // If the stops file is lost, the incidents still tell what was in it.
    let (stops, unusable) = match stops(&config.anchor) {
        Ok(stops) => (stops, None),
        Err(error) => (Vec::new(), Some(error)),
    };
    let incidents = open_reader(config)?.incidents(limit).or_store_exit()?;
    let rows = rows(incidents, &stops);
    if as_json {
        output::print_json(&rows)?;
    } else if rows.is_empty() {
        output::print("no incidents\n")?;
    } else {
        for Row { id, at, kind, stop, detail } in rows {
            let id = id.map_or("-".to_owned(), |id| id.to_string());
            let stop = stop.map_or(String::new(), |stop| format!(", stop {stop}"));
            output::print(&format!("--- {id}: {kind}, {at:.0}{stop}\n{}\n", readable(&detail)))?;
        }
    }
    for stop in stops.iter().filter(|stop| stop.ended.is_none()) {
        output::warning(&format!("nothing is signed: {}", stop.reason(&config.anchor)));
    }
    if let Some(error) = unusable {
        output::warning(&format!("the stops are unknown: {error}"));
        return Ok(exit_of_stop(&error));
    }
    Ok(Exit::Done)
}

/// The incidents, each with the stop that is open for it; before them the stops whose incident is not among them, because it is an old
/// one, or because the process was killed before it could be written.
fn rows(incidents: Vec<KeptIncident>, stops: &[Stop]) -> Vec<Row> {
    let mut left: Vec<&Stop> = stops.iter().collect();
    let number = |stop: &Stop| stop.ended.is_none().then_some(stop.number);
    let row = |incident: KeptIncident| {
        let digest: String = incident.digest().iter().map(|byte| format!("{byte:02x}")).collect();
        let at = left.iter().position(|stop| stop.incident == digest);
        let stop = at.and_then(|at| number(left.remove(at)));
        let KeptIncident { id, at, kind, detail } = incident;
        Row { id: Some(id), at, kind, detail, stop }
    };
    let rows: Vec<Row> = incidents.into_iter().map(row).collect();
    let alone = |stop: &Stop| {
        let (kind, detail) = ("misbehaviour".to_owned(), stop.note.clone());
        Row { id: None, at: stop.at, kind, detail, stop: number(stop) }
    };
    left.into_iter().map(alone).chain(rows).collect()
}

fn resolve(config: &Config, number: u64) -> anyhow::Result<Exit> {
    let stop = end_stop(&config.data, &config.anchor, number, &Clock::system()).or_else(coded)?;
    output::print(&format!(
        "stop {number} is over: the head of {} with the root {} is no reason any more to sign nothing.\nWhoever has seen it \
         refuses this log from now on. The next start signs, unless another stop is open.\n",
        output::count(stop.size, "record"),
        stop.root
    ))?;
    Ok(Exit::Done)
}

fn resolve_lost(config: &Config) -> anyhow::Result<Exit> {
    let vkey = open_reader(config)?.identity().vkey.clone();
    let aside = forget_stops(&config.data, &FileAnchor::at(&*config.anchor), &vkey, &Clock::system())
        .or_else(coded)?;
    if let Some(aside) = aside {
        output::print(&format!("set aside  {}\n", aside.display()))?;
    }
    output::print(
        "The stops that were lost are no reason any more to sign nothing. Whoever has seen a head that this log does not have refuses it \
         from now on. The next start signs, unless another stop is open.\n",
    )?;
    Ok(Exit::Done)
}

fn coded<T>(error: StopError) -> anyhow::Result<T> {
    let exit = exit_of_stop(&error);
    Err(error).or_exit(exit)
}

fn exit_of_stop(error: &StopError) -> Exit {
    match error {
        StopError::Io { .. } => Exit::Failed,
        StopError::Damaged { .. } | StopError::Foreign { .. } => Exit::Damage,
        StopError::Lock(error) => Exit::of_store(error),
        StopError::NotOpen { .. } | StopError::NotLost => Exit::Usage,
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
