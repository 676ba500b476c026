//! Where modules and logs are fetched from: URLs that may hold credentials, and GOPROXY lists of them. `upstream`
//! fetches from them; here they are only read, compared and shown.
//!
//! A list is written as GOPROXY is: `https://a|https://b,direct`. After a comma the next source is asked only when
//! the one before answered 404 or 410; after a bar it is asked after any error. In the configuration a TOML array
//! stands for commas: `["https://a|https://b", "direct"]` is the same list.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use url::{Host, Url};
use zeroize::Zeroizing;

/// More sources than this in one list is a mistake: each one is a round trip before a miss is answered.
pub const MAX_SOURCES: usize = 16;

/// Longer than any honest URL; the same limit as where they are fetched.
const MAX_URL_BYTES: usize = 4096;

/// An http or https URL of another server, without trailing slash. It may hold a password, or a token in its query,
/// so that Debug and Display show `https://***@host/path?***`; only [`UpstreamUrl::expose`] gives the whole.
#[derive(Clone, PartialEq, Eq)]
pub struct UpstreamUrl(Url);

impl UpstreamUrl {
    /// The URL with its credentials, to build a request from and nothing else.
    pub fn expose(&self) -> &Url {
        &self.0
    }

    /// Whether there is a user name or password in it.
    pub fn has_credentials(&self) -> bool {
        !self.0.username().is_empty() || self.0.password().is_some()
    }

    /// The host name or literal address.
    pub fn host(&self) -> Host<&str> {
        self.0.host().expect("FromStr refuses URLs without a host")
    }

    /// The port, the scheme's own where none is written.
    pub fn port(&self) -> u16 {
        self.0.port_or_known_default().expect("http and https have a default port")
    }

    /// The literal address of the host, `127.0.0.1` for `localhost`; none where a name has to be resolved.
    pub fn literal_ip(&self) -> Option<IpAddr> {
        match self.host() {
            Host::Domain("localhost") => Some(IpAddr::from([127, 0, 0, 1])),
            Host::Domain(_) => None,
            Host::Ipv4(ip) => Some(ip.into()),
            Host::Ipv6(ip) => Some(ip.into()),
        }
    }

    /// This URL with more path elements (`sumdb/sum.golang.org`), credentials and query kept.
    pub fn join(&self, path: &str) -> UpstreamUrl {
        let mut url = self.0.clone();
        url.set_path(&format!("{}/{path}", self.0.path().trim_end_matches('/')));
        UpstreamUrl(url)
    }
}

impl FromStr for UpstreamUrl {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<UpstreamUrl, SourceError> {
        UpstreamUrl::new(parse_url(text)?)
    }
}

impl UpstreamUrl {
    fn new(mut url: Url) -> Result<UpstreamUrl, SourceError> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(SourceError::Scheme { scheme: url.scheme().to_owned() });
        }
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        let url = UpstreamUrl(url);
        let stays_here = url.literal_ip().is_some_and(|ip| ip.is_loopback());
        if url.has_credentials() && url.0.scheme() == "http" && !stays_here {
            return Err(SourceError::CredentialsInClear);
        }
        Ok(url)
    }
}

impl fmt::Display for UpstreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let credentials = if self.has_credentials() { "***@" } else { "" };
        write!(f, "{}://{credentials}{}", self.0.scheme(), self.host())?;
        if let Some(port) = self.0.port() {
            write!(f, ":{port}")?;
        }
        f.write_str(self.0.path().trim_end_matches('/'))?;
        f.write_str(if self.0.query().is_some() { "?***" } else { "" })
    }
}

impl fmt::Debug for UpstreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UpstreamUrl({self})")
    }
}

/// Where a remote checksum database is: a server of it, or a directory of the files that one would answer with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogUrl {
    /// http or https.
    Server(UpstreamUrl),
    /// A directory, from a `file://` URL.
    Directory(PathBuf),
}

impl LogUrl {
    /// The URL with its credentials, to hand to what fetches and to nothing else.
    pub fn expose(&self) -> Zeroizing<String> {
        Zeroizing::new(match self {
            LogUrl::Server(url) => url.expose().to_string(),
            LogUrl::Directory(path) => directory_url(path).to_string(),
        })
    }

    /// The server, if it is one.
    pub fn server(&self) -> Option<&UpstreamUrl> {
        match self {
            LogUrl::Server(url) => Some(url),
            LogUrl::Directory(_) => None,
        }
    }
}

