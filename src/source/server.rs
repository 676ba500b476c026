//! The URL of another server, with its credentials kept apart.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use url::{Host, Url};
use zeroize::Zeroizing;

use super::{MAX_URL_BYTES, RedactedUrl, SourceError};

/// An http or https URL of another server, without a slash at the end of its path. Debug and
/// Display show `https://***@host/path?***`.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerUrl {
    /// Without userinfo and fragment.
    url: Url,
    credentials: Option<Credentials>,
}

/// User and password of a URL. It has no Debug and no Display.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    /// As the URL has them, with percent signs. A token may stand for the user.
    user: Zeroizing<String>,
    password: Zeroizing<String>,
}

impl Credentials {
    pub(crate) fn user(&self) -> Zeroizing<String> {
        Zeroizing::new(percent_decode(&self.user))
    }

    pub(crate) fn password(&self) -> Zeroizing<String> {
        Zeroizing::new(percent_decode(&self.password))
    }
}

impl ServerUrl {
    pub(super) fn new(mut url: Url) -> Result<ServerUrl, SourceError> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(SourceError::Scheme { scheme: url.scheme().to_owned() });
        }
        let credentials = match (url.username(), url.password()) {
            ("", None) => None,
            (user, password) => Some(Credentials {
                user: Zeroizing::new(user.to_owned()),
                password: Zeroizing::new(password.unwrap_or_default().to_owned()),
            }),
        };
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        let url = ServerUrl { url: without_userinfo(url), credentials };
        let stays_here = url.literal_ip().is_some_and(|ip| ip.is_loopback());
        if url.has_credentials() && !url.is_https() && !stays_here {
            return Err(SourceError::CredentialsInClear);
        }
        Ok(url)
    }

    /// Where a server redirected this URL to. The credentials go along only where
    /// `with_credentials` says so; the new server's own are not taken from the redirect.
    pub(crate) fn redirected(&self, to: Url, with_credentials: bool) -> ServerUrl {
        let credentials = self.credentials.clone().filter(|_| with_credentials);
        let mut url = without_userinfo(to);
        url.set_fragment(None);
        ServerUrl { url, credentials }
    }

    /// Returns the URL with its credentials, for a client that takes them from there and for
    /// nothing else.
    pub fn expose(&self) -> Url {
        let mut url = self.url.clone();
        if let Some(Credentials { user, password }) = &self.credentials {
            let password = Some(password.as_str()).filter(|password| !password.is_empty());
            let set = url.set_username(user).and_then(|()| url.set_password(password));
            assert!(set.is_ok(), "an http URL with a host can have userinfo");
        }
        url
    }

    /// The URL without user and password, to build a request from. Its query, which may hold a
    /// token, is there.
    pub(crate) fn request_url(&self) -> &Url {
        &self.url
    }

    pub(crate) fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }

    /// Whether there is a user name or password in it.
    pub fn has_credentials(&self) -> bool {
        self.credentials.is_some()
    }

    /// Whether there is a query in it.
    pub(crate) fn has_query(&self) -> bool {
        self.url.query().is_some()
    }

    pub(crate) fn is_https(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// The host name or literal address.
    pub(crate) fn host(&self) -> Host<&str> {
        self.url.host().expect("the parser refuses an http URL without a host")
    }

    /// The port, the scheme's own where none is written.
    pub(crate) fn port(&self) -> u16 {
        self.url.port_or_known_default().expect("http and https have a default port")
    }

    /// The path, without a slash at its end.
    pub(crate) fn path(&self) -> &str {
        self.url.path().trim_end_matches('/')
    }

    /// The literal address of the host, `127.0.0.1` for `localhost`; none where a name has to be
    /// resolved.
    pub(crate) fn literal_ip(&self) -> Option<IpAddr> {
        match self.host() {
            Host::Domain("localhost") => Some(IpAddr::from([127, 0, 0, 1])),
            Host::Domain(_) => None,
            Host::Ipv4(ip) => Some(ip.into()),
            Host::Ipv6(ip) => Some(ip.into()),
        }
    }

    /// This URL with more path elements, credentials and query kept. The path is ours; one that
    /// others have a say in goes through `SourceUrl::join`.
    pub(crate) fn join(&self, path: &str) -> ServerUrl {
        let mut joined = self.clone();
        joined.url.set_path(&format!("{}/{path}", self.path()));
        joined
    }

    /// This URL with another query.
    pub(crate) fn with_query(&self, query: &str) -> ServerUrl {
        let mut other = self.clone();
        other.url.set_query(Some(query));
        other
    }

    /// This URL with one more parameter in its query.
    pub(crate) fn with_parameter(&self, name: &str, value: &str) -> ServerUrl {
        let mut other = self.clone();
        other.url.query_pairs_mut().append_pair(name, value);
        other
    }

    /// The URL as it may be shown, stored and logged. Unlike Display it has the slash of an empty
    /// path.
    pub fn redacted(&self) -> RedactedUrl {
        RedactedUrl::format(&self.url, self.has_credentials())
    }
}

