//! Where a source is: `https://…`, `http://…` or `file:///…`, with credentials that are used and never shown.
//!
//! ```
//! use tallystick::upstream::SourceUrl;
//! let base = SourceUrl::parse("https://ci:s3cret@goproxy.example/go/?token=abc")?;
//! let zip = base.join("rsc.io/quote/@v/v1.5.2.zip")?;
//! assert_eq!(zip.to_string(), "https://***@goproxy.example/go/rsc.io/quote/@v/v1.5.2.zip?***");
//! assert!(base.join("../secret").is_err());
//! # Ok::<(), tallystick::upstream::UrlError>(())
//! ```

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use reqwest::Url;
use zeroize::Zeroizing;

/// The longest URL that is shown or followed; servers commonly stop at 8 KiB, nothing we build comes near 2.
pub(super) const MAX_URL_BYTES: usize = 4096;

/// Why a text is not a usable source URL. No variant holds credentials.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Not a URL at all.
    #[error("not a valid URL ({why})")]
    Malformed {
        /// What the parser stumbled on.
        why: String,
    },
    /// Another scheme than https, http or file.
    #[error("invalid URL scheme (must be https, http or file): {url}")]
    Scheme {
        /// The URL.
        url: RedactedUrl,
    },
    /// A file URL that is more than an absolute path: with a host, query or fragment.
    #[error("invalid file:// URL, only an absolute path may follow: {url}")]
    NotAPath {
        /// The URL.
        url: RedactedUrl,
    },
    /// Credentials would travel in the clear.
    #[error("refusing to pass credentials to insecure URL: {url}")]
    InsecureCredentials {
        /// The URL.
        url: RedactedUrl,
    },
    /// A relative path that could lead outside the source.
    #[error("{path:?} is not a path inside a source")]
    UnsafePath {
        /// The offending path.
        path: String,
    },
    /// Longer than any honest URL.
    #[error("URL of {bytes} bytes is too long")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
}

/// A URL as it may be shown to anyone: user, password and query are replaced by `***`, the fragment is dropped.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RedactedUrl(String);

/// User and password out of a URL.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) user: String,
    pub(super) password: Zeroizing<String>,
}

/// An http(s) URL whose credentials are kept apart.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct RemoteUrl {
    /// Without userinfo and fragment.
    pub(super) url: Url,
    pub(super) credentials: Option<Credentials>,
}

/// A place that files are fetched from. `Display` and `Debug` hide credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct SourceUrl(Kind);

#[derive(Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Remote(RemoteUrl),
    File(PathBuf),
}

impl SourceUrl {
    /// Parses an absolute `https://`, `http://` or `file:///` URL.
    pub fn parse(text: &str) -> Result<SourceUrl, UrlError> {
        if text.len() > MAX_URL_BYTES {
            return Err(UrlError::TooLong { bytes: text.len() });
        }
        let url = Url::parse(text).map_err(|e| UrlError::Malformed { why: e.to_string() })?;
        match url.scheme() {
            "file" => file_path(text, &url).map(|path| SourceUrl(Kind::File(path))),
            "http" | "https" => RemoteUrl::new(url).map(|remote| SourceUrl(Kind::Remote(remote))),
            _ => Err(UrlError::Scheme { url: RedactedUrl::of(&url) }),
        }
    }

    /// The source of the files below a local directory; `path` must be absolute.
    pub fn directory(path: &Path) -> Result<SourceUrl, UrlError> {
        if path.is_absolute() {
            return Ok(SourceUrl(Kind::File(path.to_owned())));
        }
        Err(UrlError::UnsafePath { path: path.display().to_string() })
    }

    /// The URL of `relative` below this one. Query and credentials stay. The path may hold only what module paths, versions and
    /// tile paths hold, so that it leads nowhere but down whatever its origin.
    pub fn join(&self, relative: &str) -> Result<SourceUrl, UrlError> {
        if !is_safe_path(relative) {
            let path = relative.chars().take(200).collect();
            return Err(UrlError::UnsafePath { path });
        }
        match &self.0 {
            Kind::File(root) => Ok(SourceUrl(Kind::File(root.join(relative)))),
            Kind::Remote(base) => {
                let mut joined = base.clone();
                let path = format!("{}/{relative}", base.url.path().trim_end_matches('/'));
                joined.url.set_path(&path);
                Ok(SourceUrl(Kind::Remote(joined)))
            }
        }
    }

