//! Import: a replica takes in a static checksum database, from files or from any URL, by way of
//! [`replicate_from`]: nothing is stored that does not follow from a head signed by the log's key.
//!
//! ```text
//! archive ──▶ scratch directory ──▶ directory ──┐
//!                                    URL ───────┴─▶ latest: signed, and of one log with every
//!                                                   head known
//!                                                   data tiles, hash tiles ──▶ verified, window
//!                                                   by window
//! ```
//!
//! An import that is interrupted leaves the verified prefix; the next one, or a sync, goes on
//! there. A signed contradiction between the import and what is known stops the log, as one that is
//! seen on the network does.

use std::cell::Cell;
use std::fs;
use std::io::{self, BufReader};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use tempfile::TempDir;

use super::bundle::{BundleError, DELTA, Delta, LATEST, MAX_DELTA_BYTES, at, tar};
use super::error::SyncError;
use super::progress::{ReplicaProgress, ReplicateOptions, Replicated, Synced};
use super::replicator::Replicator;
use super::windows::replicate_from;
use crate::crew::blocking;
use crate::files;
use crate::mirror::view::{
    Lie, LogVerifier, Misbehavior, NotVerified, RecordsError, RemoteError, RemoteLog, Unproven,
};
use crate::source::{SourceError, SourceUrl};
use crate::store::StoreError;
use crate::store::lock::free_bytes;
use crate::store::remote::SeenHead;
use crate::store::replica::{Replica, ReplicaReader};
use crate::tlog::{
    ConsistencyProof, Hash, HashIndex, TILE_HEIGHT, Tile, TileLevel, TilePlan, TreeSize,
    consistency_proof_indexes, prove_consistency, tree_hash, tree_hash_indexes,
};
use crate::upstream::SumdbAnswer;

/// What an archive must leave of the disk: the replica itself, and the own log, must go on.
const RESERVE_BYTES: u64 = 1 << 30;
/// How many bytes are unpacked between two calls of `progress`.
const UNPACKED_STEP: u64 = 16 << 20;

/// Where an import comes from.
#[derive(Clone, Debug)]
pub enum ImportSource {
    /// A directory with `latest` and `tile/8/…`.
    Directory(PathBuf),
    /// A `.tar.zst` of one.
    Archive(PathBuf),
    /// One that is served.
    Url(SourceUrl),
}

/// How far an import has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportProgress {
    /// Bytes of an archive that are unpacked.
    Unpacked(u64),
    /// Records that are verified and stored.
    Stored(ReplicaProgress),
}

/// Why an import ended before its head. What was stored stays.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// There is nothing to take it into.
    #[error("no full mirror of {log} is kept here\n  fix: set mode = \"full\" in [sumdb.\"{log}\"]")]
    NotFull {
        /// The log.
        log: String,
    },
    /// Somebody else writes to it.
    #[error("{log} is being synced or imported already")]
    Busy {
        /// The log.
        log: String,
    },
    /// The files are not what they should be.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// What is in them does not verify, or the log contradicts itself, or the store fails.
    #[error(transparent)]
    Replicate(#[from] RecordsError),
    /// There is no room, or something else that ends a sync, too.
    #[error(transparent)]
    Sync(SyncError),
    /// A file is not there.
    #[error("it has no {path}: {said}")]
    Missing {
        /// The file.
        path: String,
        /// What was said instead.
        said: String,
    },
    /// The head of the import is older than one that is known, and nothing here compares the two.
    #[error(
        "its head of {} is older than the one of {newest} that is known, and cannot be compared with it: {why}\n  \
         fix: import a newer export, or let `tallystick mirror sync` reach the log first",
        .offered.records()
    )]
    Older {
        /// The size of the import's head.
        offered: TreeSize,
        /// The size of the newest head.
        newest: TreeSize,
        /// Why they are not compared.
        why: RemoteError,
    },
}

impl From<RemoteError> for ImportError {
    fn from(error: RemoteError) -> ImportError {
        ImportError::Replicate(error.into())
    }
}

impl From<SyncError> for ImportError {
    fn from(error: SyncError) -> ImportError {
        match error {
            SyncError::NoDataTiles { path, said, .. } => ImportError::Missing { path, said },
            error => ImportError::Sync(error),
        }
    }
}

impl From<StoreError> for ImportError {
    fn from(error: StoreError) -> ImportError {
        ImportError::Replicate(error.into())
    }
}

