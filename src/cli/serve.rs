//! `tallystick serve`: the whole server in one process.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch as channel;
use tokio::task::JoinSet;

use super::client::ClientSetup;
use super::clock_watch::{ClockFigures, watch_clock};
use super::engines::Engines;
use super::exit::OrExit;
use super::founding::{self, NewLog, NoKey};
use super::notify::ServiceManager;
use super::process::{NOTARY_PATIENCE, Signals, bind, door_limits, reload_certificate, until};
use super::running::{ConfigSource, Running, tls_of};
use super::{Common, Exit, block_on, checks, load_config, logging, output, reverify};
use crate::clock::Clock;
use crate::config::{Config, Environment, ListenAddress, Overrides, VerifyInterval};
use crate::http::control::{self, Socket};
use crate::http::listener::Listeners;
use crate::http::tls::TlsKeeper;
use crate::log::{Log, ReadOnly, State};
use crate::mirror::watch;
use crate::notary::Notary;
use crate::note::{SignerKey, VerifierKey};
use crate::operate::{OpenDoor, Operations};
use crate::store::StoreError;
use crate::store::lock::DirectoryLock;
use crate::store::sqlite::holds_log;

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
    listen: Option<ListenAddress>,
    /// Address and port of health and metrics [default: 127.0.0.1:8471]
    #[arg(long, value_name = "ADDRESS")]
    metrics_listen: Option<ListenAddress>,
    /// How often to re-verify full mirrors, or `off` [default: 24h]
    #[arg(long, value_name = "TIME")]
    verify_interval: Option<VerifyInterval>,
    #[command(flatten)]
    new_log: NewLog,
}

/// What the server starts from.
#[derive(Debug)]
pub(super) struct ServeOptions {
    /// Where the configuration came from.
    pub(super) source: ConfigSource,
    /// The configuration with its routes filled in.
    pub(super) config: Config,
    /// The log's key.
    pub(super) signer: SignerKey,
    /// Whether the key was made just now.
    pub(super) is_new_key: bool,
}

impl ServeCommand {
    pub(super) fn run(self, common: &Common) -> anyhow::Result<Exit> {
        let overrides = Overrides {
            name: self.name,
            listen: self.listen,
            metrics_listen: self.metrics_listen,
            ..common.overrides()
        };
        let mut config = load_config(&overrides)?;
        let environment = Environment::of_process();
        let source = ConfigSource { overrides, environment, verify_interval: self.verify_interval };
        logging::start(*config.log_format, config.log_filter.as_deref(), "info");
        let notices = source.complete(&mut config)?;
        let checked = checks::check(&config, &Clock::system()).or_refuse()?;
        for notice in notices.iter().chain(&checked) {
            tracing::warn!("{notice}");
        }
        let (signer, is_new_key) = founding::signing_key(&config, self.new_log, NoKey::Make)?;
        block_on(engine(ServeOptions { source, config, signer, is_new_key }))
    }
}

