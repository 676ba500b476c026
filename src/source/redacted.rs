//! URLs as anyone may see them.

use std::fmt;
use std::path::Path;

use url::Url;

use super::MAX_URL_BYTES;

/// A URL as it may be shown, stored and logged: user, password and query are replaced by `***`, the
/// fragment is dropped.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RedactedUrl(String);

impl RedactedUrl {
    /// The showable form of any URL.
    pub(crate) fn of(url: &Url) -> RedactedUrl {
        RedactedUrl::format(url, !url.username().is_empty() || url.password().is_some())
    }

    pub(super) fn format(url: &Url, with_credentials: bool) -> RedactedUrl {
        let user = if with_credentials { "***@" } else { "" };
        let host = url.host_str().unwrap_or_default();
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let query = if url.query().is_some() { "?***" } else { "" };
        // A server chooses where it redirects to; what it sends must not flood a log line.
        let path: String = url.path().chars().take(MAX_URL_BYTES).collect();
        RedactedUrl(format!("{}://{user}{host}{port}{path}{query}", url.scheme()))
    }

    /// A local path is shown as it is named, unlike in a URL.
    pub(super) fn of_path(path: &Path) -> RedactedUrl {
        RedactedUrl(format!("file://{}", path.display()))
    }

    /// The host, with its port where the URL names one; empty for a local path.
    pub(crate) fn host(&self) -> &str {
        let rest = self.0.split_once("://").map_or("", |(_, rest)| rest);
        let host = rest.split(['/', '?']).next().unwrap_or_default();
        host.strip_prefix("***@").unwrap_or(host)
    }

    /// Whether only the server itself can answer it.
    pub(crate) fn is_https(&self) -> bool {
        self.0.starts_with("https://")
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RedactedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RedactedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
