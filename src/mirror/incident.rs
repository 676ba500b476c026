//! The stop of a log: the contradiction, the file that convicts it, and the person who ends the stop.
//!
//! The evidence is in the database, and beside it in a file for people and other programs, `<database>.incident-1.txt`,
//! whose text is [`Misbehaviour::to_text`]. Neither is ever removed by us, nor replaced: where a file of that name tells of
//! something else, as when the database was made anew, the next one is `….incident-1-2.txt`. A log whose stop was ended is compared with
//! the same heads as before: if it shows the other tree again, that is the next incident.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::misbehaviour::{EvidenceError, Misbehaviour};
use super::{Inner, RemoteError, RemoteLog};
use crate::store::StoreError;
use crate::store::remote::StoredIncident;

/// Why a log is stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incident {
    /// Its number among those of this log, from 1; 0 for one that could not be kept.
    pub id: u64,
    /// What the log did.
    pub misbehaviour: Arc<Misbehaviour>,
    /// The file with the evidence.
    pub evidence: PathBuf,
}

impl RemoteLog {
    /// The incident for which this log is stopped, if it is.
    pub fn incident(&self) -> Option<Arc<Incident>> {
        self.0.stopped.load_full()
    }

    /// Goes on after a person has looked at this incident. The evidence stays. False when the log is not stopped, or for
    /// another one.
    pub async fn resume(&self, incident: u64) -> Result<bool, RemoteError> {
        let inner = &self.0;
        let Some(stopped) = inner.stopped.load_full().filter(|stopped| stopped.id == incident) else {
            return Ok(false);
        };
        if stopped.id > 0 && !inner.store.resume(incident, inner.clock.now()).await? {
            return Ok(false);
        }
        inner.stopped.store(None);
        tracing::warn!(log = %inner.name, incident, "a person has ended the stop of this remote log");
        Ok(true)
    }
}

impl Inner {
    /// Stops the log. What is kept of the evidence, and where it failed, is logged here once.
    pub(super) async fn stop_for(&self, misbehaviour: Misbehaviour) -> RemoteError {
        tracing::error!(log = %self.name, evidence = %misbehaviour.to_text(), "a remote log contradicts itself");
        let kept = self.store.stop(misbehaviour.to_text(), misbehaviour.seen_at).await;
        let reloaded = match kept {
            Ok(()) => self.reload_stopped(),
            Err(error) => Err(StoreError::File {
                path: self.database.display().to_string(),
                source: io::Error::other(error.to_string()),
            }),
        };
        if let Err(error) = reloaded {
            tracing::error!(log = %self.name, %error, "the evidence of misbehaviour could not be kept");
        }
        if self.stopped.load().is_none() {
            // It is stopped all the same, for as long as this process lives.
            self.enter(Incident {
                id: 0,
                evidence: evidence_file(&self.database, 0),
                misbehaviour: Arc::new(misbehaviour.clone()),
            });
        }
        let stopped = self.stopped.load();
        let first = stopped.as_ref().map(|incident| incident.misbehaviour.clone());
        RemoteError::Misbehaviour(first.unwrap_or_else(|| Arc::new(misbehaviour)))
    }

    /// Takes over a stop that is in the store: from before the start, or from another process.
    pub(super) fn reload_stopped(&self) -> Result<(), StoreError> {
        let Some(StoredIncident { id, text, seen_at }) = self.store.stopped()? else { return Ok(()) };
        let damaged = |why: EvidenceError| StoreError::Damaged {
            place: format!("incident {id}"),
            why: why.to_string(),
        };
        let misbehaviour = Arc::new(Misbehaviour::parse(&self.name, &text, seen_at).map_err(damaged)?);
        self.enter(Incident { id, evidence: evidence_file(&self.database, id), misbehaviour });
        Ok(())
    }

    fn enter(&self, mut incident: Incident) {
        if self.stopped.load().is_some() {
            return;
        }
        match keep_evidence(&incident.evidence, &incident.misbehaviour.to_text()) {
            Ok(written) => incident.evidence = written,
            Err(error) => {
                let file = incident.evidence.display();
                tracing::error!(log = %self.name, %file, %error, "the file of evidence cannot be written");
            }
        }
        self.stopped.store(Some(Arc::new(incident)));
    }
}

fn evidence_file(database: &Path, incident: u64) -> PathBuf {
    database.with_extension(format!("incident-{incident}.txt"))
}

/// As many incidents of one number may have left a file: a database is not made anew more often.
const MAX_FILES: usize = 1000;

/// Writes evidence to a file, whole or not at all. Returns where it is: a file that is there and tells of something else stays as
/// it is, and the next is `….incident-1-2.txt`.
pub fn keep_evidence(file: &Path, text: &str) -> io::Result<PathBuf> {
    let directory = file.parent().unwrap_or(Path::new("."));
    for number in 1..=MAX_FILES {
        let path = numbered(file, number);
        match fs::read(&path) {
            Ok(there) if there == text.as_bytes() => return Ok(path),
            Ok(_) => continue,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        match file.persist_noclobber(&path) {
            Ok(_) => {
                fs::File::open(directory)?.sync_all()?;
                return Ok(path);
            }
            // Another process was faster; what it wrote is looked at next.
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
                if fs::read(&path)? == text.as_bytes() {
                    return Ok(path);
                }
            }
            Err(error) => return Err(error.error),
        }
    }
    Err(io::Error::new(
        io::ErrorKind::AlreadyExists,
        format!("there are {MAX_FILES} of this number: move some away"),
    ))
}

/// `x.incident-1.txt`, then `x.incident-1-2.txt`, …
fn numbered(path: &Path, number: usize) -> PathBuf {
    if number == 1 {
        return path.to_owned();
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    path.with_file_name(format!("{stem}-{number}.txt"))
}
