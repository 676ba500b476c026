//! Import: a static checksum database is taken into a mirror, from files or from any URL, by way of
//! [`RemoteLog::replicate`]: nothing in it is stored that does not follow from a head signed by the log's key.
//!
//! ```text
//! archive ──▶ scratch directory ──▶ directory ──┐
//!                                    URL ───────┴─▶ latest: signed, and of one log with every head known
//!                                                   data tiles, hash tiles ──▶ verified, window by window
//! ```
//!
//! An import that is interrupted leaves the verified prefix; the next one, or a sync, goes on there. A signed contradiction
//! between the import and what is known stops the log, as one that is seen on the network does.

use std::cell::Cell;
use std::fs;
use std::io::{self, BufReader};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use tokio::sync::Semaphore;

use super::attempts::Tally;
use super::bundle::{BundleError, DELTA, Delta, LATEST, MAX_DELTA_BYTES, at, tar};
use super::error::{Lie, RemoteError, Unproven};
use super::flight::Flights;
use super::full::{ReplicaProgress, ReplicateError, ReplicateOptions, Replicated};
use super::misbehaviour::Misbehaviour;
use super::missing::Missing;
use super::tiles::TileReader;
use super::verify::Refusal;
use super::{Inner, Mirror, RemoteLimits, RemoteLog, SyncError, Synced, TILE_HEIGHT, blocking};
use crate::files;
use crate::share::Turns;
use crate::store::StoreError;
use crate::store::remote::SeenHead;
use crate::store::replica::{Replica, ReplicaReader};
use crate::tlog::{
    ConsistencyProof, Hash, HashIndex, Tile, TileLevel, TilePlan, TreeSize, consistency_proof_indexes,
    prove_consistency, tree_hash, tree_hash_indexes,
};
use crate::upstream::{RemoteSumdb, SourceUrl, SumdbAnswer, UrlError};

