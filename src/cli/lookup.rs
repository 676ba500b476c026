//! `tallystick lookup`: what the log says about one module version, and why.

use clap::Args;
use serde::Serialize;

use super::engines::open_reader;
use super::exit::OrStoreExit;
use super::session::{Needs, Session, refused};
use super::{Common, Exit, block_on, output};
use crate::config::Config;
use crate::module::ModuleVersion;
use crate::operate::{LookupAnswer, PublishedHead, Reason, RecordDetails, Refusal};
use crate::store::{Evidence, LogObserver as _};

/// Show the log's lines for a module version, with their evidence
#[derive(Debug, Args)]
#[command(after_help = "\
It appends only with --notarize, and otherwise asks nobody but the log.

Examples:
  tallystick lookup rsc.io/quote@v1.5.2
  tallystick lookup corp.example/billing@v0.4.0 --json
  tallystick lookup corp.example/billing@v0.5.0 --notarize")]
pub(super) struct LookupCommand {
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

/// The answer as programs read it.
#[derive(Serialize)]
struct LookupOutput<'a> {
    log: &'a str,
    vkey: &'a str,
    module: String,
    found: &'a Option<RecordDetails>,
    appended: bool,
    head: &'a PublishedHead,
}

impl LookupOutput<'_> {
    fn of(answer: &LookupAnswer) -> LookupOutput<'_> {
        let LookupAnswer { module, found, appended, log, head } = answer;
        let (log, vkey, module) = (&*log.name, &*log.verifier, module.to_string());
        LookupOutput { log, vkey, module, found, appended: *appended, head }
    }
}

impl LookupCommand {
    pub(super) fn run(self, common: &Common) -> anyhow::Result<Exit> {
        let config = common.load()?;
        let LookupCommand { module, notarize, json } = self;
        let answer = block_on(async {
            if notarize { notarize_module(&config, module).await } else { look_up(&config, module).await }
        })?;
        if json {
            output::print_json(&LookupOutput::of(&answer))?;
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
        return LookupAnswer::read(&reader, reader.identity(), module).or_store_exit();
    };
    let answer = session.lookup(module).await?;
    session.close().await?;
    answer.or_else(refused)
}

/// Lets the notary bring it in, in the running server or here.
async fn notarize_module(config: &Config, module: ModuleVersion) -> anyhow::Result<LookupAnswer> {
    let mut session = Session::open(config, Needs::Routes).await?;
    let answer = session.notarize(module).await;
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
    let Some(RecordDetails { record, lines, appended_at, evidence, .. }) = found else {
        output::error(&format!(
            "{} does not have {module} (it has {})\n  fix: `tallystick lookup {module} --notarize` brings it in, as a \
             look-up by the go command would",
            log.name,
            output::count(head.size, "record")
        ));
        return Ok(());
    };
    let mut text = format!("{}\n\n", lines.join("\n"));
    let new = if *appended { ", appended just now" } else { "" };
    let mut row = |name: &str, value: &str| text += &format!("{name:<12}{}\n", output::one_line(value));
    row("log", &log.name);
    row("record", &format!("{record}{new}"));
    row("appended", &output::time(*appended_at));
    match evidence {
        Evidence::Sumdb { log, record, head_size, head_root } => {
            row("source", log);
            row(
                "",
                &format!(
                    "record {record} there, proved under its tree of {}",
                    output::count(*head_size, "record")
                ),
            );
            row("", &format!("with the root {head_root}"));
        }
        Evidence::Computed { source, url, fetched_at, zip_sha256, zip_bytes, origin } => {
            row("source", &format!("computed from {source}"));
            row("zip", url);
            row("", &format!("{zip_bytes} bytes, fetched {}", output::time(*fetched_at)));
            row("", &format!("SHA-256 {zip_sha256}"));
            if let Some(origin) = origin {
                row("origin", origin.get());
            }
        }
        Evidence::Imported { importer } => {
            row("source", &format!("imported by {importer}, whose word is the only evidence"));
        }
    }
    row("head", &format!("{}, signed {}", output::count(head.size, "record"), output::time(head.signed_at)));
    row("", &format!("root {}", head.root));
    Ok(output::print(&text)?)
}
