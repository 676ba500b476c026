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

/// The poll interval, less a random part; doubled with each failure; and never shorter than a server asked for.
fn pause(mirror: &Mirror, failed: Option<&RemoteError>) -> Duration {
    let Some(error) = failed else {
        return backoff(mirror.poll, mirror.poll, 1);
    };
    let asked = match error {
        RemoteError::Unavailable { retry_after, .. } => retry_after.unwrap_or_default(),
        _ => Duration::ZERO,
    };
    let failures = mirror.log.progress().failures_in_a_row.saturating_add(1);
    backoff(mirror.poll, mirror.poll.max(LONGEST_PAUSE), failures).max(asked)
}
