//! Why something was not done.

use serde::{Deserialize, Serialize};

use crate::log::{AppendError, ReadOnly};
use crate::notary::NotaryError;
use crate::store::StoreError;

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refusal {
    /// What kind of reason it is.
    pub(crate) reason: Reason,
    /// In words, for the operator.
    pub(crate) why: String,
}

/// The kinds of reasons, as far as somebody acts differently on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Reason {
    /// The source does not have it, or there is no route.
    NotFound,
    /// It may work later.
    Unavailable,
    /// A person must look: a conflict, a log that contradicts itself, a damaged row.
    Alarming,
    /// Something must be changed first.
    Failed,
    /// Another run is in progress.
    Busy,
    /// The request names something that does not exist.
    Usage,
}

impl Refusal {
    /// A refusal with these words.
    pub(super) fn new(reason: Reason, why: impl Into<String>) -> Refusal {
        Refusal { reason, why: why.into() }
    }
}

impl From<&NotaryError> for Refusal {
    fn from(error: &NotaryError) -> Refusal {
        let reason = match error {
            NotaryError::NoRoute { .. } | NotaryError::NotFound { .. } => Reason::NotFound,
            NotaryError::TryLater { .. } => Reason::Unavailable,
            NotaryError::Conflict(_) | NotaryError::Misbehavior { .. } => Reason::Alarming,
            NotaryError::ReadOnly { reason, .. } => of_read_only(reason),
            NotaryError::Forbidden { .. }
            | NotaryError::Withheld { .. }
            | NotaryError::Refused { .. }
            | NotaryError::Unfetchable { .. }
            | NotaryError::Internal { .. } => Reason::Failed,
        };
        Refusal::new(reason, error.to_string())
    }
}

impl From<&AppendError> for Refusal {
    fn from(error: &AppendError) -> Refusal {
        let AppendError::ReadOnly(reason) = error;
        Refusal::new(of_read_only(reason), error.to_string())
    }
}

/// A log that signs nothing: it goes on by itself, or a person must look.
fn of_read_only(reason: &ReadOnly) -> Reason {
    if reason.passes() { Reason::Unavailable } else { Reason::Alarming }
}

impl From<&StoreError> for Refusal {
    fn from(error: &StoreError) -> Refusal {
        let reason = match error {
            StoreError::Damaged { .. } => Reason::Alarming,
            error if error.is_transient() => Reason::Unavailable,
            _ => Reason::Failed,
        };
        Refusal::new(reason, error.to_string())
    }
}
