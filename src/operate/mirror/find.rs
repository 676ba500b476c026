//! Finds a mirror, and says why there is none or why its work failed.

use crate::mirror::{ImportError, Mirror, Mirrors, RemoteError, SyncError};
use crate::operate::refusal::{Reason, Refusal};
use crate::store::replica::{Replica, ReplicaReader};

/// Returns the mirror of this log.
pub(super) fn find<'m>(mirrors: &'m Mirrors, log: &str) -> Result<&'m Mirror, Refusal> {
    let unknown = || {
        let known: Vec<&str> = mirrors.iter().map(|mirror| mirror.log.name()).collect();
        let why = format!("no checksum database \"{log}\" is mirrored here; known: {}", known.join(", "));
        Refusal::new(Reason::Usage, why)
    };
    if let Some(unusable) = mirrors.find_unusable(log) {
        let why = format!("{unusable}\n  fix: {}", unusable.remedy());
        return Err(Refusal { why, ..Refusal::from(&unusable.error) });
    }
    mirrors.find(log).map(|mirror| &**mirror).ok_or_else(unknown)
}

/// Refuses for an error of a sync.
pub(super) fn refusal(mirror: &Mirror, error: &SyncError) -> Refusal {
    let why = error.to_string();
    let reason = match error {
        SyncError::Busy { .. } => Reason::Busy,
        // Trying again brings nothing until somebody changes the configuration.
        SyncError::NoRoom { .. } | SyncError::NoDataTiles { .. } => Reason::Failed,
        // That all URLs send what is refused may pass, as when a cache is broken; a log that
        // contradicts itself does not.
        SyncError::Remote(
            RemoteError::Unavailable { .. } | RemoteError::NotFound { .. } | RemoteError::Unproven(_),
        ) => Reason::Unavailable,
        SyncError::Remote(RemoteError::Forbidden { .. }) => Reason::Failed,
        SyncError::Remote(RemoteError::Store(error)) => return Refusal::from(&**error),
        SyncError::Remote(RemoteError::Misbehavior(_)) => {
            let Some(incident) = mirror.log.incident() else {
                return Refusal::new(Reason::Alarming, why);
            };
            let why = format!(
                "{why}\n  evidence: {}\n  fix: compare it with what others have seen of this log; to go on all the same: \
                 `tallystick mirror resume {} --incident {}`",
                incident.evidence.display(),
                mirror.log.name(),
                incident.id
            );
            return Refusal::new(Reason::Alarming, why);
        }
    };
    Refusal { reason, why }
}

/// Returns the reader of a full mirror.
pub(super) fn full(mirror: &Mirror) -> Result<ReplicaReader, Refusal> {
    let log = mirror.log.name().to_owned();
    let missing = || Refusal::new(Reason::Usage, ImportError::NotFull { log }.to_string());
    mirror.log.replica().map(Replica::reader).ok_or_else(missing)
}

/// Refuses what its caller has ended.
pub(super) fn ended() -> Refusal {
    Refusal::new(Reason::Unavailable, "it was ended before it was done")
}
