//! A full, independent check of a checksum database, of whatever make: from what its server serves to anyone.
//!
//! ```text
//! latest             signed by the known key, no smaller than what was audited before
//! tile/8/data/N      256 records in the form of go.sum lines, both lines of one module version
//! tile/8/0/N         is their hashes, one by one
//! tile/8/1/N, …      is the roots of the tiles below, up to the root that was signed
//! api/v1/heads       every head that the server says it published: signed, of this tree
//! lookup/…           some records, asked for as the go command does, are those of the tiles
//! all names          no module version twice
//! ```
//!
//! Where nobody gives all records, [`audit_lines`] does as much for the records of one go.sum.
//!
//! Nothing that the server says is used to check what it says: hashes are computed from the records alone, in order, and held
//! against every tile. So a fault is found whichever of two tiles is wrong, and the audit goes on after it.
//!
//! What was audited is remembered in a directory: the unfinished tiles at its right edge, the faults, and sixteen bytes for each
//! name. An audit that is ended goes on where it last wrote that down; one of a log that has grown begins at its old end, and
//! since the hashes go on from the old ones, the new head is shown to be of the same tree.
//!
//! Architecture invariant: nothing of [`crate::store`] or of the engines that write to it is used here. An audit that shared code
//! with what it audits would share its faults.

mod block;
mod finding;
mod heads;
mod names;
mod read;
mod rows;
mod sample;
mod state;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::task::JoinHandle;

pub use finding::{AuditFinding, Findings, Subject};
pub(crate) use read::LookedUp;
pub use read::Target;
pub(crate) use sample::in_order;
pub use sample::{MAX_MODULES, audit_lines};

use crate::crew::Crew;
use crate::note::{self, VerifierKey};
use crate::tlog::{Hash, TILE_WIDTH, Tile, TreeHead, TreeSize};
use crate::upstream::Fix;
use block::Block;
use heads::Expected;
use names::Names;
use rows::Rows;
use state::{SavedAudit, StateFile};

/// Data tiles between two times that the state is written down: some seconds of work.
const TILES_BETWEEN_SAVES: u64 = 2_048;
/// Look-ups of an audit, spread over the log.
const LOOKUPS: u64 = 64;

/// What is audited, and how.
#[derive(Debug)]
pub struct AuditOptions {
    /// Where it is.
    pub target: Target,
    /// Whose signature counts.
    pub key: VerifierKey,
    /// Heads that somebody kept: signed notes, with where they are from. Each must be of the log's tree.
    pub known: Vec<(String, Vec<u8>)>,
    /// Data tiles in flight at once.
    pub jobs: usize,
    /// Whether records are looked up as well.
    pub lookups: bool,
    /// Where the state is kept.
    pub state: PathBuf,
}

/// How far an audit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditProgress {
    /// Records that were audited before this run.
    pub from: u64,
    /// Records that are audited.
    pub done: u64,
    /// Records of the log.
    pub total: u64,
}

/// What an audit has found.
#[derive(Debug, serde::Serialize)]
pub struct AuditReport {
    /// The log's name.
    pub log: String,
    /// Where it was read.
    pub url: String,
    /// Records that were audited before.
    pub from: u64,
    /// Records under the head.
    pub size: u64,
    /// The signed root, in base64.
    pub root: String,
    /// Records that were read.
    pub records: u64,
    /// Data tiles that were read.
    pub data_tiles: u64,
    /// Hash tiles that were compared.
    pub hash_tiles: u64,
    /// Heads that were compared.
    pub heads: u64,
    /// Look-ups that were compared.
    pub lookups: u64,
    /// What could not be checked here, and why.
    pub skipped: Vec<String>,
    /// The faults: none of a log that is what it should be.
    #[serde(flatten)]
    pub findings: Findings,
}

/// Why an audit could not be brought to its end. What was audited is kept, and the next one goes on there.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The log is not reached, or does not give what it must.
    #[error("{path} cannot be read: {why}")]
    Unreadable {
        /// What was asked for.
        path: String,
        /// What was said.
        why: String,
        /// Whether it may work later by itself.
        may_pass: bool,
        /// What a person can do about it.
        fix: Option<Fix>,
    },
    /// No URL gives data tiles, as proxies that pass only what the `go` command asks for.
    #[error("{url} does not give data tiles: {why}")]
    NoDataTiles {
        /// The log's URL.
        url: String,
        /// What was said.
        why: String,
    },
    /// The newest head is no head of this log: not signed by the key, or no tree head.
    #[error("the newest head is not one of {log}: {why}")]
    Head {
        /// The log's name.
        log: String,
        /// What is wrong with it.
        why: String,
    },
    /// The newest head that is shown is older than what was audited: a cache that is behind, or a log that was set back.
    #[error(
        "the newest head shown has {}, and {audited} {} audited before",
        TreeSize(*.shown).records(),
        if *.audited == 1 { "was" } else { "were" }
    )]
    Older {
        /// Size of the head.
        shown: u64,
        /// Size that was audited.
        audited: u64,
    },
    /// The directory of the state.
    #[error("{path}: {why}")]
    State {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// More than are looked up in one audit.
    #[error("{modules} module versions are more than the {MAX_MODULES} of one audit: divide the file")]
    TooMany {
        /// How many there are.
        modules: usize,
    },
    /// Another audit has this directory.
    #[error("an audit with the state {path} is running")]
    Running {
        /// The directory.
        path: String,
    },
    /// Records cannot be told apart in a data tile, so nothing after it can be computed.
    #[error("data tile {path} cannot be taken apart: {why}")]
    Broken {
        /// The tile.
        path: String,
        /// What is wrong with it.
        why: String,
    },
}

