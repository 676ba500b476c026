//! What an audit remembers: one small file, replaced as a whole.
//!
//! ```text
//! <SHA-256 of everything after this line, in hex>
//! {"key":"peer.example+4e432735+Adh1…","records":524288,"levels":[["mO1…",…],…],"names":"…","head":null,"findings":[]}
//! ```
//!
//! The sum tells a file that was damaged here from a log that has changed: only the second is anybody else's fault.

use std::fs::{File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::AuditError;
use super::block::NameKey;
use super::finding::Findings;
use super::rows::Rows;
use crate::note::VerifierKey;
use crate::store::private;
use crate::tlog::Hash;

const NAME: &str = "audit.state";

/// What is remembered.
#[derive(Debug)]
pub(super) struct SavedAudit {
    pub(super) rows: Rows,
    pub(super) names: NameKey,
    pub(super) findings: Findings,
    /// The signed head that was audited to its end.
    pub(super) head: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    key: String,
    records: u64,
    levels: Vec<Vec<String>>,
    names: String,
    head: Option<String>,
    #[serde(flatten)]
    findings: Findings,
}

/// The file, which one audit has at a time.
pub(super) struct StateFile {
    path: PathBuf,
    key: String,
    /// Held until the audit ends.
    _lock: File,
}

impl StateFile {
    /// Opens the state in `directory`, or begins one. That of another log, or of this one with another key, is refused.
    pub(super) fn open(directory: &Path, key: &VerifierKey) -> Result<(StateFile, SavedAudit), AuditError> {
        let failed = |why: String| AuditError::State { path: directory.display().to_string(), why };
        private::make_directory(directory).map_err(|error| failed(error.to_string()))?;
        let lock = private::options().open(directory.join("audit.lock"));
        let lock = lock.map_err(|error| failed(error.to_string()))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => AuditError::Running { path: directory.display().to_string() },
            TryLockError::Error(error) => failed(error.to_string()),
        })?;
        let file = StateFile { path: directory.join(NAME), key: key.to_string(), _lock: lock };
        let text = match std::fs::read_to_string(&file.path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let mut names = NameKey::default();
                getrandom::fill(&mut names).map_err(|error| failed(error.to_string()))?;
                let (rows, findings) = (Rows::default(), Findings::default());
                return Ok((file, SavedAudit { rows, names, findings, head: None }));
            }
            Err(error) => return Err(file.wrong(error.to_string())),
        };
        let stored = parse(&text).map_err(|why| {
            file.wrong(format!(
                "{why}: it was damaged here\n  fix: remove {} and audit again",
                directory.display()
            ))
        })?;
        if stored.0 != file.key {
            return Err(file
                .wrong(format!("it is of an audit with the key {}\n  fix: give another --state", stored.0)));
        }
        Ok((file, stored.1))
    }

    /// Replaces the state. A power cut leaves the old one or the new one.
    pub(super) fn save(&self, kept: &SavedAudit) -> Result<(), AuditError> {
        let SavedAudit { rows, names, findings, head } = kept;
        let text = |hash: &Hash| hash.to_string();
        let stored = Stored {
            key: self.key.clone(),
            records: rows.size(),
            levels: rows.levels().iter().map(|level| level.iter().map(text).collect()).collect(),
            names: STANDARD.encode(names),
            head: head.clone(),
            findings: findings.clone(),
        };
        let body = serde_json::to_string(&stored).expect("a state has only string keys");
        let path = self.path.with_extension("new");
        let written = private::options().truncate(true).open(&path).and_then(|mut file| {
            writeln!(file, "{}\n{body}", sum(&body))?;
            file.sync_all()
        });
        written
            .and_then(|()| std::fs::rename(&path, &self.path))
            .and_then(|()| File::open(self.path.parent().expect("a file in a directory"))?.sync_all())
            .map_err(|error| self.wrong(error.to_string()))
    }

    fn wrong(&self, why: String) -> AuditError {
        AuditError::State { path: self.path.display().to_string(), why }
    }
}

/// The key and what was remembered; or what is wrong with the file.
fn parse(text: &str) -> Result<(String, SavedAudit), String> {
    let (found, body) = text.split_once('\n').ok_or("it has no first line")?;
    let body = body.strip_suffix('\n').ok_or("it is cut off")?;
    if found != sum(body) {
        return Err("its sum is not that of its text".to_owned());
    }
    let stored: Stored = serde_json::from_str(body).map_err(|error| error.to_string())?;
    let levels: Option<Vec<Vec<Hash>>> =
        stored.levels.iter().map(|level| level.iter().map(|hash| hash.parse().ok()).collect()).collect();
    let rows = levels.and_then(|levels| Rows::from_levels(stored.records, levels));
    let names = STANDARD.decode(&stored.names).ok().and_then(|key| NameKey::try_from(key).ok());
    let (rows, names) = (rows.ok_or("no tree has such tiles")?, names.ok_or("its key of names is none")?);
    Ok((stored.key, SavedAudit { rows, names, findings: stored.findings, head: stored.head }))
}

fn sum(body: &str) -> String {
    Sha256::digest(body.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}
