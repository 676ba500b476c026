//! `tallystick monitor`: follows logs, and tells what happens in them.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use super::engines::{exit_of_store, file_name, http_client};
use super::exit::OrExit;
use super::{Common, Exit, block_on, output, textfile};
use crate::clock::Clock;
use crate::config::Config;
use crate::http::metrics::{Sample, SampleValue};
use crate::http::textfile::text_of;
use crate::mirror::{RemoteError, RemoteLimits, RemoteLog, RemoteLogOptions};
use crate::monitor::{
    Event, Followed, Kind, LogState, Monitor, MonitorConfig, MonitorError, Polled, State, StateError, Webhook,
};
use crate::store::lock::DirectoryLock;
use crate::upstream::{RemoteSumdb, SourceUrl};

/// Follow logs: forks, new versions of your modules, conflicts, silence; told by web hook, feed, metrics and log
#[derive(Debug, Args)]
#[command(after_help = "\
FILE names the logs and whom to tell; see the manual. Each event is a line on stdout. State is kept in a directory of its own, so a \
monitor may be killed at any moment and goes on where it was.

Exit codes with --once: 0 nothing alarming, 3 a log or the web hook did not answer, 4 a fork or a conflict: a person must look.

Examples:
  tallystick monitor /etc/tallystick-monitor.toml
  tallystick monitor monitor.toml --once --json")]
pub(super) struct MonitorCommand {
    /// What is followed, and who is told (TOML)
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Poll each log once, read all that is new, and end
    #[arg(long)]
    once: bool,
    /// Print each event as a line of JSON
    #[arg(long)]
    json: bool,
}

impl MonitorCommand {
    pub(super) fn run(self, common: &Common) -> anyhow::Result<Exit> {
        let config = common.load()?;
        let given = MonitorConfig::load(&self.file).or_exit(Exit::Usage)?;
        let directory = given.state.clone();
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&directory);
        made.with_context(|| format!("cannot make {}", directory.display()))?;
        let _lock = DirectoryLock::acquire(&directory).or_else(|error| {
            let exit = exit_of_store(&error);
            Err(error).or_exit(exit)
        })?;
        block_on(async {
            let figures = given.textfile.clone();
            let watch = Watch { monitor: open(&config, given)?, figures, json: self.json };
            if self.once { watch.once().await } else { watch.follow().await }
        })
    }
}

/// The logs' databases, and the web hook.
fn open(config: &Config, given: MonitorConfig) -> anyhow::Result<Monitor> {
    let clock = Clock::system();
    let client = http_client(config, &clock)?;
    let mut logs = Vec::new();
    for followed in given.logs {
        let urls =
            followed.urls.iter().map(|url| SourceUrl::parse(&url.expose())).collect::<Result<Vec<_>, _>>()?;
        let opened = RemoteLog::open(RemoteLogOptions {
            name: followed.name.clone(),
            key: followed.key.clone(),
            transport: RemoteSumdb::new(followed.name.clone(), urls, client.clone()),
            database: given.state.join(format!("{}.db", file_name(&followed.name))),
            clock: clock.clone(),
            replica: None,
            limits: RemoteLimits::default(),
        });
        match opened {
            Ok(log) => logs.push((followed, log)),
            Err(RemoteError::Store(source)) => {
                let exit = exit_of_store(&source);
                return Err(MonitorError::Store { log: followed.name, source }).or_exit(exit);
            }
            Err(error) => return Err(error).or_exit(Exit::Failed),
        }
    }
    let webhook = match given.webhook {
        None => None,
        Some(hook) => {
            let mut builder = reqwest::Client::builder()
                .user_agent(concat!("tallystick/", env!("CARGO_PKG_VERSION")))
                .redirect(reqwest::redirect::Policy::none());
            if let Some(path) = config.roots.as_deref() {
                let pem =
                    std::fs::read(path).with_context(|| format!("cannot read roots {}", path.display()))?;
                builder = builder.tls_certs_only(reqwest::Certificate::from_pem_bundle(&pem)?);
            }
            Some(Webhook::new(hook, builder.build()?))
        }
    };
    Monitor::open(given.state, given.feed, logs, webhook, clock).or_else(coded)
}

fn coded<T>(error: MonitorError) -> anyhow::Result<T> {
    let exit = match &error {
        MonitorError::State(StateError::Damaged { .. }) => Exit::Damage,
        MonitorError::Store { source, .. } => exit_of_store(source),
        MonitorError::Key { .. } | MonitorError::Gosum { .. } => Exit::Usage,
        MonitorError::State(_) | MonitorError::Io { .. } => Exit::Failed,
    };
    Err(error).or_exit(exit)
}

/// A monitor, and how its events are shown.
struct Watch {
    monitor: Monitor,
    figures: Option<PathBuf>,
    json: bool,
}

