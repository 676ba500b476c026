//! What is verified and stored of a remote log, whichever of its URLs it was read from: both
//! databases, the newest head, and the incident that stops the log.
//!
//! | database | what it holds |
//! |---|---|
//! | [`RemoteStore`] | the records, tiles and heads that somebody asked for |
//! | [`Replica`], where there is one | every record |
//!
//! A reader of tiles, records or heads asks here and need not know which of the two has them. A
//! damaged row of the replica counts as missing: the log's URLs are asked for the same bytes again,
//! which are verified like everything from there.
//!
//! The evidence of an incident is in the database, and beside it in a file for people and other
//! programs, `<database>.incident-1.txt`, whose text is [`Misbehavior::to_text`]. We never remove
//! or replace either. A log whose stop was ended is compared with the same heads as before: if it
//! shows the other tree again, that is the next incident.

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwapOption;
use bytes::Bytes;

use super::error::RemoteError;
use super::misbehavior::{EvidenceError, Misbehavior, write_evidence};
use crate::clock::Clock;
use crate::module::ModuleVersion;
use crate::note::{self, VerifierKey};
use crate::store::remote::{RemoteStore, SeenHead, StoredIncident};
use crate::store::replica::{Replica, ReplicaReader};
use crate::store::{StoreError, StoredRecord};
use crate::tlog::{HASH_SIZE, Hash, RecordId, TILE_WIDTH, Tile, TileLevel, TreeHead, TreeSize};

/// A data tile of sum.golang.org takes some 50 KB.
const USUAL_DATA_BYTES: usize = 128 << 10;

thread_local! {
    /// Where a data tile grows until its size is known: else growing and shrinking leaves holes in
    /// the memory.
    static DATA: RefCell<String> = const { RefCell::new(String::new()) };
}

/// A remote log as it is known here. All views of the log share one, at whichever URLs they read.
pub(in crate::mirror) struct KnownLog {
    /// Its key's name.
    pub(in crate::mirror) name: String,
    /// Signs its heads.
    pub(in crate::mirror) key: VerifierKey,
    pub(in crate::mirror) clock: Clock,
    /// The file of `store`. The files of evidence lie beside it.
    pub(in crate::mirror) database: PathBuf,
    /// What was asked for. It has a lock and a writing thread of its own.
    pub(super) store: Arc<RemoteStore>,
    /// Every record, where the log is replicated or was before. Here it is only read.
    pub(super) replica: Option<Replica>,
    /// The newest head that was compared with all others. [`KnownLog::publish`] moves it forward
    /// only, and only after the commit that holds the head.
    newest: ArcSwapOption<SeenHead>,
    /// Set while the log is stopped. The first conviction sets it, a person's decision clears it.
    incident: ArcSwapOption<MirrorIncident>,
    /// Whether the mode is `full`: then up to date means every record, not only the newest head.
    /// The mirror sets it once, before anybody reads it.
    is_full: AtomicBool,
}

/// Why a log is stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorIncident {
    /// Its number among those of this log, from 1; 0 for one that could not be stored.
    pub id: u64,
    /// What the log did.
    pub misbehavior: Arc<Misbehavior>,
    /// The file with the evidence.
    pub evidence: PathBuf,
}

/// A record that was proved: some head that is known covers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VerifiedRecord {
    /// Its number.
    pub(crate) id: RecordId,
    /// Its text, byte for byte as authenticated.
    pub(crate) text: String,
}

impl KnownLog {
    /// Opens the database of a log, or creates it where there is none.
    pub(super) fn open(
        name: String,
        key: VerifierKey,
        database: PathBuf,
        clock: Clock,
        replica: Option<Replica>,
    ) -> Result<KnownLog, RemoteError> {
        // Where only the replica is left, whatever comes must be compared with its head.
        let replicated = replica.as_ref().and_then(|replica| replica.reader().head());
        let store =
            RemoteStore::open(&database, &name, &key.to_string(), replicated.as_deref(), clock.now())?;
        let newest = store.newest()?;
        newest.iter().chain(replicated.as_deref()).try_for_each(|head| check_head(&key, head))?;
        let known = KnownLog {
            name,
            key,
            clock,
            database,
            store: Arc::new(store),
            replica,
            newest: ArcSwapOption::from_pointee(newest),
            incident: ArcSwapOption::empty(),
            is_full: AtomicBool::new(false),
        };
        known.reload_incident()?;
        Ok(known)
    }

    /// Fails when the log is stopped: then nothing it says is believed.
    pub(in crate::mirror) fn check_running(&self) -> Result<(), RemoteError> {
        match &*self.incident.load() {
            Some(incident) => Err(RemoteError::Misbehavior(incident.misbehavior.clone())),
            None => Ok(()),
        }
    }

