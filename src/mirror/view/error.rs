//! Why a remote log's answer is not there, told apart by what the caller does next.
//!
//! | variant | what it means |
//! |---|---|
//! | `NotFound`, `Forbidden`, `Unavailable` | what the log's servers say; it proves nothing |
//! | `Unproven` | every server sent bytes that do not verify; it may pass, a person should look |
//! | `Misbehavior` | the log's signatures contradict each other; nothing it says is believed |
//! | `Store` | our own disk |

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::misbehavior::Misbehavior;
use crate::source::RedactedUrl;
use crate::store::StoreError;
use crate::upstream::{FetchError, SourceVerdict, SumdbError};

/// Why a remote log's answer is not there. Each caller of a single flight gets a clone.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RemoteError {
    /// The log says that it has no such module version.
    #[error("{text}")]
    NotFound {
        /// What was asked and what the server said.
        text: String,
    },
    /// The log refuses us: credentials, or its policy.
    #[error("{text}")]
    Forbidden {
        /// What was asked and what the server said.
        text: String,
    },
    /// Not now.
    #[error("{text}")]
    Unavailable {
        /// What was asked and why there is no answer.
        text: String,
        /// How long a server asked to wait.
        retry_after: Option<Duration>,
    },
    /// No URL sent anything that verifies.
    #[error(transparent)]
    Unproven(Arc<Unproven>),
    /// The log contradicts itself.
    #[error(transparent)]
    Misbehavior(Arc<Misbehavior>),
    /// Our own store of this log failed.
    #[error("{0}")]
    Store(Arc<StoreError>),
}

/// Answers that do not verify, from every URL that answered.
#[derive(Clone, Debug, thiserror::Error)]
pub struct Unproven {
    /// The log's name.
    pub log: String,
    /// What was asked for: `latest` or `lookup/…`.
    pub path: String,
    /// The answers that were refused, in the order in which they came.
    pub lies: Vec<Lie>,
    /// Why other URLs had no answer.
    pub failures: Vec<String>,
}

/// An answer that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lie {
    /// Where it came from.
    pub url: RedactedUrl,
    /// Why it does not verify.
    pub why: String,
}

impl From<Arc<StoreError>> for RemoteError {
    fn from(error: Arc<StoreError>) -> RemoteError {
        RemoteError::Store(error)
    }
}

impl From<StoreError> for RemoteError {
    fn from(error: StoreError) -> RemoteError {
        RemoteError::Store(Arc::new(error))
    }
}

impl From<Unproven> for RemoteError {
    fn from(unproven: Unproven) -> RemoteError {
        RemoteError::Unproven(Arc::new(unproven))
    }
}

impl fmt::Display for Unproven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "checksum database {}: no answer to {} can be verified", self.log, self.path)?;
        self.lies.iter().try_for_each(|lie| write!(f, "\n  {}: {}", lie.url, lie.why))?;
        self.failures.iter().try_for_each(|failure| write!(f, "\n  {failure}"))
    }
}

impl RemoteError {
    /// Time ran out before the answer came.
    pub(super) fn too_late(log: &str, path: &str) -> RemoteError {
        let text = format!("checksum database {log}: {path}: no verified answer in time");
        RemoteError::Unavailable { text, retry_after: None }
    }

    /// Adds what is known of each URL to a failure that may pass, a line each.
    pub(super) fn with_lines(mut self, lines: impl Iterator<Item = String>) -> RemoteError {
        if let RemoteError::Unavailable { text, .. } = &mut self {
            lines.for_each(|line| text.push_str(&format!("\n  {line}")));
        }
        self
    }

    /// Adds the lies that were refused before the one that ended it.
    pub(super) fn after(self, mut earlier: Vec<Lie>) -> RemoteError {
        let RemoteError::Unproven(unproven) = self else { return self };
        let mut unproven = Arc::unwrap_or_clone(unproven);
        earlier.append(&mut unproven.lies);
        unproven.lies = earlier;
        unproven.into()
    }

    /// No URL (more) has an answer to the question itself, after some that were refused.
    pub(in crate::mirror) fn unanswered(error: &SumdbError, path: &str, lies: Vec<Lie>) -> RemoteError {
        if !lies.is_empty() {
            return unproven(error, path, lies);
        }
        let text = error.to_string();
        match error.verdict() {
            Some(SourceVerdict::NotFound) => RemoteError::NotFound { text },
            Some(SourceVerdict::AccessRefused) => RemoteError::Forbidden { text },
            // What a proxy does not want to answer is a refusal, not an answer that does not verify.
            Some(_) if error.withheld => RemoteError::Forbidden { text },
            verdict => unusable(verdict, error, path),
        }
    }

    /// As [`RemoteError::unanswered`], for a tile: that one is missing says nothing about what was
    /// asked.
    pub(super) fn without_tile(error: &SumdbError, path: &str, lies: Vec<Lie>) -> RemoteError {
        match error.verdict() {
            _ if !lies.is_empty() => unproven(error, path, lies),
            Some(SourceVerdict::NotFound | SourceVerdict::AccessRefused) | None => {
                RemoteError::Unavailable { text: error.to_string(), retry_after: error.retry_after() }
            }
            verdict => unusable(verdict, error, path),
        }
    }
}

/// A failure that may pass, or an answer that is none.
fn unusable(verdict: Option<SourceVerdict>, error: &SumdbError, path: &str) -> RemoteError {
    match verdict {
        // The operator's rules do not let us follow it, which says nothing about what is there.
        Some(SourceVerdict::NotAllowedHere) if matches!(error.best(), Some(FetchError::Redirect { .. })) => {
            RemoteError::Forbidden { text: error.to_string() }
        }
        Some(SourceVerdict::Unusable | SourceVerdict::Rejected | SourceVerdict::NotAllowedHere) => {
            unproven(error, path, Vec::new())
        }
        _ => RemoteError::Unavailable { text: error.to_string(), retry_after: error.retry_after() },
    }
}

fn unproven(error: &SumdbError, path: &str, lies: Vec<Lie>) -> RemoteError {
    let failures = error.failures.iter().map(ToString::to_string).collect();
    Unproven { log: error.name.clone(), path: path.to_owned(), lies, failures }.into()
}