impl ImportSource {
    /// What a person wrote: an URL with a scheme, a file whose name ends in `.tar.zst`, or a
    /// directory.
    pub fn parse(text: &str) -> Result<ImportSource, SourceError> {
        if text.contains("://") {
            return SourceUrl::parse(text).map(ImportSource::Url);
        }
        let path = PathBuf::from(text);
        Ok(if text.ends_with(".tar.zst") {
            ImportSource::Archive(path)
        } else {
            ImportSource::Directory(path)
        })
    }
}

impl Replicator {
    /// Takes in a static checksum database. Returns the records before and after.
    pub(in crate::mirror) async fn import(
        &self,
        source: &ImportSource,
        progress: impl Fn(ImportProgress) + Send + Sync + 'static,
    ) -> Result<Synced, ImportError> {
        let _alone = self.alone().await;
        let (from, progress) = (self.size(), Arc::new(progress));
        let Offered { verifier, head, _scratch } =
            Offered::open(self.log(), self.store(), source, &progress).await?;
        if from < Some(head.tree.size) {
            // Files need not be spared, a server must be.
            let is_remote = matches!(source, ImportSource::Url(_));
            let options = if is_remote { self.options } else { ReplicateOptions::default() };
            let notify = |stored| progress(ImportProgress::Stored(stored));
            self.bring_to(&verifier, &head, options, notify).await?;
        }
        Ok(Synced { from, to: self.size().unwrap_or_default() })
    }
}

/// Takes a static checksum database of this log into a replica. Calls `progress` after each commit.
///
/// Nobody else may write to the replica meanwhile. Dropping the future ends it after the commit
/// under way.
pub async fn import(
    log: &RemoteLog,
    store: &Replica,
    source: &ImportSource,
    progress: impl Fn(ImportProgress) + Send + Sync + 'static,
) -> Result<Replicated, ImportError> {
    let progress = Arc::new(progress);
    let Offered { verifier, head, _scratch } = Offered::open(log, store, source, &progress).await?;
    let notify = |stored| progress(ImportProgress::Stored(stored));
    Ok(replicate_from(&verifier, store, &head, ReplicateOptions::default(), notify).await?)
}

/// A database that is offered, whose head is known to be one of the log's.
struct Offered {
    /// Reads the log from the import.
    verifier: Arc<LogVerifier>,
    head: SeenHead,
    /// What was unpacked, for as long as it is read.
    _scratch: Option<TempDir>,
}

impl Offered {
    /// Does everything before the first record.
    async fn open(
        log: &RemoteLog,
        store: &Replica,
        source: &ImportSource,
        progress: &Arc<impl Fn(ImportProgress) + Send + Sync + 'static>,
    ) -> Result<Offered, ImportError> {
        let own = &log.verifier();
        own.known().check_running()?;
        let (url, _scratch) = match source {
            ImportSource::Url(url) => (url.clone(), None),
            ImportSource::Directory(path) => (directory_url(path)?, None),
            ImportSource::Archive(path) => {
                let scratch = unpack(path.clone(), &own.known().database, progress.clone()).await?;
                (directory_url(scratch.path())?, Some(scratch))
            }
        };
        let delta = url.local_path().map(read_delta).transpose()?.flatten();
        if let Some(delta) = &delta {
            check_delta(delta, log.name(), store)?;
        }
        let verifier = Arc::new(own.at(own.transport().at(vec![url])));
        let comparison = Comparison { verifier: &verifier, own, reader: store.reader(), log };
        let head = comparison.latest().await?;
        comparison.run(&head).await?;
        if let Some(note) = delta.and_then(|delta| delta.old_note) {
            let opened = verifier.open_head(note.as_bytes());
            let older = opened.map_err(|refused| unproven(own, refused, DELTA))?;
            comparison.run(&older).await?;
        }
        Ok(Offered { verifier, head, _scratch })
    }
}

fn check_delta(delta: &Delta, log: &str, store: &Replica) -> Result<(), BundleError> {
    if delta.log != log {
        return Err(BundleError::OtherLog { log: log.to_owned(), found: delta.log.clone() });
    }
    let have = store.edge().size;
    if have < delta.old.size {
        return Err(BundleError::Gap { from: delta.old.size, have });
    }
    Ok(())
}

