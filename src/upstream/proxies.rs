//! Which proxy a request goes through: the one that the `go` command would take.
//!
//! ```text
//! HTTP_PROXY=http://proxy.corp.example:3128       for http:// addresses
//! HTTPS_PROXY=proxy.corp.example:3128             for https:// addresses, through CONNECT; http:// is assumed
//! NO_PROXY=.corp.example,10.0.0.0/8,ci.example:80 who is asked directly
//! ```
//! The lower-case names count where the upper-case ones are not set. `localhost` and loopback addresses never
//! go through a proxy. An entry of NO_PROXY is a name (with the names below it, or only those with a dot or `*.`
//! in front), an address, a network, or `*`; a port behind it limits it to that port. The rules are those of
//! golang.org/x/net/http/httpproxy; `tests/vectors/proxy.json` holds what the `go` command's own library answers.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use reqwest::Url;

use super::setup::ClientError;

/// Which proxies outgoing connections use, as the environment says it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ProxySettings {
    /// Proxy for `http://` addresses.
    pub http: Option<String>,
    /// Proxy for `https://` addresses.
    pub https: Option<String>,
    /// Hosts that are reached directly, in the syntax of NO_PROXY.
    pub no_proxy: Option<String>,
}

impl ProxySettings {
    /// Reads HTTP_PROXY, HTTPS_PROXY and NO_PROXY (or their lower-case forms), as the go command
    /// does.
    pub fn from_env() -> ProxySettings {
        let read = |upper: &str, lower: &str| {
            [upper, lower].iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
        };
        ProxySettings {
            http: read("HTTP_PROXY", "http_proxy"),
            https: read("HTTPS_PROXY", "https_proxy"),
            no_proxy: read("NO_PROXY", "no_proxy"),
        }
    }

    /// Returns the environment variables that hand the same settings to a program that is started.
    /// Git's HTTP library reads the plain proxy only in lower case.
    pub(super) fn variables(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("HTTP_PROXY", &self.http),
            ("http_proxy", &self.http),
            ("HTTPS_PROXY", &self.https),
            ("NO_PROXY", &self.no_proxy),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.as_deref()?)))
    }

    /// Parses the settings. A proxy that cannot be used is an error here, not at each request.
    pub(super) fn table(&self) -> Result<ProxyTable, ClientError> {
        let server = |variable, text: &Option<String>| {
            text.as_deref().map(|text| ProxyServer::parse(variable, text)).transpose()
        };
        Ok(ProxyTable {
            http: server("HTTP_PROXY", &self.http)?,
            https: server("HTTPS_PROXY", &self.https)?,
            direct: self.no_proxy.iter().flat_map(|list| list.split(',')).filter_map(Direct::parse).collect(),
        })
    }
}

impl fmt::Debug for ProxySettings {
    /// Shows which are set, not to what: a proxy URL may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &Option<String>| value.as_ref().map(|_| "***");
        f.debug_struct("ProxySettings")
            .field("http", &shown(&self.http))
            .field("https", &shown(&self.https))
            .field("no_proxy", &self.no_proxy)
            .finish()
    }
}

/// Parsed settings.
#[derive(Clone, Debug, Default)]
pub(super) struct ProxyTable {
    http: Option<ProxyServer>,
    https: Option<ProxyServer>,
    direct: Vec<Direct>,
}

impl ProxyTable {
    /// Returns the proxy for a URL; none where the server is asked directly.
    pub(super) fn choose(&self, url: &Url) -> Option<&ProxyServer> {
        let proxy = match url.scheme() {
            "https" => self.https.as_ref(),
            "http" => self.http.as_ref(),
            _ => None,
        }?;
        let host = url.host_str()?.trim_start_matches('[').trim_end_matches(']');
        let address = host.parse::<IpAddr>().ok().map(|address| address.to_canonical());
        let is_here = host == "localhost" || address.is_some_and(|address| address.is_loopback());
        let port = url.port_or_known_default();
        let is_direct = is_here || self.direct.iter().any(|direct| direct.covers(host, address, port));
        (!is_direct).then_some(proxy)
    }

    /// Whether every request goes directly.
    pub(super) fn is_empty(&self) -> bool {
        self.http.is_none() && self.https.is_none()
    }

    /// The proxies' own names: they may well have private addresses.
    pub(super) fn hosts(&self) -> Vec<String> {
        let proxies = self.http.iter().chain(&self.https);
        proxies.filter_map(|proxy| proxy.url.host_str()).map(str::to_owned).collect()
    }
}

/// A proxy. Debug and Display leave its credentials out.
#[derive(Clone)]
pub(super) struct ProxyServer {
    url: Url,
    variable: &'static str,
}

impl ProxyServer {
    fn parse(variable: &'static str, text: &str) -> Result<ProxyServer, ClientError> {
        let bad = |why: String| ClientError::Proxy { variable, why };
        let with_scheme = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let url = Url::parse(&with_scheme).map_err(|error| bad(format!("is no URL ({error})")))?;
        match url.scheme() {
            "http" | "https" => Ok(ProxyServer { url, variable }),
            scheme => {
                Err(bad(format!("has the scheme {scheme:?}, and only http and https proxies are used")))
            }
        }
    }

