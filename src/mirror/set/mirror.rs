//! All remote logs of a server or of a command, by name, and bringing one up to date.
//!
//! Whoever brings a log up to date, the server itself or a person, does so one after the other; a person who comes while the
//! server is at it follows what it does. In `heads` and `on-demand` mode up to date means the newest head, in `full` mode
//! every record under it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, MutexGuard, Notify, watch};

use super::{
    RemoteError, RemoteLog, ReplicaProgress, ReplicateError, ReplicateOptions, ReverifyFigures, Unusable,
    blocking,
};
use crate::config::{Mode, Schedule};
use crate::store::StoreError;
use crate::store::lock::{DISK_RESERVE_BYTES, free_bytes};
use crate::store::remote::SeenHead;
use crate::tlog::TreeSize;

/// Bytes of a record in a data tile of sum.golang.org, for what is foreseen: two lines with a path, a version and hashes.
const WIRE_BYTES: u64 = 181;
/// Bytes of a record in the mirror, and its part of what merging the index takes for a moment.
const DISK_BYTES: u64 = 115;
/// Runs of fewer records are not told in the log.
const SMALL_RUN: u64 = 1 << 20;

/// A remote log and what is to be kept of it.
pub struct Mirror {
    /// The log.
    pub log: RemoteLog,
    /// What is kept of it.
    pub mode: Mode,
    /// How often its newest head is asked for.
    pub poll: Duration,
    /// When it is asked for, in place of that.
    pub schedule: Option<Schedule>,
    /// How it is replicated, in `full` mode.
    pub replicate: ReplicateOptions,
    /// The file of the full mirror, whether or not there is one.
    pub database: PathBuf,
    /// What its re-verification has done.
    pub reverified: Arc<ReverifyFigures>,
    /// Held by whoever was told by a person or a scheduler to bring it up to date: one at a time.
    syncing: Mutex<()>,
    /// Held by whoever replicates.
    running: Mutex<()>,
    run: watch::Sender<Option<Run>>,
    /// Somebody wants it to be up to date sooner than the poll interval says.
    pub(super) wanted: Notify,
}

/// Remote logs by name. Clones share them.
#[derive(Clone, Default)]
pub struct Mirrors {
    logs: Arc<BTreeMap<String, Arc<Mirror>>>,
    unusable: Arc<BTreeMap<String, Arc<Unusable>>>,
}

/// What bringing a log up to date did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Synced {
    /// Records before, under the newest head or, in `full` mode, here; none when no head was known.
    pub from: Option<TreeSize>,
    /// Records now.
    pub to: TreeSize,
}

/// What a run in `full` mode will take, as far as that can be said before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foreseen {
    /// Records that are not here yet.
    pub records: u64,
    /// Requests for data tiles, and for the hash tiles above them.
    pub requests: u64,
    /// Bytes to be received, if the records are as long as those of sum.golang.org.
    pub bytes: u64,
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// Bytes that are free there.
    pub free_bytes: u64,
}

/// A run that is replicating.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// What it will take.
    pub foreseen: Foreseen,
    /// When it began.
    pub began: Instant,
    /// Where it began.
    pub from: TreeSize,
    /// How far it is.
    pub progress: ReplicaProgress,
}

/// Why a log was not brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// Somebody else is at it.
    #[error("{log} is being synced already")]
    Busy {
        /// The log's name.
        log: String,
    },
    /// The records would not fit.
    #[error(
        "{} more records take about {} MiB, and {} has {} MiB free\n  fix: make room there, put `data` on a larger disk, or set mode = \"on-demand\"",
        .foreseen.records, .foreseen.disk_bytes >> 20, .directory.display(), .foreseen.free_bytes >> 20
    )]
    NoRoom {
        /// The log's name.
        log: String,
        /// Where the mirror is.
        directory: PathBuf,
        /// What would be needed.
        foreseen: Foreseen,
    },
    /// Nobody gives data tiles.
    #[error(
        "mode \"full\" needs data tiles, and no URL gives {path}: {said}\n  fix: name another URL in [sumdb.\"{log}\"] that serves them, or take in a copy: `tallystick mirror import {log} DIR|FILE|URL`; until then what is asked for is fetched and kept as in mode \"on-demand\""
    )]
    NoDataTiles {
        /// The log's name.
        log: String,
        /// The tile that was asked for.
        path: String,
        /// What each URL said.
        said: String,
    },
    /// The log, its URLs or our disk.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

