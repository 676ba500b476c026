//! What is done with a full mirror by hand, through the control socket: export, import, verification, statistics, the
//! comparison with the own log. Commands without a server call [`work`] on mirrors that they opened themselves.
//!
//! ```text
//! POST /v1/mirror/work   {"export":{"log":"sum.golang.org","to":"/srv/log","from":null}}
//! {"progress":{"what":"records","done":65536,"total":71848828}}
//! {"part":{…}}                  what is too long for one line: findings, paths, disagreements
//! {"done":{"export":{…}}}       or {"refused":{…}}
//! ```
//!
//! Files are named by absolute paths, and whoever has the mirror open reads and writes them. When nobody listens any more the work
//! ends at its next step.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::task::spawn_blocking;

use super::mirrors::{find, refusal, request_of};
use super::stream::Events;
use super::{Control, Reason, Refusal, malformed, response};
use crate::gosum::ModuleLines;
use crate::log::{Log, Report};
use crate::mirror::{
    BundleError, Disagreement, ExportTarget, ImportError, ImportProgress, ImportSource, Mirror, Mirrors,
    PathDiff, RecordsError, ReplicaStats, Reverified, SyncError, Synced, diff, export, stats, verify,
};
use crate::module::PathPatterns;
use crate::store::IncidentKind;
use crate::store::replica::ReplicaReader;
use crate::tlog::TreeSize;

/// Hosts and paths that statistics list.
const TOP: usize = 20;

/// What is to be done.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkRequest {
    /// Write a static checksum database.
    Export {
        /// The log's name.
        log: String,
        /// A directory, or a file that ends in `.tar.zst`.
        to: PathBuf,
        /// Only what is new since this size.
        from: Option<u64>,
    },
    /// Take a static checksum database in.
    Import {
        /// The log's name.
        log: String,
        /// A directory, a file that ends in `.tar.zst`, or an URL.
        source: String,
    },
    /// Compute everything again that is stored.
    Verify {
        /// The log's name.
        log: String,
    },
    /// Count.
    Stats {
        /// The log's name.
        log: String,
    },
    /// Compare with the own log.
    Diff {
        /// The log's name.
        log: String,
        /// Only paths that match this list, as in GOPRIVATE.
        modules: Option<String>,
    },
}

/// How far it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkProgress {
    /// What is counted: `records`, or `bytes` while an archive is unpacked.
    pub what: String,
    /// How many are done.
    pub done: u64,
    /// Of how many, if that is known.
    pub total: Option<u64>,
}

/// A part of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Something that is wrong with what is stored.
    Finding {
        /// Where.
        place: String,
        /// What does not fit.
        why: String,
    },
    /// What both logs have of a module path.
    Path {
        /// The path.
        path: String,
        /// Versions in the own log.
        own: u64,
        /// Versions in the mirror.
        mirror: u64,
        /// Versions in both, with the same lines.
        both: u64,
    },
    /// A module version of which they have other lines.
    Disagreement {
        /// `path@version`.
        module: String,
        /// The own log's record.
        own_record: u64,
        /// Its lines.
        own: String,
        /// The mirror's record.
        mirror_record: u64,
        /// Its lines.
        mirror: String,
    },
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkAnswer {
    /// What was written.
    Export {
        /// Records that were there before, or that the delta goes on from.
        from: u64,
        /// The size of the head.
        size: u64,
        /// Its root.
        root: String,
        /// Files that were written, `latest` not counted.
        files: u64,
        /// Bytes in them, before compression.
        bytes: u64,
    },
    /// What was taken in.
    Import {
        /// Records under the newest stored head before.
        from: Option<u64>,
        /// Records now.
        to: u64,
    },
    /// What was looked at. The findings are parts.
    Verify {
        /// Records that were read, hashed and looked up.
        records: u64,
        /// Heads whose signature and root were compared.
        heads: u64,
        /// How many findings are not listed.
        unlisted: u64,
    },
    /// What was counted.
    Stats(StatsAnswer),
    /// What was compared. Paths and disagreements are parts.
    Diff {
        /// Versions in the own log.
        own: u64,
        /// Versions in the mirror, of the same paths or of those asked for.
        mirror: u64,
        /// Versions in both, with the same lines.
        both: u64,
        /// Versions in both, with other lines.
        disagree: u64,
        /// Versions in the own log whose paths are not listed.
        unlisted: u64,
    },
}

