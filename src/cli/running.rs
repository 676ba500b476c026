//! A running server, and the replacement of its configuration.
//!
//! ```text
//! SIGHUP ──────────┐
//! control socket ──┴─▶ read ▶ check ▶ name what needs a restart ▶ build everything │ replace each part
//!                      └────── any failure: the old configuration stays ───────┘ └── cannot fail ──┘
//! ```
//!
//! The configuration in force is always that of one file as it was at one moment: where a key has
//! changed that takes effect at a start only, nothing is replaced. A server that runs by a mixture
//! of two files would surprise whoever restarts it later.
//!
//! | part | how it is replaced |
//! |---|---|
//! | routes, limits of look-ups | [`Notary::reroute`]: flights on changed routes start again, fenced |
//! | URLs of checksum databases | a new view of each log that has other ones; what was verified stays |
//! | witnesses | [`Witnesses::replace`]: the new ones are asked for the newest head |
//! | certificate | [`TlsKeeper::replace`], for new connections |
//! | mirrors as served, hooks, deadline | a new [`PublicSite`](crate::http::site::PublicSite), for new requests |
//!
//! Hits never wait for a reload: they read the log and what is in memory of it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use anyhow::{Context, anyhow};
use tokio::sync::{Mutex, OwnedMutexGuard, watch};

use super::checks;
use super::clock_watch::ClockFigures;
use super::doors::{Doors, ServedMirrors, hooks};
use super::engines::{
    Engines, Outgoing, PlannedRoutes, RouteInput, limits, panel, plan_routes, redirect_mirrors,
};
use super::exit::{Exit, OrExit};
use super::notify::ServiceManager;
use super::process::door_limits;
use super::{bypass, reverify};
use crate::clock::Clock;
use crate::config::{
    Config, ConfigChanges, Environment, GoEnvironment, LogWitness, Overrides, VerifyInterval,
};
use crate::http::hooks::Hooks;
use crate::http::listen::{Door, ListenLimits};
use crate::http::metrics::{MetricsSource, Sample, SampleValue};
use crate::http::site::LiveSite;
use crate::http::tls::{TlsKeeper, TlsPair};
use crate::mirror::Mirrors;
use crate::notary::{Notary, Rerouting};
use crate::operate::{Reason, Refusal, ReloadAnswer, ReloadRun, Reloading};
use crate::upstream::ScratchSpace;
use crate::witness::Witnesses;

/// Where `serve` takes its configuration from: the same at its start and at each reload.
#[derive(Clone, Debug)]
pub(super) struct ConfigSource {
    pub(super) overrides: Overrides,
    pub(super) environment: Environment,
    pub(super) verify_interval: Option<VerifyInterval>,
}

impl ConfigSource {
    /// Reads the configuration, without the routes that come from the `go` command's settings.
    pub(super) fn read(&self) -> anyhow::Result<Config> {
        Ok(Config::load(&self.overrides, &self.environment)?)
    }

    /// Completes it. Returns what should be known.
    pub(super) fn complete(&self, config: &mut Config) -> anyhow::Result<Vec<String>> {
        let go = GoEnvironment::read(&self.environment);
        config.discover(&go)?;
        if let Some(interval) = self.verify_interval {
            reverify::set_interval(config, interval);
        }
        Ok(config.notices.iter().cloned().chain(bypass::warnings(&go)).collect())
    }
}

/// How the last reload ended. A start counts as one.
#[derive(Debug)]
pub(super) struct ReloadFigures {
    succeeded: AtomicBool,
    /// Unix time in milliseconds.
    succeeded_at: AtomicI64,
}

impl ReloadFigures {
    pub(super) fn new(clock: &Clock) -> Arc<ReloadFigures> {
        let succeeded_at = AtomicI64::new(clock.now().as_millisecond());
        Arc::new(ReloadFigures { succeeded: AtomicBool::new(true), succeeded_at })
    }

    fn note(&self, succeeded: bool, clock: &Clock) {
        self.succeeded.store(succeeded, Ordering::Relaxed);
        if succeeded {
            self.succeeded_at.store(clock.now().as_millisecond(), Ordering::Relaxed);
        }
    }
}