    /// Returns the incident for which the log is stopped, if it is.
    pub(super) fn incident(&self) -> Option<Arc<MirrorIncident>> {
        self.incident.load_full()
    }

    /// Stops the log, and returns the error that says so. Logs once what is stored of the evidence
    /// and what could not be.
    pub(in crate::mirror) async fn convict(&self, misbehavior: Misbehavior) -> RemoteError {
        let text = misbehavior.to_text();
        tracing::error!(log = %self.name, evidence = %text, "a remote log contradicts itself");
        let reloaded = match self.store.stop(text, misbehavior.seen_at).await {
            Ok(()) => self.reload_incident(),
            Err(error) => Err(StoreError::File {
                path: self.database.display().to_string(),
                source: io::Error::other(error.to_string()),
            }),
        };
        if let Err(error) = reloaded {
            tracing::error!(log = %self.name, %error, "the evidence of misbehaviour could not be kept");
        }
        if self.incident.load().is_none() {
            // It is stopped all the same, for as long as this process lives.
            self.enter(MirrorIncident {
                id: 0,
                evidence: evidence_file(&self.database, 0),
                misbehavior: Arc::new(misbehavior.clone()),
            });
        }
        let first = self.incident.load().as_ref().map(|incident| incident.misbehavior.clone());
        RemoteError::Misbehavior(first.unwrap_or_else(|| Arc::new(misbehavior)))
    }

    /// Takes over a stop that is in the store: from before the start, or from another process.
    pub(super) fn reload_incident(&self) -> Result<(), StoreError> {
        let Some(StoredIncident { id, text, seen_at }) = self.store.stopped()? else { return Ok(()) };
        let damaged = |why: EvidenceError| StoreError::Damaged {
            place: format!("incident {id}"),
            why: why.to_string(),
        };
        let misbehavior = Arc::new(Misbehavior::parse(&self.name, &text, seen_at).map_err(damaged)?);
        self.enter(MirrorIncident { id, evidence: evidence_file(&self.database, id), misbehavior });
        Ok(())
    }

    fn enter(&self, mut incident: MirrorIncident) {
        if self.incident.load().is_some() {
            return;
        }
        match write_evidence(&incident.evidence, &incident.misbehavior.to_text()) {
            Ok(written) => incident.evidence = written,
            Err(error) => {
                let file = incident.evidence.display();
                tracing::error!(log = %self.name, %file, %error, "the file of evidence cannot be written");
            }
        }
        self.incident.store(Some(Arc::new(incident)));
    }

    /// Ends the stop for this incident after a person has looked at it. The evidence stays. Returns
    /// false when the log is not stopped, or for another incident.
    pub(super) async fn resume(&self, incident: u64) -> Result<bool, RemoteError> {
        let Some(stopped) = self.incident().filter(|stopped| stopped.id == incident) else {
            return Ok(false);
        };
        if stopped.id > 0 && !self.store.resume(incident, self.clock.now()).await? {
            return Ok(false);
        }
        self.incident.store(None);
        tracing::warn!(log = %self.name, incident, "a person has ended the stop of this remote log");
        Ok(true)
    }

    /// Returns the newest head.
    pub(in crate::mirror) fn newest(&self) -> Option<Arc<SeenHead>> {
        self.newest.load_full()
    }

    /// Publishes a head that is durable, unless a newer one is there.
    pub(super) fn publish(&self, head: &SeenHead) {
        self.newest.rcu(|newest| match newest {
            Some(newest) if newest.tree.size >= head.tree.size => Some(newest.clone()),
            _ => Some(Arc::new(head.clone())),
        });
    }

    /// Takes over a newer head from the store: another process has put it there.
    pub(super) fn reload_newest(&self) -> Result<(), StoreError> {
        if let Some(head) = self.store.newest()? {
            self.publish(&head);
        }
        Ok(())
    }