/// What a mirror holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StatsAnswer {
    /// Records under the newest stored head.
    pub records: u64,
    /// Records that are not the two lines of a module version.
    pub others: u64,
    /// Stored heads.
    pub heads: u64,
    /// Records a day between the first and the last stored head.
    pub per_day: Option<f64>,
    /// Records of the last 24 hours before the newest head.
    pub last_day: Option<u64>,
    /// When heads of which sizes were seen.
    pub growth: Vec<(Timestamp, u64)>,
    /// The hosts with the most records.
    pub hosts: Vec<(String, u64)>,
    /// The module paths with the most versions.
    pub paths: Vec<(String, u64)>,
}

/// What is told while it is done. The last is one of `Done` and `Refused`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkEvent {
    /// It goes on.
    Progress(WorkProgress),
    /// A part of the answer.
    Part(Part),
    /// It is done.
    Done(WorkAnswer),
    /// It was not done.
    Refused(Refusal),
}

/// Whoever is told of progress, from any thread.
pub type Tell = Arc<dyn Fn(WorkProgress) + Send + Sync>;

/// Does what is asked. `own` is the own log, where there is one: it is compared, and incidents are kept in it. Dropping the
/// future ends the work at its next step.
pub async fn work(
    mirrors: &Mirrors,
    own: Option<&Log>,
    request: WorkRequest,
    tell: Tell,
) -> Result<(WorkAnswer, Vec<Part>), Refusal> {
    match request {
        WorkRequest::Export { log, to, from } => {
            let reader = full(find(mirrors, &log)?)?;
            let target = ExportTarget::of(&to);
            let from = from.map(TreeSize);
            let exported = blocking(tell, move |tell| {
                export(&reader, &log, &target, from, &mut |at| tell("records", at.records, at.target))
            });
            let exported = exported.await.map_err(|error| of_bundle(&error))?;
            let head = exported.head;
            let answer = WorkAnswer::Export {
                from: exported.from.0,
                size: head.size.0,
                root: head.root.to_string(),
                files: exported.progress.files,
                bytes: exported.progress.bytes,
            };
            Ok((answer, Vec::new()))
        }
        WorkRequest::Import { log, source } => import(find(mirrors, &log)?, &source, tell).await,
        WorkRequest::Verify { log } => {
            let mirror = find(mirrors, &log)?;
            let (reader, key) = (full(mirror)?, mirror.log.key().clone());
            let total = reader.head().map_or(0, |head| head.tree.size.0);
            let verified =
                blocking(tell, move |tell| verify(&reader, &key, &mut |done| tell("records", done, total)));
            Ok(answer_verified(&log, own, verified.await).await)
        }
        WorkRequest::Stats { log } => {
            let reader = full(find(mirrors, &log)?)?;
            let counted = blocking(tell, move |tell| {
                stats(&reader, TOP, &mut |done, total| tell("records", done, total))
            });
            let counted = counted.await.map_err(|error| Refusal::from(&error))?.ok_or_else(stopped)?;
            Ok((WorkAnswer::Stats(counted.into()), Vec::new()))
        }
        WorkRequest::Diff { log, modules } => compare(find(mirrors, &log)?, own, modules, tell).await,
    }
}

async fn import(mirror: &Mirror, source: &str, tell: Tell) -> Result<(WorkAnswer, Vec<Part>), Refusal> {
    let source = ImportSource::parse(source)
        .map_err(|error| Refusal { reason: Reason::Usage, why: format!("{source}: {error}") })?;
    let told = move |at: ImportProgress| {
        let (what, done, total) = match at {
            ImportProgress::Unpacked(bytes) => ("bytes", bytes, None),
            ImportProgress::Stored(at) => ("records", at.size.0, Some(at.target.0)),
        };
        tell(WorkProgress { what: what.to_owned(), done, total });
    };
    match mirror.import(&source, told).await {
        Ok(Synced { from, to }) => {
            Ok((WorkAnswer::Import { from: from.map(|size| size.0), to: to.0 }, Vec::new()))
        }
        Err(error) => Err(of_import(mirror, error)),
    }
}

