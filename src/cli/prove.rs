//! `tallystick prove`: proofs of module versions as files, which verify with no log at hand.
//!
//! They are asked for at the running server or made from the data directory; with `--server` at any server, over HTTP:
//!
//! ```text
//! GET <server>/api/v1/tlog-proof/<module>@<version>             the record in its log
//! GET <server>/api/v1/modules/<module>@<version>                says from which log the lines were taken
//! GET <server>/api/v1/tlog-proof/<module>@<version>?log=NAME    and the record there
//! ```
//!
//! A file's path says what it proves: `<log>/<escaped path>@<escaped version>.tlog-proof`.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::engines::file_name;
use super::remote::Server;
use super::session::{Needs, Session, refused};
use super::{Common, Exit, ProgressMeter, block_on, go_sum, output};
use crate::config::Config;
use crate::module::ModuleVersion;
use crate::operate::{ModuleProofs, ProofFile, Reason, Refusal};
use crate::source::ServerUrl;
use crate::tlog::{MAX_TLOG_PROOF_BYTES, TLOG_PROOF_SUFFIX, TlogProof};

/// Module versions in flight at one server.
const AT_ONCE: usize = 16;
/// A record with its evidence.
const MAX_MODULE_BYTES: u64 = 1 << 20;

/// Write proofs of module versions, to be verified offline
#[derive(Debug, Args)]
#[command(after_help = "\
Each module version gets a file of the log's own proof, and, where its lines were taken from another log such as \
sum.golang.org, one of the proof there. Files lie in a directory for each log.

Examples:
  tallystick prove rsc.io/quote@v1.5.2 --out proofs
  tallystick prove --gosum go.sum --out proofs
  tallystick prove --gosum go.sum --out proofs --server https://sum.corp.example")]
pub(super) struct ProveCommand {
    /// Module path and version, as in go.mod: rsc.io/quote@v1.5.2
    #[arg(value_name = "MODULE@VERSION", required_unless_present = "gosum")]
    modules: Vec<ModuleVersion>,
    /// Prove every module version of this go.sum file
    #[arg(long, value_name = "FILE")]
    gosum: Vec<PathBuf>,
    /// Where to write the files
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// Ask this server over HTTP instead of the log of the data directory
    #[arg(long, value_name = "URL")]
    server: Option<ServerUrl>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What was written.
#[derive(Debug, Serialize)]
struct ProveOutput {
    proved: Vec<Written>,
    missing: Vec<Missing>,
}

#[derive(Debug, Serialize)]
struct Written {
    module: String,
    log: String,
    record: u64,
    size: u64,
    file: PathBuf,
}

#[derive(Debug, Serialize)]
struct Missing {
    module: String,
    why: String,
}

impl ProveCommand {
    pub(super) fn run(self, common: &Common) -> anyhow::Result<Exit> {
        let config = common.load()?;
        let mut modules = self.modules;
        for file in &self.gosum {
            let read = go_sum::read(file)?;
            go_sum::say_odd(&file.display().to_string(), &read);
            modules.extend(read.lines.into_iter().map(|numbered| numbered.line.module));
        }
        let mut seen = HashSet::new();
        modules.retain(|module| seen.insert(module.clone()));
        let mut bar = ProgressMeter::new("module versions", modules.len() as u64);
        let (out, server) = (self.out, self.server);
        let report = block_on(async {
            let mut report = ProveOutput { proved: Vec::new(), missing: Vec::new() };
            match server {
                Some(server) => from_server(&config, &server, modules, &out, &mut report, &mut bar).await?,
                None => from_log(&config, modules, &out, &mut report, &mut bar).await?,
            }
            Ok(report)
        });
        bar.finish();
        let report = report?;
        if self.json {
            output::print_json(&report)?;
        } else {
            report.print()?;
        }
        Ok(if report.missing.is_empty() { Exit::Done } else { Exit::Failed })
    }
}

impl ProveOutput {
    /// Writes the files of a module version, or says that there are none.
    fn take(
        &mut self,
        answer: Result<ModuleProofs, Refusal>,
        module: &ModuleVersion,
        out: &Path,
    ) -> anyhow::Result<()> {
        match answer {
            Ok(answer) => {
                for file in answer.files {
                    self.proved.push(write(out, module, file)?);
                }
                self.missing.extend(answer.missing.map(|why| Missing { module: module.to_string(), why }));
            }
            Err(Refusal { reason: Reason::NotFound, why }) => {
                self.missing.push(Missing { module: module.to_string(), why });
            }
            Err(refusal) => return refused(refusal),
        }
        Ok(())
    }

