//! Clients of other servers: module proxies, remote checksum databases, version control.
//!
//! | file | what |
//! |---|---|
//! | `client`, `download`, `network`, `redirect`, `files` | one GET, bounded in every way; local files by the same call |
//! | `post` | one POST |
//! | `error` | why it failed, told apart by what the caller does next |
//! | `goproxy`, `info` | a module version from a GOPROXY list |
//! | `vcs`, `vcs_message`, `scratch`, `process` | the same from version control, by the go command |
//! | `sumdb`, `inquiry`, `passing`, `health`, `throttle` | a remote checksum database at several URLs, asked politely |
//! | `spool`, `space` | a body on its way to be hashed, and the disk space that all of them share |
//!
//! Architecture invariant: nothing here judges content. Bytes of a module are hashed by the notary, bytes of a log are verified by
//! the mirror; this layer says where they came from and bounds what they cost.

mod client;
mod download;
mod error;
mod files;
mod goproxy;
mod health;
mod info;
mod inquiry;
mod network;
mod passing;
mod post;
mod process;
mod redirect;
mod scratch;
mod space;
mod spool;
mod sumdb;
mod throttle;
mod vcs;
mod vcs_message;

pub use client::{ClientOptions, HttpClient, Manner, Response, Validators};
pub use download::MAX_RETRY_AFTER;
pub use error::{FetchError, RedirectRefusal, Said, Stage, Waiting};
pub use goproxy::{Fetched, FetchedModule, GoProxy, ModuleError, ModuleLimits, SourceName};
pub use health::UrlHealth;
pub(crate) use health::backoff;
pub use info::{ModuleInfo, Origin};
pub use inquiry::{Inquiry, SumdbAnswer, SumdbError};
pub use network::{ClientError, ProxySettings};
pub use post::Posted;
pub use redirect::{HostRule, HostRuleError, RedirectRules};
pub use space::{NoSpace, ScratchSpace};
pub use spool::{FileReader, MEMORY_BYTES, SpoolReader, Spooled};
pub use sumdb::{RemoteSumdb, UrlId, passthrough, supported};
pub use throttle::Speed;
pub use vcs::{Vcs, VcsError, VcsOptions};