async fn answer_verified(log: &str, own: Option<&Log>, verified: Reverified) -> (WorkAnswer, Vec<Part>) {
    if let Some(own) = own
        && !verified.is_clean()
    {
        report_damage(own, log, &verified.findings).await;
    }
    let Reverified { records, heads, findings, unlisted } = verified;
    let parts = findings.into_iter().map(|found| Part::Finding { place: found.place, why: found.why });
    (WorkAnswer::Verify { records, heads, unlisted }, parts.collect())
}

/// Keeps damage of a mirror as incidents of the own log.
pub async fn report_damage(own: &Log, log: &str, findings: &[crate::log::FsckFinding]) {
    let report = |found: &crate::log::FsckFinding| {
        let detail = json!({ "log": log, "place": found.place, "why": found.why });
        Report { kind: IncidentKind::Damage, detail: detail.to_string() }
    };
    if let Err(error) = own.report(findings.iter().map(report).collect()).await {
        tracing::error!(log, %error, "damage of a mirror could not be kept as an incident");
    }
}

async fn compare(
    mirror: &Mirror,
    own: Option<&Log>,
    modules: Option<String>,
    tell: Tell,
) -> Result<(WorkAnswer, Vec<Part>), Refusal> {
    let own = own.ok_or_else(|| Refusal {
        reason: Reason::Usage,
        why: "there is no own log here to compare with".to_owned(),
    })?;
    let (reader, snapshot) = (full(mirror)?, own.snapshot());
    let compared = blocking(tell, move |tell| {
        let patterns = modules.as_deref().map(PathPatterns::parse);
        diff(&snapshot, &reader, patterns.as_ref(), &mut |done, total| tell("records", done, total))
    });
    let diff = compared.await.map_err(|error| Refusal::from(&error))?.ok_or_else(stopped)?;
    if !diff.disagreements.is_empty() {
        let log = mirror.log.name();
        let reports = diff.disagreements.iter().map(|found| report_of(log, found)).collect();
        if let Err(error) = own.report(reports).await {
            tracing::error!(log, %error, "a disagreement with a mirror could not be kept as an incident");
        }
    }
    let PathDiff { own, both, mirror, disagree } = diff.total();
    let answer = WorkAnswer::Diff { own, mirror, both, disagree, unlisted: diff.others.own };
    let text = |lines: &ModuleLines| lines.to_text();
    let mut parts: Vec<Part> = diff
        .disagreements
        .iter()
        .map(|Disagreement { own, mirror }| Part::Disagreement {
            module: own.1.module.to_string(),
            own_record: own.0.0,
            own: text(&own.1),
            mirror_record: mirror.0.0,
            mirror: text(&mirror.1),
        })
        .collect();
    parts.extend(diff.paths.into_iter().map(|(path, PathDiff { own, both, mirror, .. })| Part::Path {
        path,
        own,
        mirror,
        both,
    }));
    Ok((answer, parts))
}

fn report_of(log: &str, Disagreement { own, mirror }: &Disagreement) -> Report {
    tracing::error!(
        module.path = %own.1.module.path, module.version = %own.1.module.version, record.id = own.0.0, log,
        "the own log and a mirror disagree"
    );
    let detail = json!({
        "module": own.1.module.path.as_str(),
        "version": own.1.module.version.as_str(),
        "record": own.0.0,
        "standing": own.1.to_text(),
        "offered": mirror.1.to_text(),
        "log": log,
        "log_record": mirror.0.0,
    });
    Report { kind: IncidentKind::HashConflict, detail: detail.to_string() }
}

fn full(mirror: &Mirror) -> Result<ReplicaReader, Refusal> {
    let log = mirror.log.name().to_owned();
    let missing = || of_import(mirror, ImportError::NotFull { log });
    mirror.log.replica().map(crate::store::replica::Replica::reader).ok_or_else(missing)
}

