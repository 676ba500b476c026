//! `tallystick mirror sync`: once, or again and again.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use indicatif::HumanBytes;
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::cli::exit::OrExit;
use crate::cli::session::{Session, exit_of};
use crate::cli::{Exit, ProgressMeter, output, textfile};
use crate::config::{Config, Span};
use crate::operate::{MirrorStatus, Refusal, RunStatus, SyncAnswer, UrlStatus};

/// Runs of fewer records are over before a person has read what they will take.
const LONG_RUN: u64 = 1 << 20;

#[derive(Debug, Args)]
pub(super) struct MirrorSync {
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
    /// Print JSON: an object for each round
    #[arg(long)]
    json: bool,
    /// Leave the mirrors' metrics in this file, for node_exporter's textfile collector (*.prom)
    #[arg(long, value_name = "PATH")]
    textfile: Option<PathBuf>,
}

impl MirrorSync {
    /// Syncs once or forever, until the time is over.
    pub(super) async fn run(self, config: &Config) -> anyhow::Result<Exit> {
        let mut session = None;
        let Some(Span(max_time)) = self.max_time else {
            return self.rounds(config, &mut session).await;
        };
        match timeout(max_time, self.rounds(config, &mut session)).await {
            Ok(ended) => ended,
            Err(_) if self.watch => Ok(Exit::Done),
            Err(_) => {
                let urls = self.urls(config, session).await.unwrap_or_default();
                let limit = Span(max_time);
                let why = anyhow!("not done within {limit}; what is verified by then is kept{urls}");
                Err(why).or_exit(Exit::Unreachable)
            }
        }
    }

    /// How each URL is, a line each.
    async fn urls(&self, config: &Config, session: Option<Session>) -> anyhow::Result<String> {
        let mut session = match session {
            Some(session @ Session::Here(_)) => session,
            // The connection has the end of an answer in it that nobody waits for any more.
            _ => Session::look_at_mirrors(config).await?,
        };
        let statuses = session.mirror_statuses().await?;
        let wanted =
            statuses.iter().filter(|status| self.name.as_ref().is_none_or(|only| *only == status.log));
        Ok(wanted.flat_map(|status| &status.urls).map(url_line).collect())
    }

    async fn rounds(&self, config: &Config, session: &mut Option<Session>) -> anyhow::Result<Exit> {
        self.check_name(config)?;
        let session = session.insert(Session::open_mirrors(config, self.name.as_ref()).await?);
        let mut mirrors = session.mirror_statuses().await?;
        mirrors.retain(|status| self.name.as_ref().is_none_or(|only| *only == status.log));
        if mirrors.is_empty() {
            let why = anyhow!(
                "there is nothing to sync\n  fix: add a [sumdb.\"…\"]; a running server must be started again then"
            );
            return Err(why).or_exit(Exit::Usage);
        }
        loop {
            let worst = self.round(session, &mirrors).await?;
            if let Some(path) = &self.textfile {
                textfile::write(path, &session.figures().await?)?;
            }
            // What may pass is tried again; what a person must look at does not get better by
            // itself.
            if !self.watch || !matches!(worst, Exit::Done | Exit::Unreachable) {
                return Ok(worst);
            }
            let pause = mirrors.iter().map(|status| status.poll_seconds).min().unwrap_or(1);
            sleep(Duration::from_secs(pause)).await;
        }
    }

    fn check_name(&self, config: &Config) -> anyhow::Result<()> {
        let Some(name) = &self.name else { return Ok(()) };
        let known: Vec<&str> = config.mirrored().map(|(name, _)| name.as_str()).collect();
        if known.contains(&name.as_str()) {
            return Ok(());
        }
        let why = anyhow!(
            "no checksum database \"{name}\" is configured\n  fix: add [sumdb.\"{name}\"], or use one of: {}",
            known.join(", ")
        );
        Err(why).or_exit(Exit::Usage)
    }

    /// Brings each mirror up to date, and returns the exit code of what is worst.
    async fn round(&self, session: &mut Session, mirrors: &[MirrorStatus]) -> anyhow::Result<Exit> {
        let (mut worst, mut results) = (Exit::Done, Vec::new());
        for MirrorStatus { log, .. } in mirrors {
            let mut bar = RunBar { log, quiet: self.quiet || self.json, bar: None };
            let synced = session.sync_mirror(log, |run| bar.set(&run)).await?;
            bar.end();
            let exit = match synced {
                Ok(answer) => {
                    if self.json {
                        results.push(json!({ "log": log, "from": answer.from, "to": answer.to }));
                    } else if !self.quiet {
                        output::print(&summary(&answer))?;
                    }
                    Exit::Done
                }
                Err(Refusal { reason, why }) => {
                    if self.json {
                        results.push(json!({ "log": log, "reason": reason, "why": why }));
                    } else {
                        output::error(&format!("{log}: {why}"));
                    }
                    exit_of(reason)
                }
            };
            worst = worst.or_worse(exit);
        }
        if self.json {
            output::print_json_line(&json!({ "logs": results }).to_string())?;
        }
        Ok(worst)
    }
}

/// How far a run is, for a person.
struct RunBar<'a> {
    log: &'a str,
    quiet: bool,
    bar: Option<ProgressMeter>,
}

impl RunBar<'_> {
    fn set(&mut self, run: &RunStatus) {
        if self.quiet {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            if run.target.saturating_sub(run.from) >= LONG_RUN {
                output::note(&foreseen(self.log, run));
            }
            let mut bar = ProgressMeter::new("records", run.target);
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

/// A URL, and why it failed last, which begins with its address where it is about a request.
fn url_line(UrlStatus { url, why, .. }: &UrlStatus) -> String {
    let url = url.trim_end_matches('/');
    match why {
        None => format!("\n  {url}: no failure so far"),
        Some(why) if why.starts_with(url) => format!("\n  {why}"),
        Some(why) => format!("\n  {url}: {why}"),
    }
}

/// What a long run will take.
fn foreseen(log: &str, run: &RunStatus) -> String {
    format!(
        "{log}: {} to replicate: about {}, {} to receive, {} on disk ({} free)",
        output::count(run.target.saturating_sub(run.from), "record"),
        output::count(run.foreseen_requests, "request"),
        HumanBytes(run.foreseen_bytes),
        HumanBytes(run.foreseen_disk_bytes),
        HumanBytes(run.free_bytes)
    )
}

pub(super) fn summary(SyncAnswer { log, from, to }: &SyncAnswer) -> String {
    let records = output::count(*to, "record");
    match from {
        Some(from) if from == to => format!("{log}: nothing new, {records}\n"),
        Some(from) => format!("{log}: {records}, {} more than before\n", to.saturating_sub(*from)),
        None => format!("{log}: {records}\n"),
    }
}
