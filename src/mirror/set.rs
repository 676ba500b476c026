//! All remote logs of a server or of a command, by name.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, Notify};

use super::{RemoteError, RemoteLog, Unusable};
use crate::config::{Mode, Schedule};
use crate::tlog::TreeSize;

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
    /// Ends the pause before the newest head is asked for again.
    wake: Notify,
    /// Held by whoever was told by a person or a scheduler to bring it up to date: one at a time.
    syncing: Mutex<()>,
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
    /// Records in the newest head before; none when no head was known.
    pub from: Option<TreeSize>,
    /// Records in the newest head now.
    pub to: TreeSize,
}

/// Why a log was not brought up to date.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SyncError {
    /// Somebody else is at it.
    #[error("{log} is being synced already")]
    Busy {
        /// The log's name.
        log: String,
    },
    /// The log, its URLs or our disk.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

impl Mirror {
    /// A log that nobody is bringing up to date.
    pub fn new(log: RemoteLog, mode: Mode, poll: Duration) -> Mirror {
        Mirror { log, mode, poll, schedule: None, wake: Notify::new(), syncing: Mutex::new(()) }
    }

    /// The same, asked at these times.
    pub fn on(self, schedule: Option<Schedule>) -> Mirror {
        Mirror { schedule, ..self }
    }

    /// Says that there may be something new: whoever watches the log asks at once. Several calls before that are one.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Ready when somebody has said so since the last time.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Brings the log up to date: in both modes that is its newest head. Joins an attempt of the server itself, but not
    /// another call of this.
    pub async fn sync(&self) -> Result<Synced, SyncError> {
        let Ok(_only) = self.syncing.try_lock() else {
            return Err(SyncError::Busy { log: self.log.name().to_owned() });
        };
        let from = self.log.newest().map(|head| head.tree.size);
        let to = self.log.poll().await?.tree.size;
        Ok(Synced { from, to })
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