impl FromStr for ServerUrl {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<ServerUrl, SourceError> {
        ServerUrl::new(parse_url(text)?)
    }
}

impl fmt::Display for ServerUrl {
    /// As an operator would write it, with its secrets hidden.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let credentials = if self.has_credentials() { "***@" } else { "" };
        write!(f, "{}://{credentials}{}", self.url.scheme(), self.host())?;
        if let Some(port) = self.url.port() {
            write!(f, ":{port}")?;
        }
        f.write_str(self.path())?;
        f.write_str(if self.has_query() { "?***" } else { "" })
    }
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

pub(super) fn parse_url(text: &str) -> Result<Url, SourceError> {
    if text.len() > MAX_URL_BYTES {
        return Err(SourceError::TooLong);
    }
    let url = Url::parse(text).map_err(|error| SourceError::NotAUrl { why: error.to_string() })?;
    if url.fragment().is_some() {
        return Err(SourceError::Fragment);
    }
    Ok(url)
}

fn without_userinfo(mut url: Url) -> Url {
    let cleared = url.set_username("").and_then(|()| url.set_password(None));
    assert!(cleared.is_ok(), "an http URL with a host can lose its userinfo");
    url
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
    fn credentials_never_show() {
        let url: ServerUrl = "https://anna:s3cret@a.example:8443/go/?token=t0ken".parse().unwrap();
        assert_eq!(url.to_string(), "https://***@a.example:8443/go?***");
        for secret in ["anna", "s3cret", "t0ken"] {
            assert!(!format!("{url:?}").contains(secret));
        }
        assert!(
            "http://ci:pw@127.0.0.1:3000".parse::<ServerUrl>().is_ok(),
            "to this machine, nothing is in the clear"
        );
        assert_eq!(
            url.join("sumdb/x").expose().as_str(),
            "https://anna:s3cret@a.example:8443/go/sumdb/x?token=t0ken"
        );
        assert!(!"https://anna:s3cret@[bad".parse::<ServerUrl>().unwrap_err().to_string().contains("s3cret"));
    }

    #[test]
    fn credentials_are_exposed_as_they_were_written_and_used_decoded() {
        for text in [
            "https://a.example/",
            "https://token@a.example/",
            "https://us%40er:p%3Aw@a.example:8443/go?token=t",
            "https://u:%FF%25@a.example/go",
        ] {
            assert_eq!(text.parse::<ServerUrl>().unwrap().expose().as_str(), text);
        }
        let url: ServerUrl = "https://us%40er:p%3Aw@proxy.example:8443/go?token=t".parse().unwrap();
        let credentials = url.credentials().unwrap();
        assert_eq!((credentials.user().as_str(), credentials.password().as_str()), ("us@er", "p:w"));
        assert_eq!(url.request_url().as_str(), "https://proxy.example:8443/go?token=t");
    }

    #[test]
    fn the_port_is_the_schemes_where_none_is_written() {
        for (text, host, port) in
            [("https://a.example/x", "a.example", 443), ("http://[::1]:81", "[::1]", 81)]
        {
            let url: ServerUrl = text.parse().unwrap();
            assert_eq!((url.host().to_string().as_str(), url.port()), (host, port));
        }
    }
}
