//! What a monitor remembers: how far it has read each log, under which head, what it has told, and whom it has still to tell.
//!
//! ```text
//! tallystick monitor state v1 <SHA-256 of the rest, hexadecimal>
//! {"next_event":8,"logs":{"sum.golang.org":{"read":71848828,…}},…}
//! ```
//!
//! Written to a new file, synced, renamed over the old one, and the directory synced: a kill or a power cut leaves the old or
//! the new one whole. Events are in the same write as the reading that found them, so that each is found once; a web hook is
//! told at least once.
//!
//! A file whose checksum is wrong was damaged here: that is said as such and is no fork. A log that disagrees with the head in
//! a sound file is one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::event::{Event, EventKind, Tree};
use crate::store::durable::write_durably;

/// The file's name in the state directory.
pub const STATE_FILE: &str = "monitor.state";
const TITLE: &str = "tallystick monitor state v1 ";
/// Events that are kept for the feed.
const EVENTS_KEPT: usize = 100;
/// Events that may wait for a web hook that does not answer; the oldest go first.
const WAITING_MAX: usize = 1000;

/// What is remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MonitorState {
    /// The number of the last event.
    pub last_event: u64,
    /// By name.
    pub logs: BTreeMap<String, LogState>,
    /// The last events, oldest first.
    pub events: VecDeque<Event>,
    /// Events that the web hook has not taken yet, oldest first.
    pub waiting: VecDeque<Event>,
}

/// What is remembered of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogState {
    /// Its key: another key is another log.
    pub key: String,
    /// How many of its records were looked at.
    pub read: u64,
    /// The newest head.
    pub head: Tree,
    /// Since when that is the newest.
    pub since: Timestamp,
    /// When it was verified last that there is none newer.
    pub verified_at: Timestamp,
    /// What was told and is not over.
    pub told: BTreeSet<EventKind>,
    /// How many events there were.
    pub events: u64,
    /// How far go.sum lines were looked up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gosum: Option<Pass>,
    /// The go.sum lines of which it was told that a record disagrees.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub conflicts: BTreeSet<String>,
}

/// How far the lines were looked up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pass {
    /// Which lines.
    pub digest: String,
    /// How many module versions that are.
    pub total: u64,
    /// How many were asked for.
    pub next: u64,
    /// Of these, whose record was compared.
    pub checked: u64,
    /// Of these, which the log does not have.
    pub missing: u64,
    /// When a new pass is due.
    pub again_at: Option<Timestamp>,
}

/// Why the state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its checksum is wrong.
    #[error(
        "{} is damaged: {why}. This file is the monitor's own, so no log has done that: look after this machine's disk, then move the file away. What was read of each log is read again from `from`; the heads are also in the databases beside it, and each log is still held to those",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

impl MonitorState {
    /// Reads the state of a directory; one that has none yet is empty.
    pub fn load(directory: &Path) -> Result<MonitorState, StateError> {
        let path = directory.join(STATE_FILE);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(MonitorState::default()),
            Err(source) => return Err(StateError::Io { path, source }),
        };
        let damaged = |why: String| StateError::Damaged { path: path.clone(), why };
        let end = text.iter().position(|byte| *byte == b'\n');
        let Some((head, json)) = end.map(|end| (&text[..end], &text[end + 1..])) else {
            return Err(damaged(format!("{} bytes and no first line", text.len())));
        };
        if head != first_line(json).as_bytes() {
            return Err(damaged("the checksum in its first line is not that of the rest".to_owned()));
        }
        serde_json::from_slice(json).map_err(|error| damaged(error.to_string()))
    }

    /// Writes it, whole or not at all, durably.
    pub fn save(&self, directory: &Path) -> Result<(), StateError> {
        let mut json = serde_json::to_vec(self).expect("the state has only string keys");
        json.push(b'\n');
        let path = directory.join(STATE_FILE);
        write_durably(&path, &[first_line(&json).as_bytes(), b"\n", &json].concat())
            .map_err(|source| StateError::Io { path, source })
    }

    /// Numbers an event, and keeps it for the feed and, where there is one, for the web hook.
    pub fn add(&mut self, mut event: Event, has_webhook: bool) -> Event {
        self.last_event += 1;
        event.id = self.last_event;
        if let Some(log) = self.logs.get_mut(&event.log) {
            log.events += 1;
        }
        self.events.push_back(event.clone());
        if self.events.len() > EVENTS_KEPT {
            self.events.pop_front();
        }
        if has_webhook {
            self.waiting.push_back(event.clone());
            if self.waiting.len() > WAITING_MAX
                && let Some(lost) = self.waiting.pop_front()
            {
                tracing::error!(event = %lost, "the web hook has not answered for so long that an event is dropped");
            }
        }
        event
    }
}

fn first_line(json: &[u8]) -> String {
    let digits: String = Sha256::digest(json).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{TITLE}{digits}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_and_every_cut_is_damage() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(MonitorState::load(directory.path()).unwrap(), MonitorState::default());
        let state = MonitorState { last_event: 7, ..MonitorState::default() };
        state.save(directory.path()).unwrap();
        assert_eq!(MonitorState::load(directory.path()).unwrap(), state);
        let path = directory.path().join(STATE_FILE);
        let sound = std::fs::read(&path).unwrap();
        let assert_damaged = |bytes: &[u8], what: &str| {
            std::fs::write(&path, bytes).unwrap();
            let loaded = MonitorState::load(directory.path());
            assert!(matches!(loaded, Err(StateError::Damaged { .. })), "{what}: {loaded:?}");
        };
        for bit in 0..sound.len() * 8 {
            let mut flipped = sound.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_damaged(&flipped, &format!("bit {bit}"));
        }
        for length in 0..sound.len() {
            assert_damaged(&sound[..length], &format!("{length} bytes"));
        }
        assert_damaged(&vec![0; sound.len()], "a power cut that left zeros");
    }
}
