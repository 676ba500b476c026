//! What an import reads and what it tells.

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::dirhash::H1;
use crate::gosum::LineKind;
use crate::module::ModuleVersion;
use crate::operate::refusal::{Reason, Refusal};
use crate::operate::text;

/// A module version and what go.sum files claim about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClaimedModule {
    /// `path@version`.
    #[serde(with = "text")]
    pub(crate) module: ModuleVersion,
    /// The lines of the files, each once.
    pub(crate) claims: Vec<GoSumClaim>,
}

/// One line of a go.sum file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GoSumClaim {
    /// The file.
    pub(crate) file: String,
    /// The line's number, from 1.
    pub(crate) line: u64,
    /// Whether it is about the zip or the go.mod.
    #[serde(with = "kind")]
    pub(crate) kind: LineKind,
    /// The hash that it claims.
    #[serde(with = "text")]
    pub(crate) hash: H1,
}

/// What an import tells.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(crate) enum ImportEvent {
    /// A module version is done.
    Module(ImportedModule),
    /// So much of a record stream is durable.
    Progress(RecordsDone),
    /// A record of the stream disagrees with the one that stands. It is kept as an incident.
    Conflict(RecordConflict),
    /// The stream holds something that does not belong there. Every record before it is durable.
    Malformed(MalformedLine),
    /// The import ends early, for a reason that is not in the stream.
    Stopped(Refusal),
    /// Everything that was sent is done.
    Done,
}

/// What became of a module version of a go.sum file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ModuleFate {
    /// It is in the log now.
    New,
    /// It was there already.
    Present,
    /// A line of the file is not what the log says.
    Conflict,
    /// Its source does not have it, or there is no route.
    NotFound,
    /// It could not be taken in.
    Failed,
}

/// A module version of a go.sum file that is done.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ImportedModule {
    /// `path@version`.
    #[serde(with = "text")]
    pub(crate) module: ModuleVersion,
    /// What became of it.
    pub(crate) outcome: ModuleFate,
    /// Its record's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) record: Option<u64>,
    /// The claims that are wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) conflicts: Vec<ClaimConflict>,
    /// Why it is not in the log, or why a conflict could not be kept as an incident.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) refusal: Option<Refusal>,
}

/// A line of a go.sum file that is not what the log says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClaimConflict {
    /// The line.
    #[serde(flatten)]
    pub(crate) claim: GoSumClaim,
    /// The hash that stands.
    #[serde(with = "text")]
    pub(crate) standing: H1,
}

/// How far a record stream is committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecordsDone {
    /// Bytes of the stream.
    pub(crate) bytes: u64,
    /// Records that are new.
    pub(crate) new: u64,
    /// Records that were there already.
    pub(crate) present: u64,
    /// Records that disagree with what stands.
    pub(crate) conflicts: u64,
}

impl RecordsDone {
    /// All of them.
    pub(crate) fn records(&self) -> u64 {
        self.new + self.present + self.conflicts
    }
}

/// A record of a stream that disagrees with the one that stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecordConflict {
    /// The number of its first line in the stream, from 1.
    pub(crate) line: u64,
    /// `path@version`.
    #[serde(with = "text")]
    pub(crate) module: ModuleVersion,
    /// The record that stands.
    pub(crate) record: u64,
    /// Its lines.
    pub(crate) standing: Vec<String>,
    /// The lines that were offered.
    pub(crate) offered: Vec<String>,
}

/// What is wrong with a stream, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct MalformedLine {
    /// The line, from 1.
    pub line: u64,
    /// What is wrong.
    pub why: String,
}

/// Where an import tells what becomes of its input.
pub(super) struct Events(pub(super) mpsc::Sender<ImportEvent>);

/// Nobody listens any more.
pub(super) struct Gone;

impl Events {
    /// Tells one thing, and waits while the listener is behind.
    pub(super) async fn tell(&self, event: ImportEvent) -> Result<(), Gone> {
        self.0.send(event).await.map_err(|_| Gone)
    }
}

/// Returns the last event of an import in a process that stops.
pub(super) fn stopping() -> ImportEvent {
    ImportEvent::Stopped(Refusal::new(Reason::Unavailable, "the server is being stopped"))
}

/// `zip` or `go.mod`.
mod kind {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::gosum::LineKind;

    pub(super) fn serialize<S: Serializer>(kind: &LineKind, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match kind {
            LineKind::Zip => "zip",
            LineKind::GoMod => "go.mod",
        })
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<LineKind, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "zip" => Ok(LineKind::Zip),
            "go.mod" => Ok(LineKind::GoMod),
            other => Err(D::Error::custom(format!("unknown kind of line {other:?}"))),
        }
    }
}
