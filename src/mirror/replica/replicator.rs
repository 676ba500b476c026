//! The replicator: brings the replica of one log up to date, for one caller at a time.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{Mutex, MutexGuard, watch};

use super::error::SyncError;
use super::progress::{Foreseen, ReplicaProgress, ReplicaRun, ReplicateOptions, Synced};
use super::windows::replicate_from;
use crate::crew::blocking;
use crate::mirror::view::{LogVerifier, RemoteLog};
use crate::store::StoreError;
use crate::store::lock::{DISK_RESERVE_BYTES, free_bytes};
use crate::store::remote::SeenHead;
use crate::store::replica::Replica;
use crate::tlog::{TILE_WIDTH, TreeSize};

/// Bytes of a record in a data tile of sum.golang.org, for what is foreseen: two lines with a path,
/// a version and hashes.
const WIRE_BYTES: u64 = 181;
/// Bytes of a record in the replica, and its part of what merging the index takes for a moment.
const DISK_BYTES: u64 = 115;

/// Runs of fewer records are not logged.
const SMALL_RUN: u64 = 1 << 20;

/// Brings the replica of one log up to date.
pub(in crate::mirror) struct Replicator {
    log: RemoteLog,
    /// The records. Views read it too; only this writes to it.
    store: Replica,
    /// Where the replica's files are.
    directory: PathBuf,
    /// How the log's own URLs are read.
    pub(super) options: ReplicateOptions,
    /// Held by whoever replicates.
    running: Mutex<()>,
    /// The run that is replicating. Whoever holds `running` changes it.
    run: watch::Sender<Option<ReplicaRun>>,
}

/// The end of a run, however it comes.
struct Ended<'a>(&'a watch::Sender<Option<ReplicaRun>>);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.send_replace(None);
    }
}

impl Replicator {
    /// Replicates a log, if it has a replica. `database` is the replica's file.
    pub(in crate::mirror) fn of(
        log: &RemoteLog,
        options: ReplicateOptions,
        database: &Path,
    ) -> Option<Replicator> {
        let store = log.replica()?.clone();
        let directory = database.parent().unwrap_or(database).to_owned();
        let (running, run) = (Mutex::new(()), watch::Sender::new(None));
        Some(Replicator { log: log.clone(), store, directory, options, running, run })
    }

    pub(super) fn log(&self) -> &RemoteLog {
        &self.log
    }

    pub(super) fn store(&self) -> &Replica {
        &self.store
    }

    /// Returns the size of the newest head whose every record is here.
    pub(super) fn size(&self) -> Option<TreeSize> {
        self.store.reader().head().map(|head| head.tree.size)
    }

    /// Waits until nobody replicates.
    pub(super) async fn alone(&self) -> MutexGuard<'_, ()> {
        self.running.lock().await
    }

    /// Returns the run that is replicating, as it goes on; none between two runs.
    pub(in crate::mirror) fn run(&self) -> watch::Receiver<Option<ReplicaRun>> {
        self.run.subscribe()
    }

    /// Brings the replica to the log's newest head.
    pub(in crate::mirror) async fn sync(&self) -> Result<Synced, SyncError> {
        let from = self.size();
        let mut head = self.log.poll().await?;
        let _alone = self.alone().await;
        // A long run ends at a head that look-ups have passed by then.
        while self.size() < Some(head.tree.size) {
            let result = self.bring_to(&self.log.verifier(), &head, self.options, |_| ()).await;
            if let Err(error) = &result {
                self.log.note_failure(&error.to_string()).await;
            }
            result?;
            head = self.log.newest().unwrap_or(head);
        }
        self.log.note_success().await;
        Ok(Synced { from, to: self.size().unwrap_or_default() })
    }

    /// Brings the replica to a head, read from wherever `verifier` reads. For whoever is
    /// [alone](Replicator::alone).
    pub(super) async fn bring_to(
        &self,
        verifier: &Arc<LogVerifier>,
        head: &SeenHead,
        options: ReplicateOptions,
        notify: impl Fn(ReplicaProgress),
    ) -> Result<(), SyncError> {
        let from = self.store.reader().size();
        let foreseen = self.foresee(from, head.tree.size)?;
        let Foreseen { records, requests, bytes, disk_bytes, free_bytes } = foreseen;
        if free_bytes < disk_bytes.saturating_add(DISK_RESERVE_BYTES) {
            let (log, directory) = (self.log.name().to_owned(), self.directory.clone());
            return Err(SyncError::NoRoom { log, directory, foreseen });
        }
        if records > SMALL_RUN {
            let log = self.log.name();
            tracing::info!(log, records, requests, bytes, disk_bytes, free_bytes, "replicating a remote log");
        }
        let progress =
            ReplicaProgress { size: from, target: head.tree.size, requests: 0, bytes: 0, retries: 0 };
        let run = ReplicaRun { foreseen, began: self.log.instant(), from, progress };
        self.run.send_replace(Some(run));
        // It ends also when nobody waits for it any more.
        let _ended = Ended(&self.run);
        let tell = |progress| {
            self.run.send_replace(Some(ReplicaRun { progress, ..run }));
            notify(progress);
        };
        replicate_from(verifier, &self.store, head, options, tell).await?;
        // A step at a time: whoever stops the server waits for one of them, and readers find their
        // transactions in between.
        loop {
            let settling = self.store.clone();
            if blocking(move || settling.tidy()).await? {
                return Ok(());
            }
        }
    }

    /// Estimates a run between two sizes.
    fn foresee(&self, from: TreeSize, to: TreeSize) -> Result<Foreseen, StoreError> {
        let records = to.0.saturating_sub(from.0);
        let tiles = (to.0 / TILE_WIDTH).saturating_sub(from.0 / TILE_WIDTH) + 1;
        Ok(Foreseen {
            records,
            requests: tiles + tiles.div_ceil(TILE_WIDTH - 1) + 2,
            // A head may claim any size.
            bytes: records.saturating_mul(WIRE_BYTES),
            disk_bytes: records.saturating_mul(DISK_BYTES),
            free_bytes: free_bytes(&self.directory)?,
        })
    }
}
