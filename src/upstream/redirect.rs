//! Which redirects are followed. A module proxy may send a client to its storage; a hostile or
//! broken one may send it to a metadata service inside the company's network. So: to the same host,
//! or to hosts that the operator listed; never to http from a source that is asked by https; never
//! to an address that is not public, unless the source is one of `private_hosts`; credentials stay
//! behind.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use reqwest::Url;

use super::error::RedirectRefusal;
use crate::source::{MAX_URL_BYTES, RedactedUrl, ServerUrl};

/// As many as the go command follows. With fewer, a list of sources would go on to the next one
/// where the go command takes the files of this one.
const DEFAULT_MAX_REDIRECTS: u8 = 9;

/// The operator's rules for redirects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedirectRules {
    /// How many hops one fetch may take.
    pub max: u8,
    /// Hosts, other than the source's own, that a redirect may lead to.
    pub hosts: Vec<HostRule>,
    /// Sources whose redirects (still only to themselves or to `hosts`) may lead to private,
    /// loopback and link-local addresses.
    pub private_hosts: Vec<HostRule>,
}

impl Default for RedirectRules {
    /// Only to the same host.
    fn default() -> RedirectRules {
        RedirectRules { max: DEFAULT_MAX_REDIRECTS, hosts: Vec::new(), private_hosts: Vec::new() }
    }
}

/// `host`, `host:port`, `*.domain` (subdomains only) or `*` (any). Without a port it means the
/// scheme's default port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostRule {
    host: HostPattern,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum HostPattern {
    Any,
    Exact(String),
    /// With its leading dot.
    Below(String),
}

/// A text that is not a host rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a host rule: use host, host:port, *.domain or *")]
pub struct HostRuleError {
    /// The text.
    pub text: String,
}

/// A redirect that is to be followed.
#[derive(Debug)]
pub(super) struct Hop {
    pub(super) to: ServerUrl,
    /// Only public addresses may be connected to, whatever the name resolves to.
    pub(super) public_only: bool,
}

/// A redirect that is not.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) to: RedactedUrl,
    pub(super) refusal: RedirectRefusal,
}

impl HostRule {
    /// Parses one rule. Case does not matter.
    pub fn parse(text: &str) -> Result<HostRule, HostRuleError> {
        let bad = || HostRuleError { text: text.to_owned() };
        let lower = text.to_ascii_lowercase();
        let (host, port) = match lower.rsplit_once(':') {
            // The last colon of an address in brackets is part of it unless it stands after the
            // bracket.
            Some((host, port)) if !port.contains(']') => {
                (host, Some(port.parse::<u16>().map_err(|_| bad())?))
            }
            _ => (lower.as_str(), None),
        };
        let host = match host {
            "*" => HostPattern::Any,
            _ => match host.strip_prefix('*') {
                Some(below) if below.starts_with('.') && is_host(&below[1..]) => {
                    HostPattern::Below(below.to_owned())
                }
                None if is_host(host) => HostPattern::Exact(host.to_owned()),
                _ => return Err(bad()),
            },
        };
        Ok(HostRule { host, port })
    }

    fn matches(&self, url: &Url) -> bool {
        let Some(host) = url.host_str() else { return false };
        let port_fits = match self.port {
            Some(port) => url.port_or_known_default() == Some(port),
            None => url.port().is_none(),
        };
        port_fits
            && match &self.host {
                HostPattern::Any => true,
                HostPattern::Exact(exact) => host == exact,
                HostPattern::Below(suffix) => host.len() > suffix.len() && host.ends_with(suffix.as_str()),
            }
    }
}

/// A host as it stands in a URL: a name or an IPv4 address, or an IPv6 address in brackets.
fn is_host(text: &str) -> bool {
    match text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => {
            let plain = |label: &str| {
                !label.is_empty()
                    && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            };
            text.split('.').all(plain)
        }
    }
}

impl RedirectRules {
    /// Judges the redirect of `from` to `location`; `hops` redirects were followed before, the
    /// first request went to `first`.
    pub(super) fn follow(
        &self,
        first: &ServerUrl,
        from: &ServerUrl,
        location: &str,
        hops: u8,
    ) -> Result<Hop, Refused> {
        let refused = |to: &Url, refusal| Refused { to: RedactedUrl::of(to), refusal };
        if location.len() > MAX_URL_BYTES {
            return Err(refused(from.request_url(), RedirectRefusal::TooLong));
        }
        let to = from.request_url().join(location).ok();
        let Some(to) = to.filter(|to| matches!(to.scheme(), "http" | "https") && to.has_host()) else {
            return Err(refused(from.request_url(), RedirectRefusal::Malformed));
        };
        if hops >= self.max {
            return Err(refused(&to, RedirectRefusal::TooMany));
        }
        if first.is_https() && to.scheme() != "https" {
            return Err(refused(&to, RedirectRefusal::Insecure));
        }
        let is_own_host = same_server(first.request_url(), &to);
        if !is_own_host && !self.hosts.iter().any(|rule| rule.matches(&to)) {
            return Err(refused(&to, RedirectRefusal::Host));
        }
        let public_only =
            !is_own_host && !self.private_hosts.iter().any(|rule| rule.matches(first.request_url()));
        if public_only && host_address(&to).is_some_and(|address| !is_public(address)) {
            return Err(refused(&to, RedirectRefusal::PrivateAddress));
        }
        // Credentials that were left behind once do not come back.
        let with_credentials = same_server(from.request_url(), &to);
        Ok(Hop { to: from.redirected(to, with_credentials), public_only })
    }
}

