//! `tallystick witness`: a witness of other logs, a process of its own with a key and a memory of its own.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::json;
use tokio::sync::watch as channel;

use super::clock_watch::{ClockFigures, watch_clock};
use super::exit::{OrExit, OrStoreExit};
use super::process::{Signals, bind, door_limits, operators, reload_certificate, until, warn_of};
use super::{Common, Exit, block_on, logging, output};
use crate::clock::Clock;
use crate::config::{
    Environment, ListenAddress, LogFormat, Overrides, WitnessConfig, WitnessOverrides, keys,
};
use crate::http::listen::{Door, ListenLimits};
use crate::http::listener::Listeners;
use crate::http::metrics::Metrics;
use crate::http::proxies::TrustedProxies;
use crate::http::tls::TlsKeeper;
use crate::http::witness::{WitnessFigures, WitnessSite};
use crate::mirror::Misbehavior;
use crate::note::CosignatureSigner;
use crate::store::lock::{DirectoryLock, refuse_network_file_system};
use crate::store::witness::{Broken, EvidenceKind, KeptEvidence, KnownCheckpoint, read_witness};
use crate::store::{StoreError, private};
use crate::tlog::{Checkpoint, ConsistencyProof};
use crate::witness::{TrustedLog, Witness, WitnessError, origin_hash};

/// File name of the memory in the data directory.
const DATABASE_FILE: &str = "witness.db";

/// Be a witness of logs: cosign checkpoints that are proved to grow out of what was cosigned before
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Speaks C2SP tlog-witness over HTTP. The first start makes the key and the memory, and prints the key for the logs' operators. The memory \
can never be rolled back: a witness that forgets can sign two histories. Losing it means a new key.