/// Compares heads of an import with those that are known.
struct Comparison<'a> {
    /// Reads the import.
    verifier: &'a LogVerifier,
    /// Reads the log's own URLs.
    own: &'a LogVerifier,
    reader: ReplicaReader,
    log: &'a RemoteLog,
}

impl Comparison<'_> {
    fn deadline(&self) -> Instant {
        self.log.instant() + self.log.patience()
    }

    /// Returns the signed head that the import calls newest.
    async fn latest(&self) -> Result<SeenHead, RemoteError> {
        let answer = self.verifier.transport().latest(self.deadline()).next().await;
        let SumdbAnswer { body, url, .. } =
            answer.map_err(|error| RemoteError::unanswered(&error, LATEST, Vec::new()))?;
        self.verifier.open_head(&body).map_err(|refused| match refused {
            NotVerified::Bad(why) => {
                let log = self.log.name().to_owned();
                let lies = vec![Lie { url, why }];
                Unproven { log, path: LATEST.to_owned(), lies, failures: Vec::new() }.into()
            }
            NotVerified::Fatal(error) => error,
        })
    }

    /// Compares an offered head with those that are known, which makes it one of them. The import
    /// itself may not be able to compare a head older than the newest; the log's own URLs may.
    async fn run(&self, offered: &SeenHead) -> Result<(), ImportError> {
        if let Some(newest) = self.reader.head()
            && offered.tree.size <= newest.tree.size
            && offered.tree.size > TreeSize(0)
        {
            // The replica has every tile that says whether they are of one log; nobody need be
            // asked.
            return Ok(self.compare_replicated(&newest, offered).await?);
        }
        let deadline = self.deadline();
        let error = match self.verifier.reconcile(offered.clone(), LATEST, deadline).await {
            Ok(_) => return Ok(()),
            Err(refused) => unproven(self.verifier, refused, LATEST),
        };
        let newest = self.log.newest().map(|head| head.tree.size).unwrap_or_default();
        let may_differ = matches!(error, RemoteError::Unavailable { .. } | RemoteError::Unproven(_));
        if !may_differ || newest <= offered.tree.size {
            return Err(error.into());
        }
        match self.own.reconcile(offered.clone(), LATEST, deadline).await {
            Ok(_) => Ok(()),
            Err(NotVerified::Fatal(error @ (RemoteError::Misbehavior(_) | RemoteError::Store(_)))) => {
                Err(error.into())
            }
            Err(refused) => {
                let why = unproven(self.verifier, refused, LATEST);
                Err(ImportError::Older { offered: offered.tree.size, newest, why })
            }
        }
    }

    /// Checks that a head is the beginning of the replicated tree, and stops the log if it is not.
    async fn compare_replicated(&self, newest: &SeenHead, offered: &SeenHead) -> Result<(), RemoteError> {
        let size = offered.tree.size;
        let hashes = stored_hashes(&self.reader, newest, &tree_hash_indexes(size))?;
        let root_in_newer = tree_hash(size, &hashes).expect("as many hashes as were planned");
        if root_in_newer == offered.tree.root {
            return Ok(());
        }
        let proof = if size == newest.tree.size {
            ConsistencyProof::default()
        } else {
            let indexes =
                consistency_proof_indexes(newest.tree.size, size).expect("a smaller tree, not empty");
            let hashes = stored_hashes(&self.reader, newest, &indexes)?;
            prove_consistency(newest.tree.size, size, &hashes).expect("as many hashes as were planned")
        };
        let (older, newer) = (offered.note.clone(), newest.note.clone());
        let (log, seen_at) = (self.log.name().to_owned(), self.log.now());
        let misbehavior = Misbehavior { log, older, newer, root_in_newer, proof, seen_at };
        Err(self.own.known().convict(misbehavior).await)
    }
}

/// Turns bytes that do not verify into the error that names the first URL of the import.
fn unproven(verifier: &LogVerifier, refused: NotVerified, path: &str) -> RemoteError {
    match refused {
        NotVerified::Fatal(error) => error,
        NotVerified::Bad(why) => {
            let urls = verifier.transport().health().into_iter().take(1);
            let lies = urls.map(|(url, _)| Lie { url, why: why.clone() }).collect();
            let (log, path) = (verifier.known().name.clone(), path.to_owned());
            Unproven { log, path, lies, failures: Vec::new() }.into()
        }
    }
}