/// Audits a log. `progress` is told after each data tile.
pub async fn audit(
    options: AuditOptions,
    progress: impl Fn(AuditProgress),
) -> Result<AuditReport, AuditError> {
    let AuditOptions { target, key, known, jobs, lookups, state } = options;
    let (note, head) = newest(&target, &key).await?;
    let (file, kept) = StateFile::open(&state, &key)?;
    if head.size.0 < kept.rows.size() {
        return Err(AuditError::Older { shown: head.size.0, audited: kept.rows.size() });
    }
    let from = kept.rows.size();
    let mut audit = Audit {
        names: Names::open(&state, kept.names, from)?,
        rows: kept.rows,
        findings: kept.findings,
        counts: Counts::default(),
        expected: Expected::default(),
        skipped: Vec::new(),
        sample: Vec::new(),
        target: Arc::new(target),
        crew: Arc::new(Crew::new()),
        key,
        head,
        note: note.clone(),
        file,
    };
    if let Some(note) = kept.head {
        audit.expected.open(
            "the head audited before".to_owned(),
            note.into_bytes(),
            &audit.key,
            &mut audit.findings,
        );
    }
    audit.expect(note, known).await?;
    audit.run(from, jobs.max(1), progress).await?;
    if lookups {
        audit.look_up().await?;
    } else {
        audit.skipped.push("look-ups: not wanted".to_owned());
    }
    audit.compare_names().await?;
    Ok(audit.report(from))
}

async fn newest(target: &Target, key: &VerifierKey) -> Result<(Vec<u8>, TreeHead), AuditError> {
    let note = target.latest().await?;
    let refused = |why: String| AuditError::Head { log: key.name().to_string(), why };
    let opened = note::open(&note, &[key]).map_err(|error| refused(error.to_string()))?;
    let head = TreeHead::parse(&opened.text).map_err(|error| refused(error.to_string()))?;
    Ok((note, head))
}

#[derive(Default)]
struct Counts {
    data_tiles: u64,
    hash_tiles: u64,
    heads: u64,
    lookups: u64,
}

/// An audit under way.
struct Audit {
    target: Arc<Target>,
    crew: Arc<Crew>,
    key: VerifierKey,
    head: TreeHead,
    note: Vec<u8>,
    file: StateFile,
    /// What follows from the records so far.
    rows: Rows,
    names: Names,
    findings: Findings,
    /// Heads whose size is not reached yet.
    expected: Expected,
    counts: Counts,
    skipped: Vec<String>,
    /// Records that are looked up at the end: number and text.
    sample: Vec<(u64, String)>,
}

/// Work that ends when nobody waits for it any more.
struct Ahead<T>(JoinHandle<Result<T, AuditError>>);

impl<T> Drop for Ahead<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Audit {
    /// Gathers the heads that the tree must have: the newest, those that somebody kept, those that the server lists.
    async fn expect(&mut self, newest: Vec<u8>, known: Vec<(String, Vec<u8>)>) -> Result<(), AuditError> {
        let (from, to) = (self.rows.size(), self.head.size.0);
        self.expected.add("latest".to_owned(), self.head, newest);
        for (origin, note) in known {
            self.expected.open(origin, note, &self.key, &mut self.findings);
        }
        match self.target.published(from, to).await? {
            Ok(listed) => {
                for (origin, note) in listed {
                    self.expected.open(origin, note, &self.key, &mut self.findings);
                }
            }
            Err(why) => self.skipped.push(why),
        }
        let beyond = self.expected.outside(from, to);
        self.skipped.extend(beyond);
        Ok(())
    }

