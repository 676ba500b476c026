//! What a monitor tells: one JSON object for an event, the same in the web hook, on stdout and in the state.
//!
//! ```json
//! {"id": 7, "at": "2026-11-21T13:00:00Z", "log": "sum.golang.org", "kind": "module",
//!  "text": "corp.example/billing@v0.4.0 was published: record 71848827 of sum.golang.org",
//!  "module": "corp.example/billing@v0.4.0", "record": 71848827, "lines": ["corp.example/billing v0.4.0 h1:…", "…"],
//!  "tree": {"size": 71848828, "root": "…", "note": "go.sum database tree\n…"}, "hashes": ["…"]}
//! ```
//!
//! Who receives it need not trust the sender: the note is signed by the log, and `hashes` is the inclusion proof of the record
//! whose text is `lines`, each with its newline, in that tree (`tlog.CheckRecord`). A fork carries its `evidence`.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What kind of event it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// A version of a module that is watched was published.
    Module,
    /// A record disagrees with a go.sum line.
    GosumConflict,
    /// A record disagrees with another log.
    LogConflict,
    /// The log has signed two trees.
    Fork,
    /// No new head for longer than allowed.
    Silent,
    /// Nothing could be verified for longer than allowed.
    Lagging,
    /// Records cannot be read, only heads followed.
    HeadsOnly,
    /// What was told before is over.
    Recovered,
}

impl EventKind {
    /// Whether a person must look.
    pub fn is_alarm(self) -> bool {
        matches!(self, EventKind::GosumConflict | EventKind::LogConflict | EventKind::Fork)
    }
}

/// The signed head under which something was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tree {
    /// Its records.
    pub size: u64,
    /// Its root, base64.
    pub root: String,
    /// As the log has signed it.
    pub note: String,
}

/// A record, and what proves it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundRecord {
    /// Path and version.
    pub module: String,
    /// Its number.
    pub record: u64,
    /// Its lines, without line ends.
    pub lines: Vec<String>,
    /// The tree that it is in.
    pub tree: Tree,
    /// The inclusion proof.
    pub hashes: Vec<String>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its number, from 1.
    pub id: u64,
    /// When it was seen.
    pub at: Timestamp,
    /// The log's name.
    pub log: String,
    /// What it is.
    pub kind: EventKind,
    /// In a sentence.
    pub text: String,
    /// The record that it is about.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub found: Option<FoundRecord>,
    /// Both notes of a fork and the proof, or the lines that disagree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = serde_json::to_value(self.kind).ok();
        let kind = kind.as_ref().and_then(|kind| kind.as_str()).unwrap_or("event");
        write!(f, "{:.0} {} {kind}: {}", self.at, self.log, self.text)
    }
}
