//! How connections are made: proxies, root certificates, name look-up, limits of the protocol.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue};
use reqwest::{Certificate, Proxy};

use super::options::ClientOptions;
use super::proxies::{ProxyServer, ProxyTable};
use super::redirect::is_public;
use super::setup::ClientError;
use crate::files;

/// More response headers than this are refused; honest servers send about twenty.
const MAX_HEADERS: usize = 100;
/// The most that all headers of an HTTP/2 answer may take.
const MAX_HEADER_BYTES: u32 = 64 << 10;
/// A bundle of all public roots is 250 KB.
const MAX_ROOTS_BYTES: u64 = 8 << 20;
/// Idle connections kept per host. A module takes two at a time over HTTP/1.1, and hundreds may be
/// in flight: fewer would be closed and opened again all the time.
const MAX_IDLE_PER_HOST: usize = 512;

/// Builds the inner client. With `public_only`, names that have only private addresses do not
/// resolve.
pub(super) fn connector(
    options: &ClientOptions,
    proxies: &Arc<ProxyTable>,
    public_only: bool,
) -> Result<reqwest::Client, ClientError> {
    let mut headers = HeaderMap::new();
    // What is hashed must be what is stored at the source, and an encoded body could grow without
    // bound.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let resolver = NameResolver { public_only, exempt: proxies.hosts() };
    let mut builder = reqwest::Client::builder()
        .user_agent(&options.user_agent)
        .default_headers(headers)
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .connect_timeout(options.connect_timeout)
        .pool_idle_timeout(Duration::from_secs(60))
        .pool_max_idle_per_host(MAX_IDLE_PER_HOST)
        .http1_max_headers(MAX_HEADERS)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .http2_adaptive_window(true)
        .dns_resolver(resolver)
        // The HTTP library would read other variables, and by other rules, than the go command.
        .no_proxy();
    if !proxies.is_empty() {
        let proxies = proxies.clone();
        builder = builder.proxy(Proxy::custom(move |url| proxies.choose(url).map(ProxyServer::expose)));
    }
    let extra = options.extra_roots.iter().map(|path| read_roots(path)).collect::<Result<Vec<_>, _>>()?;
    let extra = extra.into_iter().flatten();
    builder = match &options.roots {
        Some(path) => builder.tls_certs_only(read_roots(path)?.into_iter().chain(extra)),
        None => builder.tls_certs_merge(extra),
    };
    builder.build().map_err(|error| match root_cause(&error) {
        // The library's own words are all that it gives.
        why if why.contains("No CA certificates were loaded") => ClientError::NoRoots,
        why => ClientError::Setup { why },
    })
}

fn read_roots(path: &Path) -> Result<Vec<Certificate>, ClientError> {
    let refuse = |why: String| ClientError::Roots { path: path.to_owned(), why };
    let pem = files::read_named(path, MAX_ROOTS_BYTES).map_err(|e| refuse(e.to_string()))?;
    let roots = Certificate::from_pem_bundle(&pem).map_err(|e| refuse(root_cause(&e)))?;
    if roots.is_empty() {
        return Err(refuse("no PEM certificate in it".into()));
    }
    Ok(roots)
}

/// Why a name was not resolved; found again in the error of a failed connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum NameError {
    #[error("{0}")]
    Failed(std::io::Error),
    #[error("it has only private addresses")]
    Private,
    #[error("it has no address")]
    Empty,
}

struct NameResolver {
    public_only: bool,
    exempt: Vec<String>,
}

impl Resolve for NameResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let name = name.as_str().to_owned();
        let public_only = self.public_only && !self.exempt.contains(&name);
        Box::pin(async move {
            let found: Vec<SocketAddr> =
                tokio::net::lookup_host((name.as_str(), 0)).await.map_err(NameError::Failed)?.collect();
            let had_any = !found.is_empty();
            let usable: Vec<_> = found.into_iter().filter(|a| !public_only || is_public(a.ip())).collect();
            match (usable.is_empty(), had_any) {
                (false, _) => Ok(Box::new(usable.into_iter()) as Addrs),
                (true, true) => Err(NameError::Private.into()),
                (true, false) => Err(NameError::Empty.into()),
            }
        })
    }
}

/// The innermost cause in words. The outer layers repeat the URL, which may hold secrets.
pub(super) fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    causes(error).last().map(ToString::to_string).unwrap_or_default()
}

/// The error and all its causes. An `io::Error` hides the error that it wraps from `source`, so it
/// is unwrapped.
pub(super) fn causes<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| match error.downcast_ref::<std::io::Error>() {
        Some(io) => io.get_ref().map(|inner| inner as &(dyn std::error::Error + 'static)),
        None => error.source(),
    })
}
