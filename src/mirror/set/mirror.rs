//! One mirror: a remote log, as an operator configured it, and bringing it up to date.
//!
//! The server itself and a person bring a log up to date one after the other; a person who comes
//! while the server is at it follows what it does. In `heads` and `on-demand` mode up to date means
//! the newest head, in `full` mode every record under it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard, Notify, watch};

use crate::config::{Mode, Schedule};
use crate::mirror::replica::{
    ImportError, ImportProgress, ImportSource, ReplicaRun, ReplicateOptions, Replicator, ReverifyFigures,
    SyncError, Synced,
};
use crate::mirror::view::RemoteLog;

/// A remote log and what is to be stored of it.
pub struct Mirror {
    /// The log.
    pub log: RemoteLog,
    /// What is stored of it.
    pub mode: Mode,
    /// How often its newest head is asked for.
    pub poll: Duration,
    /// When it is asked for, in place of that.
    pub schedule: Option<Schedule>,
    /// The file of the replica, whether or not there is one.
    pub database: PathBuf,
    /// What the re-verification of the replica has done.
    pub reverified: Arc<ReverifyFigures>,
    /// Fills the replica, where one is open.
    replicator: Option<Replicator>,
    /// Held by a person or a scheduler who brings it up to date: one at a time.
    syncing: Mutex<()>,
    /// Somebody wants it to be up to date sooner than the poll interval says.
    pub(super) wanted: Notify,
}

impl Mirror {
    /// Makes a mirror that nobody is bringing up to date. `database` is the file of the replica, if
    /// it has or gets one.
    pub fn new(
        log: RemoteLog,
        mode: Mode,
        poll: Duration,
        replicate: ReplicateOptions,
        database: PathBuf,
    ) -> Mirror {
        if mode == Mode::Full {
            log.set_full();
        }
        Mirror {
            replicator: Replicator::of(&log, replicate, &database),
            log,
            mode,
            poll,
            schedule: None,
            database,
            reverified: Arc::default(),
            syncing: Mutex::new(()),
            wanted: Notify::new(),
        }
    }

    /// Asks at these times.
    pub fn on(self, schedule: Option<Schedule>) -> Mirror {
        Mirror { schedule, ..self }
    }

    /// Brings the log up to date for a person or a scheduler: follows an attempt of the server
    /// itself, but not another call of this. [`Mirror::run`] tells how far it is.
    pub async fn sync(&self) -> Result<Synced, SyncError> {
        let Some(_only) = self.only_person() else {
            return Err(SyncError::Busy { log: self.log.name().to_owned() });
        };
        self.advance().await
    }

    /// Takes a static checksum database into the replica for a person. Returns the records before
    /// and after. Refuses while another person is at it, and waits for a run of the server.
    pub async fn import(
        &self,
        source: &ImportSource,
        progress: impl Fn(ImportProgress) + Send + Sync + 'static,
    ) -> Result<Synced, ImportError> {
        let log = || self.log.name().to_owned();
        let replicator = self.replicator.as_ref().ok_or_else(|| ImportError::NotFull { log: log() })?;
        let _only = self.only_person().ok_or_else(|| ImportError::Busy { log: log() })?;
        replicator.import(source, progress).await
    }

    fn only_person(&self) -> Option<MutexGuard<'_, ()>> {
        self.syncing.try_lock().ok()
    }

    /// Brings the log up to date.
    pub async fn advance(&self) -> Result<Synced, SyncError> {
        if let (Mode::Full, Some(replicator)) = (self.mode, &self.replicator) {
            return replicator.sync().await;
        }
        let from = self.log.newest().map(|head| head.tree.size);
        let to = self.log.poll().await?.tree.size;
        Ok(Synced { from, to })
    }

    /// Returns the run that is replicating, as it goes on; none between two runs.
    pub fn run(&self) -> watch::Receiver<Option<ReplicaRun>> {
        self.replicator.as_ref().map_or_else(|| watch::channel(None).1, Replicator::run)
    }

    /// Has a server bring it up to date soon, whatever its poll interval.
    pub fn want(&self) {
        self.wanted.notify_one();
    }
}
