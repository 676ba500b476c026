//! The state of each mirror: what is kept, how the last attempts ended, what runs, and why it is
//! stopped.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::mirror::{LogProgress, Mirror, ReplicaRun, Unusable};
use crate::operate::operations::Operations;
use crate::source::RedactedUrl;
use crate::store::StoreError;
use crate::store::replica::{Extent, file_bytes, look};
use crate::upstream::UrlHealth;

/// How far a run of a full mirror is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunStatus {
    /// Records that were there when it began.
    pub(crate) from: u64,
    /// Records that are there now.
    pub(crate) size: u64,
    /// Records in the head that it goes to.
    pub(crate) target: u64,
    /// Records a second since it began; null before the first.
    pub(crate) records_per_second: Option<u64>,
    /// Seconds that the rest will take at that rate.
    pub(crate) eta_seconds: Option<u64>,
    /// Requests for data tiles so far.
    pub(crate) requests: u64,
    /// Bytes of data tiles so far.
    pub(crate) bytes: u64,
    /// Tiles that had to be asked for again.
    pub(crate) retries: u64,
    /// Requests that were foreseen.
    pub(crate) foreseen_requests: u64,
    /// Bytes that were foreseen, if the records are as long as those of sum.golang.org.
    pub(crate) foreseen_bytes: u64,
    /// Bytes on disk that were foreseen.
    pub(crate) foreseen_disk_bytes: u64,
    /// Bytes that were free there.
    pub(crate) free_bytes: u64,
}

/// What a full mirror holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FullStatus {
    /// Records that are there, verified.
    pub(crate) records: u64,
    /// Records under the newest head whose every record is there, which is the head that is served;
    /// null before the first.
    pub(crate) size: Option<u64>,
    /// Bytes on disk.
    pub(crate) bytes: u64,
    /// Records that the log has shown beyond those.
    pub(crate) lag_records: u64,
    /// A run that is under way in the process that was asked.
    pub(crate) run: Option<RunStatus>,
}

/// The state of a mirror.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MirrorStatus {
    /// The log's name.
    pub(crate) log: String,
    /// `full`, `on-demand` or `heads`.
    pub(crate) mode: String,
    /// Seconds between two looks for its newest head, while a server runs.
    pub(crate) poll_seconds: u64,
    /// When it is looked for, in place of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) schedule: Option<String>,
    /// Records in the newest head that is kept; null when none is known.
    pub(crate) size: Option<u64>,
    /// Records in the largest head that its URLs have shown.
    pub(crate) remote_size: Option<u64>,
    /// Records that are kept beside the full mirror.
    pub(crate) records: u64,
    /// Tiles that are kept.
    pub(crate) tiles: u64,
    /// Heads that are kept.
    pub(crate) heads: u64,
    /// The full mirror, if there is one.
    pub(crate) full: Option<FullStatus>,
    /// When the newest head was reached last.
    pub(crate) last_success: Option<Timestamp>,
    /// Seconds since then: as old may be what is answered here. Null when it was never reached.
    #[serde(default)]
    pub(crate) lag_seconds: Option<u64>,
    /// How that failed last.
    pub(crate) last_error: Option<FailedAttempt>,
    /// Its URLs, in the order of the configuration.
    pub(crate) urls: Vec<UrlStatus>,
    /// Why nothing more is taken from it.
    pub(crate) stopped: Option<StopStatus>,
    /// Why its database cannot be used; everything else is empty then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) unusable: Option<UnusableStatus>,
}

/// A database that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UnusableStatus {
    /// The file and what is wrong with it.
    pub(crate) why: String,
    /// What to do.
    pub(crate) fix: String,
}

/// An attempt that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FailedAttempt {
    /// When.
    pub(crate) at: Timestamp,
    /// Why.
    pub(crate) why: String,
}

/// What is known of a URL since the process started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UrlStatus {
    /// The URL, without credentials.
    pub(crate) url: String,
    /// Failures since it last answered.
    pub(crate) failures: u32,
    /// Answers that were not taken.
    pub(crate) lies: u32,
    /// Why it failed or was refused last.
    pub(crate) why: Option<String>,
}

/// The incident for which a mirror is stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StopStatus {
    /// Its number.
    pub(crate) incident: u64,
    /// When it was seen.
    pub(crate) seen_at: Timestamp,
    /// In a sentence.
    pub(crate) what: String,
    /// The file with both notes and the proof.
    pub(crate) evidence: String,
}

