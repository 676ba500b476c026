//! One question to a remote checksum database, put to one URL after another.
//!
//! | a URL | what follows |
//! |---|---|
//! | wants to be left alone yet with such a request (`health`) | it is not asked |
//! | is a proxy whose `supported` says no | it is not asked, for a while |
//! | answers | the answer is handed on; who finds it wrong asks on |
//! | does not answer | the next one, unless it is a proxy that withholds a module ([`judge`]) |
//! | fails | it is asked last for a while (`health`) |

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::client::{Manner, Response};
use super::error::FetchError;
use super::health::{Kind, MAX_SILENCE, Question};
use super::judge::{NextSource, SourceKind, SourceVerdict, judge};
use super::passing::{PassingVerdict, unusable};
use super::remote::{KeptHead, Remote, UrlId};
use crate::source::{RedactedUrl, SourceUrl};

/// An answer as it came, unverified.
#[derive(Clone, Debug)]
pub struct SumdbAnswer {
    /// The bytes.
    pub body: Bytes,
    /// Where they came from, after redirects.
    pub url: RedactedUrl,
    /// Which of the database's URLs that was, for
    /// [`RemoteSumdb::mark_bad`](super::RemoteSumdb::mark_bad).
    pub from: UrlId,
}

/// A question that is put to one URL after another. Dropping it costs nothing.
#[derive(Debug)]
pub struct Inquiry {
    remote: Arc<Remote>,
    path: String,
    max_bytes: u64,
    /// Whether a 404 is an honest answer and no failure of the URL.
    may_be_missing: bool,
    kind: Kind,
    deadline: Instant,
    order: VecDeque<usize>,
    failures: Vec<FetchError>,
    /// Whether the last failure ended it.
    withheld: bool,
}

/// No URL (more) has an answer.
#[derive(Debug)]
pub struct SumdbError {
    /// The database's name.
    pub name: String,
    /// What was asked for: `latest`, `lookup/…` or `tile/…`.
    pub path: String,
    /// Why each URL failed, in the order asked. Empty when every URL had answered before.
    pub failures: Vec<FetchError>,
    /// Whether the last of them is a proxy that withholds the answer, so that nobody was asked after
    /// it.
    pub withheld: bool,
}

impl Inquiry {
    pub(super) fn new(
        remote: Arc<Remote>,
        path: String,
        max_bytes: u64,
        may_be_missing: bool,
        kind: Kind,
        deadline: Instant,
    ) -> Inquiry {
        let order = remote.health.order(kind).into();
        let (failures, withheld) = (Vec::new(), false);
        Inquiry { remote, path, max_bytes, may_be_missing, kind, deadline, order, failures, withheld }
    }

    /// The answer of the next URL that has one. Ask again if the answer turns out to be bad; after
    /// the last URL it is an error.
    pub async fn next(&mut self) -> Result<SumdbAnswer, SumdbError> {
        let remote = self.remote.clone();
        while let Some(n) = self.order.pop_front() {
            if remote.client.clock().instant() >= self.deadline && !self.failures.is_empty() {
                // A URL is not to blame for the time that the ones before it took.
                break;
            }
            match self.ask(&remote, n).await {
                Ok(answer) => return Ok(answer),
                Err(error) => {
                    let speaks_for_it = self.kind == Kind::Lookup && remote.passing[n].is_proxy();
                    let kind = if speaks_for_it { SourceKind::Passthrough } else { SourceKind::Database };
                    let (next, _) = judge(kind, &error);
                    self.failures.push(error);
                    if next == NextSource::Never {
                        self.order.clear();
                        self.withheld = true;
                    }
                }
            }
        }
        let failures = std::mem::take(&mut self.failures);
        Err(SumdbError {
            name: remote.name.clone(),
            path: self.path.clone(),
            failures,
            withheld: self.withheld,
        })
    }

    /// Asks one URL, and remembers how that went.
    async fn ask(&mut self, remote: &Remote, n: usize) -> Result<SumdbAnswer, FetchError> {
        if let Some(retry_after) = remote.health.wants_silence(n, self.question()) {
            return Err(FetchError::Postponed { url: remote.urls[n].redacted(), retry_after });
        }
        self.is_passed_on(remote, n).await?;
        if remote.urls[n].local_path().is_none() {
            // Waiting for our own turn is not the server's fault.
            self.deadline += remote.throttle.request().await;
        }
        let answer = match remote.urls[n].join(&self.path) {
            Ok(url) if self.kind == Kind::Head => self.ask_for_head(remote, n, &url).await,
            Ok(url) => self.fetch(remote, &url, Manner::default()).await.map(|response| {
                let Response { body, url, .. } = response.expect("it was not asked whether anything changed");
                (body, url)
            }),
            Err(error) => Err(unusable(&remote.urls[n], &error)),
        };
        match answer {
            Ok((body, url)) => {
                remote.health.answered(n, self.kind);
                Ok(SumdbAnswer { body, url, from: UrlId(n) })
            }
            Err(error) => {
                if !(self.may_be_missing && error.is_not_found()) {
                    remote.health.failed(n, self.question(), &error);
                }
                Err(error.asking_for_at_most(MAX_SILENCE))
            }
        }
    }

