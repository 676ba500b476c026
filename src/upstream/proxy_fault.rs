//! What a proxy did wrong, so that nobody looks for it at the server.

use super::error::{FetchError, Stage, UpstreamMessage, Waiting};
use super::handshake::Fix;
use super::proxies::ProxyServer;
use crate::source::RedactedUrl;

impl ProxyServer {
    /// Names the proxy in an error of a request that went through it.
    pub(super) fn blame(&self, error: FetchError) -> FetchError {
        let of_proxy =
            |url, why| FetchError::Unreachable { url, stage: Stage::Proxy, why, fix: Some(Fix::Proxy) };
        match error {
            // It is the proxy that resolves the server's name and connects to it.
            FetchError::Unreachable { url, stage: Stage::Dns | Stage::Connect, why, .. } => {
                of_proxy(url, format!("{self} cannot be reached: {why}"))
            }
            FetchError::Timeout { url, waiting: Waiting::Connect, after } => FetchError::Unreachable {
                url,
                stage: Stage::Proxy,
                why: format!("{self} opened no connection to it within {after:.0?}"),
                fix: Some(Fix::ProxyRefusal),
            },
            FetchError::Unreachable { url, stage: Stage::Proxy, why, fix } => {
                FetchError::Unreachable { url, stage: Stage::Proxy, why: format!("{self} {why}"), fix }
            }
            FetchError::Unreachable { url, stage: Stage::Tls, why, fix } => {
                let why = format!("{why}; the connection goes through {self}");
                FetchError::Unreachable { url, stage: Stage::Tls, why, fix }
            }
            FetchError::Forbidden { url, status: 407, said } => FetchError::Forbidden {
                url,
                status: 407,
                said: said.after(&format!("{self} asks for a login")),
            },
            // Over https only the server itself can answer.
            FetchError::Forbidden { url, status, said } if !url.is_https() => {
                FetchError::Forbidden { url, status, said: self.blame_in(&said) }
            }
            FetchError::UnexpectedStatus { url, status, said } if !url.is_https() => {
                FetchError::UnexpectedStatus { url, status, said: self.blame_in(&said) }
            }
            FetchError::Unavailable { url, status, retry_after, said } if !url.is_https() => {
                FetchError::Unavailable { url, status, retry_after, said: self.blame_in(&said) }
            }
            other => other,
        }
    }

    fn blame_in(&self, said: &UpstreamMessage) -> UpstreamMessage {
        said.after(&format!("this is the answer of {self}, or of the server behind it"))
    }
}

/// Why a proxy did not open a connection for https.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TunnelFault {
    Login,
    Refused,
    Unreachable,
    Broken,
}

impl TunnelFault {
    /// Finds it in a cause. The library keeps the type to itself and shows its text.
    pub(super) fn of(cause: &(dyn std::error::Error + 'static)) -> Option<TunnelFault> {
        let text = cause.to_string();
        Some(match text.strip_prefix("tunnel error: ")? {
            "proxy authorization required" => TunnelFault::Login,
            "unsuccessful" => TunnelFault::Refused,
            "failed to create underlying connection" => TunnelFault::Unreachable,
            _ => TunnelFault::Broken,
        })
    }

    /// Returns the error of the request. `why` is the innermost cause.
    pub(super) fn into_error(self, url: RedactedUrl, why: &str) -> FetchError {
        let unreachable = |why: String, fix| FetchError::Unreachable {
            url: url.clone(),
            stage: Stage::Proxy,
            why,
            fix: Some(fix),
        };
        match self {
            TunnelFault::Login => {
                FetchError::Forbidden { url: url.clone(), status: 407, said: UpstreamMessage::default() }
            }
            TunnelFault::Refused => unreachable(
                "opens no connection to it: it forbids that, or does not reach it".to_owned(),
                Fix::ProxyRefusal,
            ),
            TunnelFault::Unreachable => unreachable(format!("cannot be reached: {why}"), Fix::Proxy),
            TunnelFault::Broken => unreachable(format!("breaks the connection off: {why}"), Fix::Proxy),
        }
    }
}