    fn print(&self) -> anyhow::Result<()> {
        if !self.proved.is_empty() {
            let row = |written: &Written| {
                let Written { module, log, record, size, file } = written;
                let file = file.display().to_string();
                [module.clone(), log.clone(), record.to_string(), size.to_string(), file]
            };
            output::print_table(["module", "log", "record", "tree", "file"], self.proved.iter().map(row))?;
        }
        for Missing { module, why } in &self.missing {
            output::error(&format!("{module} is not proved: {why}"));
        }
        Ok(())
    }
}

/// The running server of the data directory, or the log itself.
async fn from_log(
    config: &Config,
    modules: Vec<ModuleVersion>,
    out: &Path,
    report: &mut ProveOutput,
    bar: &mut ProgressMeter,
) -> anyhow::Result<()> {
    let mut session = Session::open(config, Needs::Routes).await?;
    let work = async || {
        for (done, module) in modules.into_iter().enumerate() {
            report.take(session.prove(module.clone()).await?, &module, out)?;
            bar.set(done as u64 + 1);
        }
        anyhow::Ok(())
    };
    let result = work().await;
    session.close().await?;
    result
}

/// A server, over HTTP: some module versions at a time, in their order.
async fn from_server(
    config: &Config,
    server: &ServerUrl,
    modules: Vec<ModuleVersion>,
    out: &Path,
    report: &mut ProveOutput,
    bar: &mut ProgressMeter,
) -> anyhow::Result<()> {
    let server = Server::new(config, server)?;
    let mut done = 0;
    for some in modules.chunks(AT_ONCE) {
        let mut flights = JoinSet::new();
        for (position, module) in some.iter().cloned().enumerate() {
            let server = server.clone();
            flights.spawn(async move { (position, ask(&server, &module).await) });
        }
        let mut answers = flights.join_all().await;
        answers.sort_by_key(|(position, _)| *position);
        for (module, (_, answer)) in some.iter().zip(answers) {
            report.take(answer?, module, out)?;
        }
        done += some.len() as u64;
        bar.set(done);
    }
    Ok(())
}

async fn ask(server: &Server, module: &ModuleVersion) -> anyhow::Result<Result<ModuleProofs, Refusal>> {
    /// What of a record we need.
    #[derive(Deserialize)]
    struct RecordAnswer {
        evidence: Origin,
    }
    #[derive(Deserialize)]
    struct Origin {
        kind: String,
        log: Option<String>,
    }
    let path = format!("api/v1/tlog-proof/{}", module.escaped());
    let Some(own) = server.get(&path, None, MAX_TLOG_PROOF_BYTES as u64).await? else {
        let why = format!("{server} has no record of it: a look-up by a go command may bring it in");
        return Ok(Err(Refusal { reason: Reason::NotFound, why }));
    };
    let mut files = vec![file_of(own, None)?];
    let path_of_record = format!("api/v1/modules/{}", module.escaped());
    let record = server.get(&path_of_record, None, MAX_MODULE_BYTES).await?;
    let record: Option<RecordAnswer> = record.and_then(|body| serde_json::from_slice(&body).ok());
    let source = record.map(|record| record.evidence).filter(|evidence| evidence.kind == "sumdb");
    let mut missing = None;
    if let Some(log) = source.and_then(|evidence| evidence.log) {
        match server.get(&path, Some(("log", &log)), MAX_TLOG_PROOF_BYTES as u64).await? {
            Some(body) => files.push(file_of(body, Some(log))?),
            None => missing = Some(format!("{server} no longer has what proved it in {log}")),
        }
    }
    Ok(Ok(ModuleProofs { module: module.clone(), files, missing }))
}

/// What a server sent as a file. The log's name is the name of the checkpoint's signature, unless it is known.
fn file_of(body: Vec<u8>, log: Option<String>) -> anyhow::Result<ProofFile> {
    let parsed = TlogProof::parse(&body).context("the server's answer is no proof file")?;
    let note = crate::note::parse_unverified(parsed.checkpoint.as_bytes())?;
    let checkpoint = crate::tlog::Checkpoint::parse(&note.text)?;
    let Some(first) = note.signatures.first() else { bail!("the server's proof is not signed") };
    Ok(ProofFile {
        log: log.unwrap_or_else(|| first.name.to_string()),
        record: parsed.index.0,
        size: checkpoint.tree.size.0,
        file: String::from_utf8(body)?,
    })
}

fn write(out: &Path, module: &ModuleVersion, proof: ProofFile) -> anyhow::Result<Written> {
    // What a program wrote is not believed by it; but a file for another module version would be found only much later.
    let parsed = TlogProof::parse(proof.file.as_bytes())?;
    let text = parsed.extra.and_then(|extra| String::from_utf8(extra).ok()).unwrap_or_default();
    ensure!(
        crate::gosum::ModuleLines::find(&text, module).is_some(),
        "the proof from {} is not about {module}",
        proof.log
    );
    // Neither a log's name nor a module's path can leave the directory: the one is encoded, the other was checked.
    let relative = format!("{}/{}{TLOG_PROOF_SUFFIX}", file_name(&proof.log), module.escaped());
    let path = out.join(relative);
    let directory = path.parent().expect("it is in the directory of its log");
    std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    // Whole or not at all: half a proof would look like one that does not verify.
    let part = path.with_extension("part");
    std::fs::write(&part, &proof.file)
        .and_then(|()| std::fs::rename(&part, &path))
        .with_context(|| format!("cannot write {}", path.display()))?;
    let ProofFile { log, record, size, .. } = proof;
    Ok(Written { module: module.to_string(), log, record, size, file: path })
}
