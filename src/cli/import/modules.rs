//! go.sum files: read and checked whole, then each module version is notarized and its lines compared.

use std::collections::HashMap;
use std::io::Read;

use anyhow::{Context, bail, ensure};
use serde::Serialize;
use tokio::sync::mpsc;

use super::{Input, Needs, Options, QUEUE_PARTS, in_session};
use crate::cli::exit::OrExit as _;
use crate::cli::go_sum::{self, MAX_GO_SUM_BYTES};
use crate::cli::session::{Session, refused};
use crate::cli::{Exit, ProgressMeter, output};
use crate::gosum::{GoSumLine, LineKind, NumberedLine, OddLine, Oddity};
use crate::module::ModuleVersion;
use crate::operate::{
    ClaimConflict, ClaimedModule, GoSumClaim, ImportEvent, ImportedModule, ModuleFate, Reason, Refusal,
};

/// Lines of all files together: about a GB of memory.
const MAX_LINES: usize = 2_000_000;
/// Different lines about one module version. Two of them can be right.
const MAX_CLAIMS: usize = 256;

/// Imports go.sum files and prints how each module version fared.
pub(super) async fn import(options: Options) -> anyhow::Result<Exit> {
    let Options { config, files, importer, json, new_log } = options;
    let mut claims = Claims::default();
    for file in files {
        claims.read(file).or_exit(Exit::Usage)?;
    }
    let follow = async |session: &mut Session| follow(session, &importer, &claims).await;
    let outcomes = in_session(&config, Needs::Routes, new_log, follow).await?;
    let report = GoSumOutput::new(outcomes, &claims);
    if json {
        output::print_json(&report)?;
    } else {
        report.print()?;
    }
    Ok(report.exit())
}

/// What all files claim.
#[derive(Default)]
struct Claims {
    /// In the order of their first lines.
    modules: Vec<ClaimedModule>,
    indexes: HashMap<ModuleVersion, usize>,
    /// Where a line stands again.
    again: HashMap<(ModuleVersion, LineKind, String), Vec<(String, u64)>>,
    lines: usize,
    /// Lines that the `go` command never uses, by file.
    odd: Vec<(String, Vec<OddLine>)>,
}

impl Claims {
    fn read(&mut self, input: Input) -> anyhow::Result<()> {
        let Input { name, reader, .. } = input;
        let mut bytes = Vec::new();
        let read = reader.take(MAX_GO_SUM_BYTES + 1).read_to_end(&mut bytes);
        let length = read.with_context(|| format!("cannot read {name}"))? as u64;
        ensure!(
            length <= MAX_GO_SUM_BYTES,
            "{name} is larger than {MAX_GO_SUM_BYTES} bytes: no go.sum file is"
        );
        let file = go_sum::parse(&name, &bytes).context("nothing was imported")?;
        go_sum::say_odd(&name, &file);
        for NumberedLine { number, line } in file.lines {
            let GoSumLine { module, kind, hash } = line;
            self.add(module, GoSumClaim { file: name.clone(), line: number as u64, kind, hash })?;
        }
        if !file.odd.is_empty() {
            self.odd.push((name, file.odd));
        }
        Ok(())
    }

    fn add(&mut self, module: ModuleVersion, claim: GoSumClaim) -> anyhow::Result<()> {
        self.lines += 1;
        ensure!(self.lines <= MAX_LINES, "more than {MAX_LINES} lines: import fewer files at a time");
        let index = *self.indexes.entry(module.clone()).or_insert_with(|| {
            self.modules.push(ClaimedModule { module: module.clone(), claims: Vec::new() });
            self.modules.len() - 1
        });
        let claims = &mut self.modules[index].claims;
        if claims.iter().any(|known| (known.kind, known.hash) == (claim.kind, claim.hash)) {
            let key = (module, claim.kind, claim.hash.to_string());
            self.again.entry(key).or_default().push((claim.file, claim.line));
            return Ok(());
        }
        ensure!(claims.len() < MAX_CLAIMS, "{module} has more than {MAX_CLAIMS} different lines");
        claims.push(claim);
        Ok(())
    }

    /// A wrong line at every place where it stands.
    fn everywhere(&self, module: &ModuleVersion, conflict: ClaimConflict) -> Vec<ClaimConflict> {
        let ClaimConflict { claim, standing } = &conflict;
        let key = (module.clone(), claim.kind, claim.hash.to_string());
        let others = self.again.get(&key).into_iter().flatten().map(|(file, line)| {
            let claim = GoSumClaim { file: file.clone(), line: *line, ..claim.clone() };
            ClaimConflict { claim, standing: *standing }
        });
        let others: Vec<_> = others.collect();
        std::iter::once(conflict).chain(others).collect()
    }
}

/// Sends the claims, and collects what becomes of them.
async fn follow(
    session: &mut Session,
    importer: &str,
    claims: &Claims,
) -> anyhow::Result<Vec<ImportedModule>> {
    let (sender, receiver) = mpsc::channel(QUEUE_PARTS);
    let modules = claims.modules.clone();
    tokio::spawn(async move {
        for module in modules {
            // An import that takes no more says why.
            if sender.send(Ok(module)).await.is_err() {
                return;
            }
        }
    });
    let mut importing = session.import_go_sum(importer, receiver).await?;
    let mut progress = ProgressMeter::new("module versions", claims.modules.len() as u64);
    let mut outcomes = Vec::new();
    loop {
        match importing.next().await? {
            ImportEvent::Module(outcome) => outcomes.push(outcome),
            ImportEvent::Done => break,
            ImportEvent::Stopped(refusal) => {
                progress.finish();
                return refused(refusal).with_context(|| format!("after {} module versions", outcomes.len()));
            }
            other => bail!("the server answered {other:?}"),
        }
        progress.set(outcomes.len() as u64);
    }
    progress.finish();
    Ok(outcomes)
}