impl Operations {
    /// Returns the state of each mirror, by name.
    pub(crate) fn mirror_statuses(&self) -> Result<Vec<MirrorStatus>, StoreError> {
        let mut all = self.mirrors().iter().map(|mirror| status_of(mirror)).collect::<Result<Vec<_>, _>>()?;
        all.extend(self.mirrors().unusable().map(|unusable| status_of_unusable(unusable)));
        all.sort_by(|one, other| one.log.cmp(&other.log));
        Ok(all)
    }
}

fn status_of_unusable(unusable: &Unusable) -> MirrorStatus {
    MirrorStatus {
        log: unusable.name.clone(),
        mode: unusable.mode.to_string(),
        poll_seconds: 0,
        schedule: None,
        size: None,
        remote_size: None,
        records: 0,
        tiles: 0,
        heads: 0,
        full: None,
        last_success: None,
        lag_seconds: None,
        last_error: None,
        urls: Vec::new(),
        stopped: None,
        unusable: Some(UnusableStatus { why: unusable.to_string(), fix: unusable.remedy() }),
    }
}

fn status_of(mirror: &Mirror) -> Result<MirrorStatus, StoreError> {
    let log = &mirror.log;
    let counts = log.counts()?;
    let LogProgress { size, shown_size, succeeded_at, failed_at, failure, .. } = log.progress();
    let url = |(url, health): (RedactedUrl, UrlHealth)| UrlStatus {
        url: url.to_string(),
        failures: health.failures,
        lies: health.lies,
        why: health.why,
    };
    Ok(MirrorStatus {
        log: log.name().to_owned(),
        mode: mirror.mode.to_string(),
        poll_seconds: mirror.poll.as_secs(),
        schedule: mirror.schedule.as_ref().map(ToString::to_string),
        size: size.map(|size| size.0),
        remote_size: size.map(|_| shown_size.0),
        records: counts.records,
        tiles: counts.tiles,
        heads: counts.heads,
        full: full_status(mirror, shown_size.0)?,
        last_success: succeeded_at,
        lag_seconds: succeeded_at.map(|at| log.now().duration_since(at).as_secs().max(0).cast_unsigned()),
        last_error: failed_at.zip(failure).map(|(at, why)| FailedAttempt { at, why }),
        urls: log.transport().health().into_iter().map(url).collect(),
        stopped: log.incident().map(|incident| StopStatus {
            incident: incident.id,
            seen_at: incident.misbehavior.seen_at,
            what: incident.misbehavior.to_string(),
            evidence: incident.evidence.display().to_string(),
        }),
        unusable: None,
    })
}

fn full_status(mirror: &Mirror, shown: u64) -> Result<Option<FullStatus>, StoreError> {
    let extent = match mirror.log.replica() {
        None => look(&mirror.database)?,
        Some(replica) => {
            let reader = replica.reader();
            let head = reader.head().map(|head| head.tree.size);
            Some(Extent { size: reader.size(), head, bytes: file_bytes(&mirror.database) })
        }
    };
    let run = mirror.run().borrow().map(|run| RunStatus::new(mirror, &run));
    Ok(extent.map(|Extent { size, head, bytes }| FullStatus {
        records: size.0,
        size: head.map(|size| size.0),
        bytes,
        lag_records: shown.saturating_sub(size.0),
        run,
    }))
}

impl RunStatus {
    /// Returns the status of a run of the mirror.
    pub(super) fn new(mirror: &Mirror, run: &ReplicaRun) -> RunStatus {
        let now = mirror.log.instant();
        RunStatus {
            from: run.from.0,
            size: run.progress.size.0,
            target: run.progress.target.0,
            records_per_second: run.rate(now).map(|rate| rate.round() as u64),
            eta_seconds: run.eta(now).map(|eta| eta.as_secs()),
            requests: run.progress.requests,
            bytes: run.progress.bytes,
            retries: run.progress.retries,
            foreseen_requests: run.foreseen.requests,
            foreseen_bytes: run.foreseen.bytes,
            foreseen_disk_bytes: run.foreseen.disk_bytes,
            free_bytes: run.foreseen.free_bytes,
        }
    }
}
