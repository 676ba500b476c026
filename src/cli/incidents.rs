//! `tallystick incidents`: what a person must look at, and the person's word about it.

use std::sync::Arc;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::engines::open_reader;
use super::exit::{OrExit, OrStoreExit};
use super::import::user_name;
use super::session::{Session, refused};
use super::{Common, Exit, block_on, output};
use crate::clock::Clock;
use crate::config::Config;
use crate::log::{
    DecisionKind, IncidentStanding, JudgedIncident, Stop, StopError, end_stop, forget_stops, judge_incidents,
    stops, why_read_only,
};
use crate::operate::{DecisionAnswer, DecisionRequest, check_importer, check_reason};
use crate::store::anchor::FileAnchor;
use crate::store::evidence::KeptIncident;
use crate::store::{IncidentKind, LogObserver as _, LogReader};

/// Show what a person must look at: conflicting hashes, misbehavior of other logs, damage, and why the log signs nothing
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Newest first. An incident is kept forever, once, however often it happens, and so is what a person decides about it. If it is seen again \
after that, it is a new incident. Showing reads only, and may run beside a server.

`withdraw` is for a line that was imported by mistake: whoever imported it takes it back. `close` is for an incident whose cause is dealt \
with.

An incident with a stop is why the log signs nothing, also after a restart: somebody has a head with its signature that is not in this \
database, so it was rolled back, or another copy of it signs too. Put the right copy in place. Only when there is none, `resolve` lets this \
one go on; whoever has seen the other tree will refuse it forever.

Examples:
  tallystick incidents
  tallystick incidents --limit 1000 --json
  tallystick incidents withdraw 3 --reason typo
  tallystick incidents close 4 --reason disk-replaced
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
    /// Take back a line that was imported by mistake; the record of both stays
    Withdraw {
        /// The number of the incident
        #[arg(value_name = "INCIDENT")]
        incident: u64,
        /// Why, in a sentence that is kept forever
        #[arg(long, value_name = "TEXT", value_parser = reason)]
        reason: String,
        /// Who imported it, as the incident names them [default: your user name]
        #[arg(long, value_name = "NAME", value_parser = name)]
        importer: Option<String>,
    },
    /// Say that the cause of an incident is dealt with; it stays in the list as closed
    Close {
        /// The number of the incident
        #[arg(value_name = "INCIDENT")]
        incident: u64,
        /// What was done, in a sentence that is kept forever
        #[arg(long, value_name = "TEXT", value_parser = reason)]
        reason: String,
        /// Who says so [default: your user name]
        #[arg(long, value_name = "NAME", value_parser = name)]
        by: Option<String>,
    },
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

fn reason(text: &str) -> Result<String, String> {
    check_reason(text).map(|()| text.to_owned())
}

fn name(text: &str) -> Result<String, String> {
    check_importer(text).map(|()| text.to_owned())
}

/// The whole answer.
#[derive(Serialize)]
struct IncidentsOutput {
    log: String,
    vkey: String,
    /// Why the log signs nothing, and what to do; null while it signs.
    read_only: Option<String>,
    /// Those in `incidents` that a person must look at.
    open: usize,
    incidents: Vec<Row>,
}

/// What is shown of an incident, or of a stop whose incident is not in this database.
#[derive(Serialize)]
struct Row {
    id: Option<u64>,
    at: Timestamp,
    kind: String,
    /// The log that it is about.
    log: String,
    state: &'static str,
    /// The number of the stop that is open for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    stop: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<RowDecision>,
    detail: Value,
}

