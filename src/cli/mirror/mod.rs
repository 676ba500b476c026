//! `tallystick mirror`: what is kept of remote logs, bringing it up to date, and what to do when one contradicts itself.

mod by_hand;
mod plot;

use std::convert::Infallible;
use std::path::PathBuf;

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand};
use indicatif::HumanBytes;
use tokio::time::{sleep, timeout};

use super::control::{Session, exit_of, refused};
use super::engines::{exit_of_store, http_client, open_kept_mirrors, open_mirrors};
use super::exit::OrExit;
use super::{Common, Exit, Progress, block_on, output, textfile};
use crate::clock::Clock;
use crate::config::{Config, Environment, GoEnvironment, Span};
use crate::http::control::figures::{FiguresAnswer, figures};
use crate::http::control::mirrors::{
    FullStatus, MirrorStatus, ResumeAnswer, ResumeRequest, RunStatus, StatusRequest, SyncAnswer, SyncEvent,
    SyncRequest, resume, statuses_of, sync,
};
use crate::http::control::{Reason, Refusal};
use crate::mirror::Mirrors;
use crate::store::lock::DirectoryLock;
use crate::store::private;

/// Runs of fewer records are over before a person has read what they will take.
const LONG_RUN: u64 = 1 << 20;

/// Show, and bring up to date, what is kept of remote checksum databases
#[derive(Debug, Args)]
#[command(after_help = "\
Beside a running server these commands ask it; without one they do the work themselves, under the same lock.

Exit codes of sync: 0 up to date (also: nothing new), 3 not reachable, or all URLs sent what does not verify, 4 the log \
contradicts itself, 5 a sync is running already.

Examples:
  tallystick mirror status
  tallystick mirror sync --once --quiet
  tallystick mirror sync sum.golang.org --watch
  tallystick mirror resume sum.golang.org --incident 1
  tallystick mirror export sum.golang.org /srv/sum.golang.org
  tallystick mirror import sum.golang.org log.tar.zst
  tallystick mirror verify sum.golang.org
  tallystick mirror stats sum.golang.org --svg growth.svg
  tallystick mirror diff --modules 'golang.org/x'")]
pub(super) struct MirrorCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show each mirror: mode, size, what is kept, how the last attempts ended, its URLs, and a stop if there is one
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Bring mirrors up to date: their newest head, and in mode "full" every record under it, verified
    Sync(Sync),
    /// Go on with a log that was stopped for misbehaviour, after a person has looked at the evidence (which stays)
    Resume {
        /// The log
        #[arg(value_name = "NAME")]
        name: String,
        /// The incident that you have looked at, as `mirror status` shows it
        #[arg(long, value_name = "ID")]
        incident: u64,
    },
    /// Write a full mirror as a static checksum database: a directory or an archive that anybody can serve and verify
    Export(by_hand::Export),
    /// Take a static checksum database into a full mirror, verified
    Import(by_hand::Import),
    /// Compute everything in a full mirror again, from its records to the signed root
    Verify(by_hand::Verify),
    /// Show how a full mirror grew, and which hosts and module paths have the most records
    Stats(by_hand::Stats),
    /// Compare the own log with full mirrors: what each has of every module path, and where they disagree
    Diff(by_hand::Diff),
}

#[derive(Debug, Args)]
struct Sync {
    /// Only this log [default: all]
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// End when it is done; this is the default
    #[arg(long, conflicts_with = "watch")]
    once: bool,
    /// Go on, at each log's poll interval
    #[arg(long)]
    watch: bool,
    /// End after so long at the latest, as in 30s, 10m
    #[arg(long, value_name = "TIME")]
    max_time: Option<Span>,
    /// Print failures only
    #[arg(long)]
    quiet: bool,
    /// Leave the mirrors' metrics in this file, for node_exporter's textfile collector (*.prom)
    #[arg(long, value_name = "PATH")]
    textfile: Option<PathBuf>,
}