impl From<ReplicateError> for SyncError {
    fn from(error: ReplicateError) -> SyncError {
        match error {
            ReplicateError::NoDataTiles { log, path, said } => SyncError::NoDataTiles { log, path, said },
            ReplicateError::Remote(error) => error.into(),
            ReplicateError::Store(error) => RemoteError::from(error).into(),
        }
    }
}

impl From<StoreError> for SyncError {
    fn from(error: StoreError) -> SyncError {
        RemoteError::from(error).into()
    }
}

/// The end of a run, however it comes.
struct Ended<'a>(&'a watch::Sender<Option<Run>>);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.send_replace(None);
    }
}

impl Run {
    /// Records a second since it began, once there are any.
    pub fn rate(&self, now: Instant) -> Option<f64> {
        let seconds = now.saturating_duration_since(self.began).as_secs_f64();
        let records = self.progress.size.0.saturating_sub(self.from.0);
        (records > 0 && seconds > 0.0).then(|| records as f64 / seconds)
    }

    /// How long the rest will take at that rate.
    pub fn eta(&self, now: Instant) -> Option<Duration> {
        let left = self.progress.target.0.saturating_sub(self.progress.size.0);
        let seconds = left as f64 / self.rate(now)?;
        Duration::try_from_secs_f64(seconds).ok()
    }
}

impl Mirror {
    /// A log that nobody is bringing up to date. `database` is the file of the full mirror, if it has or gets one.
    pub fn new(
        log: RemoteLog,
        mode: Mode,
        poll: Duration,
        replicate: ReplicateOptions,
        database: PathBuf,
    ) -> Mirror {
        if mode == Mode::Full {
            log.replicates();
        }
        Mirror {
            log,
            mode,
            poll,
            schedule: None,
            replicate,
            database,
            reverified: Arc::default(),
            syncing: Mutex::new(()),
            running: Mutex::new(()),
            run: watch::Sender::new(None),
            wanted: Notify::new(),
        }
    }

    /// The same, asked at these times.
    pub fn on(self, schedule: Option<Schedule>) -> Mirror {
        Mirror { schedule, ..self }
    }

    /// Brings the log up to date for a person or a scheduler: follows an attempt of the server itself, but not another call
    /// of this. [`Mirror::run`] tells how far it is.
    pub async fn sync(&self) -> Result<Synced, SyncError> {
        let Ok(_only) = self.syncing.try_lock() else {
            return Err(SyncError::Busy { log: self.log.name().to_owned() });
        };
        self.advance().await
    }

    /// The right to write to the full mirror by hand: refused while another person has it, later than a run of the server.
    pub(super) async fn alone(&self) -> Result<(MutexGuard<'_, ()>, MutexGuard<'_, ()>), SyncError> {
        let Ok(only) = self.syncing.try_lock() else {
            return Err(SyncError::Busy { log: self.log.name().to_owned() });
        };
        Ok((only, self.running.lock().await))
    }

    /// Brings the log up to date.
    pub async fn advance(&self) -> Result<Synced, SyncError> {
        let newest = || self.log.newest().map(|head| head.tree.size);
        let (Mode::Full, Some(replica)) = (self.mode, self.log.replica()) else {
            let from = newest();
            let to = self.log.poll().await?.tree.size;
            return Ok(Synced { from, to });
        };
        let size = || replica.reader().head().map(|head| head.tree.size);
        let from = size();
        let mut head = self.log.poll().await?;
        let _one = self.running.lock().await;
        // A long run ends at a head that look-ups have passed by then.
        while size() < Some(head.tree.size) {
            let result = self.replicate_by(&self.log, &head, self.replicate, |_| ()).await;
            if let Err(error) = &result {
                self.log.note_failure(&error.to_string()).await;
            }
            result?;
            head = self.log.newest().unwrap_or(head);
        }
        self.log.note_success().await;
        Ok(Synced { from, to: size().unwrap_or_default() })
    }

