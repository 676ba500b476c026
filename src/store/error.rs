//! Why a store could not do what it was asked.

use std::path::{Path, PathBuf};

use super::Holder;

/// Why a store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The newest head or the writer's epoch is not what the caller expected: somebody else writes
    /// to this database.
    #[error("another writer changed the log's database: expected {expected}, found {found}")]
    Conflict {
        /// What the caller had seen.
        expected: String,
        /// What the database holds.
        found: String,
    },
    /// The disk is full. Nothing was written; writing can go on when there is space.
    #[error("the disk that holds the log's database is full")]
    Full,
    /// A stored row or page is not what was written. Restore it from a backup or a replica;
    /// `tallystick fsck` lists all.
    #[error("damaged: {place}: {why}")]
    Damaged {
        /// Table and row.
        place: String,
        /// What does not fit.
        why: String,
    },
    /// What was computed twice differs: a bit of this machine's memory flipped, or its processor
    /// errs. Nothing of it was written.
    #[error("{place}: {why}; the memory of this machine cannot be trusted")]
    Memory {
        /// What was computed.
        place: String,
        /// The two results.
        why: String,
    },
    /// The anchor failed under a log that is sound. Nothing more can be published before it is put
    /// right.
    #[error("the anchor at {path}: {why}")]
    Anchor {
        /// Its file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// The database was written by a newer version of this program.
    #[error(
        "the database has schema version {found}, this program knows {known}: run the newer program that wrote it"
    )]
    NewerSchema {
        /// The version in the file.
        found: i64,
        /// The newest version that is compiled in.
        known: i64,
    },
    /// The file is not the database that it was opened for.
    #[error("{path} is not a database of this program: {found}")]
    Foreign {
        /// The file.
        path: String,
        /// What is there instead.
        found: FoundInstead,
    },
    /// Another process holds the lock of the directory, or of a mirror.
    #[error("{}", text_of_lock(path, holder.as_ref()))]
    Locked {
        /// The lock file.
        path: String,
        /// Who holds it, where that can be known.
        holder: Option<Holder>,
    },
    /// Another program has locked the database, to read or to copy it. It is no other writer, and
    /// nothing was written.
    #[error("{}", text_of_busy(path, holder.as_ref()))]
    Busy {
        /// The database; empty where the caller has to say it ([`StoreError::of_database`]).
        path: String,
        /// Who has locked it, where that can be known.
        holder: Option<Holder>,
    },
    /// The file system cannot keep the promises that a log needs.
    #[error(
        "{path} is on a network file system ({kind}), where locks and fsync cannot be relied upon: use a local disk"
    )]
    NetworkFileSystem {
        /// The directory.
        path: String,
        /// Its type.
        kind: &'static str,
    },
    /// A file or directory could not be created, opened or read.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The database refused or failed. After this nothing more is signed.
    #[error("database {action}: {source}")]
    Database {
        /// What was being done.
        action: &'static str,
        /// What the database engine said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// What is in the place of a database that was expected there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FoundInstead {
    /// A database of another kind, or of another program.
    #[error("application_id {application_id:#x} and {tables} tables")]
    OtherKind {
        /// The id that marks the kind.
        application_id: i64,
        /// Its tables.
        tables: i64,
    },
    /// A database that was prepared for a log, in which none was ever created.
    #[error("no log was ever created in it")]
    NoLog,
    /// An own log under another key.
    #[error("it holds the log {vkey}")]
    OtherLog {
        /// The verifier key of the log that is there.
        vkey: String,
        /// The verifier key of the log that it was opened for.
        wanted: String,
    },
    /// What is kept of another remote log, or of one under another key.
    #[error("it keeps the log {name} with the key {vkey}")]
    OtherRemoteLog {
        /// The name of the log that is there.
        name: String,
        /// Its verifier key.
        vkey: String,
    },
    /// A full mirror of another log, or of one under another key.
    #[error("it holds the log {name} with the key {vkey}")]
    OtherReplica {
        /// The name of the log that is there.
        name: String,
        /// Its verifier key.
        vkey: String,
    },
    /// The memory of another witness.
    #[error("it is the memory of the witness {vkey}")]
    OtherWitness {
        /// The verifier key of that witness.
        vkey: String,
    },
    /// Another file, or none: the one that was opened has lost its name.
    #[error("the file was taken away or replaced while the server ran")]
    OtherFile,
}

impl StoreError {
    /// Whether the same call can succeed later without anybody repairing anything.
    pub fn is_transient(&self) -> bool {
        matches!(self, StoreError::Full | StoreError::Locked { .. } | StoreError::Busy { .. })
    }

    /// Says of a database that is busy which it is, and who has locked it.
    pub(super) fn of_database(self, database: &Path) -> StoreError {
        match self {
            StoreError::Busy { .. } => {
                let beside = |end| PathBuf::from(format!("{}{end}", database.display()));
                let holder = Holder::of(&[database, &beside("-shm"), &beside("-wal")]);
                StoreError::Busy { path: database.display().to_string(), holder }
            }
            error => error,
        }
    }
}

fn text_of_lock(path: &str, holder: Option<&Holder>) -> String {
    match holder {
        Some(holder) if !holder.is_ours() => format!(
            "{path} is locked by another program, {holder}\n  fix: end it (`kill {}`), then start again; nothing but \
             tallystick may lock this file",
            holder.pid
        ),
        holder => {
            let who = holder.map_or_else(String::new, |holder| format!(" (process {})", holder.pid));
            format!(
                "{path} is in use by another tallystick process{who}: stop it first, or let it do the work"
            )
        }
    }
}

fn text_of_busy(path: &str, holder: Option<&Holder>) -> String {
    let path = if path.is_empty() { "the database" } else { path };
    match holder {
        Some(holder) => format!(
            "{path} is locked by {holder}, which reads or copies it; nothing was written\n  fix: end that process \
             (`kill {}`), and copy a database with `sqlite3 {path} '.backup FILE'`, which locks it for a moment only",
            holder.pid
        ),
        None => format!(
            "{path} is locked by another program that reads or copies it; nothing was written\n  fix: end that program; \
             `fuser -v` on the file names it"
        ),
    }
}
