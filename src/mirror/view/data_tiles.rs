//! One data tile from one of several URLs, verified, with patience for what may pass.
//!
//! | what a URL does | what follows |
//! |---|---|
//! | sends what does not verify | it is marked, and the next one is asked |
//! | is not there, overloaded, breaks off | after the last one all are asked again, later and later; nobody is asked before a `Retry-After` is over |
//! | says that there is no such tile | the next one; where the tile is a partial one, the full tile is asked for |

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::ReplicateError;
use crate::mirror::Inner;
use crate::mirror::error::{Lie, RemoteError, Unproven};
use crate::tlog::Tile;
use crate::upstream::{FetchError, SumdbError};

/// How long one tile may take at all URLs together, for one try.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);
/// The first pause after a failure that may pass; doubled by each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest: a server that restarts is used again within half a minute.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What all fetches of one run share.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    pub(super) requests: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) retries: AtomicU64,
    /// Nobody asks before: a server that is overloaded is overloaded for all of us.
    not_before: Mutex<Option<Instant>>,
}

/// What a worker says of a tile's bytes.
pub(super) enum Verdict<T> {
    Good(T),
    /// They are not of this log, and why.
    Bad(String),
    /// Not their fault.
    Failed(ReplicateError),
}

impl Inner {
    /// Fetches a data tile until a URL has one that `verify` finds good. `verify` is told whether the bytes should be those of
    /// the full tile: a partial one that nobody has any more is in there.
    pub(super) async fn data_tile<T, V>(
        &self,
        tile: &Tile,
        traffic: &Traffic,
        tries: u32,
        verify: impl Fn(Bytes, Tile) -> V,
    ) -> Result<T, ReplicateError>
    where
        V: Future<Output = Verdict<T>>,
    {
        let mut lies = Vec::new();
        let mut wanted = vec![*tile];
        if tile.is_partial() {
            wanted.push(tile.full());
        }
        for attempt in 1.. {
            let mut last: Option<SumdbError> = None;
            for tile in &wanted {
                traffic.wait(self).await;
                match self.one_round(tile, traffic, &mut lies, &verify).await {
                    Ok(good) => return Ok(good),
                    Err(Round::Failed(error)) => return Err(error),
                    Err(Round::Unanswered(error)) => match &mut last {
                        None => last = Some(error),
                        Some(last) => last.failures.extend(error.failures),
                    },
                }
            }
            let error = last.expect("at least one tile was asked for");
            // The tree is signed, so the tile exists: that one URL lacks it says nothing about another that is down.
            let may_pass = error.failures.iter().any(FetchError::is_transient);
            if attempt >= tries || !may_pass {
                return Err(self.without(tile, &error, lies));
            }
            traffic.retries.fetch_add(1, Ordering::Relaxed);
            traffic.pause(self, attempt, error.retry_after());
        }
        unreachable!("the last try returns")
    }

    /// Asks each URL once.
    async fn one_round<T, V>(
        &self,
        tile: &Tile,
        traffic: &Traffic,
        lies: &mut Vec<Lie>,
        verify: &impl Fn(Bytes, Tile) -> V,
    ) -> Result<T, Round>
    where
        V: Future<Output = Verdict<T>>,
    {
        let mut inquiry = self.transport.tile(tile, self.clock.instant() + PATIENCE);
        loop {
            traffic.requests.fetch_add(1, Ordering::Relaxed);
            let answer = inquiry.next().await.map_err(Round::Unanswered)?;
            traffic.bytes.fetch_add(answer.body.len() as u64, Ordering::Relaxed);
            match verify(answer.body, *tile).await {
                Verdict::Good(good) => return Ok(good),
                Verdict::Failed(error) => return Err(Round::Failed(error)),
                Verdict::Bad(why) => {
                    let why = format!("{tile}: {why}");
                    tracing::warn!(url = %answer.url, why, "a URL of a remote log sent a wrong tile");
                    self.transport.mark_bad(answer.from, &why);
                    lies.push(Lie { url: answer.url, why });
                }
            }
        }
    }

    fn without(&self, tile: &Tile, error: &SumdbError, lies: Vec<Lie>) -> ReplicateError {
        let refused = !error.failures.is_empty()
            && error.failures.iter().all(|failure| {
                failure.is_not_found()
                    || matches!(failure, FetchError::Forbidden { .. } | FetchError::NotPassedOn { .. })
            });
        if !lies.is_empty() {
            let failures = error.failures.iter().map(ToString::to_string).collect();
            let (log, path) = (self.name.clone(), tile.path());
            return RemoteError::Unproven(Arc::new(Unproven { log, path, lies, failures })).into();
        }
        if refused {
            let said = error.failures.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            return ReplicateError::NoDataTiles { log: self.name.clone(), path: tile.path(), said };
        }
        RemoteError::without_tile(error, &tile.path(), lies).into()
    }
}

enum Round {
    /// No URL (more) has an answer.
    Unanswered(SumdbError),
    Failed(ReplicateError),
}

impl Traffic {
    /// Waits until somebody may be asked again.
    pub(super) async fn wait(&self, inner: &Inner) {
        loop {
            let until = *self.not_before.lock().expect("nobody panics while holding this lock");
            match until.filter(|until| *until > inner.clock.instant()) {
                Some(until) => tokio::time::sleep_until(until.into()).await,
                None => return,
            }
        }
    }

    /// Nobody is asked for a while: twice as long after each try, or as long as the server asked for.
    pub(super) fn pause(&self, inner: &Inner, attempt: u32, asked: Option<Duration>) {
        let doubled = FIRST_PAUSE.saturating_mul(1 << attempt.saturating_sub(1).min(16)).min(LONGEST_PAUSE);
        // Many mirrors that lost the same server at once do not come back to it at once. Without randomness they do.
        let random = f64::from(getrandom::u32().unwrap_or(0)) / f64::from(u32::MAX);
        let pause = doubled.mul_f64(1.0 - random / 4.0).max(asked.unwrap_or_default());
        let until = inner.clock.instant() + pause;
        let mut not_before = self.not_before.lock().expect("nobody panics while holding this lock");
        *not_before = Some(not_before.map_or(until, |before| before.max(until)));
    }
}