/// What an archive must leave of the disk: the mirror itself, and the own log, want to go on.
const RESERVE_BYTES: u64 = 1 << 30;
/// How many bytes are unpacked between two words about it.
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
    Replicate(#[from] ReplicateError),
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
        "its head of {offered} records is older than the one of {newest} that is known, and cannot be compared with it: {why}\n  \
         fix: import a newer export, or let `tallystick mirror sync` reach the log first"
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
    /// What a person wrote: an URL with a scheme, a file whose name ends in `.tar.zst`, or a directory.
    pub fn parse(text: &str) -> Result<ImportSource, UrlError> {
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

impl Mirror {
    /// Takes a static checksum database into the full mirror, alone with it. Returns the records before and after.
    pub async fn import(
        &self,
        source: &ImportSource,
        progress: impl Fn(ImportProgress) + Send + Sync + 'static,
    ) -> Result<Synced, ImportError> {
        let replica =
            self.log.replica().ok_or_else(|| ImportError::NotFull { log: self.log.name().to_owned() })?;
        let _alone = self.alone().await.map_err(|_| ImportError::Busy { log: self.log.name().to_owned() })?;
        let size = || replica.reader().head().map(|head| head.tree.size);
        let (from, progress) = (size(), Arc::new(progress));
        let Ready { log, head, _scratch } = self.log.begin_import(replica, source, &progress).await?;
        if from < Some(head.tree.size) {
            // Files need not be spared, a server must be.
            let is_remote = matches!(source, ImportSource::Url(_));
            let options = if is_remote { self.replicate } else { ReplicateOptions::default() };
            self.replicate_by(&log, &head, options, |stored| progress(ImportProgress::Stored(stored)))
                .await?;
        }
        Ok(Synced { from, to: size().unwrap_or_default() })
    }
}

impl RemoteLog {
    /// The same log, its store, its heads and its stop, read from elsewhere.
    pub fn via(&self, transport: RemoteSumdb) -> RemoteLog {
        let inner = &self.0;
        let limits = RemoteLimits::default();
        let tiles = TileReader::new(transport.clone(), inner.kept.clone(), &limits);
        let (lookup_turns, lookup_line) = Turns::with_places(limits.requests);
        RemoteLog(Arc::new(Inner {
            name: inner.name.clone(),
            key: inner.key.clone(),
            transport,
            store: inner.store.clone(),
            kept: inner.kept.clone(),
            tiles: Arc::new(tiles),
            clock: inner.clock.clone(),
            patience: inner.patience,
            places: Semaphore::new(limits.lookups),
            lookup_turns,
            lookup_line,
            newest: inner.newest.clone(),
            replicates: inner.replicates.clone(),
            database: inner.database.clone(),
            stopped: inner.stopped.clone(),
            tally: Mutex::new(Tally::default()),
            advanced_at: Mutex::new(None),
            missing: Missing::new(),
            lookups: Flights::default(),
            advances: Flights::default(),
        }))
    }

    /// Takes a static checksum database of this log into a mirror. `progress` is told after each commit.
    ///
    /// Nobody else may write to the mirror meanwhile. Dropping the future ends it after the commit under way.
    pub async fn import(
        &self,
        replica: &Replica,
        source: &ImportSource,
        progress: impl Fn(ImportProgress) + Send + Sync + 'static,
    ) -> Result<Replicated, ImportError> {
        let progress = Arc::new(progress);
        let Ready { log, head, _scratch } = self.begin_import(replica, source, &progress).await?;
        let told = |stored| progress(ImportProgress::Stored(stored));
        Ok(log.replicate(replica, &head, ReplicateOptions::default(), told).await?)
    }

    /// Everything before the first record.
    async fn begin_import(
        &self,
        replica: &Replica,
        source: &ImportSource,
        progress: &Arc<impl Fn(ImportProgress) + Send + Sync + 'static>,
    ) -> Result<Ready, ImportError> {
        self.0.check_running()?;
        let (url, _scratch) = match source {
            ImportSource::Url(url) => (url.clone(), None),
            ImportSource::Directory(path) => (directory_url(path)?, None),
            ImportSource::Archive(path) => {
                let scratch = scratch(&self.0.database)?;
                let wanted = Arc::new(());
                let (path, told, still) = (path.clone(), progress.clone(), Arc::downgrade(&wanted));
                // The directory goes along: it is removed by whoever writes there last.
                let scratch = blocking(move || {
                    let is_wanted = || still.strong_count() > 0;
                    unpack(&path, scratch.path(), &*told, &is_wanted).map(|()| scratch)
                })
                .await?;
                drop(wanted);
                (directory_url(scratch.path())?, Some(scratch))
            }
        };
        let delta = url.local_path().map(read_delta).transpose()?.flatten();
        if let Some(delta) = &delta {
            self.check_delta(delta, replica)?;
        }
        let via = self.via(self.0.transport.at(vec![url]));
        let head = via.offered().await?;
        let known = via.compare(self, replica, &head).await?;
        if let Some(note) = delta.and_then(|delta| delta.old_note) {
            let older = via.0.open_head(note.as_bytes()).map_err(|refusal| self.refused(refusal, DELTA))?;
            via.compare(self, replica, &older).await?;
        }
        Ok(Ready { log: via, head: known, _scratch })
    }

    fn check_delta(&self, delta: &Delta, replica: &Replica) -> Result<(), BundleError> {
        if delta.log != self.0.name {
            return Err(BundleError::OtherLog { log: self.0.name.clone(), found: delta.log.clone() });
        }
        let have = replica.edge().size;
        if have < delta.old.size {
            return Err(BundleError::Gap { from: delta.old.size, have });
        }
        Ok(())
    }

    /// The signed head that the source calls newest.
    async fn offered(&self) -> Result<SeenHead, RemoteError> {
        let deadline = self.0.clock.instant() + self.0.patience;
        let answer = self.0.transport.latest(deadline).next().await;
        let SumdbAnswer { body, url, .. } =
            answer.map_err(|error| RemoteError::unanswered(&error, LATEST, Vec::new()))?;
        self.0.open_head(&body).map_err(|refusal| match refusal {
            Refusal::Bad(why) => unproven(&self.0.name, LATEST, vec![Lie { url, why }]),
            Refusal::Fatal(error) => error,
        })
    }

    fn refused(&self, refusal: Refusal, path: &str) -> RemoteError {
        match refusal {
            Refusal::Fatal(error) => error,
            Refusal::Bad(why) => {
                let lies = self.0.transport.health().into_iter().take(1);
                unproven(&self.0.name, path, lies.map(|(url, _)| Lie { url, why: why.clone() }).collect())
            }
        }
    }

    /// Compares an offered head with those that are known, which makes it one of them. `whole` is the log at its own URLs,
    /// for a head older than the newest, which the source itself may not be able to compare.
    async fn compare(
        &self,
        whole: &RemoteLog,
        replica: &Replica,
        offered: &SeenHead,
    ) -> Result<SeenHead, ImportError> {
        let reader = replica.reader();
        if let Some(newest) = reader.head()
            && offered.tree.size <= newest.tree.size
            && offered.tree.size > TreeSize(0)
        {
            // The mirror has every tile that says whether they are of one log; nobody need be asked.
            self.compare_stored(&reader, &newest, offered).await?;
            return Ok(offered.clone());
        }
        let deadline = self.0.clock.instant() + self.0.patience;
        let error = match self.0.reconcile(offered.clone(), None, LATEST, deadline).await {
            Ok(_) => return Ok(offered.clone()),
            Err(refusal) => self.refused(refusal, LATEST),
        };
        let newest = self.newest().map(|head| head.tree.size).unwrap_or_default();
        let may_differ = matches!(error, RemoteError::Unavailable { .. } | RemoteError::Unproven(_));
        if !may_differ || newest <= offered.tree.size {
            return Err(error.into());
        }
        match whole.0.reconcile(offered.clone(), None, LATEST, deadline).await {
            Ok(_) => Ok(offered.clone()),
            Err(Refusal::Fatal(error @ (RemoteError::Misbehaviour(_) | RemoteError::Store(_)))) => {
                Err(error.into())
            }
            Err(refusal) => {
                let why = self.refused(refusal, LATEST);
                Err(ImportError::Older { offered: offered.tree.size, newest, why })
            }
        }
    }

    /// Whether a head is the beginning of the mirrored tree. If it is not, the log is stopped.
    async fn compare_stored(
        &self,
        reader: &ReplicaReader,
        newest: &SeenHead,
        offered: &SeenHead,
    ) -> Result<(), RemoteError> {
        let size = offered.tree.size;
        let hashes = stored_hashes(reader, newest, &tree_hash_indexes(size))?;
        let root_in_newer = tree_hash(size, &hashes).expect("as many hashes as were planned");
        if root_in_newer == offered.tree.root {
            return Ok(());
        }
        let proof = if size == newest.tree.size {
            ConsistencyProof::default()
        } else {
            let indexes =
                consistency_proof_indexes(newest.tree.size, size).expect("a smaller tree, not empty");
            let hashes = stored_hashes(reader, newest, &indexes)?;
            prove_consistency(newest.tree.size, size, &hashes).expect("as many hashes as were planned")
        };
        let (older, newer) = (offered.note.clone(), newest.note.clone());
        let (log, seen_at) = (self.0.name.clone(), self.0.clock.now());
        let misbehaviour = Misbehaviour { log, older, newer, root_in_newer, proof, seen_at };
        Err(self.0.stop_for(misbehaviour).await)
    }
}

/// Hashes of a mirrored tree, verified up to the root of its head.
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

fn unproven(log: &str, path: &str, lies: Vec<Lie>) -> RemoteError {
    let (log, path) = (log.to_owned(), path.to_owned());
    RemoteError::Unproven(Arc::new(Unproven { log, path, lies, failures: Vec::new() }))
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

fn unpack(
    archive: &Path,
    into: &Path,
    progress: &dyn Fn(ImportProgress),
    is_wanted: &dyn Fn() -> bool,
) -> Result<(), BundleError> {
    // The server may be the one who reads it, and must not wait for whoever writes into a pipe.
    let file = files::open_regular(archive).map_err(at(archive))?;
    let mut stream = zstd::Decoder::new(BufReader::new(file)).map_err(at(archive))?;
    let disk = rustix::fs::statvfs(into).map_err(|error| at(into)(error.into()))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize).saturating_sub(RESERVE_BYTES);
    let told = Cell::new(0);
    tar::unpack(&mut stream, archive, into, free, &|bytes| {
        if bytes - told.get() >= UNPACKED_STEP {
            told.set(bytes);
            progress(ImportProgress::Unpacked(bytes));
        }
        if is_wanted() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok(())
}

/// An import whose head is known to be one of the log's.
struct Ready {
    /// The log, read from the import.
    log: RemoteLog,
    head: SeenHead,
    _scratch: Option<TempDir>,
}

/// A directory for what is unpacked, beside the log's database and removed when it is dropped. What imports that were killed
/// have left is removed before.
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