/// Reads hashes of the replicated tree, verified up to the root of its head.
fn stored_hashes(
    reader: &ReplicaReader,
    head: &SeenHead,
    indexes: &[HashIndex],
) -> Result<Vec<Hash>, StoreError> {
    let plan = TilePlan::new(&head.tree, TILE_HEIGHT, indexes).expect("the hashes are of this tree");
    let body = |tile: &Tile| {
        let TileLevel::Hash(level) = tile.level else { panic!("a plan has hash tiles only") };
        let hashes = reader.tile(level, tile.number)?.unwrap_or_default();
        Ok(hashes.iter().take(tile.width as usize).flat_map(|hash| *hash.as_bytes()).collect())
    };
    let bodies = plan.tiles().iter().map(body).collect::<Result<Vec<Vec<u8>>, StoreError>>()?;
    plan.finish(&bodies)
        .map_err(|error| StoreError::Damaged { place: "hash tiles".to_owned(), why: error.to_string() })
}

fn directory_url(path: &Path) -> Result<SourceUrl, BundleError> {
    let path = fs::canonicalize(path).map_err(at(path))?;
    let hostile = |why: String| BundleError::Hostile { path: path.clone(), why };
    if !path.is_dir() {
        return Err(hostile("it is neither a directory nor a .tar.zst file".to_owned()));
    }
    if !path.join(LATEST).is_file() {
        return Err(hostile("it is no static checksum database: it has no file `latest`".to_owned()));
    }
    SourceUrl::directory(&path).map_err(|error| hostile(error.to_string()))
}

fn read_delta(directory: &Path) -> Result<Option<Delta>, BundleError> {
    let path = directory.join(DELTA);
    let bytes = files::open_found(directory, &path).and_then(|file| files::read(file, MAX_DELTA_BYTES));
    let text = match bytes {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        bytes => String::from_utf8(bytes.map_err(at(&path))?),
    };
    let text = text.map_err(|error| at(&path)(io::Error::new(io::ErrorKind::InvalidData, error)))?;
    Ok(Some(Delta::parse(&text)?))
}

/// Unpacks an archive into a directory beside the log's database. Ends when nobody waits for it any
/// more.
async fn unpack(
    archive: PathBuf,
    database: &Path,
    progress: Arc<impl Fn(ImportProgress) + Send + Sync + 'static>,
) -> Result<TempDir, BundleError> {
    let scratch = scratch(database)?;
    let wanted = Arc::new(());
    let still = Arc::downgrade(&wanted);
    // The directory goes along: whoever writes there last removes it.
    let unpacked = blocking(move || {
        let is_wanted = || still.strong_count() > 0;
        unpack_into(scratch.path(), &archive, &*progress, &is_wanted).map(|()| scratch)
    });
    let unpacked = unpacked.await;
    drop(wanted);
    unpacked
}

fn unpack_into(
    into: &Path,
    archive: &Path,
    progress: &dyn Fn(ImportProgress),
    is_wanted: &dyn Fn() -> bool,
) -> Result<(), BundleError> {
    // The server may be the one who reads it, and must not wait for whoever writes into a pipe.
    let file = files::open_regular(archive).map_err(at(archive))?;
    let mut stream = zstd::Decoder::new(BufReader::new(file)).map_err(at(archive))?;
    let free = free_bytes(into)?.saturating_sub(RESERVE_BYTES);
    let reported = Cell::new(0);
    tar::unpack(&mut stream, archive, into, free, &|bytes| {
        if bytes - reported.get() >= UNPACKED_STEP {
            reported.set(bytes);
            progress(ImportProgress::Unpacked(bytes));
        }
        if is_wanted() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })
}

/// Makes a directory for what is unpacked, beside the log's database and removed when it is
/// dropped. Removes what imports that were killed have left.
fn scratch(database: &Path) -> Result<TempDir, BundleError> {
    let directory = database.parent().unwrap_or(Path::new("."));
    let stem = database.file_stem().unwrap_or_default().to_string_lossy();
    let prefix = format!("{stem}.import-");
    for entry in fs::read_dir(directory).map_err(at(directory))? {
        let entry = entry.map_err(at(directory))?;
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            fs::remove_dir_all(entry.path()).map_err(at(entry.path()))?;
        }
    }
    tempfile::Builder::new().prefix(&prefix).tempdir_in(directory).map_err(at(directory))
}
