//! `tallystick monitor`: follows logs, and tells what happens in them.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use arc_swap::ArcSwap;
use clap::Args;
use tokio::sync::watch as channel;
use tokio::task::JoinSet;

use super::engines::{file_name, http_client};
use super::exit::{OrExit, OrStoreExit};
use super::process::{Signals, bind, operators};
use super::{Common, Exit, block_on, output, textfile};
use crate::clock::Clock;
use crate::config::{Config, Followed, MonitorConfig, Secret};
use crate::http::listener::Listeners;
use crate::http::metrics::{Metrics, MetricsSource, Sample, SampleValue};
use crate::http::ops::{Health, Readiness};
use crate::http::textfile::text_of;
use crate::mirror::{RemoteError, RemoteLimits, RemoteLog, RemoteLogOptions};
use crate::monitor::{
    Event, EventKind, LogState, Monitor, MonitorError, MonitorState, Pass, Polled, StateError, Webhook,
};
use crate::store::lock::DirectoryLock;
use crate::store::private;
use crate::upstream::RemoteSumdb;

/// Follow logs: forks, new versions of your modules, conflicts, silence; told by web hook, feed, metrics and log
#[derive(Debug, Args)]
#[command(after_help = "\
FILE names the logs and whom to tell; see the manual. Each event is a line on stdout. State is kept in a directory of its own, so a \
monitor may be killed at any moment and goes on where it was.

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
        let given = MonitorConfig::load(&self.file)?;
        let secret = given.webhook.as_ref().map(|hook| Secret::read(&hook.secret_file)).transpose();
        let secret = secret.context("webhook.secret_file").or_exit(Exit::Usage)?;
        let directory = given.state.value.clone();
        private::make_directory(&directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        let _lock = DirectoryLock::acquire(&directory).or_store_exit()?;
        block_on(async {
            let (textfile, address) =
                (given.textfile.value.clone(), given.metrics_listen.value.clone().filter(|_| !self.once));
            let listener = match address {
                Some(address) => Some(bind("metrics_listen", &address).await?),
                None => None,
            };
            let watch = Watch::new(open(&config, given, secret)?, textfile, self.json).await;
            if self.once { watch.once().await } else { watch.follow(listener).await }
        })
    }
}

/// The logs' databases, and the web hook.
fn open(config: &Config, given: MonitorConfig, secret: Option<Secret>) -> anyhow::Result<Monitor> {
    let clock = Clock::system();
    let client = http_client(config, &clock)?;
    let mut logs = Vec::new();
    for followed in given.logs {
        let opened = RemoteLog::open(RemoteLogOptions {
            name: followed.name.value.clone(),
            key: followed.key.value.clone(),
            transport: RemoteSumdb::new(
                followed.name.value.clone(),
                followed.urls.value.clone(),
                client.clone(),
            ),
            database: given.state.join(format!("{}.db", file_name(&followed.name))),
            clock: clock.clone(),
            replica: None,
            limits: RemoteLimits::default(),
        });
        match opened {
            Ok(log) => logs.push((followed, log)),
            Err(RemoteError::Store(source)) => {
                let exit = Exit::of_store(&source);
                return Err(MonitorError::Store { log: followed.name.value, source }).or_exit(exit);
            }
            Err(error) => return Err(error).or_exit(Exit::Failed),
        }
    }
    let url = given.webhook.and_then(|hook| hook.url.value);
    let webhook = url.zip(secret).map(|(url, secret)| Webhook::new(url, secret, client));
    Monitor::open(given.state.value, given.feed.value, logs, webhook, clock).or_else(coded)
}

fn coded<T>(error: MonitorError) -> anyhow::Result<T> {
    let exit = match &error {
        MonitorError::State(StateError::Damaged { .. }) => Exit::Damage,
        MonitorError::Store { source, .. } => Exit::of_store(source),
        MonitorError::Key { .. } | MonitorError::Gosum { .. } => Exit::Usage,
        MonitorError::State(_) | MonitorError::Io { .. } => Exit::Failed,
    };
    Err(error).or_exit(exit)
}

/// A monitor, and how its events are shown.
struct Watch {
    monitor: Monitor,
    textfile: Option<PathBuf>,
    figures: Figures,
    json: bool,
}

/// The figures as they were after the last poll, and the logs that were not polled yet.
#[derive(Clone, Debug)]
struct Figures {
    samples: Arc<ArcSwap<Vec<Sample>>>,
    waiting: Arc<ArcSwap<BTreeSet<String>>>,
}

impl MetricsSource for Figures {
    fn samples(&self) -> Vec<Sample> {
        (**self.samples.load()).clone()
    }
}

impl Health for Figures {
    /// What a log does is told otherwise; this is whether the monitor does its work.
    fn readiness(&self) -> Readiness {
        match self.waiting.load().first() {
            None => Readiness::Ready,
            Some(log) => Readiness::NotReady { why: format!("{log} was not polled yet") },
        }
    }
}

impl Watch {
    async fn new(monitor: Monitor, textfile: Option<PathBuf>, json: bool) -> Watch {
        let names = monitor.followed().map(|log| log.name.value.clone()).collect();
        let samples = samples(monitor.followed(), &monitor.state().await);
        let shared = (Arc::new(ArcSwap::from_pointee(samples)), Arc::new(ArcSwap::from_pointee(names)));
        Watch { monitor, textfile, figures: Figures { samples: shared.0, waiting: shared.1 }, json }
    }

