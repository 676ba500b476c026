//! What the control protocol carries, as JSON; the same types on both sides.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::dirhash::H1;
use crate::gosum::LineKind;
use crate::log::AppendError;
use crate::module::ModuleVersion;
use crate::notary::NotaryError;
use crate::store::evidence::StoredEvidence;
use crate::store::{Evidence, Identity, StoreError, StoredHead, StoredRecord};
use crate::tlog::Hash;

/// Types whose text form is their only form.
mod text {
    use super::*;
    use serde::{Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(
        value: &impl fmt::Display,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>, T>(deserializer: D) -> Result<T, D::Error>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Asks about one module version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleRequest {
    /// `path@version`.
    #[serde(with = "text")]
    pub module: ModuleVersion,
}

/// What the log says about one module version.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LookupAnswer {
    /// `path@version`.
    #[serde(with = "text")]
    pub module: ModuleVersion,
    /// Its record; null when the log does not have it. Not flattened: that would lose the origin in the evidence, whose
    /// JSON is kept as it is.
    pub found: Option<FoundRecord>,
    /// Whether this request brought it in.
    pub appended: bool,
    /// The log that was asked.
    pub log: LogName,
    /// The newest head, under which all of this is true.
    pub head: Head,
}

/// A record with everything that is kept about it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FoundRecord {
    /// Its number.
    pub record: u64,
    /// Its go.sum lines, without line ends.
    pub lines: Vec<String>,
    /// Its leaf hash, base64.
    #[serde(with = "text")]
    pub hash: Hash,
    /// When it was committed.
    pub appended_at: Timestamp,
    /// Why it is in the log.
    pub evidence: Evidence,
}

/// Which log.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LogName {
    /// The name that clients know it by.
    pub name: String,
    /// Its verifier key.
    pub verifier: String,
}

impl LogName {
    /// The name in a log's identity.
    pub fn new(identity: &Identity) -> LogName {
        LogName { name: identity.name.clone(), verifier: identity.vkey.clone() }
    }
}

/// A published head.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Head {
    /// Records in the tree.
    pub size: u64,
    /// Its root hash, base64.
    #[serde(with = "text")]
    pub root: Hash,
    /// When it was signed.
    pub signed_at: Timestamp,
    /// The signed note.
    pub note: String,
}

impl LookupAnswer {
    /// An answer from what a store holds.
    pub fn new(
        identity: &Identity,
        module: ModuleVersion,
        head: &StoredHead,
        found: Option<(StoredRecord, StoredEvidence)>,
        appended: bool,
    ) -> LookupAnswer {
        let found = found.map(|(StoredRecord { id, lines }, StoredEvidence { appended_at, evidence })| {
            let text = lines.to_text();
            FoundRecord {
                record: id.0,
                lines: text.lines().map(str::to_owned).collect(),
                hash: Hash::of_record(text.as_bytes()),
                appended_at,
                evidence,
            }
        });
        let head = Head {
            size: head.tree.size.0,
            root: head.tree.root,
            signed_at: head.signed_at,
            note: head.note.clone(),
        };
        LookupAnswer { module, found, appended, log: LogName::new(identity), head }
    }
}

/// The proofs of a module version.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProveAnswer {
    /// `path@version`.
    #[serde(with = "text")]
    pub module: ModuleVersion,
    /// The own log's first, then that of the log from which the lines were taken.
    pub files: Vec<ProofFile>,
    /// Why there is none of the log from which the lines were taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

/// A proof as a file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProofFile {
    /// The log's name.
    pub log: String,
    /// The record's number there.
    pub record: u64,
    /// The size of the tree under which it is proved.
    pub size: u64,
    /// What belongs into the file.
    pub file: String,
}

/// A module version and what go.sum files claim about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleClaims {
    /// `path@version`.
    #[serde(with = "text")]
    pub module: ModuleVersion,
    /// The lines of the files, each once.
    pub claims: Vec<Claim>,
}

/// One line of a go.sum file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The file.
    pub file: String,
    /// The line's number, from 1.
    pub line: u64,
    /// Whether it is about the zip or the go.mod.
    #[serde(with = "kind")]
    pub kind: LineKind,
    /// What it says.
    #[serde(with = "text")]
    pub hash: H1,
}

