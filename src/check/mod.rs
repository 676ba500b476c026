//! The check of what a build uses against a log: go.sum lines and whatever else names a module
//! version with its hash.
//!
//! Everything that is checked becomes a [`HashClaim`]: a module version, which of its two hashes,
//! the hash, and the place that says so. The files of a project give claims, and so do a module
//! cache, a vendor directory and a program. What cannot become a claim becomes a [`Finding`] at
//! once, so that nothing is passed over in silence.
//!
//! ```text
//! go.sum, go.work.sum ──┐ go_sum, project
//! go mod download -json ┤ download
//! cache/download/…      ┤ modcache             claims ─▶ prove ─▶ findings ─▶ report
//! vendor/modules.txt    ┤ vendor                            │
//! go version -m         ┘ program                           └─ heads: the newest head seen
//! ```
//!
//! | file | what |
//! |---|---|
//! | `prove` | claims proved under one head of the log, which is compared with those seen before |
//! | `heads` | the newest head seen, in a small file |
//! | `error` | why a check has no result |
//! | `report` | what was found, with its place |
//! | `go_sum`, `project` | go.sum files: one, or all of a module or workspace |
//! | `download`, `modcache` | what was downloaded: as `go` tells it, and as it lies in the module cache |
//! | `vendor` | vendored files, against the zips that the log vouches for |
//! | `program` | the modules that Go has built into a program |
//! | `go` | the `go` command, for what only it knows |
//!
//! **Who is asked for what.** A Tallystick server tells under `/api/v1/modules/` whether it has a
//! record, and brings nothing in. Every other checksum database, sum.golang.org among them, has
//! look-ups only, and a look-up of what it does not have makes it fetch and append the module: the
//! caller decides between the two ([`Asking`]).
//!
//! **Order.** The newest head comes first: with a wrong key or an unreachable server nobody is told
//! a name. Then the records, then the newest head again if one of them is beyond it. Every record,
//! and every other head that came along or was kept, is proved from hash tiles up to the root of
//! the largest signed head.

mod download;
mod error;
mod go;
mod go_sum;
mod heads;
mod modcache;
mod program;
mod project;
mod prove;
mod report;
mod vendor;

use crate::dirhash::H1;
use crate::gosum::LineKind;
use crate::module::ModuleVersion;

pub(crate) use download::downloads;
pub(crate) use error::CheckError;
pub(crate) use go::GoFailure;
pub(crate) use go_sum::go_sum;
pub(crate) use heads::HeadMemory;
pub(crate) use modcache::module_cache;
pub(crate) use program::{is_program, program};
pub(crate) use project::project;
pub(crate) use prove::{Asking, CheckOptions, CheckedClaims, check};
pub(crate) use report::{CheckCounts, CheckVerdict, Finding};
pub(crate) use vendor::vendored;

/// Where something stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FilePlace {
    /// The file, as the user named it or as it was found below what the user named.
    pub(crate) file: String,
    /// The line, from 1, where the file has lines.
    pub(crate) line: Option<usize>,
}

/// What a file says about a module version, and the log must say too.
#[derive(Clone, Debug)]
pub(crate) struct HashClaim {
    /// Who says it.
    pub(crate) place: FilePlace,
    /// About which module version.
    pub(crate) module: ModuleVersion,
    /// Which of its two hashes.
    pub(crate) kind: LineKind,
    /// The hash.
    pub(crate) hash: H1,
}

/// What was read: claims for the log, and what is known without it.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    /// What the log is asked about.
    pub(crate) claims: Vec<HashClaim>,
    /// What no log can vouch for, and what is wrong already.
    pub(crate) findings: Vec<Finding>,
    /// What should be known and is no fault.
    pub(crate) notes: Vec<String>,
}

/// Why something that was named cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GatherError {
    /// A file or directory.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// It is not what it was taken for.
    #[error("{path}{line}: {why}\n  fix: {fix}", line = line.map(|line| format!(":{line}")).unwrap_or_default())]
    Malformed {
        /// The file.
        path: String,
        /// The line, if one is to blame.
        line: Option<usize>,
        /// What is wrong with it.
        why: String,
        /// What to do.
        fix: String,
    },
    /// The `go` command, which alone knows it, did not tell.
    #[error(transparent)]
    Go(#[from] GoFailure),
    /// More than one run takes.
    #[error("{what}: more than {most}\n  fix: check fewer at a time")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many are taken.
        most: usize,
    },
}

impl FilePlace {
    pub(crate) fn file(file: impl Into<String>) -> FilePlace {
        FilePlace { file: file.into(), line: None }
    }

    pub(crate) fn line(file: impl Into<String>, line: usize) -> FilePlace {
        FilePlace { file: file.into(), line: Some(line) }
    }
}

impl std::fmt::Display for FilePlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}", self.file),
            None => f.write_str(&self.file),
        }
    }
}

impl GatherError {
    /// Where the fault is, if it has a place.
    pub(crate) fn place(&self) -> Option<FilePlace> {
        match self {
            GatherError::Read { path, .. } => Some(FilePlace::file(path)),
            GatherError::Malformed { path, line, .. } => Some(FilePlace { file: path.clone(), line: *line }),
            GatherError::Go(_) | GatherError::TooMany { .. } => None,
        }
    }
}

impl Gathered {
    /// Adds what was read elsewhere.
    pub(crate) fn append(&mut self, mut other: Gathered) {
        self.claims.append(&mut other.claims);
        self.findings.append(&mut other.findings);
        self.notes.append(&mut other.notes);
    }

    fn claim(&mut self, place: FilePlace, module: &ModuleVersion, kind: LineKind, hash: H1) {
        self.claims.push(HashClaim { place, module: module.clone(), kind, hash });
    }

    fn find(
        &mut self,
        place: FilePlace,
        module: impl Into<Option<String>>,
        verdict: CheckVerdict,
        why: String,
    ) {
        self.findings.push(Finding { place, module: module.into(), verdict, why });
    }
}
