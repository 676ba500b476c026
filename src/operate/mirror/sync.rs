//! Bringing a mirror up to date, and ending its stop.

use serde::{Deserialize, Serialize};

use super::find::{find, refusal};
use super::status::RunStatus;
use crate::mirror::{SyncError, Synced};
use crate::operate::operations::Operations;
use crate::operate::refusal::{Reason, Refusal};

/// A mirror that is up to date.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SyncAnswer {
    /// The log's name.
    pub(crate) log: String,
    /// Records in the newest head before; null when none was known.
    pub(crate) from: Option<u64>,
    /// Records in the newest head now.
    pub(crate) to: u64,
}

/// A mirror that goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ResumeAnswer {
    /// The log's name.
    pub(crate) log: String,
    /// The file with the evidence, which stays.
    pub(crate) evidence: String,
}

impl Operations {
    /// Brings a mirror up to date, and tells how far it is. Dropping the future ends the work; what
    /// is done stays.
    pub(crate) async fn sync_mirror(
        &self,
        log: &str,
        mut tell: impl FnMut(RunStatus),
    ) -> Result<SyncAnswer, Refusal> {
        let mirror = find(self.mirrors(), log)?;
        let mut runs = mirror.run();
        // A run that is under way already is news, too.
        runs.mark_changed();
        let synced = self.unless_stopped(async {
            let mut work = std::pin::pin!(mirror.sync());
            loop {
                tokio::select! {
                    synced = &mut work => break synced.map_err(|error| refusal(mirror, &error)),
                    Ok(()) = runs.changed() => {
                        let run = *runs.borrow_and_update();
                        if let Some(run) = run {
                            tell(RunStatus::new(mirror, &run));
                        }
                    }
                }
            }
        });
        let Synced { from, to } = synced.await?;
        Ok(SyncAnswer { log: log.to_owned(), from: from.map(|size| size.0), to: to.0 })
    }

    /// Ends the stop of a mirror after a person has looked at the incident.
    pub(crate) async fn resume_mirror(&self, log: &str, incident: u64) -> Result<ResumeAnswer, Refusal> {
        let mirror = find(self.mirrors(), log)?;
        let wrong = |why: String| Err(Refusal::new(Reason::Usage, why));
        let Some(stopped) = mirror.log.incident() else {
            return wrong(format!("{log} is not stopped"));
        };
        let resumed = mirror.log.resume(incident).await;
        if resumed.map_err(|error| refusal(mirror, &SyncError::Remote(error)))? {
            let evidence = stopped.evidence.display().to_string();
            return Ok(ResumeAnswer { log: log.to_owned(), evidence });
        }
        wrong(format!("{log} is stopped for incident {}, not for {incident}", stopped.id))
    }
}
