//! `tallystick witnesses`: how the witnesses of the own log do, and the policy that verifiers need.

use clap::{Args, Subcommand};
use serde_json::json;

use super::address::{self, ClientAddress};
use super::engines::{cosignatures_database, open_reader};
use super::exit::OrStoreExit;
use super::{Common, Exit, block_on, output};
use crate::config::{Config, LogWitness, keys};
use crate::store::cosignatures::{CosignatureStore, StoredCosignature, WitnessAttempt};
use crate::store::{Identity, LogObserver as _, LogReader, StoreError};
use crate::tlog::{Origin, TreeSize};

/// Show the state of this log's witnesses, or the policy that names them
#[derive(Debug, Args)]
#[command(after_help = "\
Witnesses are named in [[witness]] of the configuration. Reads only, and may run beside the server.

Examples:
  tallystick witnesses status
  tallystick witnesses status --json
  tallystick witnesses policy > policy.txt")]
pub(super) struct WitnessesCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show what each witness cosigned last, how long it took, and why it did not
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the log, its witnesses and the quorum as a C2SP tlog-policy
    Policy,
}

/// One witness.
struct Row {
    witness: LogWitness,
    newest: Option<StoredCosignature>,
    attempt: WitnessAttempt,
}

impl WitnessesCommand {
    pub(super) fn run(self, common: &Common) -> anyhow::Result<Exit> {
        let config = common.load()?;
        match self.action {
            Action::Status { json } => status(&config, json),
            Action::Policy => policy(&config),
        }
    }
}

fn policy(config: &Config) -> anyhow::Result<Exit> {
    let (_, key) = keys::load_verifier(&config.data, config.name.as_deref())?;
    let ClientAddress { url, doubt, .. } = block_on(async { Ok(address::of_log(config).await) })?;
    output::print_exact(&config.witnesses.policy(&key, Some(&format!("{url}/tlog"))))?;
    if let Some(doubt) = doubt {
        output::warning(&doubt);
    }
    Ok(Exit::Done)
}

fn status(config: &Config, as_json: bool) -> anyhow::Result<Exit> {
    let reader = open_reader(config)?;
    let newest = reader.heads(TreeSize(u64::MAX), 1).or_store_exit()?.pop();
    let origin: Origin = reader.identity().name.parse().expect("a key's name is an origin");
    let size = newest.as_ref().map_or(0, |head| head.tree.size.0);
    let path = cosignatures_database(config);
    let store = match path.exists() {
        true => Some(CosignatureStore::open(&path).or_store_exit()?),
        false => None,
    };
    let row = |witness: &LogWitness| {
        let vkey = witness.key.to_string();
        // A damaged row is not shown: the running log drops it and asks again.
        let kept = store.as_ref().map_or(Ok(Vec::new()), |store| store.newest(&vkey))?;
        let newest = kept.into_iter().find(|kept| kept.verified(&origin, &witness.key).is_some());
        let attempt = store.as_ref().map_or(Ok(WitnessAttempt::default()), |store| store.attempt(&vkey))?;
        Ok(Row { witness: witness.clone(), newest, attempt })
    };
    let rows =
        config.witnesses.all.iter().map(row).collect::<Result<Vec<_>, StoreError>>().or_store_exit()?;
    let has = |row: &&Row| {
        let head = newest.as_ref().map(|head| head.tree);
        row.newest.as_ref().map(|newest| newest.tree) == head
    };
    let have = rows.iter().filter(has).count();
    if as_json {
        print_json(config, reader.identity(), size, have, &rows)?;
    } else if rows.is_empty() {
        output::print("this log has no witnesses: name some in [[witness]]\n")?;
    } else {
        let (quorum, demanded) = (*config.witnesses.quorum, *config.witnesses.required);
        let demanded = if demanded { ", demanded before it is published" } else { "" };
        output::print(&format!(
            "newest head: {}, cosigned by {have} of {} ({quorum} are enough{demanded})\n\n",
            output::count(size, "record"),
            rows.len()
        ))?;
        output::print_table(["witness", "size", "cosigned at", "took", "problem"], rows.iter().map(cells))?;
    }
    Ok(Exit::Done)
}

fn cells(Row { witness, newest, attempt }: &Row) -> [String; 5] {
    let (dash, failing) = (|| "-".to_owned(), attempt.failures > 0);
    [
        witness.name.clone(),
        newest.as_ref().map_or_else(dash, |newest| newest.tree.size.to_string()),
        newest.as_ref().map_or_else(dash, |newest| format!("{:.0}", newest.received_at)),
        attempt.latency.map_or_else(dash, |took| format!("{:.1} ms", took.as_secs_f64() * 1e3)),
        attempt.failure.clone().filter(|_| failing).unwrap_or_else(dash),
    ]
}

fn print_json(config: &Config, log: &Identity, size: u64, have: usize, rows: &[Row]) -> anyhow::Result<()> {
    let witnesses = rows.iter().map(|Row { witness, newest, attempt }| {
        json!({
            "name": witness.name,
            "url": witness.url.to_string(),
            "vkey": witness.key.to_string(),
            // Deprecated: the name of before.
            "key": witness.key.to_string(),
            "size": newest.as_ref().map(|newest| newest.tree.size.0),
            "cosigned_at": newest.as_ref().map(|newest| newest.received_at),
            "cosignature": newest.as_ref().map(|newest| &newest.line),
            "latency_seconds": attempt.latency.map(|took| took.as_secs_f64()),
            "failures": attempt.failures,
            "failed_at": attempt.failed_at,
            "failure": attempt.failure,
        })
    });
    output::print_json(&json!({
        "log": log.name,
        "vkey": log.vkey,
        "size": size,
        "cosigned": have,
        "quorum": *config.witnesses.quorum,
        "required": *config.witnesses.required,
        "witnesses": witnesses.collect::<Vec<_>>(),
    }))
}