    /// Host and port, with the scheme's default port filled in; none for files. To recognise a source that is ourselves.
    pub fn host_and_port(&self) -> Option<(&str, u16)> {
        match &self.0 {
            Kind::File(_) => None,
            Kind::Remote(remote) => remote.url.host_str().zip(remote.url.port_or_known_default()),
        }
    }

    /// The local directory or file, for a `file://` URL.
    pub fn local_path(&self) -> Option<&Path> {
        match &self.0 {
            Kind::File(path) => Some(path),
            Kind::Remote(_) => None,
        }
    }

    /// Whether the URL carries a user or a password.
    pub fn has_credentials(&self) -> bool {
        matches!(&self.0, Kind::Remote(remote) if remote.credentials.is_some())
    }

    /// The URL as it may be shown, stored and logged.
    pub fn redacted(&self) -> RedactedUrl {
        match &self.0 {
            Kind::File(path) => RedactedUrl(format!("file://{}", path.display())),
            Kind::Remote(remote) => remote.redacted(),
        }
    }

    pub(super) fn kind(&self) -> &Kind {
        &self.0
    }

    /// Whether this is a module proxy's passthrough of the checksum database `name`, which is only to be used after its
    /// `supported` said 200 (`go help goproxy`).
    pub fn is_passthrough_of(&self, name: &str) -> bool {
        match &self.0 {
            Kind::Remote(remote) => {
                remote.url.path().trim_end_matches('/').ends_with(&format!("/sumdb/{name}"))
            }
            Kind::File(_) => false,
        }
    }

    /// Whether it names a file of this machine.
    pub(super) fn is_file(&self) -> bool {
        matches!(self.0, Kind::File(_))
    }
}

impl RemoteUrl {
    /// Splits the credentials off; refuses to send them in the clear, except to this machine itself.
    pub(super) fn new(mut url: Url) -> Result<RemoteUrl, UrlError> {
        let shown = RedactedUrl::of(&url);
        if !url.has_host() {
            return Err(UrlError::Malformed { why: "it has no host".into() });
        }
        let credentials = match (url.username(), url.password()) {
            ("", None) => None,
            (user, password) => Some(Credentials {
                user: percent_decode(user),
                password: Zeroizing::new(percent_decode(password.unwrap_or_default())),
            }),
        };
        if credentials.is_some() && url.scheme() != "https" && !is_loopback(&url) {
            return Err(UrlError::InsecureCredentials { url: shown });
        }
        let cleared = url.set_username("").and_then(|()| url.set_password(None));
        assert!(cleared.is_ok(), "an http URL with a host can lose its userinfo");
        url.set_fragment(None);
        Ok(RemoteUrl { url, credentials })
    }

    pub(super) fn redacted(&self) -> RedactedUrl {
        RedactedUrl::format(&self.url, self.credentials.is_some())
    }
}

impl RedactedUrl {
    /// The showable form of any URL.
    pub(super) fn of(url: &Url) -> RedactedUrl {
        RedactedUrl::format(url, !url.username().is_empty() || url.password().is_some())
    }

    fn format(url: &Url, with_credentials: bool) -> RedactedUrl {
        let user = if with_credentials { "***@" } else { "" };
        let host = url.host_str().unwrap_or_default();
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let query = if url.query().is_some() { "?***" } else { "" };
        // A server chooses where it redirects to; what it sends must not flood a log line.
        let path: String = url.path().chars().take(MAX_URL_BYTES).collect();
        RedactedUrl(format!("{}://{user}{host}{port}{path}{query}", url.scheme()))
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

impl fmt::Display for SourceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.redacted().fmt(f)
    }
}

impl fmt::Debug for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.redacted().fmt(f)
    }
}

impl fmt::Debug for SourceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.redacted().fmt(f)
    }
}

/// The path of a file URL, which must be nothing but an absolute path, as the go command wants it.
fn file_path(text: &str, url: &Url) -> Result<PathBuf, UrlError> {
    let rest = text.trim()["file:".len()..].trim_start();
    let only_a_path = rest.starts_with('/') && (!rest.starts_with("//") || rest.starts_with("///"));
    match url.to_file_path() {
        Ok(path) if only_a_path && url.query().is_none() && url.fragment().is_none() => Ok(path),
        _ => Err(UrlError::NotAPath { url: RedactedUrl::of(url) }),
    }
}