    /// Replicates by any handle of the log, which may read it elsewhere. For who is [alone](Mirror::alone).
    pub(super) async fn replicate_by(
        &self,
        log: &RemoteLog,
        head: &SeenHead,
        options: ReplicateOptions,
        told: impl Fn(ReplicaProgress),
    ) -> Result<(), SyncError> {
        let replica = self.log.replica().expect("only a log with a full mirror is replicated");
        let from = replica.reader().size();
        let foreseen = self.foresee(from, head.tree.size)?;
        let Foreseen { records, requests, bytes, disk_bytes, free_bytes } = foreseen;
        if free_bytes < disk_bytes.saturating_add(DISK_RESERVE_BYTES) {
            let directory = self.database.parent().unwrap_or(&self.database).to_owned();
            return Err(SyncError::NoRoom { log: self.log.name().to_owned(), directory, foreseen });
        }
        if records > SMALL_RUN {
            let log = self.log.name();
            tracing::info!(log, records, requests, bytes, disk_bytes, free_bytes, "replicating a remote log");
        }
        let progress =
            ReplicaProgress { size: from, target: head.tree.size, requests: 0, bytes: 0, retries: 0 };
        let run = Run { foreseen, began: self.log.instant(), from, progress };
        self.run.send_replace(Some(run));
        // It ends also when nobody waits for it any more.
        let _ended = Ended(&self.run);
        let tell = |progress| {
            self.run.send_replace(Some(Run { progress, ..run }));
            told(progress);
        };
        log.replicate(replica, head, options, tell).await?;
        // A step at a time: who stops the server waits for one of them, and readers find their transactions in between.
        loop {
            let settling = replica.clone();
            if blocking(move || settling.tidy()).await? {
                return Ok(());
            }
        }
    }

    fn foresee(&self, from: TreeSize, to: TreeSize) -> Result<Foreseen, StoreError> {
        let records = to.0.saturating_sub(from.0);
        let tiles = (to.0 >> 8).saturating_sub(from.0 >> 8) + 1;
        Ok(Foreseen {
            records,
            requests: tiles + tiles.div_ceil(255) + 2,
            // A head may claim any size.
            bytes: records.saturating_mul(WIRE_BYTES),
            disk_bytes: records.saturating_mul(DISK_BYTES),
            free_bytes: free_bytes(self.database.parent().unwrap_or(&self.database))?,
        })
    }

    /// The run that is replicating, as it goes on; none between two runs.
    pub fn run(&self) -> watch::Receiver<Option<Run>> {
        self.run.subscribe()
    }

    /// Has a server bring it up to date soon, whatever its poll interval.
    pub fn want(&self) {
        self.wanted.notify_one();
    }
}

impl Mirrors {
    /// A set of logs.
    pub fn new(mirrors: impl IntoIterator<Item = Mirror>) -> Mirrors {
        let named = |mirror: Mirror| (mirror.log.name().to_owned(), Arc::new(mirror));
        Mirrors { logs: Arc::new(mirrors.into_iter().map(named).collect()), unusable: Arc::default() }
    }

    /// The log of this name.
    pub fn find(&self, name: &str) -> Option<&Arc<Mirror>> {
        self.logs.get(name)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Mirror>> {
        self.logs.values()
    }

    /// The same set, beside logs that cannot be used.
    pub fn and_unusable(self, unusable: impl IntoIterator<Item = Unusable>) -> Mirrors {
        let named = |unusable: Unusable| (unusable.name.clone(), Arc::new(unusable));
        Mirrors { unusable: Arc::new(unusable.into_iter().map(named).collect()), ..self }
    }

    /// The logs that cannot be used, by name. None of them is among the others.
    pub fn unusable(&self) -> impl Iterator<Item = &Arc<Unusable>> {
        self.unusable.values()
    }

    /// The log of this name, if it cannot be used.
    pub fn find_unusable(&self, name: &str) -> Option<&Arc<Unusable>> {
        self.unusable.get(name)
    }
}
