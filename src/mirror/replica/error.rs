//! Why a log was not brought up to date.

use std::path::PathBuf;

use super::progress::Foreseen;
use crate::mirror::view::{RecordsError, RemoteError};
use crate::store::StoreError;
use crate::tlog::TreeSize;

/// Why a log was not brought up to date. What was stored stays; the next run goes on there.
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
        "{} to come take about {} MiB, and {} has {} MiB free\n  fix: make room there, put `data` on a larger disk, or set mode = \"on-demand\"",
        TreeSize(.foreseen.records).records(), .foreseen.disk_bytes >> 20, .directory.display(), .foreseen.free_bytes >> 20
    )]
    NoRoom {
        /// The log's name.
        log: String,
        /// Where the replica is.
        directory: PathBuf,
        /// What would be needed.
        foreseen: Foreseen,
    },
    /// Nobody gives data tiles.
    #[error(
        "mode \"full\" needs data tiles, and no URL gives {path}:\n  {said}\n  fix: name another URL in [sumdb.\"{log}\"] that serves them, or take in a copy: `tallystick mirror import {log} DIR|FILE|URL`; until then what is asked for is fetched and kept as in mode \"on-demand\""
    )]
    NoDataTiles {
        /// The log's name.
        log: String,
        /// The tile that was asked for.
        path: String,
        /// What each URL said, a line each.
        said: String,
    },
    /// The log, its URLs or our disk.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

impl From<RecordsError> for SyncError {
    fn from(error: RecordsError) -> SyncError {
        match error {
            RecordsError::NoDataTiles { log, path, said } => SyncError::NoDataTiles { log, path, said },
            RecordsError::Remote(error) => error.into(),
            RecordsError::Store(error) => RemoteError::from(error).into(),
        }
    }
}

impl From<StoreError> for SyncError {
    fn from(error: StoreError) -> SyncError {
        RemoteError::from(error).into()
    }
}