    /// Returns the URL with its credentials, for the HTTP library alone.
    pub(super) fn expose(&self) -> Url {
        self.url.clone()
    }
}

impl fmt::Display for ProxyServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.url.host_str().unwrap_or_default();
        write!(f, "the proxy {}://{host}", self.url.scheme())?;
        if let Some(port) = self.url.port() {
            write!(f, ":{port}")?;
        }
        write!(f, " of {}", self.variable)
    }
}

impl fmt::Debug for ProxyServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An entry of NO_PROXY.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Direct {
    Everything,
    Network(IpNet),
    Address(IpAddr, Option<u16>),
    /// `suffix` begins with a dot.
    Domain {
        suffix: String,
        with_itself: bool,
        port: Option<u16>,
    },
}

impl Direct {
    /// Parses an entry. One that means nothing is passed over, as by the `go` command.
    fn parse(entry: &str) -> Option<Direct> {
        let entry = entry.trim().to_lowercase();
        match entry.as_str() {
            "" => return None,
            "*" => return Some(Direct::Everything),
            _ => {}
        }
        if let Ok(network) = entry.parse::<IpNet>() {
            return Some(Direct::Network(network));
        }
        let (host, port) = match split_port(&entry) {
            Some((host, port)) => (host, Some(port)),
            None => (entry.as_str(), None),
        };
        if let Ok(address) = host.parse::<IpAddr>() {
            return Some(Direct::Address(address.to_canonical(), port));
        }
        let domain = host.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(host);
        let (with_itself, name) = match domain.strip_prefix('.') {
            Some(name) => (false, name),
            None => (true, domain),
        };
        // A name beyond ASCII is asked for in its encoded form.
        let encoded = Url::parse(&format!("http://{name}/")).ok();
        let encoded = encoded.as_ref().and_then(Url::host_str).filter(|_| !name.is_ascii());
        let suffix = format!(".{}", encoded.unwrap_or(name));
        (!host.is_empty()).then_some(Direct::Domain { suffix, with_itself, port })
    }

    fn covers(&self, host: &str, address: Option<IpAddr>, port: Option<u16>) -> bool {
        let fits = |wanted: &Option<u16>| wanted.is_none_or(|wanted| port == Some(wanted));
        match (self, address) {
            (Direct::Everything, _) => true,
            (Direct::Network(network), Some(address)) => network.contains(&address),
            (Direct::Address(direct, port), Some(address)) => *direct == address && fits(port),
            (Direct::Domain { suffix, with_itself, port }, None) => {
                (host.ends_with(suffix) || *with_itself && host == &suffix[1..]) && fits(port)
            }
            (Direct::Network(_) | Direct::Address(..), None) | (Direct::Domain { .. }, Some(_)) => false,
        }
    }
}

/// Splits `host:port` and `[address]:port`. A port that is no number never fits, so the entry means nothing.
fn split_port(entry: &str) -> Option<(&str, u16)> {
    let (host, port) = entry.rsplit_once(':')?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = bare.unwrap_or(host);
    if bare.is_none() && host.contains(':') {
        return None;
    }
    Some((host, port.parse().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Go's `http.ProxyFromEnvironment` made the vectors: `tests/oracle/proxyvec`.
    #[test]
    fn proxies_are_chosen_as_by_the_go_command() {
        #[derive(serde::Deserialize)]
        struct Vector {
            no_proxy: String,
            url: String,
            proxied: bool,
        }
        let text = include_str!("../../tests/vectors/proxy.json");
        let vectors: Vec<Vector> = serde_json::from_str(text).unwrap();
        assert!(vectors.len() > 100);
        for Vector { no_proxy, url, proxied } in vectors {
            let proxy = Some("http://user:pw@proxy.example:3128".to_owned());
            let settings =
                ProxySettings { http: proxy.clone(), https: proxy, no_proxy: Some(no_proxy.clone()) };
            let chosen =
                settings.table().unwrap().choose(&Url::parse(&url).unwrap()).map(ToString::to_string);
            let variable = if url.starts_with("https") { "HTTPS_PROXY" } else { "HTTP_PROXY" };
            let want = proxied.then(|| format!("the proxy http://proxy.example:3128 of {variable}"));
            assert_eq!(chosen, want, "NO_PROXY={no_proxy} {url}");
        }
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_named_without_its_password() {
        let table =
            |text: &str| ProxySettings { https: Some(text.to_owned()), ..ProxySettings::default() }.table();
        for (text, want) in [
            ("proxy.example:3128", "http://proxy.example:3128/"),
            ("proxy.example", "http://proxy.example/"),
            ("https://u:p@proxy.example", "https://u:p@proxy.example/"),
        ] {
            assert_eq!(table(text).unwrap().https.unwrap().expose().as_str(), want);
        }
        let error = table("socks5://u:s3cret@proxy.example").unwrap_err().to_string();
        let want = "the environment variable HTTPS_PROXY has the scheme \"socks5\", and only http and https proxies are used";
        assert!(error.starts_with(want) && !error.contains("s3cret"), "{error}");
        assert!(table("http://u:s3cret@[").unwrap_err().to_string().contains("HTTPS_PROXY is no URL"));
    }
}
