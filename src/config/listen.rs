//! Where a server listens, as everybody writes it.
//!
//! | written | listens on |
//! |---|---|
//! | `127.0.0.1:8470`, `[::1]:8470` | this address |
//! | `:8470` | every address of the machine, IPv4 and IPv6 |
//! | `localhost:8470`, `sum.corp.example:8470` | every address that the name has when the server starts |

use std::fmt;
use std::net::{AddrParseError, IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest name of the DNS.
const MAX_NAME_BYTES: usize = 253;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ListenAddress {
    /// Every address of the machine.
    Every {
        /// The port; 0 stands for a free one.
        port: u16,
    },
    /// One address.
    One(SocketAddr),
    /// Every address of a name.
    Named {
        /// The name.
        host: String,
        /// The port; 0 stands for a free one.
        port: u16,
    },
}

/// Why a text says nowhere to listen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListenAddressError {
    /// There is no colon before a port.
    #[error(transparent)]
    NoPort(#[from] AddrParseError),
    /// What stands behind the colon is no port.
    #[error("\"{text}\" is no port: it is a number from 0 to 65535")]
    Port {
        /// What stands there.
        text: String,
    },
    /// What stands before the colon is neither an address nor a name.
    #[error("\"{text}\" is neither an address nor the name of a host")]
    Host {
        /// What stands there.
        text: String,
    },
}

impl FromStr for ListenAddress {
    type Err = ListenAddressError;

    fn from_str(text: &str) -> Result<ListenAddress, ListenAddressError> {
        let error = match text.parse::<SocketAddr>() {
            Ok(address) => return Ok(ListenAddress::One(address)),
            Err(error) => error,
        };
        let (host, port) = text.rsplit_once(':').ok_or(error)?;
        let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let parsed = port.parse().ok().filter(|_| is_number);
        let port = parsed.ok_or_else(|| ListenAddressError::Port { text: port.to_owned() })?;
        if host.is_empty() {
            return Ok(ListenAddress::Every { port });
        }
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        // Digits and dots alone would be a mistyped address, which some resolvers complete.
        let is_name = host.bytes().any(|byte| byte.is_ascii_alphabetic())
            && host.len() <= MAX_NAME_BYTES
            && host.bytes().all(is_plain);
        if !is_name {
            return Err(ListenAddressError::Host { text: host.to_owned() });
        }
        Ok(ListenAddress::Named { host: host.to_owned(), port })
    }
}

impl TryFrom<String> for ListenAddress {
    type Error = ListenAddressError;

    fn try_from(text: String) -> Result<ListenAddress, ListenAddressError> {
        text.parse()
    }
}

impl From<ListenAddress> for String {
    fn from(address: ListenAddress) -> String {
        address.to_string()
    }
}

impl From<SocketAddr> for ListenAddress {
    fn from(address: SocketAddr) -> ListenAddress {
        ListenAddress::One(address)
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAddress::Every { port } => write!(f, ":{port}"),
            ListenAddress::One(address) => address.fmt(f),
            ListenAddress::Named { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

impl ListenAddress {
    /// The port; 0 stands for a free one.
    pub fn port(&self) -> u16 {
        match self {
            ListenAddress::Every { port } | ListenAddress::Named { port, .. } => *port,
            ListenAddress::One(address) => address.port(),
        }
    }

    /// The same with the port that was bound.
    pub fn with_port(self, port: u16) -> ListenAddress {
        match self {
            ListenAddress::Every { .. } => ListenAddress::Every { port },
            ListenAddress::One(address) => ListenAddress::One(SocketAddr::new(address.ip(), port)),
            ListenAddress::Named { host, .. } => ListenAddress::Named { host, port },
        }
    }

    /// Whether only programs of this machine reach it. A name may have other addresses, but for the
    /// one that always means this machine.
    pub fn is_local(&self) -> bool {
        match self {
            ListenAddress::Every { .. } => false,
            ListenAddress::One(address) => address.ip().is_loopback(),
            ListenAddress::Named { host, .. } => host.eq_ignore_ascii_case("localhost"),
        }
    }

    /// Whether a connection to this address of the machine arrives here.
    pub(super) fn is_reached_at(&self, address: IpAddr) -> bool {
        match self {
            ListenAddress::Every { .. } => address.is_loopback() || address.is_unspecified(),
            ListenAddress::One(own) => {
                address == own.ip() || (address.is_loopback() && own.ip().is_unspecified())
            }
            ListenAddress::Named { .. } => address.is_loopback() && self.is_local(),
        }
    }

    /// Host and port under which programs of this machine reach it. An unspecified address becomes
    /// loopback.
    pub fn for_programs_here(&self) -> String {
        match self {
            ListenAddress::Every { port } => format!("127.0.0.1:{port}"),
            ListenAddress::Named { .. } => self.to_string(),
            ListenAddress::One(address) if address.ip().is_unspecified() => {
                let ip = match address {
                    SocketAddr::V4(_) => IpAddr::from(Ipv4Addr::LOCALHOST),
                    SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
                };
                SocketAddr::new(ip, address.port()).to_string()
            }
            ListenAddress::One(address) => address.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_go_takes_is_taken_and_printed_as_it_was_written() {
        for (text, is_local, here) in [
            (":8470", false, "127.0.0.1:8470"),
            ("localhost:8470", true, "localhost:8470"),
            ("sum.corp.example:0", false, "sum.corp.example:0"),
            ("127.0.0.1:8470", true, "127.0.0.1:8470"),
            ("0.0.0.0:80", false, "127.0.0.1:80"),
            ("[::]:8470", false, "[::1]:8470"),
            ("[::1]:8470", true, "[::1]:8470"),
        ] {
            let address: ListenAddress = text.parse().expect(text);
            assert_eq!((address.to_string().as_str(), address.is_local()), (text, is_local));
            assert_eq!(address.for_programs_here(), here, "{text}");
            assert_eq!(address.with_port(9).port(), 9);
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "localhost",
            ":",
            ":http",
            ":70000",
            ":-1",
            ":+1",
            "127.0.0:8470",
            "::1:8470",
            "a b:1",
            "ä:1",
            "[::1]",
            "http://a:1",
        ] {
            assert!(text.parse::<ListenAddress>().is_err(), "{text}");
        }
        assert!(format!("{}:1", "a".repeat(254)).parse::<ListenAddress>().is_err());
    }
}
