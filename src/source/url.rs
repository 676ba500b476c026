//! One place that files are fetched from: a server, or a directory of this machine.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use url::Url;

use super::server::parse_url;
use super::{MAX_URL_BYTES, RedactedUrl, ServerUrl, SourceError, UnsafePath};

/// A place that files are fetched from: `https://…`, `http://…` or `file:///…`.
#[derive(Clone, PartialEq, Eq)]
pub enum SourceUrl {
    /// http or https.
    Server(ServerUrl),
    /// An absolute path on this machine, from a `file://` URL.
    Local(PathBuf),
}

impl SourceUrl {
    /// Parses an absolute URL.
    pub fn parse(text: &str) -> Result<SourceUrl, SourceError> {
        let url = parse_url(text)?;
        match url.scheme() {
            "file" if url.query().is_some() => Err(SourceError::NotAbsolute),
            "file" => url.to_file_path().map(SourceUrl::Local).map_err(|()| SourceError::NotAbsolute),
            _ => ServerUrl::new(url).map(SourceUrl::Server),
        }
    }

    /// The source of the files below a local directory; `path` must be absolute.
    pub fn directory(path: &Path) -> Result<SourceUrl, UnsafePath> {
        if path.is_absolute() {
            return Ok(SourceUrl::Local(path.to_owned()));
        }
        Err(UnsafePath { path: path.display().to_string() })
    }

    /// The URL of `relative` below this one. Query and credentials stay. The path may hold only
    /// what module paths, versions and tile paths hold, so that it leads nowhere but down whatever
    /// its origin.
    pub fn join(&self, relative: &str) -> Result<SourceUrl, UnsafePath> {
        if !is_safe_path(relative) {
            let path = relative.chars().take(200).collect();
            return Err(UnsafePath { path });
        }
        Ok(match self {
            SourceUrl::Local(root) => SourceUrl::Local(root.join(relative)),
            SourceUrl::Server(server) => SourceUrl::Server(server.join(relative)),
        })
    }

    /// The server, if it is one.
    pub fn server(&self) -> Option<&ServerUrl> {
        match self {
            SourceUrl::Server(server) => Some(server),
            SourceUrl::Local(_) => None,
        }
    }

    /// The local directory or file, for a `file://` URL.
    pub fn local_path(&self) -> Option<&Path> {
        match self {
            SourceUrl::Local(path) => Some(path),
            SourceUrl::Server(_) => None,
        }
    }

    /// The URL as it may be shown, stored and logged.
    pub fn redacted(&self) -> RedactedUrl {
        match self {
            SourceUrl::Local(path) => RedactedUrl::of_path(path),
            SourceUrl::Server(server) => server.redacted(),
        }
    }

    /// Whether this is a module proxy's passthrough of the checksum database `name`, which is only
    /// to be used after its `supported` said 200 (`go help goproxy`).
    pub(crate) fn is_passthrough_of(&self, name: &str) -> bool {
        self.server().is_some_and(|server| server.path().ends_with(&format!("/sumdb/{name}")))
    }
}

impl FromStr for SourceUrl {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<SourceUrl, SourceError> {
        SourceUrl::parse(text)
    }
}

impl fmt::Display for SourceUrl {
    /// As an operator would write it, with its secrets hidden.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SourceUrl::Server(server) => server.fmt(f),
            SourceUrl::Local(path) => match Url::from_file_path(path) {
                Ok(url) => url.fmt(f),
                Err(()) => write!(f, "file://{}", path.display()),
            },
        }
    }
}

impl fmt::Debug for SourceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.redacted().fmt(f)
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
        let url = SourceUrl::parse("https://us%40er:p%3Aw@proxy.example:8443/go?token=t").unwrap();
        for shown in [
            format!("{url}"),
            format!("{url:?}"),
            url.redacted().to_string(),
            format!("{:?}", url.redacted()),
        ] {
            assert_eq!(shown, "https://***@proxy.example:8443/go?***");
        }
        assert!(url.server().unwrap().has_credentials());
    }

    #[test]
    fn a_directory_is_shown_as_the_url_that_means_it() {
        for (text, shown) in [
            ("file:///srv/sumdb/", "file:///srv/sumdb"),
            ("file:////srv//d/", "file:///srv/d"),
            ("file:///srv/a b", "file:///srv/a%20b"),
            ("file:///srv/100%2541", "file:///srv/100%2541"),
        ] {
            let url: SourceUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), shown);
            assert_eq!(shown.parse::<SourceUrl>().unwrap(), url);
        }
    }

    #[test]
    fn what_is_not_a_source_is_refused_without_showing_secrets() {
        for text in [
            "",
            "foo",
            "/srv/x",
            "ftp://user:pw@a/",
            "file://host/srv",
            "file:///srv?pw",
            "file:///srv#pw",
            "https://a.example/#pw",
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
            assert_eq!(remote.join(bad), Err(UnsafePath { path: bad.into() }), "{bad}");
            assert!(file.join(bad).is_err(), "{bad}");
        }
        let path = "github.com/!burnt!sushi/toml/@v/v1.3.2+incompatible.info";
        assert_eq!(remote.join(path).unwrap().to_string(), format!("https://a.example/base/{path}"));
        assert_eq!(file.join(path).unwrap().local_path().unwrap(), Path::new("/srv/go proxy").join(path));
    }
}