    pub(super) fn set_full(&self) {
        self.is_full.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    /// Returns the head that is answered to others: the newest whose every record is in the
    /// replica, so that nothing it needs is asked for anywhere. Without one, the newest seen.
    pub(super) fn served_head(&self) -> Option<Arc<SeenHead>> {
        let (replicated, newest) = (self.replicated_head(), self.newest());
        if self.is_full() {
            return replicated.or(newest);
        }
        // A replica of an earlier mode grows no more.
        replicated.into_iter().chain(newest).max_by_key(|head| head.tree.size)
    }

    /// Returns the newest head whose every record is in the replica.
    pub(super) fn replicated_head(&self) -> Option<Arc<SeenHead>> {
        self.reader()?.head()
    }

    /// Returns the head of exactly this size, if it was seen.
    pub(super) fn head(&self, size: TreeSize) -> Result<Option<SeenHead>, StoreError> {
        if let Some(head) = self.store.head(size)? {
            return Ok(Some(head));
        }
        let (Some(reader), Some(after)) = (self.reader(), size.0.checked_add(1)) else { return Ok(None) };
        let head = reader.heads(TreeSize(after), 1)?.pop();
        Ok(head.filter(|head| head.tree.size == size))
    }

    /// Returns the record of a module version in the replica.
    pub(super) fn find_in_replica(&self, module: &ModuleVersion) -> Result<Option<StoredRecord>, StoreError> {
        let Some(reader) = self.reader() else { return Ok(None) };
        or_none("a record", reader.find(module))
    }

    /// Returns the record of a module version.
    pub(super) fn record(&self, module: &ModuleVersion) -> Result<Option<VerifiedRecord>, StoreError> {
        if let Some(StoredRecord { id, lines }) = self.find_in_replica(module)? {
            return Ok(Some(VerifiedRecord { id, text: lines.to_text() }));
        }
        let record = self.store.find(module)?;
        Ok(record.map(|record| VerifiedRecord { id: record.id, text: record.text }))
    }

    /// Returns the hash of a record.
    pub(super) fn leaf(&self, id: RecordId) -> Result<Option<Hash>, StoreError> {
        if let Some(record) = self.store.record(id)? {
            return Ok(Some(Hash::of_record(record.text.as_bytes())));
        }
        let Some(reader) = self.reader() else { return Ok(None) };
        let leaves = or_none("a record", reader.leaves(id.0..id.0 + 1).map(Some))?;
        Ok(leaves.and_then(|mut leaves| leaves.pop()))
    }

    /// Returns the first `width` hashes of a hash tile.
    pub(super) fn tile(&self, level: u8, number: u64, width: u32) -> Result<Option<Bytes>, StoreError> {
        if let Some(reader) = self.reader() {
            let width = width as usize;
            let hashes = or_none("a hash tile", reader.tile(level, number))?;
            if let Some(hashes) = hashes.filter(|hashes| hashes.len() >= width) {
                let mut body = Vec::with_capacity(width * HASH_SIZE);
                hashes[..width].iter().for_each(|hash| body.extend_from_slice(hash.as_bytes()));
                return Ok(Some(body.into()));
            }
        }
        self.store.tile(level, number, width)
    }

    /// Returns a data tile of the replica, if all of it is there: its records, each followed by a
    /// blank line.
    pub(super) fn data_tile(&self, tile: &Tile) -> Result<Option<Bytes>, StoreError> {
        let (Some(reader), TileLevel::Data) = (self.reader(), tile.level) else { return Ok(None) };
        let Some(first) = tile.number.checked_mul(TILE_WIDTH) else { return Ok(None) };
        let end = first.saturating_add(u64::from(tile.width));
        if end > reader.size().0 {
            return Ok(None);
        }
        DATA.with_borrow_mut(|data| {
            data.clear();
            reader.push_data(first..end, data)?;
            // A cache may hold it for long and weighs it by its bytes: exactly those are taken.
            let body = Bytes::copy_from_slice(data.as_bytes());
            data.shrink_to(USUAL_DATA_BYTES);
            Ok(Some(body))
        })
    }

    fn reader(&self) -> Option<ReplicaReader> {
        self.replica.as_ref().map(Replica::reader)
    }
}

/// Checks that a stored head is what its signed note says.
pub(super) fn check_head(key: &VerifierKey, head: &SeenHead) -> Result<(), StoreError> {
    let opened = note::open(head.note.as_bytes(), &[key]).map_err(|error| error.to_string());
    let signed = opened.and_then(|note| TreeHead::parse(&note.text).map_err(|error| error.to_string()));
    let why = match signed {
        Ok(signed) if signed == head.tree => return Ok(()),
        Ok(signed) => format!("its note is of {signed}"),
        Err(why) => why,
    };
    Err(StoreError::Damaged { place: format!("head {}", head.tree.size), why })
}

fn or_none<T>(what: &str, read: Result<Option<T>, StoreError>) -> Result<Option<T>, StoreError> {
    match read {
        Err(error @ StoreError::Damaged { .. }) => {
            tracing::error!(%error, "{what} of a full mirror is damaged, and is asked for again");
            Ok(None)
        }
        read => read,
    }
}

fn evidence_file(database: &Path, incident: u64) -> PathBuf {
    database.with_extension(format!("incident-{incident}.txt"))
}
