//! Asks a server who it is: `GET <server>/api/v1/log`, of which we need
//!
//! ```json
//! {"name": "sum.corp.example", "keys": [{"verifier": "sum.corp.example+1c2d3e4f+AZ…", "since": "2026-11-01T00:00:00Z"}]}
//! ```

use std::fmt;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use hyper::StatusCode;
use serde::Deserialize;

use super::client::ClientSetup;
use super::engines::http_client;
use super::exit::{Exit, OrExit, advised};
use super::output;
use crate::clock::Clock;
use crate::config::Config;
use crate::note::VerifierKey;
use crate::source::{ServerUrl, SourceUrl};
use crate::upstream::{FetchError, HttpAnswer, HttpClient, UpstreamMessage};

/// The answer holds a few keys and one head.
const MAX_ANSWER_BYTES: u64 = 64 * 1024;

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
pub(super) async fn log_of(config: &Config, server: &ServerUrl) -> anyhow::Result<ClientSetup> {
    if !server.is_https() && !server.literal_ip().is_some_and(|ip| ip.is_loopback()) {
        output::warning(
            "the key travels over http: anyone on the way could give you theirs. Compare the fingerprint.",
        );
    }
    let key = key_at(config, server).await?;
    // GOSUMDB is shown, stored and inherited: credentials belong into netrc.
    let mut url = server.request_url().clone();
    url.set_query(None);
    Ok(ClientSetup::new(&key, url.as_str().trim_end_matches('/')))
}

/// The first key of a server's log that still signs.
pub(super) async fn key_at(config: &Config, server: &ServerUrl) -> anyhow::Result<VerifierKey> {
    let path = "api/v1/log";
    let Some(body) = Server::new(config, server)?.get(path, None, MAX_ANSWER_BYTES).await? else {
        bail!(
            "{server} answered 404 Not Found for /{path}\n  fix: give the address of a Tallystick server, without a path behind it"
        );
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
    Ok(key)
}

/// A server that is asked over HTTP. Cloning gives another handle to the same connections.
#[derive(Clone)]
pub(super) struct Server {
    url: ServerUrl,
    client: HttpClient,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(f)
    }
}

impl Server {
    /// Makes the client. Nothing is asked yet.
    pub(super) fn new(config: &Config, server: &ServerUrl) -> anyhow::Result<Server> {
        Ok(Server {
            url: server.clone(),
            client: http_client(config, &Clock::system()).or_exit(Exit::Usage)?,
        })
    }

    /// Returns what the server answers for a path, of at most so many bytes; nothing where it has
    /// no such thing.
    pub(super) async fn get(
        &self,
        path: &str,
        query: Option<(&str, &str)>,
        max_bytes: u64,
    ) -> anyhow::Result<Option<Vec<u8>>> {
        let url = self.url.join(path);
        let url = match query {
            Some((name, value)) => url.with_parameter(name, value),
            None => url,
        };
        let deadline = self.client.clock().instant() + DEADLINE;
        let answer = match self.client.ask(&url, max_bytes, deadline).await {
            Ok(answer) => answer,
            Err(FetchError::TooLarge { .. }) => bail!(
                "{} is no Tallystick server: its answer for /{path} is longer than {max_bytes} bytes",
                self.url
            ),
            Err(error) => return Err(advised(error)),
        };
        match answer.status {
            200 => Ok(Some(answer.body.to_vec())),
            404 => Ok(None),
            _ => self.refused(path, &answer),
        }
    }

    /// Posts to a path, and returns the answer whatever its status.
    pub(super) async fn post(
        &self,
        path: &str,
        body: Vec<u8>,
        max_bytes: u64,
        patience: Duration,
    ) -> anyhow::Result<HttpAnswer> {
        let (url, deadline) = (self.url.join(path), self.client.clock().instant() + patience);
        self.client.post(&SourceUrl::Server(url), body.into(), max_bytes, deadline).await.map_err(advised)
    }

    fn refused<T>(&self, path: &str, answer: &HttpAnswer) -> anyhow::Result<T> {
        let server = &self.url;
        if (300..400).contains(&answer.status) {
            // A redirect would hand out a key in the name of a URL that the user did not type.
            bail!(
                "{server} redirects elsewhere\n  fix: name the server that it redirects to, if you trust it"
            );
        }
        // Over https only the server itself can have answered.
        let proxy = self.client.proxy_of(server).filter(|_| !server.is_https());
        let who =
            proxy.map_or_else(|| server.to_string(), |proxy| format!("{proxy}, or {server} behind it,"));
        let status = StatusCode::from_u16(answer.status)
            .map_or_else(|_| answer.status.to_string(), |status| status.to_string());
        let exit = if answer.status >= 500 { Exit::Unreachable } else { Exit::Failed };
        Err(anyhow!("{who} answered {status} for /{path}{}", said(answer))).or_exit(exit)
    }
}

/// What the server said about it, as far as it is meant for people.
fn said(answer: &HttpAnswer) -> UpstreamMessage {
    #[derive(Deserialize)]
    struct Problem {
        detail: String,
    }
    if let Ok(Problem { detail }) = serde_json::from_slice(&answer.body) {
        return UpstreamMessage::clean(detail.as_bytes());
    }
    match answer.content_type.as_deref() {
        Some(kind) if kind.starts_with("text/plain") => UpstreamMessage::clean(&answer.body),
        _ => UpstreamMessage::default(),
    }
}
