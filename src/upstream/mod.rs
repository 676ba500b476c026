//! Clients of other servers: module proxies, remote checksum databases, version control.
//!
//! | file | what |
//! |---|---|
//! | `client`, `options`, `download`, `network`, `redirect`, `files` | one GET, bounded in every way; local files by the same call |
//! | `gunzip` | a body that comes with `Content-Encoding: gzip` |
//! | `proxies`, `proxy_fault`, `handshake` | which proxy is used; what it did wrong; what TLS said when it failed |
//! | `setup` | why there is no client |
//! | `post` | one POST, or one GET whose answer may have any status |
//! | `error`, `judge` | why it failed, and what follows: who is asked next, what the caller is told |
//! | `goproxy`, `fetched`, `info` | a module version from a GOPROXY list |
//! | `vcs`, `scratch`, `process` | the same from version control, by the go command |
//! | `sumdb`, `inquiry`, `remote`, `passing`, `health`, `throttle` | a remote checksum database at several URLs, asked politely |
//! | `spool`, `space` | a body on its way to be hashed, and the disk space that all of them share |
//!
//! Architecture invariant: nothing here judges content. Bytes of a module are hashed by the notary,
//! bytes of a log are verified by the mirror; this layer says where they came from and bounds what
//! they cost.

mod client;
mod download;
mod error;
mod fetched;
mod files;
mod goproxy;
mod gunzip;
mod handshake;
mod health;
mod info;
mod inquiry;
mod judge;
mod network;
mod options;
mod passing;
mod post;
mod process;
mod proxies;
mod proxy_fault;
mod redirect;
mod remote;
mod scratch;
mod setup;
mod space;
mod spool;
mod sumdb;
mod throttle;
mod vcs;

pub use client::{HttpClient, Manner, Response, Validators};
pub use download::MAX_RETRY_AFTER;
pub use error::{FetchError, RedirectRefusal, Stage, UpstreamMessage, Waiting};
pub use fetched::{Fetched, FetchedModule, ModuleLimits, SourceName};
pub use goproxy::{GoProxy, ListError, ModuleFetchError};
pub use handshake::Fix;
pub use health::UrlHealth;
pub(crate) use health::backoff;
pub use info::{ModuleInfo, VcsOrigin};
pub use inquiry::{Inquiry, SumdbAnswer, SumdbError};
pub use judge::{NextSource, SourceKind, SourceVerdict, judge};
pub use options::ClientOptions;
pub use passing::{passthrough, supported};
pub use post::HttpAnswer;
pub use proxies::ProxySettings;
pub use redirect::{HostRule, HostRuleError, RedirectRules};
pub use remote::UrlId;
pub(crate) use scratch::remove_leftovers;
pub use setup::ClientError;
pub use space::{NoSpace, ScratchSpace};
pub use spool::{MEMORY_BYTES, SpoolReader, Spooled};
pub use sumdb::RemoteSumdb;
pub use throttle::Speed;
pub use vcs::{Vcs, VcsError, VcsFault, VcsOptions};