impl Watch {
    async fn once(self) -> anyhow::Result<Exit> {
        let (mut failed, mut alarmed) = (false, false);
        let names: Vec<String> = self.monitor.followed().map(|log| log.name.clone()).collect();
        for (number, name) in names.iter().enumerate() {
            loop {
                let Polled { events, failure, to_come } = self.poll(number).await?;
                alarmed |= events.iter().any(|event| event.kind.is_alarm());
                if let Some(why) = &failure {
                    output::error(&format!("{name}: {why}"));
                    failed = true;
                }
                if failure.is_some() || to_come == 0 {
                    break;
                }
            }
        }
        failed |= !self.monitor.tell().await.or_else(coded)?;
        let state = self.monitor.state().await;
        let forked = |name: &String| state.logs.get(name).is_some_and(|log| log.told.contains(&Kind::Fork));
        Ok(match (alarmed || names.iter().any(forked), failed) {
            (true, _) => Exit::Damage,
            (false, true) => Exit::Unreachable,
            (false, false) => Exit::Done,
        })
    }

    /// Polls each log at its own pace, until it is told to end.
    async fn follow(self) -> anyhow::Result<Exit> {
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let watch = Arc::new(self);
        let polls: Vec<(String, Duration)> =
            watch.monitor.followed().map(|log| (log.name.clone(), log.poll)).collect();
        let mut tasks = JoinSet::new();
        for (number, (name, poll)) in polls.into_iter().enumerate() {
            let watch = watch.clone();
            tasks.spawn(async move { watch.follow_one(number, &name, poll).await });
        }
        tokio::select! {
            ended = tasks.join_next() => {
                ended.ok_or_else(|| anyhow!("there is nothing to follow"))??.map(|never| match never {})
            }
            _ = terminate.recv() => Ok(Exit::Done),
            _ = interrupt.recv() => Ok(Exit::Done),
        }
    }

    async fn follow_one(
        &self,
        number: usize,
        name: &str,
        poll: Duration,
    ) -> anyhow::Result<std::convert::Infallible> {
        let mut said = None;
        loop {
            let Polled { failure, to_come, .. } = self.poll(number).await?;
            if failure != said {
                if let Some(why) = &failure {
                    tracing::warn!(log = name, why, "a log cannot be verified");
                }
                said = failure;
            }
            self.monitor.tell().await.or_else(coded)?;
            if to_come == 0 || said.is_some() {
                tokio::time::sleep(poll).await;
            }
        }
    }

    async fn poll(&self, number: usize) -> anyhow::Result<Polled> {
        let polled = self.monitor.poll(number).await.or_else(coded)?;
        for event in &polled.events {
            output::print(&self.line(event)?)?;
        }
        if let Some(path) = &self.figures {
            let state = self.monitor.state().await;
            textfile::write(path, &text_of(&samples(self.monitor.followed(), &state)))?;
        }
        Ok(polled)
    }

    fn line(&self, event: &Event) -> anyhow::Result<String> {
        if self.json {
            return Ok(format!("{}\n", serde_json::to_string(event)?));
        }
        Ok(match &event.evidence {
            Some(evidence) => format!("{event}\n\t{}\n", evidence.trim_end().replace('\n', "\n\t")),
            None => format!("{event}\n"),
        })
    }
}

/// The figures of each log, those of one name together.
fn samples<'a>(followed: impl Iterator<Item = &'a Followed>, state: &State) -> Vec<Sample> {
    let logs: Vec<(&str, &LogState)> =
        followed.filter_map(|log| Some((log.name.as_str(), state.logs.get(&log.name)?))).collect();
    type Read = fn(&LogState) -> SampleValue;
    let figures: [(&str, &str, Read); 6] = [
        ("monitor_size", "Records of the newest head", |log| SampleValue::Gauge(log.head.size as f64)),
        ("monitor_read", "Records that were looked at", |log| SampleValue::Gauge(log.read as f64)),
        ("monitor_head_timestamp_seconds", "When the newest head was first seen", |log| {
            SampleValue::Gauge(log.since.as_second() as f64)
        }),
        ("monitor_verified_timestamp_seconds", "When the log was verified last", |log| {
            SampleValue::Gauge(log.verified_at.as_second() as f64)
        }),
        ("monitor_forked", "1 if the log has signed two trees", |log| {
            SampleValue::Gauge(f64::from(u8::from(log.told.contains(&Kind::Fork))))
        }),
        ("monitor_events", "What happened in the log", |log| SampleValue::Counter(log.events)),
    ];
    let sample = |(name, help, read): (&'static str, &'static str, Read)| {
        logs.iter().map(move |(log, state)| Sample::new(name, help, read(state)).of(log)).collect::<Vec<_>>()
    };
    figures.into_iter().flat_map(sample).collect()
}
