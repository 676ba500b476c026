//! `tallystick verify`: proof files, with no network and no server.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, ensure};
use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::exit::{OrExit, text_of};
use super::{Common, Exit, ProgressMeter, go_sum, output};
use crate::files;
use crate::gosum::{GoSumFile, GoSumLine, OddLine, Oddity};
use crate::module::ModuleVersion;
use crate::note::{MAX_POLICY_BYTES, Policy, VerifierKey};
use crate::proof::{self, Proved, Rejection, Trust};
use crate::tlog::{MAX_TLOG_PROOF_BYTES, Origin, TLOG_PROOF_SUFFIX};

/// Files in one call: the proofs of the largest go.sum, several times over.
const MAX_FILES: usize = 1_000_000;
/// Files of any name and directories that are looked at for them.
const MAX_ENTRIES: usize = 10 * MAX_FILES;

/// Verify proof files offline: no network, no server
#[derive(Debug, Args)]
#[command(after_help = "\
A file is verified when its checkpoint is signed by a given log, under that log's origin, when the policy is met, and when the \
record in it is proved to be in that log. With --gosum every line of the file must be what a verified record says; lines that the \
go command itself never uses, such as those with an h2: hash, are named and counted apart.

A key is trusted for checkpoints whose origin is its name, and for those of a Go checksum database (\"go.sum database \
tree\"); with --origin for that origin only. A directory stands for all proof files in it, which must be regular files; a file that is \
named may be a pipe.

Examples:
  tallystick verify proofs/sum.corp.example --key sum.corp.example+915869ce+AYqI4910CfGV/VLbLTy6XXLKZwm/HZQSG/N0iAG0D29c --gosum go.sum
  tallystick verify quote@v1.5.2.tlog-proof --policy policy.txt
  tallystick verify proofs/sum.golang.org --origin 'go.sum database tree' --key sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8")]
pub(super) struct VerifyCommand {
    /// Proof files, or directories of them
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// The verifier key of a log that is trusted
    #[arg(long = "key", value_name = "VKEY", required_unless_present = "policy")]
    keys: Vec<VerifierKey>,
    /// The origin that checkpoints by the keys must have
    #[arg(long, value_name = "ORIGIN", requires = "keys")]
    origin: Option<Origin>,
    /// A policy (C2SP tlog-policy): its logs are trusted too, and its quorum must be met by every file
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Every line of this go.sum file must be proved by one of the files
    #[arg(long, value_name = "FILE")]
    gosum: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct VerifyOutput {
    verified: bool,
    files: Vec<VerifiedFile>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gosum: Option<GoSumProved>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum VerifiedFile {
    Verified(Box<Verified>),
    Refused { file: PathBuf, verified: bool, why: String },
}

#[derive(Debug, Serialize)]
struct Verified {
    file: PathBuf,
    verified: bool,
    module: String,
    lines: Vec<String>,
    log: String,
    origin: String,
    record: u64,
    size: u64,
    root: String,
    cosigned: Vec<Cosigned>,
}

#[derive(Debug, Serialize)]
struct Cosigned {
    witness: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<Timestamp>,
}

/// How a go.sum file fared.
#[derive(Debug, Default, Serialize)]
struct GoSumProved {
    /// Lines that a verified record says as well.
    proved: usize,
    /// Lines of module versions of which no file was verified.
    unproved: Vec<String>,
    /// Lines that are not what the verified record says.
    contradicted: Vec<Contradiction>,
    /// Lines that vouch for nothing, so that nothing about them can be proved.
    unchecked: Vec<Unchecked>,
}

#[derive(Debug, Serialize)]
struct Contradiction {
    line: String,
    log: String,
    proved: String,
}

#[derive(Debug, Serialize)]
struct Unchecked {
    line: usize,
    why: String,
}

impl VerifyCommand {
    pub(super) fn run(self, _: &Common) -> anyhow::Result<Exit> {
        let trust = trust(self.keys, self.origin.as_ref(), self.policy.as_deref()).or_exit(Exit::Usage)?;
        let gosum = self.gosum.as_deref().map(go_sum::read).transpose()?;
        let files = wanted(&self.files).or_exit(Exit::Usage)?;
        let mut bar = ProgressMeter::new("proof files", files.len() as u64);
        let (mut reports, mut proved) = (Vec::with_capacity(files.len()), Vec::new());
        for (done, Wanted { path, found_in }) in files.into_iter().enumerate() {
            match read_proof(&path, found_in.as_deref())
                .map_err(|error| text_of(&error))
                .and_then(|file| proof::verify(&file, &trust).map_err(|error: Rejection| explain(&error)))
            {
                Ok(one) => {
                    reports.push(VerifiedFile::Verified(Box::new(Verified::new(path, &one))));
                    proved.push(one);
                }
                Err(why) => reports.push(VerifiedFile::Refused { file: path, verified: false, why }),
            }
            bar.set(done as u64 + 1);
        }
        bar.finish();
        let gosum = gosum.map(|file| GoSumProved::new(&file, &proved));
        let all = reports.iter().all(|report| matches!(report, VerifiedFile::Verified(_)));
        let agreed = gosum.as_ref().is_none_or(|gosum| gosum.contradicted.is_empty());
        let complete = gosum.as_ref().is_none_or(|gosum| gosum.unproved.is_empty());
        let report = VerifyOutput { verified: all && agreed && complete, files: reports, gosum };
        if self.json {
            output::print_json(&report)?;
        } else {
            report.print(self.gosum.as_deref().unwrap_or(Path::new("go.sum")))?;
        }
        Ok(match (all && agreed, complete) {
            (false, _) => Exit::Damage,
            (true, false) => Exit::Failed,
            (true, true) => Exit::Done,
        })
    }
}

/// Whom the command line says to believe.
fn trust(keys: Vec<VerifierKey>, origin: Option<&Origin>, policy: Option<&Path>) -> anyhow::Result<Trust> {
    let mut trust = Trust::default();
    for key in keys {
        trust = trust.and_log(key, origin.cloned());
    }
    if let Some(path) = policy {
        let text = read(path, MAX_POLICY_BYTES as u64)?;
        let policy = Policy::parse(&text).with_context(|| path.display().to_string())?;
        trust = trust.and_policy(policy);
    }
    ensure!(
        trust.has_log(),
        "there is no log to trust: the policy names none\n  fix: name its verifier key with --key"
    );
    Ok(trust)
}

/// The reason, with what a person may do about it.
fn explain(rejection: &Rejection) -> String {
    let fix = match rejection {
        Rejection::UnknownSigners { .. } => "; give the key of that log with --key, if you trust it",
        Rejection::Origin { .. } => "; give that origin with --origin, if you trust the key for it",
        _ => "",
    };
    format!("{rejection}{fix}")
}

impl Verified {
    fn new(file: PathBuf, proved: &Proved) -> Verified {
        let Proved { lines, record, checkpoint, signer, cosigned } = proved;
        let time = |at: u64| i64::try_from(at).ok().and_then(|at| Timestamp::from_second(at).ok());
        let cosigned = cosigned.iter().map(|c| Cosigned { witness: c.witness.to_string(), at: time(c.at) });
        Verified {
            file,
            verified: true,
            module: lines.module.to_string(),
            lines: lines.to_text().lines().map(str::to_owned).collect(),
            log: signer.to_string(),
            origin: checkpoint.origin.to_string(),
            record: record.0,
            size: checkpoint.tree.size.0,
            root: checkpoint.tree.root.to_string(),
            cosigned: cosigned.collect(),
        }
    }
}

impl GoSumProved {
    fn new(file: &GoSumFile, proved: &[Proved]) -> GoSumProved {
        let mut by_module: HashMap<&ModuleVersion, Vec<&Proved>> = HashMap::new();
        for one in proved {
            by_module.entry(&one.lines.module).or_default().push(one);
        }
        let (mut report, mut seen) = (GoSumProved::default(), HashSet::new());
        for line in file.lines.iter().map(|numbered| &numbered.line) {
            let text = line.to_string();
            if !seen.insert(text.clone()) {
                continue;
            }
            let Some(proofs) = by_module.get(&line.module) else {
                report.unproved.push(text);
                continue;
            };
            // Each log that has the module version must agree, not only one of them.
            let other = proofs.iter().find(|one| one.lines.hash(line.kind) != line.hash);
            match other {
                None => report.proved += 1,
                Some(one) => {
                    let proved = GoSumLine { hash: one.lines.hash(line.kind), ..line.clone() };
                    let (log, proved) = (one.signer.to_string(), proved.to_string());
                    report.contradicted.push(Contradiction { line: text, log, proved });
                }
            }
        }
        for OddLine { number, oddity } in &file.odd {
            match oddity {
                Oddity::BadHash { .. } => report.unproved.push(format!("line {number}: {oddity}")),
                oddity => report.unchecked.push(Unchecked { line: *number, why: oddity.to_string() }),
            }
        }
        report
    }
}

impl VerifyOutput {
    fn print(&self, gosum: &Path) -> anyhow::Result<()> {
        let verified = self.files.iter().filter_map(|file| match file {
            VerifiedFile::Verified(verified) => Some(verified),
            VerifiedFile::Refused { .. } => None,
        });
        let rows: Vec<_> = verified
            .map(|v| {
                let witnesses: Vec<&str> = v.cosigned.iter().map(|c| c.witness.as_str()).collect();
                let witnesses = if witnesses.is_empty() { "-".to_owned() } else { witnesses.join(" ") };
                [v.module.clone(), v.log.clone(), v.record.to_string(), v.size.to_string(), witnesses]
            })
            .collect();
        let count = rows.len();
        if count > 0 {
            output::print_table(["module", "log", "record", "tree", "cosigned by"], rows)?;
        }
        for file in &self.files {
            if let VerifiedFile::Refused { file, why, .. } = file {
                output::error(&format!("{} does not verify: {why}", file.display()));
            }
        }
        if let Some(GoSumProved { proved, unproved, contradicted, unchecked }) = &self.gosum {
            for Contradiction { line, log, proved } in contradicted {
                output::error(&format!("go.sum contradicts {log}\n  go.sum: {line}\n  proved: {proved}"));
            }
            for line in unproved {
                output::error(&format!("no file proves {line}"));
            }
            for Unchecked { line, why } in unchecked {
                output::warning(&format!("{}:{line} is not checked: {why}", gosum.display()));
            }
            let lines = proved + unproved.len() + contradicted.len() + unchecked.len();
            let apart = match unchecked.len() {
                0 => String::new(),
                1 => ", 1 is not checked".to_owned(),
                many => format!(", {many} are not checked"),
            };
            output::note(&format!("{proved} of {lines} go.sum lines are proved{apart}"));
        }
        output::note(&format!("{count} of {} files verified", self.files.len()));
        Ok(())
    }
}

/// A file of at most so many bytes that was named; it may be a pipe.
pub(super) fn read(path: &Path, max_bytes: u64) -> anyhow::Result<Vec<u8>> {
    files::read_named(path, max_bytes).with_context(|| format!("cannot read {}", path.display()))
}

/// A proof file: named, or found in a directory, where it must be a regular file of that directory.
fn read_proof(path: &Path, found_in: Option<&Path>) -> anyhow::Result<Vec<u8>> {
    const MAX_BYTES: u64 = MAX_TLOG_PROOF_BYTES as u64;
    let Some(root) = found_in else { return read(path, MAX_BYTES) };
    let bytes = files::open_found(root, path).and_then(|file| files::read(file, MAX_BYTES));
    bytes.with_context(|| format!("cannot read {}", path.display()))
}

/// A file to verify.
struct Wanted {
    path: PathBuf,
    /// The directory that was named, canonical, where the file itself was not.
    found_in: Option<Rc<Path>>,
}

/// The files that were named, and those in directories that were.
fn wanted(named: &[PathBuf]) -> anyhow::Result<Vec<Wanted>> {
    let (mut files, mut entries_seen) = (Vec::new(), 0);
    for path in named {
        if !path.is_dir() {
            files.push(Wanted { path: path.clone(), found_in: None });
            continue;
        }
        let root = path.canonicalize().with_context(|| format!("cannot read {}", path.display()))?;
        let (root, before, mut waiting) = (Rc::from(root), files.len(), vec![path.clone()]);
        while let Some(directory) = waiting.pop() {
            let entries = std::fs::read_dir(&directory);
            for entry in entries.with_context(|| format!("cannot read {}", directory.display()))? {
                let entry = entry?;
                entries_seen += 1;
                ensure!(entries_seen <= MAX_ENTRIES, "more than {MAX_ENTRIES} files and directories");
                // Not what a link points to: a directory could come round to itself.
                if entry.file_type()?.is_dir() {
                    waiting.push(entry.path());
                } else if entry.file_name().to_string_lossy().ends_with(TLOG_PROOF_SUFFIX) {
                    files.push(Wanted { path: entry.path(), found_in: Some(Rc::clone(&root)) });
                }
            }
            ensure!(files.len() <= MAX_FILES, "more than {MAX_FILES} files: verify fewer at a time");
        }
        ensure!(files.len() > before, "there are no {TLOG_PROOF_SUFFIX} files in {}", path.display());
        files[before..].sort_by(|a, b| a.path.cmp(&b.path));
    }
    Ok(files)
}
