//! Logs and stores full of made-up records.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use tallystick::clock::Clock;
use tallystick::dirhash::H1;
use tallystick::gosum::ModuleLines;
use tallystick::log::{Candidate, Conditions, Log, LogOpenError, SettleError, Settled, settle_anchor};
use tallystick::module::ModuleVersion;
use tallystick::note::{self, KeyName, SignerKey};
use tallystick::store::anchor::FileAnchor;
use tallystick::store::lock::DirectoryLock;
use tallystick::store::sqlite::{self, DATABASE_FILE, SqliteReader};
use tallystick::store::{
    Batch, Complete, Evidence, Identity, Incident, LogReader, LogStore, NewRecord, StoreError, StoredHead,
};
use tallystick::tlog::{Hash, TreeHead, TreeSize};

use super::tree::Tree;

/// The key of the log under test. The same one every time.
pub(crate) fn signer() -> SignerKey {
    signer_of(1)
}

/// A key by number.
pub(crate) fn signer_of(number: u8) -> SignerKey {
    SignerKey::generate("sum.corp.example".parse::<KeyName>().unwrap(), [number; 32])
}

pub(crate) fn identity_of(signer: &SignerKey) -> Identity {
    Identity {
        name: signer.name().to_string(),
        vkey: signer.verifier().to_string(),
        created_at: start_time(),
    }
}

pub(crate) fn start_time() -> Timestamp {
    "2026-11-21T13:00:00Z".parse().unwrap()
}

pub(crate) fn clock() -> Clock {
    Clock::fixed(start_time())
}

/// The module version of record `i`: several versions share a path, as in life.
pub(crate) fn module(i: u64) -> ModuleVersion {
    let path = format!("corp.example/Team{}/module-{}", i % 7, i / 5);
    ModuleVersion::from_parts(&path, &format!("v1.{}.{}", i % 5, i / 1000)).unwrap()
}

/// The lines of record `i`.
pub(crate) fn lines(i: u64) -> ModuleLines {
    lines_with(i, 0)
}

/// Lines for the same module version with other hashes for each `variant`.
pub(crate) fn lines_with(i: u64, variant: u64) -> ModuleLines {
    let hash =
        |what: &str| H1::from_bytes(*Hash::of_record(format!("{what} {i} {variant}").as_bytes()).as_bytes());
    ModuleLines { module: module(i), zip: hash("zip"), go_mod: hash("go.mod") }
}

pub(crate) fn leaf(i: u64) -> Hash {
    Hash::of_record(lines(i).to_text().as_bytes())
}

pub(crate) fn imported() -> Arc<Evidence> {
    Arc::new(Evidence::Imported { importer: "a test".to_owned() })
}

pub(crate) fn candidate(i: u64) -> Candidate {
    Candidate::new(lines(i), imported())
}

pub(crate) fn candidates(ids: Range<u64>) -> Vec<Candidate> {
    let evidence = imported();
    ids.map(|i| Candidate::new(lines(i), evidence.clone())).collect()
}

/// A log in `directory`, with its anchor beside it.
pub(crate) fn open_log(directory: &Path) -> Result<Log, LogOpenError> {
    open_log_with(directory, &directory.join("anchor.db"), vec![signer()])
}

pub(crate) fn open_log_with(
    directory: &Path,
    anchor: &Path,
    signers: Vec<SignerKey>,
) -> Result<Log, LogOpenError> {
    open_log_as(options_of(directory, anchor, signers), Conditions::default())
}

/// Where a log is, who signs it, and what time it is.
pub(crate) struct LogOptions {
    pub(crate) directory: PathBuf,
    pub(crate) anchor: PathBuf,
    pub(crate) signers: Vec<SignerKey>,
    pub(crate) reader_cache_kib: u32,
    pub(crate) clock: Clock,
}

/// Puts a log together as the server does.
pub(crate) fn open_log_as(options: LogOptions, conditions: Conditions) -> Result<Log, LogOpenError> {
    let LogOptions { directory, anchor, signers, reader_cache_kib, clock } = options;
    let identity = signers.first().map(|signer| Identity::of(signer, clock.now()));
    let parts = sqlite::open_log(&directory, &anchor, identity.as_ref(), reader_cache_kib)?;
    Log::open(parts, signers, clock, conditions)
}