fn stopped() -> Refusal {
    Refusal { reason: Reason::Unavailable, why: "it was ended before it was done".to_owned() }
}

fn of_bundle(error: &BundleError) -> Refusal {
    let reason = match error {
        BundleError::Store(error) => return Refusal::from(error),
        BundleError::Stopped => Reason::Unavailable,
        BundleError::NoDelta { .. }
        | BundleError::Occupied { .. }
        | BundleError::Gap { .. }
        | BundleError::OtherLog { .. } => Reason::Usage,
        BundleError::NoHead { .. }
        | BundleError::Hostile { .. }
        | BundleError::Delta(_)
        | BundleError::File { .. } => Reason::Failed,
    };
    Refusal { reason, why: error.to_string() }
}

fn of_import(mirror: &Mirror, error: ImportError) -> Refusal {
    let why = error.to_string();
    match error {
        ImportError::Bundle(error) => of_bundle(&error),
        // The source is a file that will not be another one by itself, but nothing of it is damage here.
        ImportError::Replicate(RecordsError::NoDataTiles { .. }) => Refusal { reason: Reason::Failed, why },
        ImportError::Missing { .. } => Refusal { reason: Reason::Failed, why },
        ImportError::Replicate(error) => refusal(mirror, &SyncError::from(error)),
        ImportError::Sync(error) => refusal(mirror, &error),
        ImportError::Older { .. } => Refusal { reason: Reason::Unavailable, why },
        ImportError::NotFull { .. } => Refusal { reason: Reason::Usage, why },
        ImportError::Busy { .. } => Refusal { reason: Reason::Busy, why },
    }
}

impl From<ReplicaStats> for StatsAnswer {
    fn from(stats: ReplicaStats) -> StatsAnswer {
        let ReplicaStats { records, others, heads, growth, per_day, last_day, hosts, paths } = stats;
        StatsAnswer { records, others, heads, per_day, last_day, growth, hosts, paths }
    }
}

/// Ends the work on another thread when nobody waits for it any more.
struct Wanted(Arc<AtomicBool>);

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Work on a thread that may block, which tells how far it is and hears whether to go on.
async fn blocking<T: Send + 'static>(
    tell: Tell,
    work: impl FnOnce(&mut dyn FnMut(&str, u64, u64) -> ControlFlow<()>) -> T + Send + 'static,
) -> T {
    let wanted = Wanted(Arc::new(AtomicBool::new(true)));
    let is_wanted = wanted.0.clone();
    let done = spawn_blocking(move || {
        work(&mut |what, done, total| {
            tell(WorkProgress { what: what.to_owned(), done, total: Some(total) });
            if is_wanted.load(Ordering::Relaxed) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })
    });
    done.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

pub(super) async fn serve_work(State(control): State<Control>, request: Request) -> Response {
    match request_of::<WorkRequest>(request).await {
        Ok(request) => {
            let (events, body) = Events::new();
            tokio::spawn(follow(control, request, Arc::new(events)));
            response(StatusCode::OK, "application/x-ndjson", Body::new(body))
        }
        Err(why) => malformed(why),
    }
}

async fn follow(control: Control, request: WorkRequest, events: Arc<Events>) {
    let teller = events.clone();
    // Who reads slowly misses some of it; who is gone is noticed below.
    let tell: Tell = Arc::new(move |at| drop(teller.tell_if_read(&WorkEvent::Progress(at))));
    let ended = tokio::select! {
        ended = work(control.mirrors(), Some(control.log()), request, tell) => ended,
        () = events.gone() => return,
        () = control.stopped() => {
            let why = "the server is being stopped; what is verified by then is kept".to_owned();
            Err(Refusal { reason: Reason::Unavailable, why })
        }
    };
    let last = match ended {
        Ok((answer, parts)) => {
            for part in parts {
                if events.tell(&WorkEvent::Part(part)).await.is_err() {
                    return;
                }
            }
            WorkEvent::Done(answer)
        }
        Err(refusal) => WorkEvent::Refused(refusal),
    };
    let _ = events.tell(&last).await;
}
