//! What becomes of the files of a module whose lines were computed. They are fetched once: whoever
//! serves modules keeps the very bytes that were hashed.

use bytes::Bytes;

use crate::gosum::ModuleLines;
use crate::upstream::{SourceName, Spooled};

/// A module version whose files were fetched and hashed. The lines are on their way into the log,
/// which may know others: whoever keeps the files compares their hashes with the log's lines before
/// serving them.
#[derive(Debug)]
pub struct HashedModule {
    /// The module version with the hashes of its zip and its go.mod.
    pub lines: ModuleLines,
    /// Where the files came from.
    pub source: SourceName,
    /// The `.mod` file.
    pub go_mod: Bytes,
    /// The `.zip` file.
    pub zip: Spooled,
    /// The `.info` file, if the source has a valid one. No line hashes it.
    pub info: Option<Bytes>,
}

/// Takes the files of modules whose lines were computed.
pub trait ModuleSink: Send + Sync {
    /// Takes the files of a module that was hashed just now, before its lines enter the log. The
    /// look-up waits meanwhile, and so does a thread of the runtime: an implementation hands longer
    /// work to its own threads.
    fn take(&self, module: HashedModule);
}

/// Keeps nothing.
pub(super) struct DropModules;

impl ModuleSink for DropModules {
    fn take(&self, _: HashedModule) {}
}
