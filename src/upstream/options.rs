//! What a client is made with: time limits, root certificates, proxies from the environment.

use std::path::PathBuf;
use std::time::Duration;

use super::redirect::RedirectRules;
use crate::clock::Clock;

/// How the client behaves.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// PEM file of root certificates that are trusted instead of the system's.
    pub roots: Option<PathBuf>,
    /// Outgoing proxies.
    pub proxies: ProxySettings,
    /// Time for name look-up, connection and TLS handshake.
    pub connect_timeout: Duration,
    /// Longest silence while an answer is awaited or read.
    pub read_timeout: Duration,
    /// Longest time for one fetch with all its redirects, whatever deadline the caller gives.
    pub total_timeout: Duration,
    /// What we call ourselves; with a contact, so that an upstream's operator can reach ours.
    pub user_agent: String,
    /// Which redirects are followed.
    pub redirects: RedirectRules,
    /// Time for deadlines and for dates in `Retry-After`.
    pub clock: Clock,
}

impl Default for ClientOptions {
    fn default() -> ClientOptions {
        ClientOptions {
            roots: None,
            proxies: ProxySettings::from_env(),
            connect_timeout: Duration::from_secs(10),
            // sum.golang.org and module proxies fetch from version control while the client waits.
            read_timeout: Duration::from_secs(60),
            total_timeout: Duration::from_secs(600),
            user_agent: concat!("tallystick/", env!("CARGO_PKG_VERSION")).to_owned(),
            redirects: RedirectRules::default(),
            clock: Clock::system(),
        }
    }
}

/// Which proxies outgoing connections use. Connections to this machine itself never use one, as
/// with the go command.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ProxySettings {
    /// Proxy for `http://` sources.
    pub http: Option<String>,
    /// Proxy for `https://` sources.
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

    /// The environment variables that hand the same settings to a program that is started. Git's
    /// HTTP library reads the plain proxy only in lower case.
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

    /// The proxies' own names: they may well have private addresses.
    pub(super) fn hosts(&self) -> Vec<String> {
        let host = |proxy: &String| {
            let url = if proxy.contains("://") { proxy.clone() } else { format!("http://{proxy}") };
            Some(reqwest::Url::parse(&url).ok()?.host_str()?.to_owned())
        };
        [&self.http, &self.https].into_iter().flatten().filter_map(host).collect()
    }
}

impl std::fmt::Debug for ProxySettings {
    /// Shows which are set, not to what: a proxy URL may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = |value: &Option<String>| value.as_ref().map(|_| "***");
        f.debug_struct("ProxySettings")
            .field("http", &shown(&self.http))
            .field("https", &shown(&self.https))
            .field("no_proxy", &self.no_proxy)
            .finish()
    }
}