/// Settles the anchor of the log in a directory, as the command does.
pub(crate) fn settle(
    directory: &Path,
    anchor: &Path,
    size: TreeSize,
    clock: &Clock,
) -> Result<Settled, SettleError> {
    let lock = DirectoryLock::acquire(directory)?;
    let reader = Arc::new(SqliteReader::open(&directory.join(DATABASE_FILE), 2048)?);
    settle_anchor(&lock, &reader, &FileAnchor::at(anchor), size, clock)
}

pub(crate) fn options_of(directory: &Path, anchor: &Path, signers: Vec<SignerKey>) -> LogOptions {
    LogOptions {
        directory: directory.to_owned(),
        anchor: anchor.to_owned(),
        signers,
        reader_cache_kib: 1024,
        clock: clock(),
    }
}

/// Drives a store as the sequencer does, but trusts its own tree: a store knows positions, not trees.
pub(crate) struct Writer {
    pub(crate) store: Box<dyn LogStore>,
    pub(crate) tree: Tree,
    pub(crate) epoch: u64,
    signer: SignerKey,
}

impl Writer {
    /// Claims the epoch after the last one, and signs the empty tree if nothing is signed yet.
    pub(crate) fn new(mut store: Box<dyn LogStore>) -> Writer {
        let epoch = store.epoch().unwrap() + 1;
        store.claim(epoch).unwrap();
        let mut tree = Tree::default();
        let newest = store.newest().unwrap();
        if let Some(head) = &newest {
            for leaf in store.reader().leaves(0..head.tree.size.0).unwrap() {
                tree.push(leaf);
            }
        }
        let mut writer = Writer { store, tree, epoch, signer: signer() };
        if newest.is_none() {
            let head = writer.sign(writer.tree.head());
            let batch = Batch {
                records: vec![],
                complete: Complete::default(),
                head: Some(head),
                incidents: vec![],
                at: start_time(),
            };
            writer.store.begin(None, epoch).unwrap().commit(&batch).unwrap();
        }
        writer
    }

    pub(crate) fn sign(&self, tree: TreeHead) -> StoredHead {
        let note = note::sign(&tree.format(), &[&self.signer]).unwrap();
        StoredHead { tree, note, signed_at: start_time() }
    }

    pub(crate) fn size(&self) -> u64 {
        self.tree.size()
    }

    pub(crate) fn reader(&self) -> Arc<dyn LogReader> {
        self.store.reader()
    }

    /// The batch that appends the next `count` records, and the tree after it.
    pub(crate) fn batch(&self, count: u64, evidence: &Arc<Evidence>) -> (Batch, Tree) {
        let mut tree = self.tree.clone();
        let batch = fill(&mut tree, count, evidence);
        (Batch { head: (count > 0).then(|| self.sign(tree.head())), ..batch }, tree)
    }

    /// Appends the next `count` made-up records in one commit.
    pub(crate) fn append(&mut self, count: u64) {
        self.append_with(count, &imported());
    }

    pub(crate) fn append_with(&mut self, count: u64, evidence: &Arc<Evidence>) {
        let before = self.tree.head();
        // Grown in place: cloning the tree for every small batch of a large log would be most of the test's time.
        let batch = fill(&mut self.tree, count, evidence);
        let head = (count > 0).then(|| self.sign(self.tree.head()));
        let batch = Batch { head, ..batch };
        self.store.begin(Some(&before), self.epoch).unwrap().commit(&batch).unwrap();
    }

    pub(crate) fn grow_to(&mut self, size: u64) {
        self.append(size - self.size());
    }

    pub(crate) fn report(&mut self, incidents: Vec<Incident>) -> Result<(), StoreError> {
        let batch =
            Batch { records: vec![], complete: Complete::default(), head: None, incidents, at: start_time() };
        self.store.begin(Some(&self.tree.head()), self.epoch)?.commit(&batch)
    }
}

fn fill(tree: &mut Tree, count: u64, evidence: &Arc<Evidence>) -> Batch {
    let (mut records, mut complete) = (Vec::new(), Complete::default());
    for i in tree.size()..tree.size() + count {
        let lines = lines(i);
        let leaf = Hash::of_record(lines.to_text().as_bytes());
        let Complete { tiles, subtrees } = tree.push(leaf);
        complete.tiles.extend(tiles);
        complete.subtrees.extend(subtrees);
        records.push(NewRecord { lines, leaf, evidence: evidence.clone() });
    }
    Batch { records, complete, head: None, incidents: vec![], at: start_time() }
}
