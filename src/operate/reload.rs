//! Reloading the configuration of a running server. Whoever runs the server implements it; here is
//! what a command asks for and what it is told.

use std::path::PathBuf;
use std::pin::Pin;

use serde::{Deserialize, Serialize};

use super::refusal::Refusal;

/// What a reload has changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReloadAnswer {
    /// The file that was read, where there is one.
    pub(crate) file: Option<PathBuf>,
    /// The keys whose values are other ones now.
    pub(crate) changed: Vec<String>,
    /// Files that are read again and that have changed, by the key that names them.
    pub(crate) renewed: Vec<String>,
    /// What is allowed but should be known.
    pub(crate) warnings: Vec<String>,
}

/// A reload under way.
pub(crate) type ReloadRun<'a> = Pin<Box<dyn Future<Output = Result<ReloadAnswer, Refusal>> + Send + 'a>>;

/// A server that can replace its configuration.
pub(crate) trait Reloading: Send + Sync {
    /// Reads the whole configuration again and replaces the one in force, or changes nothing. A
    /// caller that goes away does not interrupt it.
    fn reload(&self) -> ReloadRun<'_>;
}
