//! Asks a server who it is: `GET <server>/api/v1/log`, of which we need
//!
//! ```json
//! {"name": "sum.corp.example", "keys": [{"verifier": "sum.corp.example+1c2d3e4f+AZ…", "since": "2026-11-01T00:00:00Z"}]}
//! ```

use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use serde::Deserialize;

use super::client::ClientSetup;
use super::exit::{Exit, OrExit};
use super::{output, verify};
use crate::note::VerifierKey;
use crate::source::ServerUrl;

/// The answer holds a few keys and one head.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// The certificates of all public authorities take some 250 KB.
pub(super) const MAX_ROOTS_BYTES: u64 = 16 << 20;

/// Someone waits at a prompt.
const DEADLINE: Duration = Duration::from_secs(15);

#[derive(Deserialize)]
struct LogAnswer {
    name: String,
    keys: Vec<KeyAnswer>,
}

#[derive(Deserialize)]
struct KeyAnswer {
    verifier: String,
    /// Set for keys that no longer sign.
    until: Option<serde::de::IgnoredAny>,
}

/// The log of a server, with the first of its keys that still signs.
pub(super) async fn log_of(server: &ServerUrl, roots: Option<&Path>) -> anyhow::Result<ClientSetup> {
    if !server.is_https() && !server.literal_ip().is_some_and(|ip| ip.is_loopback()) {
        output::warning(
            "the key travels over http: anyone on the way could give you theirs. Compare the fingerprint.",
        );
    }
    let path = "api/v1/log";
    let Some(body) = Server::new(server, roots)?.get(path, None, MAX_ANSWER_BYTES).await? else {
        bail!("{server} answered 404 Not Found for /{path}");
    };
    let answer: LogAnswer = serde_json::from_slice(&body).with_context(|| {
        format!("{server} is no Tallystick server: /api/v1/log is not the JSON that one answers")
    })?;
    let Some(key) = answer.keys.into_iter().find(|key| key.until.is_none()) else {
        bail!("{server} names no key in use for its log {:?}", answer.name);
    };
    let key: VerifierKey = key.verifier.parse().with_context(|| format!("{server} gave a malformed key"))?;
    if key.name().as_str() != answer.name {
        return Err(anyhow!(
            "{server} calls its log {:?}, but gave the key of {:?}",
            answer.name,
            key.name().as_str()
        ))
        .or_exit(Exit::Damage);
    }
    // GOSUMDB is shown, stored and inherited: credentials belong into netrc.
    let mut url = server.request_url().clone();
    url.set_query(None);
    Ok(ClientSetup::new(&key, url.as_str().trim_end_matches('/')))
}

/// A server that is asked over HTTP. Cloning gives another handle to the same connections.
#[derive(Clone)]
pub(super) struct Server {
    url: ServerUrl,
    client: reqwest::Client,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(f)
    }
}

impl Server {
    /// Nothing is asked yet.
    pub(super) fn new(server: &ServerUrl, roots: Option<&Path>) -> anyhow::Result<Server> {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("tallystick/", env!("CARGO_PKG_VERSION")))
            // A redirect would hand out a key in the name of a URL that the user did not type.
            .redirect(reqwest::redirect::Policy::none())
            .timeout(DEADLINE);
        if let Some(path) = roots {
            let pem = verify::read(path, MAX_ROOTS_BYTES).context("roots")?;
            let certificates = reqwest::Certificate::from_pem_bundle(&pem)
                .with_context(|| format!("{} holds no PEM certificates", path.display()))?;
            builder = builder.tls_certs_only(certificates);
        }
        Ok(Server { url: server.clone(), client: builder.build()? })
    }

    /// What the server answers for a path, of at most so many bytes; nothing where it has no such thing.
    pub(super) async fn get(
        &self,
        path: &str,
        query: Option<(&str, &str)>,
        max_bytes: usize,
    ) -> anyhow::Result<Option<Vec<u8>>> {
        let server = &self.url;
        // The error's own URL may hold credentials.
        let unreachable = |error: reqwest::Error| {
            let error = anyhow::Error::new(error.without_url()).context(format!("{server} does not answer"));
            Err::<Option<Vec<u8>>, _>(error).or_exit(Exit::Unreachable)
        };
        let mut url = server.join(path).expose();
        if let Some((name, value)) = query {
            url.query_pairs_mut().append_pair(name, value);
        }
        let mut response = match self.client.get(url).send().await {
            Ok(response) => response,
            Err(error) => return unreachable(error),
        };
        let status = response.status();
        if status.is_redirection() {
            bail!(
                "{server} redirects elsewhere\n  fix: name the server that it redirects to, if you trust it"
            );
        }
        if status == reqwest::StatusCode::NOT_FOUND {
            return Ok(None);
        }
        if !status.is_success() {
            let exit = if status.is_server_error() { Exit::Unreachable } else { Exit::Failed };
            return Err(anyhow!("{server} answered {status} for /{path}")).or_exit(exit);
        }
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(None) => return Ok(Some(body)),
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Err(error) => return unreachable(error),
            }
            if body.len() > max_bytes {
                bail!(
                    "{server} is no Tallystick server: its answer for /{path} is longer than {max_bytes} bytes"
                );
            }
        }
    }
}