impl MirrorCommand {
    pub(super) fn run(self, common: &Common) -> anyhow::Result<Exit> {
        let mut config = common.load()?;
        if let Action::Diff(options) = self.action {
            return block_on(options.run(&config));
        }
        // The mirrors that routes name are mirrors, too; without any route there is the one that `serve` would take.
        config.discover(&GoEnvironment::read(&Environment::of_process()))?;
        match self.action {
            Action::Status { json } => block_on(show_status(&config, json)),
            Action::Sync(options) => block_on(synchronise(&config, options)),
            Action::Resume { name, incident } => block_on(resume_log(&config, name, incident)),
            Action::Export(options) => block_on(options.run(&config)),
            Action::Import(options) => block_on(options.run(&config)),
            Action::Verify(options) => block_on(options.run(&config)),
            Action::Stats(options) => block_on(options.run(&config)),
            Action::Diff(options) => block_on(options.run(&config)),
        }
    }
}

/// Whoever has the mirrors open.
enum Keeper {
    Server(Session),
    Own { mirrors: Mirrors, _lock: DirectoryLock },
}

impl Keeper {
    /// The running server, or the mirrors themselves under the lock. Exit code 5 if somebody has it and does not answer.
    async fn open(config: &Config, only: Option<&String>) -> anyhow::Result<Keeper> {
        if let Some(session) = Session::running(config).await? {
            return Ok(Keeper::Server(session));
        }
        let data = &config.data;
        private::make_directory(data).with_context(|| format!("cannot make {}", data.display()))?;
        let lock = match DirectoryLock::acquire(data) {
            Ok(lock) => lock,
            Err(error) => {
                let exit = exit_of_store(&error);
                // Whoever has it may be a server that is just starting.
                if exit == Exit::Running
                    && let Some(session) = Session::wait_for_server(config).await?
                {
                    return Ok(Keeper::Server(session));
                }
                return Err(error).or_exit(exit);
            }
        };
        let names =
            config.mirrored().map(|(name, _)| name).filter(|name| only.is_none_or(|only| only == *name));
        let mirrors = open_mirrors(config, names, &http_client(config, &Clock::system())?)?;
        Ok(Keeper::Own { mirrors, _lock: lock })
    }

    async fn status(&mut self) -> anyhow::Result<Vec<MirrorStatus>> {
        match self {
            Keeper::Server(session) => {
                session.ask("/v1/mirror/status", &StatusRequest {}).await?.or_else(refused)
            }
            Keeper::Own { mirrors, .. } => statuses(mirrors),
        }
    }

    async fn sync(&mut self, log: &str, shown: &mut Shown) -> anyhow::Result<Result<SyncAnswer, Refusal>> {
        let ended = match self {
            Keeper::Server(session) => {
                let mut told =
                    session.follow("/v1/mirror/sync", &SyncRequest { log: log.to_owned() }).await?;
                loop {
                    match told.next().await? {
                        SyncEvent::Running(run) => shown.set(&run),
                        SyncEvent::Done(answer) => break Ok(answer),
                        SyncEvent::Refused(refusal) => break Err(refusal),
                    }
                }
            }
            Keeper::Own { mirrors, .. } => {
                let told = |run| {
                    shown.set(&run);
                    Ok::<(), Infallible>(())
                };
                match sync(mirrors, log, told).await {
                    Ok(ended) => ended,
                    Err(never) => match never {},
                }
            }
        };
        shown.end();
        Ok(ended)
    }

    async fn figures(&mut self) -> anyhow::Result<FiguresAnswer> {
        match self {
            Keeper::Server(session) => {
                session.ask("/v1/mirror/figures", &StatusRequest {}).await?.or_else(refused)
            }
            Keeper::Own { mirrors, .. } => Ok(figures(mirrors, Clock::system())),
        }
    }
}

/// How far a run is, for a person.
struct Shown {
    log: String,
    quiet: bool,
    bar: Option<Progress>,
}

impl Shown {
    fn set(&mut self, run: &RunStatus) {
        if self.quiet {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            if run.target.saturating_sub(run.from) >= LONG_RUN {
                output::note(&foreseen(&self.log, run));
            }
            let mut bar = Progress::new("records", run.target);
            bar.begin_at(run.from);
            bar
        });
        bar.set(run.size);
    }

    fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish();
        }
    }
}

/// What a long run will take.
fn foreseen(log: &str, run: &RunStatus) -> String {
    format!(
        "{log}: {} records to replicate: about {} requests, {} to receive, {} on disk ({} free)",
        run.target.saturating_sub(run.from),
        run.foreseen_requests,
        HumanBytes(run.foreseen_bytes),
        HumanBytes(run.foreseen_disk_bytes),
        HumanBytes(run.free_bytes)
    )
}