/// The figures of reloads for the metrics page.
#[derive(Debug)]
pub(super) struct ReloadSamples(pub(super) Arc<ReloadFigures>);

impl MetricsSource for ReloadSamples {
    fn samples(&self) -> Vec<Sample> {
        let gauge = |name, help, value| Sample::new(name, help, SampleValue::Gauge(value));
        let succeeded = f64::from(u8::from(self.0.succeeded.load(Ordering::Relaxed)));
        let at = self.0.succeeded_at.load(Ordering::Relaxed) as f64 / 1000.0;
        vec![
            gauge(
                "config_reload_success",
                "1 when the last reload of the configuration succeeded, 0 when it was refused",
                succeeded,
            ),
            gauge("config_reload_success_timestamp_seconds", "When the configuration in force was read", at),
        ]
    }
}

/// A server whose configuration can be replaced. Clones share it.
#[derive(Clone)]
pub(super) struct Running(Arc<Inner>);

struct Inner {
    source: ConfigSource,
    notary: Notary,
    mirrors: Mirrors,
    witnesses: Witnesses,
    scratch: ScratchSpace,
    clock: Clock,
    doors: Doors,
    site: Arc<LiveSite>,
    tls: Option<Arc<TlsKeeper>>,
    figures: Arc<ReloadFigures>,
    manager: ServiceManager,
    /// Connections of the public door.
    connections: watch::Sender<usize>,
    /// Held during a reload: one at a time.
    in_force: Arc<Mutex<InForce>>,
}

/// The configuration in force, and what was made of it.
struct InForce {
    config: Arc<Config>,
    outgoing: Outgoing,
    routes: Vec<RouteInput>,
    git_config: Option<String>,
    served: ServedMirrors,
}

/// What is ready to replace what is in force.
struct Prepared {
    next: InForce,
    /// None where routes and limits are as they were.
    rerouting: Option<Rerouting>,
    tls: Option<TlsPair>,
    hooks: Hooks,
    answer: ReloadAnswer,
}

/// What was read again for a reload.
struct Fresh<'a> {
    outgoing: &'a Outgoing,
    tls: Option<&'a TlsPair>,
    has_new_git: bool,
    /// For each route the one in force that it is.
    kept: &'a [Option<usize>],
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Running")
    }
}

impl Running {
    /// A server that runs by `config`, with the site that its public door is to have.
    pub(super) fn new(
        source: ConfigSource,
        config: Config,
        engines: &mut Engines,
        tls: Option<Arc<TlsKeeper>>,
        manager: ServiceManager,
        clock_figures: &ClockFigures,
    ) -> anyhow::Result<(Running, Arc<LiveSite>)> {
        let (config, clock) = (Arc::new(config), engines.clock.clone());
        let connections = watch::Sender::new(*config.limits.connections);
        let figures = ReloadFigures::new(&clock);
        let samples: Vec<Box<dyn MetricsSource>> =
            vec![Box::new(ReloadSamples(figures.clone())), Box::new(clock_figures.clone())];
        let (doors, served) = Doors::new(&config, engines, tls.clone(), samples);
        let hooks = hooks(&config, &engines.mirrors, &clock)?;
        let site = Arc::new(LiveSite::new(doors.site(&config, &served, hooks)));
        let routes = std::mem::take(&mut engines.routes);
        let git_config = engines.git_config.take();
        let in_force = InForce { config, outgoing: engines.outgoing.clone(), routes, git_config, served };
        let running = Running(Arc::new(Inner {
            source,
            notary: engines.notary.clone(),
            mirrors: engines.mirrors.clone(),
            witnesses: engines.witnesses.clone(),
            scratch: engines.scratch.clone(),
            clock,
            doors,
            site: site.clone(),
            tls,
            figures,
            manager,
            connections,
            in_force: Arc::new(Mutex::new(in_force)),
        }));
        Ok((running, site))
    }

    /// The public door, whose site and size are replaced by reloads, and the operators' door.
    pub(super) fn open_doors(
        &self,
        site: Arc<LiveSite>,
        limits: ListenLimits,
    ) -> (Door<LiveSite>, Door<axum::Router>) {
        let limits = ListenLimits { resized: Some(self.0.connections.subscribe()), ..limits };
        self.0.doors.open(site, limits)
    }

