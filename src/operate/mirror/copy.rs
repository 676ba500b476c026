//! A full mirror as static files: written by an export, taken in by an import.
//!
//! Files are named by absolute paths, and the process that has the mirror open reads and writes
//! them.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::find::{find, full, refusal};
use super::long::{Tell, WorkProgress, blocking};
use crate::mirror::{
    BundleError, ExportTarget, ImportError, ImportProgress, ImportSource, Mirror, RecordsError, RemoteError,
    SyncError, Synced, export,
};
use crate::operate::operations::Operations;
use crate::operate::refusal::{Reason, Refusal};
use crate::tlog::TreeSize;

/// What an export wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ExportAnswer {
    /// Records that were there before, or that the delta goes on from.
    pub(crate) from: u64,
    /// The size of the head.
    pub(crate) size: u64,
    /// Its root.
    pub(crate) root: String,
    /// Files that were written, `latest` not counted.
    pub(crate) files: u64,
    /// Bytes in them, before compression.
    pub(crate) bytes: u64,
}

/// What an import took in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ImportAnswer {
    /// Records under the newest stored head before.
    pub(crate) from: Option<u64>,
    /// Records now.
    pub(crate) to: u64,
}

impl Operations {
    /// Writes a static checksum database to a directory, or to a file that ends in `.tar.zst`; with
    /// `from`, only what is new since that size.
    pub(crate) async fn export_mirror(
        &self,
        log: &str,
        to: &Path,
        from: Option<u64>,
        tell: Tell,
    ) -> Result<ExportAnswer, Refusal> {
        let reader = full(find(self.mirrors(), log)?)?;
        let (name, target, from) = (log.to_owned(), ExportTarget::of(to), from.map(TreeSize));
        let exported = self.unless_stopped(async {
            let exported = blocking(tell, move |step| {
                export(&reader, &name, &target, from, &mut |at| step(at.records, at.target))
            });
            exported.await.map_err(|error| of_bundle(&error))
        });
        let exported = exported.await?;
        Ok(ExportAnswer {
            from: exported.from.0,
            size: exported.head.size.0,
            root: exported.head.root.to_string(),
            files: exported.progress.files,
            bytes: exported.progress.bytes,
        })
    }

    /// Takes a static checksum database into a full mirror: a directory, a file that ends in
    /// `.tar.zst`, or a URL.
    pub(crate) async fn import_mirror(
        &self,
        log: &str,
        source: &str,
        tell: Tell,
    ) -> Result<ImportAnswer, Refusal> {
        let mirror = find(self.mirrors(), log)?;
        let parsed = ImportSource::parse(source)
            // The source may hold a password, and a text that is no URL cannot be redacted.
            .map_err(|error| Refusal::new(Reason::Usage, format!("the source to import {error}")))?;
        let imported = self.unless_stopped(async {
            let imported = mirror.import(&parsed, move |at| tell(progress(at))).await;
            imported.map_err(|error| of_import(mirror, error))
        });
        let Synced { from, to } = imported.await?;
        Ok(ImportAnswer { from: from.map(|size| size.0), to: to.0 })
    }
}

fn progress(at: ImportProgress) -> WorkProgress {
    let (what, done, total) = match at {
        ImportProgress::Unpacked(bytes) => ("bytes", bytes, None),
        ImportProgress::Stored(at) => ("records", at.size.0, Some(at.target.0)),
    };
    WorkProgress { what: what.to_owned(), done, total }
}

fn of_bundle(error: &BundleError) -> Refusal {
    let reason = match error {
        BundleError::Store(error) => return Refusal::from(error),
        BundleError::Stopped => Reason::Unavailable,
        BundleError::NoDelta { .. }
        | BundleError::Occupied { .. }
        | BundleError::Gap { .. }
        | BundleError::OtherLog { .. } => Reason::Usage,
        BundleError::NoHead { .. }
        | BundleError::Hostile { .. }
        | BundleError::Delta(_)
        | BundleError::File { .. } => Reason::Failed,
    };
    Refusal::new(reason, error.to_string())
}

fn of_import(mirror: &Mirror, error: ImportError) -> Refusal {
    let why = error.to_string();
    let reason = match error {
        ImportError::Bundle(error) => return of_bundle(&error),
        // The source is a file that will not be another one by itself, but nothing of it is damage
        // here.
        ImportError::Replicate(RecordsError::NoDataTiles { .. }) | ImportError::Missing { .. } => {
            Reason::Failed
        }
        ImportError::Replicate(error) => return refused_bytes(mirror, &SyncError::from(error)),
        ImportError::Sync(error) => return refused_bytes(mirror, &error),
        // It is the same the next time.
        ImportError::Older { .. } => Reason::Failed,
        ImportError::NotFull { .. } => Reason::Usage,
        ImportError::Busy { .. } => Reason::Busy,
    };
    Refusal::new(reason, why)
}

/// Refuses for an error of an import as for one of a sync. What does not verify, though, is what
/// was given, and does not get better by itself.
fn refused_bytes(mirror: &Mirror, error: &SyncError) -> Refusal {
    let refusal = refusal(mirror, error);
    match error {
        SyncError::Remote(RemoteError::Unproven(_)) => Refusal { reason: Reason::Alarming, ..refusal },
        _ => refusal,
    }
}