/// The address, when the host is written as one. The URL parser has already turned forms like
/// `0x7f.1` into plain ones.
fn host_address(url: &Url) -> Option<IpAddr> {
    url.host_str()?.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// The same host and port, or the step from plain http to https on the default ports.
fn same_server(a: &Url, b: &Url) -> bool {
    let upgrade = a.scheme() == "http" && b.scheme() == "https" && a.port().is_none() && b.port().is_none();
    let same_scheme = a.scheme() == b.scheme() && a.port_or_known_default() == b.port_or_known_default();
    a.host_str() == b.host_str() && (same_scheme || upgrade)
}

/// Whether an address is on the public internet, by the special-purpose registries of IANA (RFC
/// 6890).
pub(super) fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let shared = a == 100 && (64..128).contains(&b); // RFC 6598, carrier-grade NAT
    let protocols = a == 192 && b == 0 && c == 0;
    let benchmarks = a == 198 && (b == 18 || b == 19);
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || a == 0
        || a >= 224
        || shared
        || protocols
        || benchmarks)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let s = address.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match s {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low), // NAT64, RFC 6052
        [0x2002, high, low, ..] => embedded(high, low),               // 6to4, RFC 3056
        [0x2001, 0 | 0xdb8, ..] => false,                             // Teredo, documentation
        // Global unicast is 2000::/3; everything else is loopback, unique local, link local,
        // multicast or reserved.
        _ => s[0] & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(text: &str) -> ServerUrl {
        text.parse().unwrap()
    }

    fn rules(hosts: &[&str], private: &[&str]) -> RedirectRules {
        let parse = |rules: &[&str]| rules.iter().map(|rule| HostRule::parse(rule).unwrap()).collect();
        RedirectRules { max: 2, hosts: parse(hosts), private_hosts: parse(private) }
    }

    #[test]
    fn redirects_stay_where_the_rules_say() {
        use RedirectRefusal::*;
        let from = "https://u:p@a.example/x/y?q=1";
        for (hosts, private, location, want) in [
            (&[][..], &[][..], "/z", Ok("https://***@a.example/z")),
            (&[], &[], "z?k=1", Ok("https://***@a.example/x/z?***")),
            (&[], &[], "https://evil:cred@a.example/z", Ok("https://***@a.example/z")),
            (&[], &[], "http://a.example/z", Err(Insecure)),
            (&[], &[], "https://a.example:444/z", Err(Host)),
            (&[], &[], "https://b.example/z", Err(Host)),
            (&["b.example"], &[], "https://B.example/z", Ok("https://b.example/z")),
            (&["b.example"], &[], "https://x.b.example/z", Err(Host)),
            (&["b.example"], &[], "https://b.example:8443/z", Err(Host)),
            (&["b.example:8443"], &[], "https://b.example:8443/z", Ok("https://b.example:8443/z")),
            (&["*.b.example"], &[], "https://x.b.example/z", Ok("https://x.b.example/z")),
            (&["*.b.example"], &[], "https://b.example/z", Err(Host)),
            (&["*.b.example"], &[], "https://evilb.example/z", Err(Host)),
            (&["*"], &[], "https://169.254.169.254/latest/meta-data", Err(PrivateAddress)),
            (&["*"], &[], "https://0x7f.1/", Err(PrivateAddress)),
            (&["*"], &[], "https://[::ffff:10.0.0.1]/", Err(PrivateAddress)),
            (&["*"], &["a.example"], "https://10.0.0.1/", Ok("https://10.0.0.1/")),
            (&["*"], &["b.example"], "https://10.0.0.1/", Err(PrivateAddress)),
            (&["*"], &[], "ftp://a.example/", Err(Malformed)),
            (&["*"], &[], "file:///etc/passwd", Err(Malformed)),
            (&["*"], &[], "https://[bad", Err(Malformed)),
        ] {
            let from = remote(from);
            let got = rules(hosts, private).follow(&from, &from, location, 0);
            let got = got.map(|hop| hop.to.redacted().to_string()).map_err(|refused| refused.refusal);
            assert_eq!(got.as_deref().map_err(|e| *e), want, "{location}");
        }
        let from = remote(from);
        let too_many = rules(&[], &[]).follow(&from, &from, "/z", 2).unwrap_err();
        assert_eq!(too_many.refusal, TooMany);
    }

    #[test]
    fn credentials_left_behind_do_not_come_back() {
        let rules = rules(&["b.example"], &[]);
        let first = remote("https://u:p@a.example/");
        let away = rules.follow(&first, &first, "https://b.example/", 0).unwrap();
        assert!(away.to.credentials().is_none() && away.public_only);
        let back = rules.follow(&first, &away.to, "https://a.example/", 1).unwrap();
        assert!(back.to.credentials().is_none());
        let upgraded = remote("http://a.example/");
        assert!(!rules.follow(&upgraded, &upgraded, "https://a.example/", 0).unwrap().public_only);
    }

    #[test]
    fn host_rules_are_parsed_strictly() {
        for good in
            ["a", "a.example", "A.Example:1", "*", "*:8443", "*.a.example", "10.0.0.1", "[::1]", "[::1]:80"]
        {
            assert!(HostRule::parse(good).is_ok(), "{good}");
        }
        for bad in
            ["", "*a", "*.", "a..b", "a:b", "a:99999", "https://a", "a/b", "::1", "[x]", "a b", "*.*.a"]
        {
            assert!(HostRule::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn special_addresses_are_not_public() {
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.0.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "255.255.255.255",
            "224.0.0.1",
            "198.18.0.1",
            "192.0.0.8",
            "192.0.2.1",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd00::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "64:ff9b::a00:1",
            "2002:7f00:1::",
            "2001:db8::1",
            "2001::1",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
        for public in
            ["8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "64:ff9b::808:808", "2001:4860::8888"]
        {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }
}