/// Whether every element is plain and the path can only lead downwards.
fn is_safe_path(relative: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~!+@:".contains(c);
    relative.len() <= MAX_URL_BYTES
        && relative
            .split('/')
            .all(|element| !matches!(element, "" | "." | "..") && element.chars().all(plain))
}

/// Whether the URL's host is this machine for certain: a loopback address or `localhost`.
pub(super) fn is_loopback(url: &Url) -> bool {
    match host_address(url) {
        Some(address) => address.to_canonical().is_loopback(),
        None => url.host_str() == Some("localhost"),
    }
}

/// The address, when the host is written as one. The URL parser has already turned forms like `0x7f.1` into plain ones.
pub(super) fn host_address(url: &Url) -> Option<IpAddr> {
    url.host_str()?.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// Undoes `%XX`; anything that is not an escape stands for itself.
fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = text.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (bytes[at], hex) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                at += 3;
            }
            (byte, _) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passthrough_is_known_by_its_path() {
        let url = SourceUrl::parse("https://anna:s3cret@a.example:8443/go/?token=t0ken").unwrap();
        assert!(url.join("sumdb/sum.golang.org").unwrap().is_passthrough_of("sum.golang.org"));
        assert!(!url.is_passthrough_of("sum.golang.org"));
    }

    #[test]
    fn credentials_and_queries_are_never_shown() {
        let url = SourceUrl::parse("https://us%40er:p%3Aw@proxy.example:8443/go?token=t#f").unwrap();
        for shown in [
            format!("{url}"),
            format!("{url:?}"),
            url.redacted().to_string(),
            format!("{:?}", url.redacted()),
        ] {
            assert_eq!(shown, "https://***@proxy.example:8443/go?***");
        }
        let Kind::Remote(remote) = url.kind() else { panic!("remote") };
        let credentials = remote.credentials.as_ref().unwrap();
        assert_eq!((credentials.user.as_str(), credentials.password.as_str()), ("us@er", "p:w"));
        assert_eq!(remote.url.as_str(), "https://proxy.example:8443/go?token=t");
        assert!(url.has_credentials());
    }

    #[test]
    fn what_is_not_a_source_is_refused_without_showing_secrets() {
        for text in [
            "",
            "foo",
            "/srv/x",
            "ftp://user:pw@a/",
            "file://host/srv",
            "file://localhost/srv",
            "file:///srv?pw",
            "file:///srv#pw",
            "file:srv",
            "http://user:pw@proxy.example/",
            "http://user:pw@10.0.0.1/",
            "https://",
            "https://[::1",
        ] {
            let error = SourceUrl::parse(text).expect_err(text).to_string();
            assert!(!error.contains("pw"), "{error}");
        }
        assert!(SourceUrl::parse(&format!("https://a/{}", "x".repeat(MAX_URL_BYTES))).is_err());
        for text in ["http://user:pw@127.0.0.1:1/", "http://user:pw@localhost/", "http://u:pw@[::1]/"] {
            assert!(SourceUrl::parse(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn join_leads_only_downwards() {
        let remote = SourceUrl::parse("https://a.example/base/").unwrap();
        let file = SourceUrl::parse("file:///srv/go%20proxy").unwrap();
        for bad in [
            "",
            "/",
            "/etc/passwd",
            "..",
            "a/../b",
            "a/./b",
            "a//b",
            "a/",
            "a\\b",
            "a%2e",
            "a?b",
            "a#b",
            "a b",
            "a\nb",
            "é",
        ] {
            assert_eq!(remote.join(bad), Err(UrlError::UnsafePath { path: bad.into() }), "{bad}");
            assert!(file.join(bad).is_err(), "{bad}");
        }
        let path = "github.com/!burnt!sushi/toml/@v/v1.3.2+incompatible.info";
        assert_eq!(remote.join(path).unwrap().to_string(), format!("https://a.example/base/{path}"));
        assert_eq!(file.join(path).unwrap().local_path().unwrap(), Path::new("/srv/go proxy").join(path));
    }

    #[test]
    fn host_and_port_fill_in_the_default() {
        for (text, want) in [("https://a.example/x", ("a.example", 443)), ("http://[::1]:81", ("[::1]", 81))]
        {
            assert_eq!(SourceUrl::parse(text).unwrap().host_and_port(), Some(want));
        }
        assert_eq!(SourceUrl::parse("file:///x").unwrap().host_and_port(), None);
    }
}
