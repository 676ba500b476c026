//! Whether a module proxy passes a checksum database on: asked when that proxy is first needed, and again after a while.
//!
//! ```text
//! GET <proxy>/sumdb/<name>/supported    200: it does, for a day     404, 410: it does not, for five minutes
//! ```
//!
//! Any other answer says nothing, and is a failure of that proxy like any other. Several that want to know ask once.

use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::client::HttpClient;
use super::error::FetchError;
use super::sumdb::supported;
use super::throttle::Throttle;
use super::url::SourceUrl;

/// A proxy that passes it on does so for a day, as the `go` command takes it.
const YES_AGE: Duration = Duration::from_secs(24 * 3600);
/// One that does not is asked again: it may just have been started, or set up.
const NO_AGE: Duration = Duration::from_secs(300);
/// How long it may take to say so.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is known of one URL.
#[derive(Debug)]
pub(super) enum Passing {
    /// It is the database itself, or a directory of its files: nobody has to be asked.
    Itself,
    /// A proxy, and what it said last, with how long that counts.
    Proxy(Mutex<Option<(bool, Instant)>>),
}

/// What a proxy does.
pub(super) enum Verdict {
    Passes,
    /// It does not; true when it was asked just now.
    PassesNot(bool),
}

impl Passing {
    pub(super) fn of(url: &SourceUrl, name: &str) -> Passing {
        if url.is_passthrough_of(name) { Passing::Proxy(Mutex::new(None)) } else { Passing::Itself }
    }

    /// Whether somebody must be asked first.
    pub(super) fn is_proxy(&self) -> bool {
        matches!(self, Passing::Proxy(_))
    }

    /// Asks, unless it is known.
    pub(super) async fn verdict(
        &self,
        client: &HttpClient,
        url: &SourceUrl,
        throttle: &Throttle,
        deadline: Instant,
    ) -> Result<Verdict, FetchError> {
        let Passing::Proxy(known) = self else { return Ok(Verdict::Passes) };
        // Held while it is asked: who comes meanwhile waits for that answer.
        let mut known = known.lock().await;
        let now = client.clock().instant();
        if let Some((passes, until)) = *known
            && now < until
        {
            return Ok(if passes { Verdict::Passes } else { Verdict::PassesNot(false) });
        }
        throttle.request().await;
        let passes = supported(client, url, deadline.min(now + PATIENCE)).await?;
        *known = Some((passes, client.clock().instant() + if passes { YES_AGE } else { NO_AGE }));
        Ok(if passes { Verdict::Passes } else { Verdict::PassesNot(true) })
    }
}