fn statuses(mirrors: &Mirrors) -> anyhow::Result<Vec<MirrorStatus>> {
    statuses_of(mirrors).or_else(|error| {
        let exit = exit_of_store(&error);
        Err(error).or_exit(exit)
    })
}

/// Asks the server, or reads what is kept, which needs no lock.
async fn show_status(config: &Config, json: bool) -> anyhow::Result<Exit> {
    let all = match Session::running(config).await? {
        Some(session) => Keeper::Server(session).status().await?,
        None => statuses(&open_kept_mirrors(config, &http_client(config, &Clock::system())?)?)?,
    };
    if json {
        output::print_json(&all)?;
        return Ok(Exit::Done);
    }
    let texts: Vec<String> = all.iter().map(text_of).collect();
    output::print(&texts.join("\n"))?;
    if all.is_empty() {
        output::note("nothing is kept of any remote log yet: `tallystick mirror sync` begins");
    }
    Ok(Exit::Done)
}

/// What a person reads of a mirror.
fn text_of(status: &MirrorStatus) -> String {
    let mut text = format!("{}\n", status.log);
    let mut row = |name: &str, value: &str| text += &format!("  {name:<12}{value}\n");
    if let Some(unusable) = &status.unusable {
        row("mode", &status.mode);
        row("UNUSABLE", &unusable.why);
        row("fix", &unusable.fix);
        return text;
    }
    let when = match &status.schedule {
        Some(schedule) => format!("at {schedule} (UTC)"),
        None => format!("every {}", Span(std::time::Duration::from_secs(status.poll_seconds))),
    };
    row("mode", &format!("{}, polled {when}", status.mode));
    match (status.size, status.remote_size) {
        (Some(size), Some(remote)) if remote > size => row("size", &format!("{size} records of {remote}")),
        (Some(size), _) => row("size", &format!("{size} records")),
        (None, _) => row("size", "no head known yet"),
    }
    if let Some(full) = &status.full {
        row("replicated", &replicated(full));
        if let Some(run) = &full.run {
            row("running", &running(run));
        }
    }
    row("kept", &format!("{} records, {} tiles, {} heads", status.records, status.tiles, status.heads));
    let ago = |seconds| format!(", {} ago", Span(std::time::Duration::from_secs(seconds)));
    let lag = status.lag_seconds.map_or(String::new(), ago);
    row("reached", &status.last_success.map_or("never".to_owned(), |at| time(at) + &lag));
    if let Some(error) = &status.last_error {
        row("failed", &format!("{}: {}", time(error.at), error.why));
    }
    for url in &status.urls {
        let health = match (url.failures, url.lies) {
            (0, 0) => String::new(),
            (failures, lies) => format!(
                "  ({failures} failures in a row, {lies} refused answers: {})",
                url.why.as_deref().unwrap_or_default()
            ),
        };
        row("url", &format!("{}{health}", url.url));
    }
    if let Some(stopped) = &status.stopped {
        row("STOPPED", &format!("incident {}, {}", stopped.incident, time(stopped.seen_at)));
        row("", &stopped.what);
        row("", &format!("evidence: {}", stopped.evidence));
        row(
            "",
            &format!("to go on: tallystick mirror resume {} --incident {}", status.log, stopped.incident),
        );
    }
    text
}

/// What of the log is here.
fn replicated(full: &FullStatus) -> String {
    let each =
        full.bytes.checked_div(full.records).map_or(String::new(), |each| format!(", {each} a record"));
    let under = match full.size {
        None => ", no head complete yet".to_owned(),
        Some(size) if size == full.records => String::new(),
        Some(size) => format!(", {size} of them under the head that is served"),
    };
    let lag = if full.lag_records == 0 { String::new() } else { format!(", {} to come", full.lag_records) };
    format!("{} records{under}{lag}; {} on disk{each}", full.records, HumanBytes(full.bytes))
}

/// How a run goes.
fn running(run: &RunStatus) -> String {
    let rate = run.records_per_second.map_or(String::new(), |rate| format!(", {rate} a second"));
    let eta = run
        .eta_seconds
        .map_or(String::new(), |eta| format!(", {} left", Span(std::time::Duration::from_secs(eta))));
    format!("{} of {} records{rate}{eta}", run.size, run.target)
}

