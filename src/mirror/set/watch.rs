//! Keeps a log up to date: asks every poll interval, rarer after failures, or at the times of a
//! schedule, and when a hook or somebody else wants it; never while the log is stopped.

use std::mem::{Discriminant, discriminant};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::mirror::Mirror;
use crate::config::Mode;
use crate::mirror::replica::{SyncError, Synced};
use crate::mirror::view::RemoteError;
use crate::upstream::backoff;

/// After failures the head is asked for at least this often, unless the poll interval is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// Clients and hooks that want it cost the log's operators a request a second at most.
const WANTED_PAUSE: Duration = Duration::from_secs(1);
/// A schedule follows the calendar, which may be set while we sleep: it is looked at again after
/// this long at most.
const CALENDAR_PAUSE: Duration = Duration::from_secs(30);

/// Watches a log until it is dropped. In `heads` and `full` mode it asks at once; in the other mode
/// look-ups bring the first head. Where there is a schedule it asks at those times only.
pub(crate) async fn watch(mirror: Arc<Mirror>) {
    let name = mirror.log.name().to_owned();
    let mut logged = None;
    if mirror.mode == Mode::OnDemand || mirror.schedule.is_some() {
        rest(&mirror, None).await;
    }
    loop {
        // A stop was logged when it was found; a person ends it, and then this goes on.
        if mirror.log.incident().is_some() {
            rest(&mirror, None).await;
            continue;
        }
        let result = attempt(&mirror).await;
        let failed = match &result {
            Ok(synced) => {
                if logged.take().is_some() {
                    tracing::info!(log = name, tree.size = synced.to.0, "up to date again");
                }
                None
            }
            Err(SyncError::Remote(RemoteError::Misbehavior(_))) => None,
            Err(error) => Some(error),
        };
        if let Some(error) = failed {
            // Once for each kind of failure: the metrics count them all.
            let kind = kind(error);
            if logged.replace(kind) != Some(kind) {
                tracing::warn!(log = name, %error, "a remote log is not up to date");
            }
        }
        rest(&mirror, failed).await;
    }
}

/// Makes one attempt. A panic in it is an error like any other: nobody would notice that the mirror
/// falls behind.
async fn attempt(mirror: &Arc<Mirror>) -> Result<Synced, SyncError> {
    let mut alone = JoinSet::new();
    let attempting = mirror.clone();
    alone.spawn(async move { attempting.advance().await });
    match alone.join_next().await.expect("it was just spawned") {
        Ok(result) => result,
        Err(panic) => {
            let text = format!("an attempt to bring {} up to date panicked: {panic}", mirror.log.name());
            tracing::error!("{text}");
            mirror.log.note_failure(&text).await;
            Err(RemoteError::Unavailable { text, retry_after: None }.into())
        }
    }
}

/// Returns what makes two failures alike: of one kind only the first is logged.
fn kind(error: &SyncError) -> (Discriminant<SyncError>, Option<Discriminant<RemoteError>>) {
    let remote = match error {
        SyncError::Remote(error) => Some(discriminant(error)),
        _ => None,
    };
    (discriminant(error), remote)
}

/// Waits after an attempt: for its time, or until somebody wants the next one.
async fn rest(mirror: &Mirror, failed: Option<&SyncError>) {
    let log = &mirror.log;
    let began = log.instant();
    let asked = match failed {
        Some(SyncError::Remote(RemoteError::Unavailable { retry_after, .. })) => {
            retry_after.unwrap_or_default()
        }
        _ => Duration::ZERO,
    };
    let time = async {
        let Some(schedule) = &mirror.schedule else {
            let failures = if failed.is_some() { mirror.log.progress().failures_in_a_row } else { 0 };
            return sleep(pause_after(mirror.poll, failures, asked)).await;
        };
        let after = log.now().checked_add(asked).unwrap_or(Timestamp::MAX);
        // At the end of the calendar there is nothing more to wait for.
        let Some(due) = schedule.next_after(after) else { return std::future::pending().await };
        while let Some(left) = until(due, log.now()) {
            sleep(left.min(CALENDAR_PAUSE)).await;
        }
    };
    tokio::select! {
        () = time => {}
        () = mirror.wanted.notified() => sleep(WANTED_PAUSE.saturating_sub(log.instant() - began)).await,
    }
}

/// Returns how long it is until then; none when it is over.
fn until(due: Timestamp, now: Timestamp) -> Option<Duration> {
    Duration::try_from(due.duration_since(now)).ok().filter(|left| !left.is_zero())
}

/// Returns the poll interval, doubled with each failure in a row, less a random part; never shorter
/// than a server asked for.
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
