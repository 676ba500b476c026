//! Clients of other servers: module proxies, remote checksum databases, version control.
//!
//! | file | what |
//! |---|---|
//! | `url` | where a source is; credentials are used and never shown |
//! | `client`, `network`, `redirect`, `files` | one GET, bounded in every way; local files by the same call |
//! | `error` | why it failed, told apart by what the caller does next |
//! | `spool` | a body on its way to be hashed |
//!
//! Architecture invariant: nothing here judges content. Bytes of a module are hashed by the notary, bytes of a log are verified by
//! the mirror; this layer says where they came from and bounds what they cost.

mod client;
mod error;
mod files;
mod network;
mod redirect;
mod spool;
mod url;

pub use client::{ClientOptions, HttpClient, MAX_RETRY_AFTER, Response};
pub use error::{FetchError, RedirectRefusal, Said, Stage, Waiting};
pub use network::{ClientError, ProxySettings};
pub use redirect::{HostRule, HostRuleError, RedirectRules};
pub use spool::{FileReader, MEMORY_BYTES, SpoolReader, Spooled};
pub use url::{RedactedUrl, SourceUrl, UrlError};