fn time(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// Syncs once or for ever, until the time is over.
async fn synchronise(config: &Config, options: Sync) -> anyhow::Result<Exit> {
    let Some(Span(max_time)) = options.max_time else {
        return rounds(config, &options).await;
    };
    match timeout(max_time, rounds(config, &options)).await {
        Ok(ended) => ended,
        Err(_) if options.watch => Ok(Exit::Done),
        Err(_) => {
            let why = anyhow!("not done within {}; what is verified by then is kept", Span(max_time));
            Err(why).or_exit(Exit::Unreachable)
        }
    }
}

async fn rounds(config: &Config, options: &Sync) -> anyhow::Result<Exit> {
    let known = config.mirrored().any(|(name, _)| options.name.as_ref().is_none_or(|only| only == name));
    if let (Some(name), false) = (&options.name, known) {
        let known: Vec<&str> = config.mirrored().map(|(name, _)| name.as_str()).collect();
        let why = anyhow!(
            "no checksum database \"{name}\" is configured\n  fix: add [sumdb.\"{name}\"], or use one of: {}",
            known.join(", ")
        );
        return Err(why).or_exit(Exit::Usage);
    }
    let mut keeper = Keeper::open(config, options.name.as_ref()).await?;
    let mut names: Vec<MirrorStatus> = keeper.status().await?;
    names.retain(|status| options.name.as_ref().is_none_or(|only| *only == status.log));
    if names.is_empty() {
        let why = anyhow!(
            "there is nothing to sync\n  fix: add a [sumdb.\"…\"]; a running server must be started again then"
        );
        return Err(why).or_exit(Exit::Usage);
    }
    loop {
        let mut worst = Exit::Done;
        for status in &names {
            let mut shown = Shown { log: status.log.clone(), quiet: options.quiet, bar: None };
            let exit = match keeper.sync(&status.log, &mut shown).await? {
                Ok(answer) => {
                    if !options.quiet {
                        output::print(&told(&answer))?;
                    }
                    Exit::Done
                }
                Err(Refusal { reason, why }) => {
                    output::error(&format!("{}: {why}", status.log));
                    exit_of(reason)
                }
            };
            worst = worse(worst, exit);
        }
        if let Some(path) = &options.textfile {
            textfile::write(path, &keeper.figures().await?.text)?;
        }
        // What may pass is tried again; what a person must look at does not get better by itself.
        if !options.watch || !matches!(worst, Exit::Done | Exit::Unreachable) {
            return Ok(worst);
        }
        let pause = names.iter().map(|status| status.poll_seconds).min().unwrap_or(1);
        sleep(std::time::Duration::from_secs(pause)).await;
    }
}

fn told(SyncAnswer { log, from, to }: &SyncAnswer) -> String {
    match from {
        Some(from) if from == to => format!("{log}: nothing new, {to} records\n"),
        Some(from) => format!("{log}: {to} records, {} more than before\n", to.saturating_sub(*from)),
        None => format!("{log}: {to} records\n"),
    }
}

/// The exit code that a scheduler must hear of before the other.
fn worse(one: Exit, other: Exit) -> Exit {
    let order = [Exit::Damage, Exit::Usage, Exit::Failed, Exit::Running, Exit::Unreachable];
    order.into_iter().find(|exit| *exit == one || *exit == other).unwrap_or(Exit::Done)
}

async fn resume_log(config: &Config, log: String, incident: u64) -> anyhow::Result<Exit> {
    let mut keeper = Keeper::open(config, Some(&log)).await?;
    let answer: Result<ResumeAnswer, Refusal> = match &mut keeper {
        Keeper::Server(session) => {
            session.ask("/v1/mirror/resume", &ResumeRequest { log: log.clone(), incident }).await?
        }
        Keeper::Own { mirrors, .. } => resume(mirrors, &log, incident).await,
    };
    match answer {
        Ok(ResumeAnswer { log, evidence }) => {
            output::print(&format!("{log}: goes on; the evidence stays in {evidence}\n"))?;
            Ok(Exit::Done)
        }
        Err(Refusal { reason: Reason::Usage, why }) => {
            Err(anyhow!("{why}\n  fix: `tallystick mirror status` shows what is stopped"))
                .or_exit(Exit::Usage)
        }
        Err(refusal) => refused(refusal),
    }
}
