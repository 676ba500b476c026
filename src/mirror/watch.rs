//! Keeps a log up to date: asks every poll interval, or when somebody wants it, rarer after failures, never while the log is stopped.

use std::mem::{Discriminant, discriminant};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::{Mirror, RemoteError, SyncError};
use crate::config::Mode;
use crate::upstream::backoff;

/// After failures the head is asked for at least this often, unless the poll interval is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// Between being asked for and asking.
const WANTED_PAUSE: Duration = Duration::from_secs(1);

/// Watches a log until it is dropped. In `heads` and `full` mode it asks at once; in the other look-ups bring the first head.
pub async fn watch(mirror: Arc<Mirror>) {
    let name = mirror.log.name().to_owned();
    let mut said = None;
    if mirror.mode == Mode::OnDemand {
        rest(&mirror, None).await;
    }
    loop {
        // A stop was logged when it was found; a person ends it, and then this goes on.
        if mirror.log.incident().is_some() {
            rest(&mirror, None).await;
            continue;
        }
        let result = mirror.advance().await;
        let failed = match &result {
            Ok(synced) => {
                if said.take().is_some() {
                    tracing::info!(log = name, tree.size = synced.to.0, "up to date again");
                }
                None
            }
            Err(SyncError::Remote(RemoteError::Misbehaviour(_))) => None,
            Err(error) => Some(error),
        };
        if let Some(error) = failed {
            // Once for each kind of failure: the metrics count them all.
            let kind = kind(error);
            if said.replace(kind) != Some(kind) {
                tracing::warn!(log = name, %error, "a remote log is not up to date");
            }
        }
        rest(&mirror, failed).await;
    }
}

/// Waits for the next attempt.
async fn rest(mirror: &Mirror, failed: Option<&SyncError>) {
    tokio::select! {
        () = sleep(pause(mirror, failed)) => {}
        // Whoever can make somebody want it, clients among them, costs the log's operators a request a second at most.
        () = mirror.wanted.notified() => sleep(WANTED_PAUSE).await,
    }
}

/// Two failures of one kind need not both be told.
fn kind(error: &SyncError) -> (Discriminant<SyncError>, Option<Discriminant<RemoteError>>) {
    let remote = match error {
        SyncError::Remote(error) => Some(discriminant(error)),
        _ => None,
    };
    (discriminant(error), remote)
}

/// How long to wait after an attempt.
fn pause(mirror: &Mirror, failed: Option<&SyncError>) -> Duration {
    let asked = match failed {
        Some(SyncError::Remote(RemoteError::Unavailable { retry_after, .. })) => {
            retry_after.unwrap_or_default()
        }
        _ => Duration::ZERO,
    };
    let failures = if failed.is_some() { mirror.log.progress().failures_in_a_row } else { 0 };
    pause_after(mirror.poll, failures, asked)
}

/// The poll interval, doubled with each failure in a row, less a random part; never shorter than a server asked for.
fn pause_after(poll: Duration, failures: u32, asked: Duration) -> Duration {
    backoff(poll, poll.max(LONGEST_PAUSE), failures.saturating_add(1)).max(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_make_it_rarer_and_a_server_is_given_the_time_it_asks_for() {
        let seconds = Duration::from_secs;
        for (poll, failures, asked, want) in [
            (30, 0, 0, 30),
            (30, 1, 0, 60),
            (30, 3, 0, 240),
            (30, 9, 0, 600),
            (30, u32::MAX, 0, 600),
            (3600, 5, 0, 3600),
            (30, 1, 900, 900),
        ] {
            let pause = pause_after(seconds(poll), failures, seconds(asked));
            let shortest = seconds(want).mul_f64(0.7499).max(seconds(asked));
            assert!((shortest..=seconds(want)).contains(&pause), "{poll} {failures} {asked}: {pause:?}");
        }
    }
}