    /// Whether a proxy passes the database on. Not saying so is a failure, and refusing to say so
    /// is as good as refusing the answer.
    async fn is_passed_on(&self, remote: &Remote, n: usize) -> Result<(), FetchError> {
        let (url, question) = (&remote.urls[n], Question { kind: Kind::Support, path: "supported" });
        let deadline = self.share(remote.client.clock().instant());
        let may_ask = || match remote.health.wants_silence(n, question) {
            Some(retry_after) => Err(FetchError::Postponed { url: url.redacted(), retry_after }),
            None => Ok(()),
        };
        match remote.passing[n].verdict(&remote.client, url, &remote.throttle, deadline, may_ask).await {
            Ok(PassingVerdict::Passes) => Ok(()),
            Ok(PassingVerdict::PassesNot(asked_now)) => {
                let error = FetchError::NotPassedOn { url: url.redacted() };
                if asked_now {
                    tracing::info!(url = %url.redacted(), "this proxy does not pass the checksum database on");
                    remote.health.failed(n, question, &error);
                }
                Err(error)
            }
            Err(error) => {
                if !matches!(error, FetchError::Postponed { .. }) {
                    remote.health.failed(n, question, &error);
                }
                Err(error.asking_for_at_most(MAX_SILENCE))
            }
        }
    }

    fn question(&self) -> Question<'_> {
        Question { kind: self.kind, path: &self.path }
    }

    async fn fetch(
        &self,
        remote: &Remote,
        url: &SourceUrl,
        manner: Manner,
    ) -> Result<Option<Response>, FetchError> {
        let manner = Manner { throttle: Some(remote.throttle.clone()), ..manner };
        let deadline = self.share(remote.client.clock().instant());
        remote.client.get_if_changed(url, self.max_bytes, deadline, &manner).await
    }

    /// The newest head: the one that this URL sent last, where it says that it has no other.
    async fn ask_for_head(
        &self,
        remote: &Remote,
        n: usize,
        url: &SourceUrl,
    ) -> Result<(Bytes, RedactedUrl), FetchError> {
        let kept = remote.kept_head(n);
        let known = kept.as_ref().map(|kept| kept.validators.clone()).unwrap_or_default();
        let answer = self.fetch(remote, url, Manner { known, ..Manner::default() }).await?;
        match (answer, kept) {
            (None, Some(kept)) => Ok((kept.body, kept.url)),
            (Some(Response { body, url, validators, .. }), _) => {
                remote.keep_head(n, Some(KeptHead { validators, body: body.clone(), url: url.clone() }));
                Ok((body, url))
            }
            (None, None) => unreachable!("without a kept head it is not asked whether it changed"),
        }
    }

    /// With other URLs still to ask, one gets half of the time that is left.
    fn share(&self, now: Instant) -> Instant {
        if self.order.is_empty() {
            return self.deadline;
        }
        now + self.deadline.saturating_duration_since(now) / 2
    }
}

impl SumdbError {
    /// The most telling failure: "not found" if any URL says so, else one by which a proxy withholds
    /// the answer, else one that may pass, else the first.
    pub fn best(&self) -> Option<&FetchError> {
        let find = |wanted: fn(&FetchError) -> bool| self.failures.iter().find(|failure| wanted(failure));
        let last = self.failures.last().filter(|_| self.withheld);
        find(FetchError::is_not_found)
            .or(last)
            .or_else(|| find(FetchError::is_transient))
            .or(self.failures.first())
    }

    /// What the one who asked is told; none when every URL had answered before.
    pub fn verdict(&self) -> Option<SourceVerdict> {
        self.best().map(|best| judge(SourceKind::Database, best).1)
    }

    /// Whether the database says that there is no such thing.
    pub fn is_not_found(&self) -> bool {
        self.best().is_some_and(FetchError::is_not_found)
    }

    /// Whether it may work later by itself.
    pub fn is_transient(&self) -> bool {
        self.best().is_some_and(FetchError::is_transient)
    }

    /// The shortest pause that a URL asked for.
    pub fn retry_after(&self) -> Option<Duration> {
        self.failures.iter().filter_map(FetchError::retry_after).min()
    }
}

impl fmt::Display for SumdbError {
    /// One line per URL that was asked.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.failures[..] {
            [] => write!(f, "checksum database {}: no URL has a good answer for {}", self.name, self.path),
            [only] => write!(f, "checksum database {}: {only}", self.name),
            several => {
                write!(f, "checksum database {}: no URL has an answer for {}:", self.name, self.path)?;
                several.iter().try_for_each(|failure| {
                    // The path is in the line above.
                    let url = failure.url().as_str().replacen(&format!("/{}", self.path), "", 1);
                    write!(f, "\n  {url}: {}", failure.reason())
                })
            }
        }
    }
}

impl std::error::Error for SumdbError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.best().map(|best| best as &(dyn std::error::Error + 'static))
    }
}
