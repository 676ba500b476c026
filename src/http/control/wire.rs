//! What the control protocol carries, as JSON; the same types on both sides. What stands inside an
//! answer is a type of [`operate`](crate::operate), whose serde form is its form here.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::module::ModuleVersion;
use crate::operate::{
    CompareCounts, Disagreeing, ExportAnswer, ImportAnswer, PathCounts, Refusal, RunStatus, StatsAnswer,
    SyncAnswer, WorkProgress, text,
};

/// Asks about one module version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ModuleRequest {
    /// `path@version`.
    #[serde(with = "text")]
    pub(super) module: ModuleVersion,
}

/// Asks about all mirrors, about the own log, or where the server listens.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct StatusRequest {}

/// Asks to bring a mirror up to date.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct SyncRequest {
    /// The log's name.
    pub(super) log: String,
}

/// Asks to end the stop of a mirror.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ResumeRequest {
    /// The log's name.
    pub(super) log: String,
    /// The incident that a person has looked at.
    pub(super) incident: u64,
}

/// The figures of all mirrors, in the text format of Prometheus.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct FiguresAnswer {
    /// The text.
    pub(super) text: String,
}

/// An event while a mirror is brought up to date. The last is one of `Done` and `Refused`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum SyncEvent {
    /// It is replicating.
    Running(RunStatus),
    /// It is up to date.
    Done(SyncAnswer),
    /// It is not.
    Refused(Refusal),
}

/// Asks for work on a full mirror.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum WorkRequest {
    /// Write a static checksum database.
    Export {
        /// The log's name.
        log: String,
        /// A directory, or a file that ends in `.tar.zst`.
        to: PathBuf,
        /// Only what is new since this size.
        from: Option<u64>,
    },
    /// Take a static checksum database in.
    Import {
        /// The log's name.
        log: String,
        /// A directory, a file that ends in `.tar.zst`, or a URL.
        source: String,
    },
    /// Compute everything again that is stored.
    Verify {
        /// The log's name.
        log: String,
    },
    /// Count.
    Stats {
        /// The log's name.
        log: String,
    },
    /// Compare with the own log.
    Diff {
        /// The log's name.
        log: String,
        /// Only paths that match this list, as in GOPRIVATE.
        modules: Option<String>,
    },
}

/// An event while work is done. The last is one of `Done` and `Refused`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum WorkEvent {
    /// It goes on.
    Progress(WorkProgress),
    /// A part of the answer.
    Part(Part),
    /// It is done.
    Done(WorkAnswer),
    /// It was not done.
    Refused(Refusal),
}

/// A part of an answer that is too long for one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Part {
    /// Something that is wrong with what is stored.
    Finding {
        /// Where.
        place: String,
        /// What does not fit.
        why: String,
    },
    /// What both logs have of a module path.
    Path(PathCounts),
    /// A module version of which they have other lines.
    Disagreement(Disagreeing),
}

/// The answer, without its parts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum WorkAnswer {
    /// What was written.
    Export(ExportAnswer),
    /// What was taken in.
    Import(ImportAnswer),
    /// What was looked at. The findings are parts.
    Verify {
        /// Records that were read, hashed and looked up.
        records: u64,
        /// Heads whose signature and root were compared.
        heads: u64,
        /// How many findings are not listed.
        unlisted: u64,
    },
    /// What was counted.
    Stats(StatsAnswer),
    /// What was compared. Paths and disagreements are parts.
    Diff(CompareCounts),
}

/// An answer and its parts.
pub(super) type Worked = (WorkAnswer, Vec<Part>);
