//! `tallystick serve`: the whole server in one process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tokio::net::TcpListener;
use tokio::sync::watch as channel;
use tokio::task::JoinSet;

use super::client::ClientSetup;
use super::clock_watch::{ClockFigures, watch_clock};
use super::engines::{Engines, limits};
use super::exit::OrExit;
use super::founding::{self, NewLog, NoKey};
use super::process::{
    NOTARY_PATIENCE, Signals, door_limits, operators_door, reload_certificate, taken, until,
};
use super::{Common, Exit, block_on, bypass, load_config, logging, output, reverify};
use crate::config::{Config, Environment, GoEnvironment, Overrides, Secret, VerifyInterval};
use crate::gossip::Gossip;
use crate::http::control::{self, Socket};
use crate::http::gossip::{self, GossipDoor, GossipFigures};
use crate::http::hooks::Hooks;
use crate::http::incidents::IncidentFigures;
use crate::http::listen::{Door, ListenLimits};
use crate::http::listener::listen_tcp;
use crate::http::metrics::Metrics;
use crate::http::own::{LogFigures, NotaryFigures, OwnLog};
use crate::http::proxies::TrustedProxies;
use crate::http::remote::{MirrorFigures, MirrorOptions, MirroredLog};
use crate::http::site::{PublicSite, WaitingRoom};
use crate::http::sumdb::Registry;
use crate::http::tlog_proof;
use crate::http::tls::TlsKeeper;
use crate::http::unusable::UnusableLog;
use crate::http::verified::VerifiedFigures;
use crate::http::witnesses::WitnessesFigures;
use crate::http::{CacheSizes, ChecksumDatabase, Recent, api};
use crate::log::{Log, ReadOnly, State};
use crate::mirror::{Mirror, watch};
use crate::note::{SignerKey, VerifierKey};
use crate::operate::{OpenDoor, Operations, ProofMaker};
use crate::share::Rates;
use crate::store::StoreError;
use crate::store::lock::DirectoryLock;
use crate::store::sqlite::holds_log;

/// The notary answers by its own deadline, with the cause; the site's is there in case it does not.
const ANSWER_MARGIN: Duration = Duration::from_secs(3);
/// Space on a disk that was full is found after this long at most, and so are cosignatures, also when nobody asks for anything.
const SPACE_POLL: Duration = Duration::from_secs(5);

/// Run the log: answer the go command, notarise what it asks for
#[derive(Debug, Args)]
#[command(after_help = "\
Without a configuration the source of modules is GOPROXY (environment, then go env), public lines come from \
sum.golang.org, and what GOPRIVATE names comes from version control. The first start makes the data directory, \
the key and the log, and prints the lines that clients need.

Examples:
  tallystick serve
  tallystick serve --data /var/lib/tallystick --name sum.corp.example
  tallystick serve --config /etc/tallystick.toml --listen 0.0.0.0:8470")]
pub(super) struct ServeCommand {
    /// The log's name, fixed when its key is made [default: tallystick.local/<8 hex>]
    #[arg(long)]
    name: Option<String>,
    /// Address and port for clients [default: 127.0.0.1:8470]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Address and port of health and metrics [default: 127.0.0.1:8471]
    #[arg(long, value_name = "ADDRESS")]
    metrics_listen: Option<SocketAddr>,
    /// How often to re-verify full mirrors, or `off` [default: 24h]
    #[arg(long, value_name = "TIME")]
    verify_interval: Option<VerifyInterval>,
    #[command(flatten)]
    new_log: NewLog,
}

/// What the server starts from.
#[derive(Debug)]
pub(super) struct ServeOptions {
    /// The configuration with its routes filled in.
    pub(super) config: Config,
    /// The log's key.
    pub(super) signer: SignerKey,
    /// Whether the key was made just now.
    pub(super) is_new_key: bool,
}

