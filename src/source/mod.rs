//! Where modules and logs come from: URLs that may hold credentials, and GOPROXY lists of them.
//! Each is parsed once; whoever fetches uses the parsed value, and nobody prints it back to parse
//! it again.
//!
//! ```text
//! https://ci:s3cret@goproxy.example/go?token=abc          a module proxy, or a checksum database
//! file:///srv/goproxy                                     a directory of the files that one serves
//! https://a.example|https://b.example,direct              a list, as GOPROXY is written
//! ```
//!
//! After a comma the next source of a list is asked only when the one before answered 404 or 410;
//! after a bar it is asked after any error. `direct` is version control. In the configuration a
//! TOML array stands for commas: `["https://a|https://b", "direct"]` is the same list.
//!
//! Architecture invariant: credentials and queries never reach Debug, Display, an error or a log
//! line. `ServerUrl::expose` is the only way to them, beside the parts that a request is built
//! from.
//!
//! ```
//! use tallystick::source::SourceUrl;
//! let base = SourceUrl::parse("https://ci:s3cret@goproxy.example/go/?token=abc")?;
//! let zip = base.join("rsc.io/quote/@v/v1.5.2.zip")?;
//! assert_eq!(zip.to_string(), "https://***@goproxy.example/go/rsc.io/quote/@v/v1.5.2.zip?***");
//! assert!(base.join("../secret").is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod error;
mod list;
mod redacted;
mod server;
mod url;

pub use error::{SourceError, UnsafePath};
pub use list::{FallThrough, ListedSource, ModuleSource, SourceList};
pub use redacted::RedactedUrl;
pub use server::ServerUrl;
pub use url::SourceUrl;

/// The longest URL that is parsed, shown or followed. Servers commonly stop at 8 KiB, and nothing
/// that we build comes near 2.
pub(crate) const MAX_URL_BYTES: usize = 4096;
/// More sources than this in one list is a mistake: each one is a round trip before a miss is
/// answered.
pub const MAX_SOURCES: usize = 16;
