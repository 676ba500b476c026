//! The monitor: follows logs for somebody who wants to know what happens in them, and trusts none of them.
//!
//! One poll of a log:
//!
//! ```text
//! newest head of each URL ── signed? one log with every head before? ([`RemoteLog`]; else: fork, with evidence)
//!   ├─ new records, tile by tile, each verified under the head
//!   │    ├─ of a module that is watched  → event, with the inclusion proof
//!   │    ├─ another hash than go.sum has → event
//!   │    └─ another hash than the other log has → event
//!   ├─ go.sum lines of older records, looked up once → event, if the hash is another
//!   ├─ no new head for too long, nothing verified for too long → event, and another one when it is over
//!   └─ state, feed durable ([`state`]) → web hook
//! ```
//!
//! It reads what servers serve to everyone, and keeps of each log only heads and tiles (the database of a mirror in mode
//! `heads`). Where a log passes no data tiles on it says so once, and follows heads only.
//!
//! | file | what |
//! |---|---|
//! | `event` | what is told |
//! | `state` | what is remembered, durably |
//! | `feed`, `webhook` | how it is told |
//! | `poll` | one poll of one log |
//! | `poll::lookups` | look-ups of go.sum lines whose records were there before |
//! | `gosum` | the go.sum lines that records are compared with |

mod event;
mod feed;
mod gosum;
mod poll;
mod state;
mod webhook;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Mutex;

use crate::clock::Clock;
use crate::config::Followed;
use crate::mirror::RemoteLog;
use crate::store::StoreError;
use crate::store::durable::write_durably;
pub use event::{Event, EventKind, FoundRecord, Tree};
pub use feed::feed_of;
pub use poll::Polled;
pub use state::{LogState, MonitorState, Pass, STATE_FILE, StateError};
pub use webhook::{Webhook, WebhookError};

/// Follows logs.
pub struct Monitor {
    directory: PathBuf,
    feed: Option<PathBuf>,
    logs: Vec<Log>,
    webhook: Option<Webhook>,
    clock: Clock,
    /// What is on disk; held while it is changed and written.
    state: Mutex<MonitorState>,
    /// Held by who tells the web hook, so that it hears of one event after another.
    telling: Mutex<()>,
}

/// A log that is followed, and what is kept of it.
struct Log {
    followed: Followed,
    remote: RemoteLog,
    /// At each of its URLs alone.
    views: Vec<RemoteLog>,
}

/// Why a monitor cannot go on. What a log does is never one of these: it is told.
#[derive(Debug, thiserror::Error)]
pub enum MonitorError {
    /// Its own state.
    #[error(transparent)]
    State(#[from] StateError),
    /// A file that it writes.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A go.sum file.
    #[error("{}: {why}", path.display())]
    Gosum {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// What is kept of a log's heads and tiles.
    #[error(
        "what is kept of {log} cannot be used: {source}. This is the monitor's own database, so no log has done that"
    )]
    Store {
        /// The log's name.
        log: String,
        /// Why.
        source: Arc<StoreError>,
    },
    /// The state is of another key.
    #[error(
        "the state says that {log} has the key {known}, the configuration says {given}: another key is another log; give it another name, or another `state` directory"
    )]
    Key {
        /// The log's name.
        log: String,
        /// Of the state.
        known: String,
        /// Of the configuration.
        given: String,
    },
}

impl Monitor {
    /// Over logs that are open, each with what is to be followed of it. `directory` must be there, and nobody else's.
    pub fn open(
        directory: PathBuf,
        feed: Option<PathBuf>,
        logs: Vec<(Followed, RemoteLog)>,
        webhook: Option<Webhook>,
        clock: Clock,
    ) -> Result<Monitor, MonitorError> {
        let state = MonitorState::load(&directory)?;
        for (followed, _) in &logs {
            let given = followed.key.to_string();
            if let Some(known) = state.logs.get(&*followed.name).filter(|known| known.key != given) {
                let (log, known) = (followed.name.value.clone(), known.key.clone());
                return Err(MonitorError::Key { log, known, given });
            }
        }
        let log = |(followed, remote): (Followed, RemoteLog)| Log { followed, views: remote.views(), remote };
        let logs = logs.into_iter().map(log).collect();
        let (state, telling) = (Mutex::new(state), Mutex::new(()));
        Ok(Monitor { directory, feed, logs, webhook, clock, state, telling })
    }

    /// What is followed.
    pub fn followed(&self) -> impl Iterator<Item = &Followed> {
        self.logs.iter().map(|log| &log.followed)
    }

    /// What is remembered, as it is on disk.
    pub async fn state(&self) -> MonitorState {
        self.state.lock().await.clone()
    }

    /// Changes the state and writes it, with the feed. Returns the events as they were numbered.
    async fn change(
        &self,
        events: Vec<Event>,
        change: impl FnOnce(&mut BTreeMap<String, LogState>),
    ) -> Result<Vec<Event>, MonitorError> {
        let mut state = self.state.lock().await;
        let mut next = state.clone();
        change(&mut next.logs);
        let has_webhook = self.webhook.is_some();
        let events: Vec<Event> = events.into_iter().map(|event| next.add(event, has_webhook)).collect();
        next.save(&self.directory)?;
        *state = next;
        if let Some(path) = self.feed.as_ref().filter(|_| !events.is_empty()) {
            self.write_feed(path, &state)?;
        }
        for event in &events {
            if event.kind.is_alarm() {
                tracing::error!(log = event.log, "{event}");
            } else {
                tracing::warn!(log = event.log, "{event}");
            }
        }
        Ok(events)
    }

    fn write_feed(&self, path: &Path, state: &MonitorState) -> Result<(), MonitorError> {
        let written = write_durably(path, feed_of(state.events.iter()).as_bytes());
        written.map_err(|source| MonitorError::Io { path: path.to_owned(), source })
    }

    /// Posts the events that wait. One that is not taken stays first. True when none is left.
    pub async fn tell(&self) -> Result<bool, MonitorError> {
        let Some(webhook) = &self.webhook else { return Ok(true) };
        let _one = self.telling.lock().await;
        loop {
            let Some(event) = self.state.lock().await.waiting.front().cloned() else { return Ok(true) };
            if let Err(error) = webhook.tell(&event).await {
                tracing::warn!(%error, event = event.id, "an event is told later");
                return Ok(false);
            }
            let mut state = self.state.lock().await;
            state.waiting.retain(|waiting| waiting.id != event.id);
            state.save(&self.directory)?;
        }
    }
}