Examples:
  tallystick witness --name witness.corp.example/w1 --log sum.corp.example+1c2d3e4f+AQ...
  tallystick witness --config /etc/tallystick-witness.toml
  tallystick witness key --data /var/lib/w1
  tallystick witness status --data /var/lib/w1 --json
  tallystick witness evidence --data /var/lib/w1"
)]
pub(super) struct WitnessCommand {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    run: Run,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show the witness's key, which the logs that it cosigns for must be given
    Key {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show the newest checkpoint that was cosigned for each log
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show what convicts a log of two histories, and checkpoints that came without proof
    Evidence {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
struct Run {
    /// The witness's name, fixed when its key is made [default: tallystick.local/<8 hex>]
    #[arg(long)]
    name: Option<String>,
    /// Address and port for logs [default: 127.0.0.1:8475]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<ListenAddress>,
    /// Address and port of health and metrics [default: none]
    #[arg(long, value_name = "ADDRESS")]
    metrics_listen: Option<ListenAddress>,
    /// A log to cosign for: its verifier key, after its origin and a space where that is not the key's name
    #[arg(long = "log", value_name = "[ORIGIN ]VKEY")]
    logs: Vec<String>,
    /// Begin with an empty memory though there is a key: only if that key has never cosigned anything
    #[arg(long)]
    new_memory: bool,
}

impl WitnessCommand {
    pub(super) fn run(self, common: &Common) -> anyhow::Result<Exit> {
        let new_memory = self.run.new_memory;
        let overrides = WitnessOverrides {
            config: common.config.clone(),
            data: common.data.clone(),
            name: self.run.name,
            listen: self.run.listen,
            metrics_listen: self.run.metrics_listen,
            logs: self.run.logs,
        };
        let environment = Environment::of_process();
        let config = WitnessConfig::load(&overrides, &environment).inspect_err(|_| {
            let named = Overrides { config: common.config.clone(), ..Overrides::default() };
            logging::set_format(LogFormat::guess(&named, &environment));
        })?;
        logging::start(*config.log_format, None, "info");
        match self.action {
            None => block_on(engine(config, new_memory)),
            Some(Action::Key { json }) => show_key(&config, json),
            Some(Action::Status { json }) => status(&config, json),
            Some(Action::Evidence { json }) => evidence(&config, json),
        }
    }
}

fn show_key(config: &WitnessConfig, as_json: bool) -> anyhow::Result<Exit> {
    let missing = || {
        anyhow::anyhow!(
            "there is no key in {}\n  fix: start `tallystick witness` once, or name its directory with --data",
            keys::directory(&config.data).display()
        )
    };
    let key = keys::load_cosigner(&config.data, config.name.as_deref())?
        .ok_or_else(missing)
        .or_exit(Exit::Usage)?;
    let key = key.verifier();
    let fingerprint = keys::fingerprint(&key);
    if as_json {
        output::print_json(
            &json!({ "name": key.name().as_str(), "vkey": key.to_string(), "fingerprint": fingerprint }),
        )?;
    } else {
        output::print(&format!(
            "name          {}\nwitness key   {key}\nfingerprint   {fingerprint}\n",
            key.name()
        ))?;
    }
    Ok(Exit::Done)
}

fn memory(config: &WitnessConfig) -> std::path::PathBuf {
    config.data.join(DATABASE_FILE)
}

/// What is in the memory, also while the witness runs.
fn look_into(config: &WitnessConfig) -> anyhow::Result<(Vec<KnownCheckpoint>, Vec<KeptEvidence>)> {
    let path = memory(config);
    let exit = if path.exists() { Exit::Damage } else { Exit::Usage };
    read_witness(&path).map_err(anyhow::Error::from).or_exit(exit)
}

fn status(config: &WitnessConfig, as_json: bool) -> anyhow::Result<Exit> {
    let (known, _) = look_into(config)?;
    if as_json {
        let logs = known.iter().map(|known| {
            json!({
                "origin": known.origin,
                "origin_hash": origin_hash(&known.origin),
                "size": known.tree.size.0,
                "root": known.tree.root.to_string(),
                "cosigned_at": known.cosigned_at,
                "checkpoint": known.note,
            })
        });
        output::print_json(&logs.collect::<Vec<_>>())?;
    } else if known.is_empty() {
        output::print("nothing was cosigned yet\n")?;
    } else {
        let rows = known.into_iter().map(|known| {
            [
                known.origin,
                known.tree.size.to_string(),
                known.tree.root.to_string(),
                format!("{:.0}", known.cosigned_at),
            ]
        });
        output::print_table(["origin", "size", "root", "cosigned at"], rows)?;
    }
    Ok(Exit::Done)
}

/// Evidence in JSON.
#[derive(Serialize)]
struct Reported<'a> {
    #[serde(flatten)]
    kept: &'a KeptEvidence,
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<String>,
}

fn evidence(config: &WitnessConfig, as_json: bool) -> anyhow::Result<Exit> {
    let (_, evidence) = look_into(config)?;
    let is_fork = evidence.iter().any(|one| one.kind == "fork");
    if as_json {
        let with_report = |one| Reported { kept: one, report: report(one) };
        output::print_json(&evidence.iter().map(with_report).collect::<Vec<_>>())?;
    } else if evidence.is_empty() {
        output::print("no evidence against any log\n")?;
    }
    for one in evidence.iter().filter(|_| !as_json) {
        let KeptEvidence { id, origin, size, seen_at, standing, offered, .. } = one;
        let records = output::count(*size, "record");
        // Other programs verify it.
        output::print_exact(&match report(one) {
            Some(report) => {
                format!("--- {id}: {origin} signed two trees of {records}, seen {seen_at:.0}\n{report}\n")
            }
            None => format!(
                "--- {id}: a checkpoint of {origin} with {records} came without a proof that holds, seen {seen_at:.0}: that proves \
                 nothing yet\n--- cosigned\n{standing}--- offered\n{offered}\n"
            ),
        })?;
    }
    Ok(if is_fork { Exit::Damage } else { Exit::Done })
}

/// What convicts the log, in the form that all evidence has here; none where a proof is missing.
fn report(one: &KeptEvidence) -> Option<String> {
    let is_fork = one.kind == EvidenceKind::Fork.as_str();
    let (text, _) = one.offered.split_once("\n\n").filter(|_| is_fork)?;
    let offered = Checkpoint::parse(&format!("{text}\n")).ok()?.tree;
    let misbehavior = Misbehavior {
        log: one.origin.clone(),
        older: one.standing.clone(),
        newer: one.offered.clone(),
        root_in_newer: offered.root,
        proof: ConsistencyProof::default(),
        seen_at: one.seen_at,
    };
    Some(misbehavior.to_text())
}

/// The key and the memory belong together: each without the other is a loss that somebody must know of.
fn signing_key(config: &WitnessConfig, new_memory: bool) -> anyhow::Result<(CosignatureSigner, bool)> {
    let (name, has_memory) = (config.name.as_deref(), memory(config).exists());
    match keys::load_cosigner(&config.data, name)? {
        Some(key) if has_memory || new_memory => Ok((key, false)),
        Some(_) => Err(anyhow::anyhow!(
            "there is a key in {}, but no memory of what it cosigned at {}: a witness that forgot could sign a second history\n  fix: put \
             the newest copy of that file back, if it is certain that nothing was cosigned after it was made; else move the key away and \
             give the logs a new one. If the key has never cosigned anything: --new-memory",
            keys::directory(&config.data).display(),
            memory(config).display()
        ))
        .or_exit(Exit::Damage),
        None if has_memory => Err(anyhow::anyhow!(
            "there is no key in {}, but a memory of what it cosigned\n  fix: put the key files back from your backup, or choose another --data \
             for a new witness",
            keys::directory(&config.data).display()
        ))
        .or_exit(Exit::Usage),
        None => Ok((keys::create_cosigner(&config.data, name)?, true)),
    }
}

fn open(config: &WitnessConfig, key: CosignatureSigner) -> anyhow::Result<Witness> {
    let logs =
        config.logs.iter().map(|(origin, keys)| TrustedLog { origin: origin.clone(), keys: keys.clone() });
    let path = memory(config);
    let opened = Witness::open(&path, key, logs.collect(), Clock::system());
    opened.or_else(|error| match error {
        error @ WitnessError::Row { .. } => Err(error).or_exit(Exit::Damage),
        WitnessError::Store(error @ StoreError::Damaged { .. }) => {
            let fix = format!(
                "the memory of this witness, {}, is damaged, and it cosigns nothing\n  fix: restore the newest copy of that file, if it is \
                 certain that nothing was cosigned after it was made (the logs' operators can tell: no log may have a cosignature for a \
                 larger size); else retire this witness: move {} away, start again for a new key, and give it to the logs",
                path.display(),
                config.data.display()
            );
            Err(error).context(fix).or_exit(Exit::Damage)
        }
        WitnessError::Store(error) => Err(error).or_store_exit(),
    })
}

/// Opens the memory, serves it, and ends on SIGTERM or SIGINT.
async fn engine(config: WitnessConfig, new_memory: bool) -> anyhow::Result<Exit> {
    let mut signals = Signals::without_reload()?;
    if config.logs.is_empty() {
        tracing::warn!("no log is known, so nothing will be cosigned: name logs with --log or [[log]]");
    }
    let tls = config.tls().map(|tls| TlsKeeper::load(&tls.cert, &tls.key)).transpose();
    let tls = tls.or_exit(Exit::Usage)?.map(Arc::new);
    tls.iter().for_each(|tls| warn_of(tls, &Clock::system()));
    let listener = bind("listen", &config.listen).await?;
    let private = match &*config.metrics_listen {
        Some(address) => Some(bind("metrics_listen", address).await?),
        None => None,
    };
    make_directory(&config.data)?;
    refuse_network_file_system(&config.data).or_exit(Exit::Usage)?;
    let _lock = DirectoryLock::acquire(&config.data).or_store_exit()?;
    let (key, is_new_key) = signing_key(&config, new_memory)?;
    let witness = Arc::new(open(&config, key)?);
    announce(&witness, is_new_key, &config, &listener, private.as_ref())?;

    let clock_figures = ClockFigures::default();
    let metrics = Arc::new(Metrics::new(vec![
        Box::new(WitnessFigures(witness.clone())),
        Box::new(clock_figures.clone()),
    ]));
    let clock = tokio::spawn(watch_clock(Clock::system(), clock_figures, || None));
    let (stop, stopped) = channel::channel(false);
    let site =
        WitnessSite::new(witness.clone(), config.prefix.value.clone(), metrics.clone(), Clock::system());
    let traffic = metrics.traffic.clone();
    let limits = door_limits(ListenLimits::default().connections);
    let proxies = TrustedProxies::default();
    let door = Door { site: Arc::new(site), tls: tls.clone(), limits, proxies, traffic };
    let door = tokio::spawn(door.serve(listener, until(stopped.clone())));
    let health = Arc::new(WitnessFigures(witness.clone()));
    let private = private.map(|private| operators(health, metrics, private, stopped));
    let certificate = tls.map(|tls| tokio::spawn(reload_certificate(tls, Clock::system())));
    let ended = tokio::select! {
        name = signals.next() => { tracing::info!(signal = name, "stopping"); Exit::Done }
        why = failed(witness.broken()) => { tracing::error!(why, "stopping: start it again"); Exit::Failed }
    };
    stop.send_replace(true);
    // A second signal need not wait: what was answered is durable.
    tokio::select! {
        closed = door => drop(closed?),
        _ = signals.next() => return Ok(Exit::Failed),
    }
    if let Some(private) = private {
        private.await?;
    }
    if let Some(certificate) = certificate {
        certificate.abort();
    }
    clock.abort();
    Ok(ended)
}

fn make_directory(data: &Path) -> anyhow::Result<()> {
    private::make_directory(data).with_context(|| format!("cannot make {}", data.display()))
}

/// What is printed once it listens.
fn announce(
    witness: &Witness,
    is_new_key: bool,
    config: &WitnessConfig,
    listener: &Listeners,
    private: Option<&Listeners>,
) -> anyhow::Result<()> {
    let key = witness.verifier();
    let made = if is_new_key { " (made just now: back up the keys directory)" } else { "" };
    let scheme = if config.tls().is_some() { "https" } else { "http" };
    let address = config.listen.value.clone().with_port(listener.port()).for_programs_here();
    let prefix = &config.prefix;
    let metrics = match (private, &*config.metrics_listen) {
        (Some(private), Some(address)) => {
            let address = address.clone().with_port(private.port()).for_programs_here();
            Some(format!("http://{address}/metrics"))
        }
        _ => None,
    };
    if logging::is_json() {
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            witness = %key.name(),
            vkey = %key,
            new_key = is_new_key,
            address = %format_args!("{scheme}://{address}{prefix}"),
            metrics,
            logs = witness.logs(),
            "listening"
        );
        return Ok(());
    }
    let mut text = format!(
        "witness       {}\nwitness key   {key}{made}\naddress       {scheme}://{address}{prefix}\nlogs          {}\n",
        key.name(),
        witness.logs()
    );
    if let Some(metrics) = metrics {
        text += &format!("metrics       {metrics}\n");
    }
    Ok(output::print(&text)?)
}

/// Ready when a write has failed.
async fn failed(mut broken: Broken) -> String {
    match broken.wait_for(Option::is_some).await.as_deref() {
        Ok(Some(error)) => error.to_string(),
        // The thread that writes is gone: the same.
        _ => "the thread that writes has ended".to_owned(),
    }
}
