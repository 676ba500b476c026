//! Keeps the head of a log new: asks every poll interval, rarer after failures, never while the log is stopped.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::{Mirror, RemoteError};
use crate::config::Mode;
use crate::upstream::backoff;

/// After failures the head is asked for at least this often, unless the poll interval is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// Watches a log until it is dropped. In `heads` mode it asks at once, since it does nothing else; in the other mode
/// look-ups bring the first head.
pub async fn watch(mirror: Arc<Mirror>) {
    let name = mirror.log.name().to_owned();
    let mut said = None;
    if mirror.mode != Mode::Heads {
        sleep(pause(&mirror, None)).await;
    }
    loop {
        // A stop was logged when it was found; a person ends it, and then this goes on.
        if mirror.log.incident().is_some() {
            sleep(pause(&mirror, None)).await;
            continue;
        }
        let result = mirror.log.poll().await;
        let failed = match &result {
            Ok(head) => {
                if said.take().is_some() {
                    tracing::info!(
                        log = name,
                        tree.size = head.tree.size.0,
                        "the newest head is reached again"
                    );
                }
                None
            }
            Err(RemoteError::Misbehaviour(_)) => None,
            Err(error) => Some(error),
        };
        if let Some(error) = failed {
            // Once for each kind of failure: the metrics count them all.
            let kind = std::mem::discriminant(error);
            if said.replace(kind) != Some(kind) {
                tracing::warn!(log = name, %error, "the newest head of a remote log is not reached");
            }
        }
        sleep(pause(&mirror, failed)).await;
    }
}

/// How long to wait after an attempt.
fn pause(mirror: &Mirror, failed: Option<&RemoteError>) -> Duration {
    let asked = match failed {
        Some(RemoteError::Unavailable { retry_after, .. }) => retry_after.unwrap_or_default(),
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
