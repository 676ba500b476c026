//! What is wrong with a log: found by an audit, told with its place.

use serde::{Deserialize, Serialize};

use crate::gosum::ModuleLines;
use crate::note::{self, VerifierKey};
use crate::tlog::{HASH_SIZE, Hash, Tile, TreeHead, parse_record};

/// Faults that are kept; of more only their number. A log of which everything is wrong is no reason to run out of memory.
const MAX_KEPT: usize = 1_000;

/// What part of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    /// Signed heads: of another tree, or not signed.
    Heads,
    /// The records themselves: not two go.sum lines of one module version.
    Records,
    /// Hash tiles that do not follow from the records.
    Tiles,
    /// Answers to look-ups.
    Lookups,
    /// A module version that is there twice.
    Names,
}

impl Subject {
    /// All of them, as a report has them.
    pub const ALL: [Subject; 5] =
        [Subject::Heads, Subject::Records, Subject::Tiles, Subject::Lookups, Subject::Names];

    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Subject::Heads => "heads",
            Subject::Records => "records",
            Subject::Tiles => "tiles",
            Subject::Lookups => "lookups",
            Subject::Names => "names",
        }
    }
}

/// A fault.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AuditFinding {
    /// What part of the log.
    pub subject: Subject,
    /// Where: a tile, a record, a head.
    pub place: String,
    /// What is wrong there.
    pub what: String,
}

/// The faults of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    /// The first thousand.
    pub findings: Vec<AuditFinding>,
    /// How many more there are.
    pub more_findings: u64,
}

impl AuditFinding {
    pub(super) fn new(subject: Subject, place: String, what: String) -> AuditFinding {
        AuditFinding { subject, place, what }
    }
}

impl Findings {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.findings.is_empty()
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.findings.len() as u64 + self.more_findings
    }

    pub(super) fn push(&mut self, finding: AuditFinding) {
        if self.findings.len() >= MAX_KEPT {
            self.more_findings += 1;
        } else if !self.findings.contains(&finding) {
            // Else it was found again by an audit that began before it.
            self.findings.push(finding);
        }
    }

    pub(super) fn extend(&mut self, findings: impl IntoIterator<Item = AuditFinding>) {
        findings.into_iter().for_each(|finding| self.push(finding));
    }

    pub(super) fn sort(&mut self) {
        self.findings.sort();
    }
}

/// What is wrong with a tile as it is served.
pub(super) fn of_tile(tile: &Tile, served: &[u8], computed: &[u8]) -> Option<AuditFinding> {
    if served == computed {
        return None;
    }
    let what = if served.len() != computed.len() {
        format!("it has {} bytes, not {}", served.len(), computed.len())
    } else {
        let (served, computed) = (served.chunks(HASH_SIZE), computed.chunks(HASH_SIZE));
        let pairs = served.zip(computed).enumerate();
        let (at, (served, computed)) =
            pairs.clone().find(|(_, (one, other))| one != other).expect("tiles that differ");
        let count = pairs.filter(|(_, (one, other))| one != other).count();
        let hash = |bytes| Hash::from_slice(bytes).map_or_else(String::new, |hash| hash.to_string());
        format!(
            "{count} of its hashes do not follow from the records: hash {at} is {}, the records give {}",
            hash(served),
            hash(computed)
        )
    };
    Some(AuditFinding::new(Subject::Tiles, tile.path(), what))
}

/// What is wrong with the answer to a look-up of a record.
pub(super) fn of_lookup(id: u64, text: &str, answer: &[u8], keys: &[&VerifierKey]) -> Option<AuditFinding> {
    let wrong = |what: String| {
        let name = ModuleLines::parse(text).map_or_else(|_| String::new(), |lines| lines.module.to_string());
        Some(AuditFinding::new(Subject::Lookups, format!("lookup of {name}, record {id}"), what))
    };
    let (number, lines, head) = match parse_record(answer) {
        Ok(parts) => parts,
        Err(error) => return wrong(error.to_string()),
    };
    if lines != text.as_bytes() {
        return wrong(format!("its lines are {:?}", String::from_utf8_lossy(lines)));
    }
    let opened = match note::open(head, keys) {
        Ok(opened) => opened,
        Err(error) => return wrong(format!("its head: {error}")),
    };
    match TreeHead::parse(&opened.text) {
        Err(error) => wrong(format!("its head: {error}")),
        Ok(tree) if tree.size.0 <= number.0 => {
            wrong(format!("record {number} under a head of {}", tree.size))
        }
        // The other of two records of one name is told of as such.
        Ok(_) if number.0 != id => wrong(format!("it is said to be record {number}")),
        Ok(_) => None,
    }
}

/// Whether two records are of one module version.
pub(super) fn of_twins((first, one): (u64, &str), (second, other): (u64, &str)) -> Option<AuditFinding> {
    let (one, other) = (ModuleLines::parse(one).ok()?, ModuleLines::parse(other).ok()?);
    if one.module != other.module {
        return None;
    }
    let lines = if one == other { "the same lines" } else { "OTHER LINES" };
    let what = format!("records {first} and {second} are both of it, with {lines}");
    Some(AuditFinding::new(Subject::Names, one.module.to_string(), what))
}
