//! Whose `X-Forwarded-For` is believed: `trusted_proxies = ["127.0.0.1", "10.0.0.1", "10.0.0.9"]`.
//!
//! Limits are kept per client address, and anyone can write a header. So the list in `X-Forwarded-For`
//! counts only if the peer itself is a trusted proxy, and it is read from its end, where our own proxies wrote:
//!
//! ```text
//! X-Forwarded-For: 6.6.6.6, 192.0.2.7, 10.0.0.9          peer 10.0.0.1
//!                  forged   the client  our outer proxy
//! ```
//!
//! An entry that is no address ends the reading: the client is then the proxy that passed it on.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::http::{HeaderMap, HeaderName};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The proxies in front of this server. Clones share the list, which a reload replaces.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Arc<ArcSwap<Vec<IpNet>>>);

impl TrustedProxies {
    /// None in the list: every peer is the client.
    pub fn new(networks: Vec<IpNet>) -> TrustedProxies {
        TrustedProxies(Arc::new(ArcSwap::from_pointee(networks)))
    }

    /// Replaces the list, for connections and requests from now on.
    pub fn replace(&self, networks: Vec<IpNet>) {
        self.0.store(Arc::new(networks));
    }

    /// Whether a peer of this address speaks for others.
    pub(super) fn trusts(&self, address: IpAddr) -> bool {
        self.0.load().iter().any(|network| network.contains(&address))
    }

    /// The address of the client that sent a request with these headers through `peer`.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        if !self.trusts(client) {
            return client;
        }
        let lines = headers.get_all(X_FORWARDED_FOR);
        for line in lines.iter().rev() {
            let Ok(line) = line.to_str() else { return client };
            for entry in line.rsplit(',') {
                let Some(address) = parse_entry(entry.trim()) else { return client };
                client = address;
                if !self.trusts(client) {
                    return client;
                }
            }
        }
        client
    }
}

/// An address, with a port as some load balancers write it.
fn parse_entry(entry: &str) -> Option<IpAddr> {
    let address = entry.parse::<IpAddr>().or_else(|_| entry.parse::<SocketAddr>().map(|socket| socket.ip()));
    address.ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn the_client_is_the_last_address_that_our_own_proxies_do_not_have() {
        let proxies = TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()]);
        for (peer, lines, client) in [
            ("192.0.2.1", &["6.6.6.6"][..], "192.0.2.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["192.0.2.7"], "192.0.2.7"),
            ("::ffff:10.0.0.1", &["192.0.2.7"], "192.0.2.7"),
            ("10.0.0.1", &["6.6.6.6, 192.0.2.7, 10.0.0.9"], "192.0.2.7"),
            ("10.0.0.1", &["6.6.6.6", "192.0.2.7,10.0.0.9"], "192.0.2.7"),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            ("10.0.0.1", &["192.0.2.7:5123"], "192.0.2.7"),
            ("10.0.0.1", &["[2001:db8::7]:5123"], "2001:db8::7"),
            ("10.0.0.1", &["::ffff:192.0.2.7"], "192.0.2.7"),
            ("10.0.0.1", &["192.0.2.7, junk"], "10.0.0.1"),
            ("10.0.0.1", &["192.0.2.7, junk, 10.0.0.9"], "10.0.0.9"),
            ("10.0.0.1", &[""], "10.0.0.1"),
            ("fd00::1", &["2001:db8::7"], "2001:db8::7"),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(X_FORWARDED_FOR, HeaderValue::from_static(line));
            }
            let found = proxies.client(peer.parse().unwrap(), &headers);
            assert_eq!(found, client.parse::<IpAddr>().unwrap(), "{peer} {lines:?}");
        }
    }
}