mod kind {
    use super::*;
    use serde::{Deserializer, Serializer, de::Error};

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

/// What an import tells, one a line.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// A module version is done.
    Module(ModuleOutcome),
    /// So much of a record stream is durable.
    Progress(Committed),
    /// A record of the stream disagrees with the one that stands. It is kept as an incident.
    Conflict(RecordConflict),
    /// The stream holds something that is no record. Everything before it is durable.
    Malformed(Malformation),
    /// The import ends early, for a reason that is not in the stream.
    Stopped(Refusal),
    /// Everything that was sent is done.
    Done,
}

impl Event {
    /// Whether nothing follows.
    pub fn is_last(&self) -> bool {
        matches!(self, Event::Malformed(_) | Event::Stopped(_) | Event::Done)
    }
}

/// How a module version of a go.sum file fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
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
pub struct ModuleOutcome {
    /// `path@version`.
    #[serde(with = "text")]
    pub module: ModuleVersion,
    /// How it fared.
    pub outcome: Outcome,
    /// Its record's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<u64>,
    /// The claims that are wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conflicts: Vec<ClaimConflict>,
    /// Why it is not in the log, or why a conflict could not be kept as an incident.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
}

/// A line of a go.sum file that is not what the log says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimConflict {
    /// The line.
    #[serde(flatten)]
    pub claim: Claim,
    /// The hash that stands.
    #[serde(with = "text")]
    pub standing: H1,
}

/// How far a record stream is committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    /// Bytes of the stream.
    pub bytes: u64,
    /// Records that are new.
    pub new: u64,
    /// Records that were there already.
    pub present: u64,
    /// Records that disagree with what stands.
    pub conflicts: u64,
}

impl Committed {
    /// All of them.
    pub fn records(&self) -> u64 {
        self.new + self.present + self.conflicts
    }
}

/// A record of a stream that disagrees with the one that stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordConflict {
    /// The number of its first line in the stream, from 1.
    pub line: u64,
    /// `path@version`.
    #[serde(with = "text")]
    pub module: ModuleVersion,
    /// The record that stands.
    pub record: u64,
    /// Its lines.
    pub standing: Vec<String>,
    /// The lines that were offered.
    pub offered: Vec<String>,
}

/// What is wrong with a stream, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Malformation {
    /// The line, from 1.
    pub line: u64,
    /// What is wrong.
    pub why: String,
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What kind of reason it is.
    pub reason: Reason,
    /// In words, for the operator.
    pub why: String,
}

/// The kinds of reasons, as far as somebody acts differently on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The source does not have it, or there is no route.
    NotFound,
    /// It may work later.
    Unavailable,
    /// A person must look: a conflict, a log that contradicts itself, a damaged row.
    Alarming,
    /// Something must be changed first.
    Failed,
    /// Somebody else is at it.
    Busy,
    /// What was asked for is not there to be asked for.
    Usage,
}

impl From<&NotaryError> for Refusal {
    fn from(error: &NotaryError) -> Refusal {
        let reason = match error {
            NotaryError::NoRoute { .. } | NotaryError::NotFound { .. } => Reason::NotFound,
            NotaryError::TryLater { .. } => Reason::Unavailable,
            NotaryError::Conflict(_) | NotaryError::Misbehaviour { .. } => Reason::Alarming,
            NotaryError::Forbidden { .. }
            | NotaryError::Withheld { .. }
            | NotaryError::ReadOnly { .. }
            | NotaryError::Refused { .. }
            | NotaryError::Internal { .. } => Reason::Failed,
        };
        Refusal { reason, why: error.to_string() }
    }
}

impl From<&AppendError> for Refusal {
    fn from(error: &AppendError) -> Refusal {
        Refusal { reason: Reason::Failed, why: error.to_string() }
    }
}

impl From<&StoreError> for Refusal {
    fn from(error: &StoreError) -> Refusal {
        let reason = match error {
            StoreError::Damaged { .. } => Reason::Alarming,
            error if error.is_transient() => Reason::Unavailable,
            _ => Reason::Failed,
        };
        Refusal { reason, why: error.to_string() }
    }
}