impl ServeCommand {
    pub(super) fn run(self, common: &Common) -> anyhow::Result<Exit> {
        let environment = Environment::of_process();
        let overrides = Overrides {
            name: self.name,
            listen: self.listen,
            metrics_listen: self.metrics_listen,
            ..common.overrides()
        };
        let mut config = load_config(&overrides)?;
        logging::start(*config.log_format, config.log_filter.as_deref(), "info");
        let go = GoEnvironment::read(&environment);
        config.discover(&go)?;
        if let Some(interval) = self.verify_interval {
            reverify::set_interval(&mut config, interval);
        }
        for notice in config.notices.iter().chain(&bypass::warnings(&go)) {
            tracing::warn!("{notice}");
        }
        let (signer, is_new_key) = founding::signing_key(&config, self.new_log, NoKey::Make)?;
        block_on(engine(ServeOptions { config, signer, is_new_key }))
    }
}

/// What `serve` prints on stdout once it listens: the key, and the lines to paste.
fn announcement(key: &VerifierKey, is_new_key: bool, url: &str, metrics: SocketAddr, env: &str) -> String {
    let client = ClientSetup::new(key, url);
    let made = if is_new_key { " (made just now: back up the data directory as README says)" } else { "" };
    let mut text = format!(
        "log           {}\nverifier key  {}{made}\naddress       {url}\nmetrics       http://{metrics}/metrics\n\n",
        client.name, client.vkey
    );
    text += &format!("For one shell:    eval \"$({env})\"\nFor this user:\n");
    for line in client.go_env_lines() {
        text += &format!("  {line}\n");
    }
    text
}

/// The same as an event, where the log is JSON.
fn announce(log: &Log, is_new_key: bool, url: &str, metrics: SocketAddr) {
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        log = log.identity().name,
        vkey = log.identity().vkey,
        new_key = is_new_key,
        address = url,
        metrics = %format_args!("http://{metrics}/metrics"),
        tree.size = log.snapshot().size().0,
        "listening"
    );
}

/// How another shell on this machine gets the client's variables: what finds this log without asking it, else the question.
fn env_command(config: &Config, url: &str) -> String {
    let program = std::env::args().next().unwrap_or_else(|| "tallystick".to_owned());
    let is_plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./:[]".contains(c));
    let program = if is_plain(&program) { program } else { "tallystick".to_owned() };
    if config.data.is_by_default() && config.url.is_by_default() {
        format!("{program} env")
    } else {
        format!("{program} env --server {url}")
    }
}