/// What a person has decided.
#[derive(Serialize)]
struct RowDecision {
    at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl IncidentsCommand {
    pub(super) fn run(self, common: &Common) -> anyhow::Result<Exit> {
        let config = common.load()?;
        match self.action {
            None => show(&config, self.limit as usize, self.json),
            Some(Action::Withdraw { incident, reason, importer }) => {
                let by = importer.unwrap_or_else(user_name);
                decide(&config, DecisionRequest { incident, decision: DecisionKind::Withdrawn, by, reason })
            }
            Some(Action::Close { incident, reason, by }) => {
                let by = by.unwrap_or_else(user_name);
                decide(&config, DecisionRequest { incident, decision: DecisionKind::Closed, by, reason })
            }
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
    let reader = Arc::new(open_reader(config)?);
    let incidents = reader.incidents(limit).or_store_exit()?;
    let identity = reader.identity().clone();
    let read_only = match block_on(asked_of_server(config))? {
        Some(answer) => answer,
        None => why_read_only(&reader, &FileAnchor::at(&*config.anchor))
            .or_store_exit()?
            .map(|why| why.to_string()),
    };
    let rows = rows(incidents, &stops, &identity.name);
    let open = rows.iter().filter(|row| row.state == OPEN).count();
    let answer =
        IncidentsOutput { log: identity.name, vkey: identity.vkey, read_only, open, incidents: rows };
    if as_json {
        output::print_json(&answer)?;
    } else {
        answer.print()?;
    }
    if let Some(error) = unusable {
        output::warning(&format!("the stops are unknown: {error}"));
        return Ok(exit_of_stop(&error));
    }
    Ok(if answer.open > 0 || answer.read_only.is_some() { Exit::Damage } else { Exit::Done })
}

/// What the running server says of its log; none where there is no server that can say it.
async fn asked_of_server(config: &Config) -> anyhow::Result<Option<Option<String>>> {
    let Some(mut session) = Session::running(config).await? else { return Ok(None) };
    // A server of another version does not know the question.
    Ok(session.log_state().await.ok().and_then(Result::ok).map(|answer| answer.read_only))
}

const OPEN: &str = "open";

impl IncidentsOutput {
    fn print(&self) -> anyhow::Result<()> {
        if self.incidents.is_empty() && self.read_only.is_none() {
            output::print("no incidents\n")?;
        }
        for Row { id, at, kind, stop, detail, state, decision, .. } in &self.incidents {
            let id = id.map_or("-".to_owned(), |id| id.to_string());
            let stop = stop.map_or(String::new(), |stop| format!(", stop {stop}"));
            let decided = decision.as_ref().map_or(String::new(), |RowDecision { at, by, reason }| {
                let by = by.as_ref().map_or(String::new(), |by| format!(" by {by}"));
                let reason = reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
                format!(", {state}{by} at {at:.0}{reason}")
            });
            output::print(&format!(
                "--- {id}: {kind}, {at:.0}{stop}{}\n{}\n",
                output::one_line(&decided),
                readable(detail)
            ))?;
        }
        if let Some(why) = &self.read_only {
            output::error(&format!("the log signs nothing: {why}"));
        }
        Ok(())
    }
}

/// The incidents; before them the stops whose incident is not among them, because it is an old one,
/// or because the process was killed before it could be written.
fn rows(incidents: Vec<KeptIncident>, stops: &[Stop], own: &str) -> Vec<Row> {
    let known: Vec<String> = incidents
        .iter()
        .map(|incident| incident.digest().iter().map(|byte| format!("{byte:02x}")).collect())
        .collect();
    let alone = stops.iter().filter(|stop| !known.contains(&stop.incident)).map(|stop| Row {
        id: None,
        at: stop.at,
        kind: IncidentKind::Misbehavior.as_str().to_owned(),
        log: own.to_owned(),
        state: if stop.ended.is_none() { OPEN } else { "resolved" },
        stop: stop.ended.is_none().then_some(stop.number),
        decision: stop.ended.map(|at| RowDecision { at, by: None, reason: None }),
        detail: stop.note.as_str().into(),
    });
    let row = |one: JudgedIncident| {
        let log = one.log(own);
        let (state, stop, decision) = match one.standing {
            IncidentStanding::Open => (OPEN, None, None),
            IncidentStanding::Stopped(stop) => (OPEN, Some(stop), None),
            IncidentStanding::Resolved(_, at) => {
                ("resolved", None, Some(RowDecision { at, by: None, reason: None }))
            }
            IncidentStanding::Decided(decision, at) => {
                let made = RowDecision { at, by: Some(decision.by), reason: Some(decision.reason) };
                (decision.decision.as_str(), None, Some(made))
            }
        };
        let KeptIncident { id, at, kind, detail } = one.incident;
        let detail = serde_json::from_str(&detail).unwrap_or(Value::String(detail));
        Row { id: Some(id), at, kind, log, state, stop, decision, detail }
    };
    alone.chain(judge_incidents(incidents, stops).into_iter().map(row)).collect()
}

/// Keeps a decision, in the running server's log or in the log itself.
fn decide(config: &Config, request: DecisionRequest) -> anyhow::Result<Exit> {
    open_reader(config)?;
    let word = request.decision.as_str();
    let decided = block_on(async {
        let mut session = Session::open_incidents(config).await?;
        let decided = session.decide_incident(request).await;
        session.close().await?;
        decided
    })?;
    let DecisionAnswer { incident, kind } = decided.or_else(refused)?;
    output::print(&format!(
        "incident {incident} ({kind}) is {word}; it stays in the list with the reason\n"
    ))?;
    Ok(Exit::Done)
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
fn readable(detail: &Value) -> String {
    let Value::Object(fields) = detail else {
        return format!("{}\n", detail.as_str().map_or_else(|| detail.to_string(), str::to_owned));
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