impl FromStr for LogUrl {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<LogUrl, SourceError> {
        Ok(match parse_source(text)? {
            Source::Directory(path) => LogUrl::Directory(path),
            Source::Proxy(url) => LogUrl::Server(url),
            Source::Direct => unreachable!("only the word `direct` in a list is that"),
        })
    }
}

impl fmt::Display for LogUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogUrl::Server(url) => url.fmt(f),
            LogUrl::Directory(path) => directory_url(path).fmt(f),
        }
    }
}

/// A directory as the URL that means it, whatever its name.
fn directory_url(path: &Path) -> Url {
    Url::from_file_path(path).expect("FromStr gives absolute paths")
}

/// One place that serves modules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A module proxy (http or https).
    Proxy(UpstreamUrl),
    /// A directory laid out as a module proxy, from a `file://` URL.
    Directory(PathBuf),
    /// Version control, through the `go` command.
    Direct,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Proxy(url) => url.fmt(f),
            // A comma or a bar would divide the list that it stands in.
            Source::Directory(path) => {
                f.write_str(&directory_url(path).as_str().replace(',', "%2C").replace('|', "%7C"))
            }
            Source::Direct => f.write_str("direct"),
        }
    }
}

/// When the next source of a list is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FallThrough {
    /// A comma: after 404 and 410 only.
    OnNotFound,
    /// A bar: after any error.
    OnAnyError,
}

impl FallThrough {
    fn separator(self) -> &'static str {
        match self {
            FallThrough::OnNotFound => ",",
            FallThrough::OnAnyError => "|",
        }
    }
}

/// A GOPROXY list. Each source comes with the rule for asking the one after it (of no meaning for the last).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceList(pub Vec<(Source, FallThrough)>);

impl SourceList {
    /// The sources in the order in which they are asked.
    pub fn sources(&self) -> impl Iterator<Item = &Source> {
        self.0.iter().map(|(source, _)| source)
    }

    /// The module proxies among them.
    pub fn proxies(&self) -> impl Iterator<Item = &UpstreamUrl> {
        self.sources().filter_map(|source| match source {
            Source::Proxy(url) => Some(url),
            Source::Directory(_) | Source::Direct => None,
        })
    }

    /// Where the proxies among them would pass the checksum database `name` on (`go help goproxy`).
    pub fn passthroughs_of(&self, name: &str) -> impl Iterator<Item = LogUrl> {
        self.proxies().map(move |proxy| LogUrl::Server(proxy.join(&format!("sumdb/{name}"))))
    }

    /// The list as GOPROXY would hold it, with credentials: to hand to what fetches, and to nothing else.
    pub fn expose(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::new());
        for (i, (source, fall_through)) in self.0.iter().enumerate() {
            match source {
                Source::Proxy(url) => text.push_str(url.expose().as_str()),
                other => text.push_str(&other.to_string()),
            }
            if i + 1 < self.0.len() {
                text.push_str(fall_through.separator());
            }
        }
        text
    }

    /// Whether version control is among them.
    pub fn has_direct(&self) -> bool {
        self.sources().any(|s| *s == Source::Direct)
    }
}

impl FromStr for SourceList {
    type Err = SourceError;

    /// As the `go` command reads GOPROXY: empty elements are skipped, nothing after `direct` or `off` is reached.
    fn from_str(text: &str) -> Result<SourceList, SourceError> {
        let mut list = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let end = rest.find([',', '|']).unwrap_or(rest.len());
            let fall_through =
                if rest[end..].starts_with('|') { FallThrough::OnAnyError } else { FallThrough::OnNotFound };
            let element = rest[..end].trim();
            rest = rest.get(end + 1..).unwrap_or("");
            match element {
                "" => continue,
                "off" if list.is_empty() => return Err(SourceError::Off),
                "off" => break,
                "direct" => list.push((Source::Direct, fall_through)),
                _ => list.push((parse_source(element)?, fall_through)),
            }
            if element == "direct" {
                break;
            }
        }
        match list.len() {
            0 => Err(SourceError::Empty),
            n if n > MAX_SOURCES => Err(SourceError::TooMany),
            _ => Ok(SourceList(list)),
        }
    }
}

impl fmt::Display for SourceList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (source, fall_through)) in self.0.iter().enumerate() {
            source.fmt(f)?;
            if i + 1 < self.0.len() {
                f.write_str(fall_through.separator())?;
            }
        }
        Ok(())
    }
}

/// Why a text is no source. It never quotes the text, which may hold a password.
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