/// What `serve` prints on stdout once it listens: the key, and the lines to paste.
fn announcement(key: &VerifierKey, is_new_key: bool, url: &str, metrics: &str, env: &str) -> String {
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
fn announce(log: &Log, is_new_key: bool, url: &str, metrics: &str) {
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
    let ServeOptions { source, config, signer, is_new_key } = options;
    let manager = ServiceManager::of_process();
    let key = signer.verifier();
    let (mut signals, hangups) = (Signals::new()?, signal(SignalKind::hangup())?);
    let limits = door_limits(*config.limits.connections);
    // The doors first: a port that is taken is found before anything is created.
    let public = listen(&config, "listen", &config.listen).await?;
    let private = listen(&config, "metrics_listen", &config.metrics_listen).await?;
    let tls = tls_of(&config)?;
    let mut engines = Engines::open(&config, signer)?;
    let clock_figures = ClockFigures::default();
    let (running, site) = {
        let tls = tls.clone();
        Running::new(source, config.clone(), &mut engines, tls, manager.clone(), &clock_figures)?
    };
    let Engines { log, notary, mirrors, .. } = &engines;
    let socket = Socket::bind(&config.data).context("cannot make the control socket")?;
    let address = config.listen.value.clone().with_port(public.port());
    let open_door = OpenDoor { address, has_tls: tls.is_some() };
    let url = config.client_url_at(&open_door.address, open_door.has_tls);
    let metrics = config.metrics_listen.value.clone().with_port(private.port()).for_programs_here();
    if logging::is_json() {
        announce(log, is_new_key, &url, &metrics);
    } else {
        output::print(&announcement(&key, is_new_key, &url, &metrics, &env_command(&config, &url)))?;
    }

    let (stop, stopped) = channel::channel(false);
    let (door, ops) = running.open_doors(site, limits);
    let doors = (
        tokio::spawn(door.serve(public, until(stopped.clone()))),
        tokio::spawn(ops.serve(private, until(stopped.clone()))),
    );
    let mut background = background(&engines, tls, clock_figures);
    let operations = Operations::of_log(log.clone(), notary.clone(), mirrors.clone()).until(stopped);
    let operations = operations.of_server(Arc::new(running.clone()));
    reverify::start(&config, &operations, &mut background);
    let control = tokio::spawn(control::serve(operations.behind(open_door), socket));

    manager.ready(&format!("serving {} at {url}", key.name()));
    background.spawn(reload_on(hangups, running));
    let ended = end(&mut signals, log, notary, &manager).await;
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
    Ok(ended)
}

/// What goes on until the process ends.
fn background(engines: &Engines, tls: Option<Arc<TlsKeeper>>, clock_figures: ClockFigures) -> JoinSet<()> {
    let Engines { log, mirrors, clock, .. } = engines;
    let mut background = JoinSet::new();
    background.spawn(wait_until_it_writes(log.clone()));
    let head = log.clone();
    let newest = move || Some(head.snapshot().head().signed_at);
    background.spawn(watch_clock(clock.clone(), clock_figures, newest));
    tls.map(|tls| background.spawn(reload_certificate(tls, clock.clone())));
    mirrors.iter().for_each(|mirror| drop(background.spawn(watch(mirror.clone()))));
    background
}

/// Waits until the server is to end.
async fn end(signals: &mut Signals, log: &Log, notary: &Notary, manager: &ServiceManager) -> Exit {
    tokio::select! {
        name = signals.next() => {
            manager.stopping("finishing the answers under way");
            tracing::info!(signal = name, waiting_for = notary.in_flight().1, "stopping; a second signal ends it at once");
            Exit::Done
        }
        reason = fatal(log) => {
            manager.stopping(&format!("a write has failed: {reason}"));
            tracing::error!(%reason, "stopping");
            Exit::Failed
        }
    }
}

/// Takes a port. Who has it is most often this log's own server, and then the answer is that it runs already.
async fn listen(config: &Config, key: &str, address: &ListenAddress) -> anyhow::Result<Listeners> {
    let error = match bind(key, address).await {
        Ok(listeners) => return Ok(listeners),
        Err(error) => error,
    };
    let is_taken = |cause: &std::io::Error| cause.kind() == std::io::ErrorKind::AddrInUse;
    if error.chain().filter_map(|cause| cause.downcast_ref()).any(is_taken)
        && holds_log(&config.data)
        && let Err(locked @ StoreError::Locked { .. }) = DirectoryLock::acquire(&config.data)
    {
        return Err(locked).or_exit(Exit::Running);
    }
    Err(error)
}

/// Reloads the configuration with each SIGHUP. Those that come during a reload are one.
async fn reload_on(mut hangups: Signal, running: Running) {
    while hangups.recv().await.is_some() {
        // It is logged where it is done.
        let _ = running.reload_and_tell().await;
    }
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
