//! What a client is made with: time limits, root certificates, proxies.

use std::path::PathBuf;
use std::time::Duration;

use super::proxies::ProxySettings;
use super::redirect::RedirectRules;
use crate::clock::Clock;

/// How the client behaves.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// PEM file of root certificates that are trusted instead of the system's, which are those of
    /// SSL_CERT_FILE and SSL_CERT_DIR where these are set.
    pub roots: Option<PathBuf>,
    /// PEM files of root certificates that are trusted beside those.
    pub extra_roots: Vec<PathBuf>,
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
            extra_roots: Vec::new(),
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
