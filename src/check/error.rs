//! Why a check has no result.

use crate::audit::AuditError;
use crate::mirror::Misbehavior;

/// Why a check has no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckError {
    /// The server does not answer, or answers what cannot be read.
    #[error(transparent)]
    Server(#[from] AuditError),
    /// The newest head is not one by this key.
    #[error("the newest head is not one of {log}: {why}")]
    Head {
        /// The log's name.
        log: String,
        /// What is wrong with it.
        why: String,
    },
    /// The server shows a smaller tree than was seen before, and does not have the tiles of the
    /// larger one.
    #[error(
        "the newest head shown has the size {shown}, and one of the size {seen} was seen before ({place}): {why}"
    )]
    Older {
        /// Size of the head that is shown.
        shown: u64,
        /// Size of the head that is remembered.
        seen: u64,
        /// Where that one is kept.
        place: String,
        /// What was answered for its tiles.
        why: String,
    },
    /// Two signed heads that no single log has.
    #[error("{0}")]
    Fork(Box<Misbehavior>),
    /// What the server sent does not lead to the signed root.
    #[error("{place}: {why}")]
    Unproven {
        /// What was asked for.
        place: String,
        /// What is wrong with it.
        why: String,
    },
    /// The file with the newest head seen.
    #[error("{path}: {why}")]
    Memory {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// More than one check takes.
    #[error("{modules} module versions are more than the {most} of one check")]
    TooMany {
        /// How many there are.
        modules: usize,
        /// How many one check takes.
        most: usize,
    },
}