    /// Goes through the records from `from` on, several tiles in flight, in order.
    async fn run(
        &mut self,
        from: u64,
        jobs: usize,
        progress: impl Fn(AuditProgress),
    ) -> Result<(), AuditError> {
        let total = self.head.size.0;
        let mut next = from / TILE_WIDTH;
        let mut ahead: VecDeque<Ahead<Block>> = VecDeque::new();
        self.compare_heads(&[]);
        while next * TILE_WIDTH < total || !ahead.is_empty() {
            while ahead.len() < jobs && next * TILE_WIDTH < total {
                let width = (total - next * TILE_WIDTH).min(TILE_WIDTH) as u32;
                let (target, crew, key) = (self.target.clone(), self.crew.clone(), self.names.key());
                ahead.push_back(Ahead(tokio::spawn(read::block(target, crew, next, width, key, total))));
                next += 1;
            }
            let mut first = ahead.pop_front().expect("a tile is left");
            let block = (&mut first.0).await.expect("a block's task neither panics nor is aborted")?;
            self.take(block).await?;
            let done = self.rows.size() + self.rows.rest().len() as u64;
            progress(AuditProgress { from, done, total });
        }
        self.finish_rows().await
    }

    /// Takes in the next block.
    async fn take(&mut self, block: Block) -> Result<(), AuditError> {
        self.counts.data_tiles += 1;
        self.counts.hash_tiles += 1;
        self.findings.extend(block.findings);
        self.sample.extend(block.sample);
        self.compare_heads(&block.leaves);
        let first = self.rows.size();
        let is_full = block.leaves.len() as u64 == TILE_WIDTH;
        self.names.add(first, &block.names, is_full)?;
        if !is_full {
            self.rows.end_with(block.leaves);
            return Ok(());
        }
        for tile in self.rows.push(&block.leaves) {
            self.compare_tile(tile).await?;
        }
        if (self.rows.size() / TILE_WIDTH).is_multiple_of(TILES_BETWEEN_SAVES) {
            self.save(None)?;
        }
        Ok(())
    }

    /// Compares the unfinished tiles on the right, and writes the state.
    async fn finish_rows(&mut self) -> Result<(), AuditError> {
        for tile in self.rows.unfinished() {
            self.compare_tile(tile).await?;
        }
        self.save(Some(String::from_utf8_lossy(&self.note).into_owned()))
    }

    /// Holds a tile that was computed against the one that is served.
    async fn compare_tile(&mut self, (tile, computed): (Tile, Vec<u8>)) -> Result<(), AuditError> {
        let served = self.target.tile(&tile).await?;
        self.counts.hash_tiles += 1;
        if let Some(finding) = finding::of_tile(&tile, &served, &computed) {
            self.findings.push(finding);
        }
        Ok(())
    }

    /// Compares the heads within the next block, whose leaves these are.
    fn compare_heads(&mut self, leaves: &[Hash]) {
        let first = self.rows.size();
        for head in self.expected.up_to(first + leaves.len() as u64) {
            self.counts.heads += 1;
            let root = self.rows.root(&leaves[..(head.tree.size.0 - first) as usize]);
            if root != head.tree.root {
                self.findings.push(head.is_not_of(root));
            }
        }
    }

    fn save(&mut self, head: Option<String>) -> Result<(), AuditError> {
        self.names.sync()?;
        self.file.save(&SavedAudit {
            rows: self.rows.clone(),
            names: self.names.key(),
            findings: self.findings.clone(),
            head,
        })
    }

    /// Looks up records as the `go` command does.
    async fn look_up(&mut self) -> Result<(), AuditError> {
        for (id, text) in std::mem::take(&mut self.sample) {
            match self.target.lookup(&text).await? {
                Ok(Some(answer)) => {
                    self.counts.lookups += 1;
                    let keys = [&self.key];
                    self.findings.extend(finding::of_lookup(id, &text, &answer, &keys));
                }
                Ok(None) => {}
                Err(why) => {
                    self.skipped.push(why);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Finds module versions that are there twice.
    async fn compare_names(&mut self) -> Result<(), AuditError> {
        for (first, second) in self.names.twins(&self.crew).await? {
            let (one, other) = (
                self.target.record(first, self.head.size).await?,
                self.target.record(second, self.head.size).await?,
            );
            // Two names may have one hash; once in a very large log.
            if let Some(finding) = finding::of_twins((first, &one), (second, &other)) {
                self.findings.push(finding);
            }
        }
        Ok(())
    }

    fn report(self, from: u64) -> AuditReport {
        let Counts { data_tiles, hash_tiles, heads, lookups } = self.counts;
        let mut findings = self.findings;
        findings.sort();
        AuditReport {
            log: self.key.name().to_string(),
            url: self.target.shown(),
            from,
            size: self.head.size.0,
            root: self.head.root.to_string(),
            records: self.head.size.0 - from,
            data_tiles,
            hash_tiles,
            heads,
            lookups,
            skipped: self.skipped,
            findings,
        }
    }
}

/// Whether a record is one of those that are looked up.
fn is_sampled(id: u64, total: u64) -> bool {
    let step = (total / LOOKUPS).max(1);
    id.is_multiple_of(step) && id / step < LOOKUPS || id + 1 == total
}