    /// Reloads, and says how it went in the log and to the service manager.
    pub(super) async fn reload_and_tell(&self) -> Result<ReloadAnswer, Refusal> {
        // A task of its own: what has begun to replace parts must not be dropped halfway.
        let inner = self.0.clone();
        let reloading = tokio::spawn(async move {
            let in_force = inner.in_force.clone().lock_owned().await;
            inner.manager.reloading();
            let reloaded = inner.clone().reload(in_force).await;
            inner.figures.note(reloaded.is_ok(), &inner.clock);
            match &reloaded {
                Ok(answer) => {
                    for warning in &answer.warnings {
                        tracing::warn!("{warning}");
                    }
                    let changed = answer.changed.iter().chain(&answer.renewed).cloned().collect::<Vec<_>>();
                    tracing::info!(changed = changed.join(", "), "the configuration was reloaded");
                    inner.manager.ready("the configuration was reloaded");
                }
                Err(refusal) => {
                    let why = &refusal.why;
                    tracing::error!(%why, "the configuration was not reloaded, and the one before stays in force");
                    inner.manager.ready(&format!("the last reload was refused: {why}"));
                }
            }
            reloaded
        });
        let ended = |error: tokio::task::JoinError| Refusal {
            reason: Reason::Failed,
            why: format!("the reload ended early: {error}"),
        };
        reloading.await.unwrap_or_else(|error| Err(ended(error)))
    }
}

impl Reloading for Running {
    fn reload(&self) -> ReloadRun<'_> {
        Box::pin(self.reload_and_tell())
    }
}

impl Inner {
    async fn reload(
        self: Arc<Self>,
        mut in_force: OwnedMutexGuard<InForce>,
    ) -> Result<ReloadAnswer, Refusal> {
        // Files are read and `go env` is run.
        let inner = self.clone();
        let preparing = tokio::task::spawn_blocking(move || {
            let prepared = inner.prepare(&in_force);
            (in_force, prepared)
        });
        let prepared = preparing.await.map_err(|error| Refusal {
            reason: Reason::Failed,
            why: format!("the reload ended early: {error}"),
        });
        let (guard, prepared) = prepared?;
        in_force = guard;
        let Prepared { next, rerouting, tls, hooks, answer } =
            prepared.map_err(|error| Refusal { reason: reason_of(&error), why: format!("{error:#}") })?;
        // Nothing fails from here on. First where lines come from, then who asks for them.
        let is_new_client = !in_force.outgoing.is(&next.outgoing);
        let configs = (&*in_force.config, &*next.config);
        redirect_mirrors(&self.mirrors, configs, &next.outgoing.client, is_new_client);
        if is_new_client || asks_others(configs.0, configs.1) {
            self.witnesses.replace(panel(&next.config, &next.outgoing.client));
        }
        if let Some(rerouting) = rerouting {
            self.notary.reroute(rerouting).await;
        }
        if let (Some(keeper), Some(pair)) = (&self.tls, tls) {
            keeper.replace(pair);
        }
        self.doors.adopt(&next.config);
        let connections = *next.config.limits.connections;
        if connections != *in_force.config.limits.connections {
            self.connections.send_replace(door_limits(connections).connections);
        }
        self.site.replace(self.doors.site(&next.config, &next.served, hooks));
        *in_force = next;
        Ok(answer)
    }