/// The result of an import.
#[derive(Debug, Default, Serialize)]
struct GoSumOutput {
    /// Module versions that are in the log now.
    new: u64,
    /// That were there already.
    present: u64,
    /// With a line that is not what the log says.
    conflict: u64,
    /// Whose sources do not have them.
    not_found: u64,
    /// That could not be taken in.
    failed: u64,
    /// All of them, in the order of the files.
    modules: Vec<ImportedModule>,
    /// Lines that the `go` command never uses; nothing was imported from them.
    ignored: Vec<IgnoredLine>,
    /// Whether one of them names a module version, and no hash that anything could have.
    #[serde(skip)]
    has_bad_hash: bool,
}

#[derive(Debug, Serialize)]
struct IgnoredLine {
    file: String,
    line: usize,
    why: String,
}

impl GoSumOutput {
    fn new(mut outcomes: Vec<ImportedModule>, claims: &Claims) -> GoSumOutput {
        outcomes.sort_by_key(|outcome| claims.indexes.get(&outcome.module));
        let mut report = GoSumOutput::default();
        for mut outcome in outcomes {
            *match outcome.outcome {
                ModuleFate::New => &mut report.new,
                ModuleFate::Present => &mut report.present,
                ModuleFate::Conflict => &mut report.conflict,
                ModuleFate::NotFound => &mut report.not_found,
                ModuleFate::Failed => &mut report.failed,
            } += 1;
            let conflicts = std::mem::take(&mut outcome.conflicts).into_iter();
            outcome.conflicts =
                conflicts.flat_map(|conflict| claims.everywhere(&outcome.module, conflict)).collect();
            report.modules.push(outcome);
        }
        for (file, odd) in &claims.odd {
            let ignored = |OddLine { number, oddity }: &OddLine| IgnoredLine {
                file: file.clone(),
                line: *number,
                why: oddity.to_string(),
            };
            report.ignored.extend(odd.iter().map(ignored));
            report.has_bad_hash |= odd.iter().any(|odd| matches!(odd.oddity, Oddity::BadHash { .. }));
        }
        report
    }

    fn print(&self) -> anyhow::Result<()> {
        let rows: Vec<[String; 3]> = self.modules.iter().flat_map(rows).collect();
        if !rows.is_empty() {
            output::print_table(["outcome", "module", "why"], rows)?;
            output::print("\n")?;
        }
        let counts = [self.new, self.present, self.conflict, self.not_found, self.failed];
        output::print_table(
            ["new", "present", "conflict", "not found", "failed"],
            [counts.map(|count| count.to_string())],
        )?;
        if self.conflict > 0 {
            output::error(
                "go.sum lines disagree with the log; they are kept as incidents\n  fix: find out who changed the module, \
                 or the file. A version keeps its hashes: a changed module needs a new version",
            );
        }
        Ok(())
    }

    fn exit(&self) -> Exit {
        let reasons =
            || self.modules.iter().filter_map(|module| module.refusal.as_ref()).map(|refusal| refusal.reason);
        if self.conflict > 0 || reasons().any(|reason| reason == Reason::Alarming) {
            Exit::Damage
        } else if self.not_found + self.failed == 0 && self.has_bad_hash {
            Exit::Failed
        } else if self.not_found + self.failed == 0 {
            Exit::Done
        } else if reasons().all(|reason| reason == Reason::Unavailable) {
            Exit::Unreachable
        } else {
            Exit::Failed
        }
    }
}

/// The lines of the table: what is in the log as it should be is only counted.
fn rows(module: &ImportedModule) -> Vec<[String; 3]> {
    let row = |outcome: &str, why: String| [outcome.to_owned(), module.module.to_string(), why];
    let mut rows = Vec::new();
    for ClaimConflict { claim, standing } in &module.conflicts {
        let what = match claim.kind {
            LineKind::Zip => "",
            LineKind::GoMod => " for its go.mod",
        };
        let record = module.record.map_or_else(String::new, |record| format!(" (record {record})"));
        let GoSumClaim { file, line, hash, .. } = claim;
        rows.push(row(
            "conflict",
            format!("{file}:{line} says {hash}{what}, the log says {standing}{record}"),
        ));
    }
    if let Some(Refusal { why, .. }) = &module.refusal {
        // The notary's text begins with the module version, which stands in its own column.
        let prefix = format!("{}: ", module.module);
        let why = why.strip_prefix(&prefix).unwrap_or(why).to_owned();
        rows.push(match module.outcome {
            ModuleFate::NotFound => row("not found", why),
            ModuleFate::Conflict if module.conflicts.is_empty() => row("conflict", why),
            ModuleFate::Conflict => row("conflict", format!("not kept as an incident: {why}")),
            ModuleFate::New | ModuleFate::Present | ModuleFate::Failed => row("failed", why),
        });
    }
    rows
}
