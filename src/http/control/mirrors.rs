//! Mirrors through the control socket: how they are, bringing them up to date, ending a stop. Commands without a server
//! call the same functions on mirrors that they opened themselves.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::stream::{Events, Gone};
use super::{Control, Reason, Refusal, body_of, malformed, response, result};
use crate::mirror::{LogProgress, Mirror, Mirrors, RemoteError, ReplicaRun, SyncError, Synced, Unusable};
use crate::store::StoreError;
use crate::store::replica::{Extent, file_bytes, look};

/// Asks about all mirrors.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StatusRequest {}

/// Asks to bring a mirror up to date.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SyncRequest {
    /// The log's name.
    pub log: String,
}

/// Asks to end the stop of a mirror.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ResumeRequest {
    /// The log's name.
    pub log: String,
    /// The incident that a person has looked at.
    pub incident: u64,
}

/// What is told while a mirror is brought up to date. The last is one of `Done` and `Refused`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyncEvent {
    /// It is replicating.
    Running(RunStatus),
    /// It is up to date.
    Done(SyncAnswer),
    /// It is not.
    Refused(Refusal),
}

/// How far a run of a full mirror is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunStatus {
    /// Records that were there when it began.
    pub from: u64,
    /// Records that are there now.
    pub size: u64,
    /// Records in the head that it goes to.
    pub target: u64,
    /// Records a second since it began; null before the first.
    pub records_per_second: Option<u64>,
    /// Seconds that the rest will take at that rate.
    pub eta_seconds: Option<u64>,
    /// Requests for data tiles so far.
    pub requests: u64,
    /// Bytes of data tiles so far.
    pub bytes: u64,
    /// Tiles that had to be asked for again.
    pub retries: u64,
    /// Requests that were foreseen.
    pub foreseen_requests: u64,
    /// Bytes that were foreseen, if the records are as long as those of sum.golang.org.
    pub foreseen_bytes: u64,
    /// Bytes on disk that were foreseen.
    pub foreseen_disk_bytes: u64,
    /// Bytes that were free there.
    pub free_bytes: u64,
}

/// What a full mirror holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FullStatus {
    /// Records that are there, verified.
    pub records: u64,
    /// Records under the newest head whose every record is there, which is the head that is served; null before the first.
    pub size: Option<u64>,
    /// Bytes on disk.
    pub bytes: u64,
    /// Records that the log has shown beyond those.
    pub lag_records: u64,
    /// A run that is under way in the process that was asked.
    pub run: Option<RunStatus>,
}

/// A mirror that is up to date.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncAnswer {
    /// The log's name.
    pub log: String,
    /// Records in the newest head before; null when none was known.
    pub from: Option<u64>,
    /// Records in the newest head now.
    pub to: u64,
}

/// A mirror that goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResumeAnswer {
    /// The log's name.
    pub log: String,
    /// The file with the evidence, which stays.
    pub evidence: String,
}

/// How a mirror is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MirrorStatus {
    /// The log's name.
    pub log: String,
    /// `full`, `on-demand` or `heads`.
    pub mode: String,
    /// Seconds between two looks for its newest head, while a server runs.
    pub poll_seconds: u64,
    /// When it is looked for, in place of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// Records in the newest head that is kept; null when none is known.
    pub size: Option<u64>,
    /// Records in the largest head that its URLs have shown.
    pub remote_size: Option<u64>,
    /// Records that are kept beside the full mirror.
    pub records: u64,
    /// Tiles that are kept.
    pub tiles: u64,
    /// Heads that are kept.
    pub heads: u64,
    /// The full mirror, if there is one.
    pub full: Option<FullStatus>,
    /// When the newest head was reached last.
    pub last_success: Option<Timestamp>,
    /// Seconds since then: as old may be what is answered here. Null when it was never reached.
    #[serde(default)]
    pub lag_seconds: Option<u64>,
    /// How that failed last.
    pub last_error: Option<LastError>,
    /// Its URLs, in the order of the configuration.
    pub urls: Vec<UrlStatus>,
    /// Why nothing more is taken from it.
    pub stopped: Option<Stopped>,
    /// Why its database cannot be used; everything else is empty then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unusable: Option<UnusableStatus>,
}