/// Opens the log, starts notary and listeners, prints [`announcement`], and ends on SIGTERM or SIGINT.
async fn engine(options: ServeOptions) -> anyhow::Result<Exit> {
    let ServeOptions { config, signer, is_new_key } = options;
    let key = signer.verifier();
    let mut signals = Signals::new()?;
    let limits = door_limits(*config.limits.connections);
    // The doors first: a port that is taken is found before anything is created.
    let public = listen(&config, "listen", *config.listen).await?;
    let private = listen(&config, "metrics_listen", *config.metrics_listen).await?;
    let tls = config
        .tls
        .files()
        .map(|tls| TlsKeeper::load(&tls.cert, &tls.key))
        .transpose()
        .or_exit(Exit::Usage)?;
    let tls = tls.map(Arc::new);
    let engines = Engines::open(&config, signer)?;
    let hooks = hooks(&config, &engines)?;
    let Engines { log, notary, mirrors, .. } = &engines;
    let socket = Socket::bind(&config.data).context("cannot make the control socket")?;
    let open_door = OpenDoor { address: public.local_addr()?, has_tls: tls.is_some() };
    let url = config.client_url_at(open_door.address, open_door.has_tls);
    let metrics = private.local_addr()?;
    if logging::is_json() {
        announce(log, is_new_key, &url, metrics);
    } else {
        output::print(&announcement(&key, is_new_key, &url, metrics, &env_command(&config, &url)))?;
    }

    let (stop, stopped) = channel::channel(false);
    let clock_figures = ClockFigures::default();
    let (door, ops) = doors(&config, &engines, hooks, tls.clone(), limits, &clock_figures);
    let doors = (
        tokio::spawn(door.serve(public, until(stopped.clone()))),
        tokio::spawn(ops.serve(private, until(stopped.clone()))),
    );
    let mut background = JoinSet::new();
    background.spawn(wait_until_it_writes(log.clone()));
    let newest = {
        let log = log.clone();
        move || Some(log.snapshot().head().signed_at)
    };
    background.spawn(watch_clock(engines.clock.clone(), clock_figures, newest));
    tls.map(|tls| background.spawn(reload_certificate(tls)));
    mirrors.iter().for_each(|mirror| drop(background.spawn(watch(mirror.clone()))));
    let operations = Operations::of_log(log.clone(), notary.clone(), mirrors.clone()).until(stopped);
    let operations = operations.behind(open_door);
    reverify::start(&config, &operations, &mut background);
    let control = tokio::spawn(control::serve(operations, socket));

    let ended = tokio::select! {
        name = signals.next() => {
            tracing::info!(signal = name, waiting_for = notary.in_flight().1, "stopping; a second signal ends it at once");
            Ok(Exit::Done)
        }
        reason = fatal(log) => { tracing::error!(%reason, "stopping"); Ok(Exit::Failed) }
    };
    stop.send_replace(true);
    let orderly = async {
        let closed = (doors.0.await?, doors.1.await?);
        control.await?;
        anyhow::Ok(closed)
    };
    let (closed, _) = tokio::select! {
        closed = orderly => closed?,
        name = signals.next() => {
            // Everything that was acknowledged is durable, so there is nothing to lose but the answers under way.
            tracing::warn!(signal = name, "stopping at once");
            return Ok(Exit::Failed);
        }
    };
    if closed.cut > 0 {
        tracing::warn!(connections = closed.cut, "cut before they were done");
    }
    background.abort_all();
    // Flights go on without their clients; what they append is in the log, what is not done is asked again.
    notary.stop(NOTARY_PATIENCE).await;
    tokio::task::spawn_blocking(move || engines.log.close()).await?;
    ended
}

/// The public door and the operators' door.
fn doors(
    config: &Config,
    engines: &Engines,
    hooks: Hooks,
    tls: Option<Arc<TlsKeeper>>,
    limits: ListenLimits,
    clock_figures: &ClockFigures,
) -> (Door<PublicSite>, Door<axum::Router>) {
    let Engines { log, notary, mirrors, witnesses, clock, .. } = engines;
    let sizes = CacheSizes { tile_bytes: *config.cache.tile_bytes, lookup_bytes: *config.cache.lookup_bytes };
    let recent = Recent::new(sizes);
    let own = Arc::new(OwnLog::new(log.clone(), notary.clone(), &recent, clock.clone()));
    let gossip = Gossip::new(log.clone(), mirrors.clone(), config.data.value.clone(), clock.clone());
    let gossip = Arc::new(GossipDoor::new(gossip, *config.limits.deadline, clock.clone()));
    let metrics = Arc::new(Metrics::new(vec![
        Box::new(LogFigures(own.clone())),
        Box::new(NotaryFigures(notary.clone())),
        Box::new(MirrorFigures { mirrors: mirrors.clone(), clock: clock.clone() }),
        Box::new(VerifiedFigures(mirrors.clone())),
        Box::new(GossipFigures(gossip.clone())),
        Box::new(WitnessesFigures(witnesses.clone())),
        Box::new(IncidentFigures::new(log.clone(), mirrors.clone())),
        Box::new(clock_figures.clone()),
    ]));
    let proxies = TrustedProxies::new(config.trusted_proxies.value.clone());
    let site = PublicSite {
        registry: Registry::new(own.clone(), mirrored(config, engines, &recent)),
        rest: api::router(own.clone())
            .merge(tlog_proof::router(ProofMaker::new(log.clone(), mirrors.clone())))
            .merge(gossip::router(gossip)),
        hooks,
        proxies: proxies.clone(),
        waiting: WaitingRoom::default(),
        lookup_deadline: *config.limits.deadline + ANSWER_MARGIN,
        metrics: metrics.clone(),
        clock: clock.clone(),
    };
    let traffic = metrics.traffic.clone();
    let public = Door { site: Arc::new(site), tls, limits, proxies, traffic };
    (public, operators_door(own, metrics))
}

