//! `tallystick lookup`: what the log says about one module version, and why.

use clap::Args;

use super::control::{Needs, Session, refused};
use super::engines::{exit_of_store, open_reader};
use super::exit::OrExit;
use super::{Common, Exit, block_on, output};
use crate::config::Config;
use crate::http::control::{FoundRecord, LookupAnswer, ModuleRequest, Reason, Refusal};
use crate::module::ModuleVersion;
use crate::store::evidence::Kept;
use crate::store::sqlite::SqliteReader;
use crate::store::{Evidence, LogObserver as _, LogReader, StoreError, StoredHead, StoredRecord};
use crate::tlog::TreeSize;

/// Show the log's lines for a module version, with their evidence
#[derive(Debug, Args)]
#[command(after_help = "\
It appends only with --notarize, and otherwise asks nobody but the log.

Exit codes: 0 the log has it, 1 it has not; with --notarize also 3 try again, 4 a person must look.

Examples:
  tallystick lookup rsc.io/quote@v1.5.2
  tallystick lookup corp.example/billing@v0.4.0 --json
  tallystick lookup corp.example/billing@v0.5.0 --notarize")]
pub(super) struct Lookup {
    /// Module path and version, as in go.mod: rsc.io/quote@v1.5.2
    #[arg(value_name = "MODULE@VERSION")]
    module: ModuleVersion,
    /// Append it to the log if it is unknown, by the routes of the configuration
    #[arg(long)]
    notarize: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Lookup {
    pub(super) fn run(self, common: &Common) -> anyhow::Result<Exit> {
        let config = common.load()?;
        let Lookup { module, notarize, json } = self;
        let answer = block_on(async {
            if notarize { notarize_module(&config, module).await } else { look_up(&config, module).await }
        })?;
        if json {
            output::print_json(&answer)?;
        } else {
            print(&answer)?;
        }
        Ok(if answer.found.is_some() { Exit::Done } else { Exit::Failed })
    }
}

/// Asks the running server, or reads the database, which needs no lock.
async fn look_up(config: &Config, module: ModuleVersion) -> anyhow::Result<LookupAnswer> {
    let Some(mut session) = Session::running(config).await? else {
        let reader = open_reader(config)?;
        return read(&reader, module).or_else(|error| {
            let exit = exit_of_store(&error);
            Err(error).or_exit(exit)
        });
    };
    let answer = session.ask("/v1/lookup", &ModuleRequest { module }).await?;
    session.close().await?;
    answer.or_else(refused)
}

fn read(reader: &SqliteReader, module: ModuleVersion) -> Result<LookupAnswer, StoreError> {
    let damaged = |place: &str| StoreError::Damaged { place: place.to_owned(), why: "missing".to_owned() };
    let head = reader.heads(TreeSize(u64::MAX), 1)?.pop().ok_or_else(|| damaged("newest head"))?;
    let found: Option<(StoredRecord, Kept)> = match reader.find(&module, head.tree.size)? {
        Some(record) => {
            let place = format!("evidence of record {}", record.id);
            let kept = reader.evidence(record.id)?.ok_or_else(|| damaged(&place))?;
            Some((record, kept))
        }
        None => None,
    };
    let head: &StoredHead = &head;
    Ok(LookupAnswer::new(reader.identity(), module, head, found, false))
}

/// Lets the notary bring it in, in the running server or here.
async fn notarize_module(config: &Config, module: ModuleVersion) -> anyhow::Result<LookupAnswer> {
    let mut session = Session::open(config, Needs::Routes).await?;
    let answer = session.ask("/v1/notarize", &ModuleRequest { module: module.clone() }).await;
    session.close().await?;
    answer?.or_else(|Refusal { reason, why }| {
        let fix = match reason {
            Reason::NotFound => "\n  fix: check path and version, and the routes in `tallystick config show`",
            Reason::Unavailable | Reason::Alarming | Reason::Failed | Reason::Busy | Reason::Usage => "",
        };
        refused(Refusal { reason, why: format!("{why}{fix}") })
    })
}

/// What a person reads: the lines alone first, so that they can be copied, then why they are there.
fn print(answer: &LookupAnswer) -> anyhow::Result<()> {
    let LookupAnswer { module, found, appended, log, head } = answer;
    let Some(FoundRecord { record, lines, appended_at, evidence, .. }) = found else {
        output::error(&format!(
            "{} does not have {module} (it has {} records)\n  fix: `tallystick lookup {module} --notarize` brings it in, as a \
             look-up by the go command would",
            log.name, head.size
        ));
        return Ok(());
    };
    let mut text = format!("{}\n\n", lines.join("\n"));
    let new = if *appended { ", appended just now" } else { "" };
    let mut row = |name: &str, value: &str| text += &format!("{name:<12}{}\n", output::one_line(value));
    row("log", &log.name);
    row("record", &format!("{record}{new}"));
    row("appended", &time(*appended_at));
    match evidence {
        Evidence::Sumdb { log, record, head_size, head_root } => {
            row("source", log);
            row("", &format!("record {record} there, proved under its tree of {head_size} records"));
            row("", &format!("with the root {head_root}"));
        }
        Evidence::Computed { source, url, fetched_at, zip_sha256, zip_bytes, origin } => {
            row("source", &format!("computed from {source}"));
            row("zip", url);
            row("", &format!("{zip_bytes} bytes, fetched {}", time(*fetched_at)));
            row("", &format!("SHA-256 {zip_sha256}"));
            if let Some(origin) = origin {
                row("origin", origin.get());
            }
        }
        Evidence::Imported { importer } => {
            row("source", &format!("imported by {importer}, whose word is the only evidence"));
        }
    }
    row("head", &format!("{} records, signed {}", head.size, time(head.signed_at)));
    row("", &format!("root {}", head.root));
    Ok(output::print(&text)?)
}

/// To the second: what is finer is in the JSON.
fn time(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}