/// A database that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnusableStatus {
    /// The file and what is wrong with it.
    pub why: String,
    /// What to do.
    pub fix: String,
}

/// An attempt that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastError {
    /// When.
    pub at: Timestamp,
    /// Why.
    pub why: String,
}

/// What is known of a URL since the process started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UrlStatus {
    /// The URL, without credentials.
    pub url: String,
    /// Failures since it last answered.
    pub failures: u32,
    /// Answers that were not taken.
    pub lies: u32,
    /// Why it failed or was refused last.
    pub why: Option<String>,
}

/// The incident for which a mirror is stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopped {
    /// Its number.
    pub incident: u64,
    /// When it was seen.
    pub seen_at: Timestamp,
    /// In a sentence.
    pub what: String,
    /// The file with both notes and the proof.
    pub evidence: String,
}

/// How all mirrors are, by name.
pub fn statuses_of(mirrors: &Mirrors) -> Result<Vec<MirrorStatus>, StoreError> {
    let mut all = mirrors.iter().map(|mirror| status_of(mirror)).collect::<Result<Vec<_>, _>>()?;
    all.extend(mirrors.unusable().map(|unusable| status_of_unusable(unusable)));
    all.sort_by(|one, other| one.log.cmp(&other.log));
    Ok(all)
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

/// How a mirror is.
pub fn status_of(mirror: &Mirror) -> Result<MirrorStatus, StoreError> {
    let log = &mirror.log;
    let counts = log.counts()?;
    let LogProgress { size, shown_size, succeeded_at, failed_at, failure, .. } = log.progress();
    let url = |(url, health): (crate::source::RedactedUrl, crate::upstream::UrlHealth)| UrlStatus {
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
        last_error: failed_at.zip(failure).map(|(at, why)| LastError { at, why }),
        urls: log.transport().health().into_iter().map(url).collect(),
        stopped: log.incident().map(|incident| Stopped {
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
    fn new(mirror: &Mirror, run: &ReplicaRun) -> RunStatus {
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

/// Brings a mirror up to date, and tells how far it is. When nobody listens any more the work ends, and what is done stays.
pub async fn sync<E>(
    mirrors: &Mirrors,
    log: &str,
    mut tell: impl FnMut(RunStatus) -> Result<(), E>,
) -> Result<Result<SyncAnswer, Refusal>, E> {
    let mirror = match find(mirrors, log) {
        Ok(mirror) => mirror,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let mut runs = mirror.run();
    // A run that is under way already is news, too.
    runs.mark_changed();
    let mut work = std::pin::pin!(mirror.sync());
    let synced = loop {
        tokio::select! {
            synced = &mut work => break synced,
            Ok(()) = runs.changed() => {
                let run = *runs.borrow_and_update();
                if let Some(run) = run {
                    tell(RunStatus::new(mirror, &run))?;
                }
            }
        }
    };
    let answer =
        |Synced { from, to }| SyncAnswer { log: log.to_owned(), from: from.map(|size| size.0), to: to.0 };
    Ok(synced.map(answer).map_err(|error| refusal(mirror, &error)))
}

/// Ends the stop of a mirror.
pub async fn resume(mirrors: &Mirrors, log: &str, incident: u64) -> Result<ResumeAnswer, Refusal> {
    let mirror = find(mirrors, log)?;
    let wrong = |why: String| Err(Refusal { reason: Reason::Usage, why });
    let Some(stopped) = mirror.log.incident() else {
        return wrong(format!("{log} is not stopped"));
    };
    let resumed = mirror.log.resume(incident).await;
    if resumed.map_err(|error| refusal(mirror, &SyncError::Remote(error)))? {
        return Ok(ResumeAnswer { log: log.to_owned(), evidence: stopped.evidence.display().to_string() });
    }
    wrong(format!("{log} is stopped for incident {}, not for {incident}", stopped.id))
}

pub(super) fn find<'m>(mirrors: &'m Mirrors, log: &str) -> Result<&'m Mirror, Refusal> {
    let unknown = || {
        let known: Vec<&str> = mirrors.iter().map(|mirror| mirror.log.name()).collect();
        let why = format!("no checksum database \"{log}\" is mirrored here; known: {}", known.join(", "));
        Refusal { reason: Reason::Usage, why }
    };
    if let Some(unusable) = mirrors.find_unusable(log) {
        let why = format!("{unusable}\n  fix: {}", unusable.remedy());
        return Err(Refusal { why, ..Refusal::from(&unusable.error) });
    }
    mirrors.find(log).map(|mirror| &**mirror).ok_or_else(unknown)
}

pub(super) fn refusal(mirror: &Mirror, error: &SyncError) -> Refusal {
    let why = error.to_string();
    let reason = match error {
        SyncError::Busy { .. } => Reason::Busy,
        SyncError::NoRoom { .. } => Reason::Failed,
        SyncError::NoDataTiles { .. } => Reason::Unavailable,
        // That all URLs send what is refused may pass, as when a cache is broken; a log that contradicts itself does not.
        SyncError::Remote(
            RemoteError::Unavailable { .. } | RemoteError::NotFound { .. } | RemoteError::Unproven(_),
        ) => Reason::Unavailable,
        SyncError::Remote(RemoteError::Forbidden { .. }) => Reason::Failed,
        SyncError::Remote(RemoteError::Store(error)) => return Refusal::from(&**error),
        SyncError::Remote(RemoteError::Misbehavior(_)) => {
            let Some(incident) = mirror.log.incident() else {
                return Refusal { reason: Reason::Alarming, why };
            };
            let why = format!(
                "{why}\n  evidence: {}\n  fix: compare it with what others have seen of this log; to go on all the same: \
                 `tallystick mirror resume {} --incident {}`",
                incident.evidence.display(),
                mirror.log.name(),
                incident.id
            );
            return Refusal { reason: Reason::Alarming, why };
        }
    };
    Refusal { reason, why }
}

pub(super) async fn request_of<T: DeserializeOwned>(request: Request) -> Result<T, String> {
    serde_json::from_slice(&body_of(request).await?).map_err(|error| error.to_string())
}

pub(super) async fn serve_status(State(control): State<Control>, request: Request) -> Response {
    if let Err(why) = request_of::<StatusRequest>(request).await {
        return malformed(why);
    }
    result(statuses_of(control.mirrors()).map_err(|error| Refusal::from(&error)))
}

pub(super) async fn serve_sync(State(control): State<Control>, request: Request) -> Response {
    match request_of::<SyncRequest>(request).await {
        Ok(SyncRequest { log }) => {
            let (events, body) = Events::new();
            tokio::spawn(follow(control, log, events));
            response(StatusCode::OK, "application/x-ndjson", Body::new(body))
        }
        Err(why) => malformed(why),
    }
}

async fn follow(control: Control, log: String, events: Events) {
    // Who reads slowly misses some of it.
    let told = |run| events.tell_if_read(&SyncEvent::Running(run));
    let ended: Result<Result<SyncAnswer, Refusal>, Gone> = tokio::select! {
        ended = sync(control.mirrors(), &log, told) => ended,
        () = events.gone() => return,
        () = control.stopped() => {
            let why = "the server is being stopped; what is verified by then is kept".to_owned();
            Ok(Err(Refusal { reason: Reason::Unavailable, why }))
        }
    };
    if let Ok(ended) = ended {
        let _ = events.tell(&ended.map_or_else(SyncEvent::Refused, SyncEvent::Done)).await;
    }
}

pub(super) async fn serve_resume(State(control): State<Control>, request: Request) -> Response {
    match request_of::<ResumeRequest>(request).await {
        Ok(ResumeRequest { log, incident }) => result(resume(control.mirrors(), &log, incident).await),
        Err(why) => malformed(why),
    }
}