    async fn once(self) -> anyhow::Result<Exit> {
        let (mut failed, mut alarmed) = (false, false);
        let names: Vec<String> = self.monitor.followed().map(|log| log.name.value.clone()).collect();
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
        let forked =
            |name: &String| state.logs.get(name).is_some_and(|log| log.told.contains(&EventKind::Fork));
        Ok(match (alarmed || names.iter().any(forked), failed) {
            (true, _) => Exit::Damage,
            (false, true) => Exit::Unreachable,
            (false, false) => Exit::Done,
        })
    }

    /// Polls each log at its own pace, until it is told to end.
    async fn follow(self, listener: Option<Listeners>) -> anyhow::Result<Exit> {
        let mut signals = Signals::without_reload()?;
        let (stop, stopped) = channel::channel(false);
        let door = match listener {
            None => None,
            Some(listener) => {
                output::note(&format!("metrics       http://{listener}/metrics"));
                let metrics = Arc::new(Metrics::new(vec![Box::new(self.figures.clone())]));
                Some(operators(Arc::new(self.figures.clone()), metrics, listener, stopped))
            }
        };
        let watch = Arc::new(self);
        let polls: Vec<(String, Duration)> =
            watch.monitor.followed().map(|log| (log.name.value.clone(), log.poll.0)).collect();
        let mut tasks = JoinSet::new();
        for (number, (name, poll)) in polls.into_iter().enumerate() {
            let watch = watch.clone();
            tasks.spawn(async move { watch.follow_one(number, &name, poll).await });
        }
        let ended = tokio::select! {
            ended = tasks.join_next() => {
                ended.ok_or_else(|| anyhow!("there is nothing to follow"))??.map(|never| match never {})
            }
            _ = signals.next() => Ok(Exit::Done),
        };
        stop.send_replace(true);
        if let Some(door) = door {
            door.await?;
        }
        ended
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
            self.print(event)?;
        }
        let samples = samples(self.monitor.followed(), &self.monitor.state().await);
        if let Some(path) = &self.textfile {
            textfile::write(path, &text_of(&samples))?;
        }
        self.figures.samples.store(Arc::new(samples));
        let polled_log = self.monitor.followed().nth(number).map(|log| log.name.as_str());
        self.figures.waiting.rcu(|waiting| {
            waiting.iter().filter(|log| Some(log.as_str()) != polled_log).cloned().collect::<BTreeSet<_>>()
        });
        Ok(polled)
    }

    fn print(&self, event: &Event) -> anyhow::Result<()> {
        if self.json {
            return Ok(output::print_json_line(&serde_json::to_string(event)?)?);
        }
        let shown = output::one_line(&event.to_string());
        Ok(output::print(&match &event.evidence {
            Some(evidence) => format!("{shown}\n\t{}\n", evidence.trim_end().replace('\n', "\n\t")),
            None => format!("{shown}\n"),
        })?)
    }
}

/// The figures of each log, those of one name together.
fn samples<'a>(followed: impl Iterator<Item = &'a Followed>, state: &MonitorState) -> Vec<Sample> {
    let logs: Vec<(&str, &LogState)> =
        followed.filter_map(|log| Some((log.name.as_str(), state.logs.get(&*log.name)?))).collect();
    type Read = fn(&LogState) -> SampleValue;
    let figures: [(&str, &str, Read); 9] = [
        ("monitor_size", "Records of the newest head", |log| SampleValue::Gauge(log.head.size as f64)),
        ("monitor_read", "Records that were looked at", |log| SampleValue::Gauge(log.read as f64)),
        ("monitor_head_timestamp_seconds", "When the newest head was first seen", |log| {
            SampleValue::Gauge(log.since.as_second() as f64)
        }),
        ("monitor_verified_timestamp_seconds", "When the log was verified last", |log| {
            SampleValue::Gauge(log.verified_at.as_second() as f64)
        }),
        ("monitor_forked", "1 if the log has signed two trees", |log| {
            SampleValue::Gauge(f64::from(u8::from(log.told.contains(&EventKind::Fork))))
        }),
        (
            "monitor_gosum_checked",
            "Module versions of go.sum whose record was looked up and compared",
            |log| of_pass(log, |pass| pass.checked),
        ),
        ("monitor_gosum_missing", "Module versions of go.sum that the log does not have", |log| {
            of_pass(log, |pass| pass.missing)
        }),
        ("monitor_gosum_left", "Module versions of go.sum that could not be looked up yet", |log| {
            of_pass(log, |pass| pass.total - pass.checked - pass.missing)
        }),
        ("monitor_events", "What happened in the log", |log| SampleValue::Counter(log.events)),
    ];
    let sample = |(name, help, read): (&'static str, &'static str, Read)| {
        logs.iter().map(move |(log, state)| Sample::new(name, help, read(state)).of(log)).collect::<Vec<_>>()
    };
    figures.into_iter().flat_map(sample).collect()
}

fn of_pass(log: &LogState, of: fn(&Pass) -> u64) -> SampleValue {
    SampleValue::Gauge(log.gosum.as_ref().map_or(0, of) as f64)
}