fn parse_source(element: &str) -> Result<Source, SourceError> {
    let url = parse_url(element)?;
    match url.scheme() {
        "http" | "https" => UpstreamUrl::new(url).map(Source::Proxy),
        "file" if url.query().is_some() => Err(SourceError::NotAbsolute),
        "file" => url.to_file_path().map(Source::Directory).map_err(|()| SourceError::NotAbsolute),
        scheme => Err(SourceError::Scheme { scheme: scheme.to_owned() }),
    }
}

fn parse_url(text: &str) -> Result<Url, SourceError> {
    if text.len() > MAX_URL_BYTES {
        return Err(SourceError::TooLong);
    }
    let url = Url::parse(text).map_err(|error| SourceError::NotAUrl { why: error.to_string() })?;
    if url.fragment().is_some() {
        return Err(SourceError::Fragment);
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rules are those of `go help goproxy`.
    #[test]
    fn lists_read_as_goproxy_is_read() {
        let list: SourceList =
            "https://a.example|http://b.example/go/,,file:///srv/proxy,direct,https://never".parse().unwrap();
        assert_eq!(list.to_string(), "https://a.example|http://b.example/go,file:///srv/proxy,direct");
        assert_eq!(list.0[0].1, FallThrough::OnAnyError);
        assert_eq!(list.0[1].1, FallThrough::OnNotFound);
        assert_eq!(list.0[2].0, Source::Directory("/srv/proxy".into()));
        assert!(list.has_direct());
        assert_eq!(list.expose().parse::<SourceList>().unwrap(), list);
        for odd in [
            "file:///a%2Cb",
            "file:///a%7Cb",
            "file:///a%23b",
            "file:///a%2541",
            "file:///a%3Fb",
            "file:///a%20b",
        ] {
            let list: SourceList = odd.parse().unwrap();
            assert_eq!(
                list.expose().parse::<SourceList>().unwrap(),
                list,
                "{odd} is the directory that was meant"
            );
            assert_eq!(list.expose().as_str(), odd);
        }
    }

    #[test]
    fn a_directory_with_a_log_is_shown_as_the_url_that_means_it() {
        for (text, shown) in [
            ("file:///srv/sumdb/", "file:///srv/sumdb"),
            ("file:////srv//d/", "file:///srv/d"),
            ("file:///srv/a b", "file:///srv/a%20b"),
            ("file:///srv/100%2541", "file:///srv/100%2541"),
        ] {
            let url: LogUrl = text.parse().unwrap();
            assert_eq!((url.to_string().as_str(), url.expose().as_str()), (shown, shown));
            assert_eq!(shown.parse::<LogUrl>().unwrap(), url);
        }
    }

    #[test]
    fn what_is_no_source_is_refused() {
        let table = [
            ("", SourceError::Empty),
            (" , ", SourceError::Empty),
            ("off", SourceError::Off),
            ("ssh://git.corp.example", SourceError::Scheme { scheme: "ssh".to_owned() }),
            ("https://a.example/#x", SourceError::Fragment),
            ("http://ci:pw@a.example", SourceError::CredentialsInClear),
            ("file://host/srv", SourceError::NotAbsolute),
        ];
        for (text, want) in table {
            assert_eq!(text.parse::<SourceList>().unwrap_err(), want, "{text}");
        }
        assert!(matches!("proxy.example".parse::<SourceList>(), Err(SourceError::NotAUrl { .. })));
        let many = vec!["https://a.example"; MAX_SOURCES + 1].join(",");
        assert_eq!(many.parse::<SourceList>().unwrap_err(), SourceError::TooMany);
    }

    #[test]
    fn credentials_never_show() {
        let url: UpstreamUrl = "https://anna:s3cret@a.example:8443/go/?token=t0ken".parse().unwrap();
        assert_eq!(url.to_string(), "https://***@a.example:8443/go?***");
        for secret in ["anna", "s3cret", "t0ken"] {
            assert!(!format!("{url:?}").contains(secret));
        }
        assert!(
            "http://ci:pw@127.0.0.1:3000".parse::<UpstreamUrl>().is_ok(),
            "to this machine, nothing is in the clear"
        );
        assert_eq!(
            url.join("sumdb/x").expose().as_str(),
            "https://anna:s3cret@a.example:8443/go/sumdb/x?token=t0ken"
        );
        assert!(
            !"https://anna:s3cret@[bad".parse::<UpstreamUrl>().unwrap_err().to_string().contains("s3cret")
        );
    }
}
