//! Files of a module as a source gave them.

use std::fmt;

use bytes::Bytes;

use super::info::ModuleInfo;
use super::spool::Spooled;
use crate::module::ModuleVersion;
use crate::source::{ModuleSource, RedactedUrl};

/// What one module may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModuleLimits {
    /// The largest zip, in bytes.
    pub max_zip_bytes: u64,
    /// The largest go.mod, in bytes.
    pub max_mod_bytes: u64,
}

impl Default for ModuleLimits {
    /// The limits of x/mod/zip: 500 MiB and 16 MiB.
    fn default() -> ModuleLimits {
        ModuleLimits { max_zip_bytes: 500 << 20, max_mod_bytes: 16 << 20 }
    }
}

/// A file of a module, and the source that it came from.
#[derive(Debug)]
pub struct Fetched<T> {
    /// The content.
    pub content: T,
    /// The source, as it may be shown and stored.
    pub source: SourceName,
}

/// A whole module version from one source. Nothing of it is verified.
#[derive(Debug)]
pub struct FetchedModule {
    /// The source.
    pub source: SourceName,
    /// The `.mod` file.
    pub go_mod: Bytes,
    /// The `.zip` file with its size and SHA-256.
    pub zip: Spooled,
    /// The `.info`, if the source has a valid one.
    pub info: Option<ModuleInfo>,
}

/// The name of a source in evidence and messages.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SourceName {
    /// A module proxy or a directory.
    Proxy(RedactedUrl),
    /// Version control.
    Direct,
}

/// `github.com/!burnt!sushi/toml/@v/v1.3.2.<extension>`: where module proxies and the module cache
/// keep a file.
pub(super) fn file_name(module: &ModuleVersion, extension: &str) -> String {
    format!("{}/@v/{}.{extension}", module.path.escaped(), module.version.escaped())
}

impl SourceName {
    pub(super) fn of(source: &ModuleSource) -> SourceName {
        match source {
            ModuleSource::Proxy(url) => SourceName::Proxy(url.redacted()),
            ModuleSource::Direct => SourceName::Direct,
        }
    }
}

impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SourceName::Proxy(url) => url.fmt(f),
            SourceName::Direct => f.write_str("direct"),
        }
    }
}
