//! Whether a module proxy passes a checksum database on: asked when that proxy is first needed, and
//! again after a while.
//!
//! ```text
//! GET <proxy>/sumdb/<name>/supported    200: it does, for a day     404, 410: it does not, for five minutes
//! ```
//!
//! Any other answer says nothing, and is a failure of that proxy like any other. Several that want
//! to know ask once, whatever comes of it: a proxy that does not answer costs all of them its time
//! once, not each of them after the other.

use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::client::HttpClient;
use super::error::FetchError;
use super::throttle::Throttle;
use crate::source::{SourceUrl, UnsafePath};

/// A proxy that passes it on does so for a day, as the `go` command takes it.
const YES_AGE: Duration = Duration::from_secs(24 * 3600);
/// One that does not is asked again: it may just have been started, or set up.
const NO_AGE: Duration = Duration::from_secs(300);
/// When those may ask again who waited while it did not say.
const FAILED_PAUSE: Duration = Duration::from_secs(1);
/// What `supported` says is not read by anyone.
const MAX_SUPPORTED_BYTES: u64 = 64 << 10;
/// How long it may take to say so.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is known of one URL.
#[derive(Debug)]
pub(super) enum Passing {
    /// It is the database itself, or a directory of its files: nobody has to be asked.
    Itself,
    /// A proxy, and what it said last, with how long that counts.
    Proxy(Mutex<LastSupported>),
}

/// What a proxy said.
#[derive(Debug, Default)]
pub(super) struct LastSupported {
    /// Whether it passes the database on, and until when that counts.
    said: Option<(bool, Instant)>,
    /// When it last did not say.
    failed_at: Option<Instant>,
}

/// What a proxy does.
pub(super) enum PassingVerdict {
    Passes,
    /// It does not; true when it was asked just now.
    PassesNot(bool),
}

impl Passing {
    pub(super) fn of(url: &SourceUrl, name: &str) -> Passing {
        if url.is_passthrough_of(name) { Passing::Proxy(Mutex::default()) } else { Passing::Itself }
    }

    /// Whether somebody must be asked first.
    pub(super) fn is_proxy(&self) -> bool {
        matches!(self, Passing::Proxy(_))
    }

    /// Asks, unless it is known, and if `may_ask` lets it. A proxy that passed the database on and
    /// does not say so now is believed to do so still: it may have had too much of this question,
    /// which is no reason to be without its heads and tiles.
    pub(super) async fn verdict(
        &self,
        client: &HttpClient,
        url: &SourceUrl,
        throttle: &Throttle,
        deadline: Instant,
        may_ask: impl FnOnce() -> Result<(), FetchError>,
    ) -> Result<PassingVerdict, FetchError> {
        let Passing::Proxy(known) = self else { return Ok(PassingVerdict::Passes) };
        let came = client.clock().instant();
        // Held while it is asked: who comes meanwhile waits for that answer.
        let mut known = known.lock().await;
        let now = client.clock().instant();
        if let Some((passes, until)) = known.said
            && now < until
        {
            return Ok(if passes { PassingVerdict::Passes } else { PassingVerdict::PassesNot(false) });
        }
        if known.failed_at.is_some_and(|failed_at| failed_at > came) {
            return Err(FetchError::Postponed { url: url.redacted(), retry_after: FAILED_PAUSE });
        }
        may_ask()?;
        throttle.request().await;
        let asked = supported(client, url, deadline.min(now + PATIENCE)).await;
        let (now, passed) = (client.clock().instant(), known.said.is_some_and(|(passed, _)| passed));
        match asked {
            Ok(passes) => {
                known.said = Some((passes, now + if passes { YES_AGE } else { NO_AGE }));
                Ok(if passes { PassingVerdict::Passes } else { PassingVerdict::PassesNot(true) })
            }
            Err(error) if passed => {
                tracing::debug!(%error, "a proxy does not say any more whether it passes the checksum database on");
                known.said = Some((true, now + NO_AGE));
                Ok(PassingVerdict::Passes)
            }
            Err(error) => {
                known.failed_at = Some(now);
                Err(error)
            }
        }
    }
}

/// Whether a module proxy's [`passthrough`] is one: `GET <proxy>/sumdb/<name>/supported`, 200 for
/// yes, 404 or 410 for no.
pub async fn supported(
    client: &HttpClient,
    passthrough: &SourceUrl,
    deadline: Instant,
) -> Result<bool, FetchError> {
    let url = passthrough.join("supported").map_err(|e| unusable(passthrough, &e))?;
    match client.get(&url, MAX_SUPPORTED_BYTES, deadline).await {
        Ok(_) => Ok(true),
        Err(e) if e.is_not_found() => Ok(false),
        Err(e) => Err(e),
    }
}

/// Where a module proxy passes a checksum database through: `<proxy>/sumdb/<name>`.
pub fn passthrough(proxy: &SourceUrl, name: &str) -> Result<SourceUrl, UnsafePath> {
    proxy.join(&format!("sumdb/{name}"))
}

pub(super) fn unusable(base: &SourceUrl, error: &UnsafePath) -> FetchError {
    FetchError::BadContent { url: base.redacted(), why: error.to_string(), ours: true }
}
