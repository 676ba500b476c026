//! Why a text names no source.

use super::{MAX_SOURCES, MAX_URL_BYTES};

/// Why a text is no source. It reads like the end of a sentence, and never quotes the text, which
/// may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Nothing in the list.
    #[error("names no source")]
    Empty,
    /// See [`MAX_SOURCES`].
    #[error("names more than {MAX_SOURCES} sources")]
    TooMany,
    /// `off` as the first element.
    #[error("is \"off\", which forbids every source")]
    Off,
    /// Not an absolute URL.
    #[error("is not a URL: {why}")]
    NotAUrl {
        /// The parser's words.
        why: String,
    },
    /// Neither http nor https (nor file, where directories may stand).
    #[error("has the scheme `{scheme}:`")]
    Scheme {
        /// What stands before the colon.
        scheme: String,
    },
    /// Over 4096 bytes.
    #[error("is longer than {MAX_URL_BYTES} bytes")]
    TooLong,
    /// A fragment never reaches a server, so that it must be a mistake.
    #[error("has a fragment (`#`)")]
    Fragment,
    /// A password for another machine, over http.
    #[error("holds credentials, which http would send in the clear")]
    CredentialsInClear,
    /// `file://host/…` or a relative path.
    #[error("is not a file:// URL with an absolute path and no host")]
    NotAbsolute,
}

/// A path that could lead outside its source.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path:?} is not a path inside a source")]
pub struct UnsafePath {
    /// The path, or its beginning.
    pub path: String,
}