/// The remote logs as they are served. What clients make us ask for them is counted together.
fn mirrored(config: &Config, engines: &Engines, recent: &Arc<Recent>) -> Vec<Arc<dyn ChecksumDatabase>> {
    let limits = limits(config);
    let rates =
        Arc::new(Rates::new(limits.client_misses_per_minute, limits.misses_per_minute, &engines.clock));
    let config = Arc::new(config.clone());
    let serve = |mirror: &Arc<Mirror>| {
        let (config, name) = (config.clone(), mirror.log.name().to_owned());
        let served: Arc<dyn ChecksumDatabase> = Arc::new(MirroredLog::new(MirrorOptions {
            mirror: mirror.clone(),
            rates: rates.clone(),
            waiters: engines.notary.waiters(),
            deadline: *config.limits.deadline,
            recent: recent.clone(),
            clock: engines.clock.clone(),
            may_tell: Box::new(move |path| config.may_tell(&name, path)),
        }));
        served
    };
    let unusable = engines.mirrors.unusable();
    let unusable = unusable.map(|one| Arc::new(UnusableLog(one.clone())) as Arc<dyn ChecksumDatabase>);
    engines.mirrors.iter().map(serve).chain(unusable).collect()
}

/// The hooks of the mirrors, with the secrets that their files hold.
fn hooks(config: &Config, engines: &Engines) -> anyhow::Result<Hooks> {
    let mut hooks = Vec::new();
    for mirror in engines.mirrors.iter() {
        let name = mirror.log.name();
        if let Some(path) = config.sumdbs.get(name).and_then(|sumdb| sumdb.hook_secret_file.as_ref()) {
            let key = || format!("sumdb.{name}.hook_secret_file");
            hooks.push((Secret::read(path).with_context(key).or_exit(Exit::Usage)?, mirror.clone()));
        }
    }
    Ok(Hooks::new(hooks, &engines.clock))
}

/// Takes a port. Who has it is most often this log's own server, and then the answer is that it runs already.
async fn listen(config: &Config, key: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let error = match listen_tcp(address).await {
        Ok(listener) => return Ok(listener),
        Err(error) => error,
    };
    if error.kind() == std::io::ErrorKind::AddrInUse
        && holds_log(&config.data)
        && let Err(locked @ StoreError::Locked { .. }) = DirectoryLock::acquire(&config.data)
    {
        return Err(locked).or_exit(Exit::Running);
    }
    Err(error).with_context(|| taken(key, address))
}

/// Ready when a write has failed and the process must be started again.
async fn fatal(log: &Log) -> ReadOnly {
    let mut changes = log.watch();
    loop {
        match &*log.state() {
            State::ReadOnly(reason) if reason.ends_process() => return reason.clone(),
            _ => {}
        }
        if changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Makes the log look again as long as it waits for something that passes, such as space or cosignatures: it looks when something
/// is appended, if only nothing.
async fn wait_until_it_writes(log: Log) {
    let mut changes = log.watch();
    let mut ticks = tokio::time::interval(SPACE_POLL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        if !matches!(&*log.state(), State::ReadOnly(reason) if reason.passes()) {
            if changes.changed().await.is_err() {
                return;
            }
            continue;
        }
        ticks.tick().await;
        let _ = log.append(Vec::new()).await;
    }
}