    /// Reads, checks and builds everything.
    fn prepare(&self, before: &InForce) -> anyhow::Result<Prepared> {
        let mut config = self.source.read()?;
        let mut warnings = self.source.complete(&mut config)?;
        let config = Arc::new(config);
        warnings.extend(checks::check(&config, &self.clock).or_refuse()?);
        let changes = ConfigChanges::between(&before.config, &config);
        refuse_restart(&changes).or_exit(Exit::Failed)?;
        let outgoing = before.outgoing.renewed(&config)?;
        let planned = plan_routes(&config, &self.mirrors, &outgoing, &self.scratch)?;
        let tls = config.tls.files().map(|tls| TlsPair::read(&tls.cert, &tls.key)).transpose();
        let tls = tls.or_exit(Exit::Usage)?;
        let hooks = hooks(&config, &self.mirrors, &self.clock)?;
        let kept = planned.kept_of(&before.routes);
        let has_new_git = planned.git_config != before.git_config;
        let fresh = Fresh { outgoing: &outgoing, tls: tls.as_ref(), has_new_git, kept: &kept };
        let renewed = self.renewed(before, &config, &changes, &fresh);
        let PlannedRoutes { routes, inputs, git_config, limits: after } = planned;
        let is_same = kept.iter().copied().eq((0..before.routes.len()).map(Some))
            && before
                .config
                .routes
                .iter()
                .map(|route| &route.patterns)
                .eq(config.routes.iter().map(|route| &route.patterns))
            && limits(&before.config) == after;
        let rerouting = (!is_same).then(|| Rerouting::new(routes, kept, after)).transpose()?;
        let served = before.served.renewed(&before.config, &config, &self.clock);
        let answer = ReloadAnswer { file: config.file.clone(), changed: changes.keys, renewed, warnings };
        let next = InForce { config, outgoing, routes: inputs, git_config, served };
        Ok(Prepared { next, rerouting, tls, hooks, answer })
    }

    /// Names what has changed behind keys whose values are as they were: files, and credentials that
    /// no value shows.
    fn renewed(
        &self,
        before: &InForce,
        config: &Config,
        changes: &ConfigChanges,
        fresh: &Fresh<'_>,
    ) -> Vec<String> {
        let mut renewed = Vec::new();
        let is_shown = |key: &str| changes.keys.iter().any(|changed| changed.starts_with(key));
        let mut note = |key: String| {
            if !is_shown(&key) {
                renewed.push(key);
            }
        };
        if let (Some(keeper), Some(pair)) = (&self.tls, fresh.tls)
            && !keeper.current().has_files_of(pair)
        {
            note("tls.cert".to_owned());
        }
        let is_new_client = !before.outgoing.is(fresh.outgoing);
        if is_new_client && config.roots.is_some() {
            note("roots".to_owned());
        }
        if fresh.has_new_git {
            note("git_config".to_owned());
        }
        let is_all = is_new_client || fresh.has_new_git;
        let routes = fresh.kept.iter().enumerate().filter(|(_, kept)| kept.is_none() && !is_all);
        routes.for_each(|(i, _)| note(format!("route.{}", i + 1)));
        renewed
    }
}

/// Whether other witnesses are asked, or in another manner.
fn asks_others(before: &Config, after: &Config) -> bool {
    let manner =
        |config: &Config| (*config.witnesses.quorum, *config.witnesses.timeout, config.freshness.value);
    let whom = |witness: &LogWitness| (witness.name.clone(), witness.url.clone(), witness.key.clone());
    manner(before) != manner(after)
        || !before.witnesses.all.iter().map(whom).eq(after.witnesses.all.iter().map(whom))
}

fn refuse_restart(changes: &ConfigChanges) -> anyhow::Result<()> {
    if changes.at_start.is_empty() {
        return Ok(());
    }
    let keys: Vec<String> = changes.at_start.iter().map(|key| format!("`{key}`")).collect();
    let (verb, them) = if keys.len() == 1 { ("takes", "it") } else { ("take", "them") };
    Err(anyhow!(
        "nothing was changed: {} {verb} effect only when the server starts\n  fix: restart the server, which takes the \
         whole new configuration, or put {them} back to reload the rest",
        keys.join(", ")
    ))
}

fn reason_of(error: &anyhow::Error) -> Reason {
    match Exit::of(error) {
        Exit::Usage => Reason::Usage,
        Exit::Damage => Reason::Alarming,
        Exit::Running => Reason::Busy,
        Exit::Unreachable => Reason::Unavailable,
        Exit::Done | Exit::Failed => Reason::Failed,
    }
}

/// Loads the pair of a start.
pub(super) fn tls_of(config: &Config) -> anyhow::Result<Option<Arc<TlsKeeper>>> {
    let tls = config.tls.files().map(|tls| TlsKeeper::load(&tls.cert, &tls.key)).transpose();
    Ok(tls.context("tls").or_exit(Exit::Usage)?.map(Arc::new))
}
