//! The requests about mirrors.
//!
//! ```text
//! POST /v1/mirror/work   {"export":{"log":"sum.golang.org","to":"/srv/log","from":null}}
//! {"progress":{"what":"records","done":65536,"total":71848828}}
//! {"part":{…}}                  what is too long for one line: findings, paths, disagreements
//! {"done":{"export":{…}}}       or {"refused":{…}}
//! ```

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use tokio::sync::mpsc;

use super::reply::{body_of, events, request_of, result};
use super::wire::{
    FiguresAnswer, Part, ResumeRequest, StatusRequest, SyncEvent, SyncRequest, WorkAnswer, WorkEvent,
    WorkRequest, Worked,
};
use crate::clock::Clock;
use crate::http::answer::control::malformed;
use crate::http::metrics::MetricsSource as _;
use crate::http::remote::MirrorFigures;
use crate::http::textfile;
use crate::log::FsckFinding;
use crate::mirror::{Mirrors, Reverified};
use crate::operate::{CompareAnswer, Operations, Refusal, Tell};

/// Returns the figures of all mirrors now, in the text format of Prometheus.
pub(crate) fn figures(mirrors: &Mirrors, clock: Clock) -> String {
    textfile::text_of(&MirrorFigures { mirrors: mirrors.clone(), clock }.samples())
}

pub(super) async fn serve_figures(State(operations): State<Operations>, request: Request) -> Response {
    match body_of(request).await {
        Ok(_) => result(Ok(FiguresAnswer { text: figures(operations.mirrors(), Clock::system()) })),
        Err(why) => malformed(why),
    }
}

pub(super) async fn serve_status(State(operations): State<Operations>, request: Request) -> Response {
    match request_of::<StatusRequest>(request).await {
        Ok(StatusRequest {}) => result(operations.mirror_statuses().map_err(|error| Refusal::from(&error))),
        Err(why) => malformed(why),
    }
}

pub(super) async fn serve_resume(State(operations): State<Operations>, request: Request) -> Response {
    match request_of::<ResumeRequest>(request).await {
        Ok(ResumeRequest { log, incident }) => result(operations.resume_mirror(&log, incident).await),
        Err(why) => malformed(why),
    }
}

pub(super) async fn serve_sync(State(operations): State<Operations>, request: Request) -> Response {
    let SyncRequest { log } = match request_of(request).await {
        Ok(request) => request,
        Err(why) => return malformed(why),
    };
    let (events, response) = events();
    tokio::spawn(async move {
        // A slow reader misses some of it.
        let tell = |run| drop(events.try_send(SyncEvent::Running(run)));
        let ended = tokio::select! {
            ended = operations.sync_mirror(&log, tell) => ended,
            () = events.closed() => return,
        };
        let _ = events.send(ended.map_or_else(SyncEvent::Refused, SyncEvent::Done)).await;
    });
    response
}

pub(super) async fn serve_work(State(operations): State<Operations>, request: Request) -> Response {
    let request = match request_of(request).await {
        Ok(request) => request,
        Err(why) => return malformed(why),
    };
    let (events, response) = events();
    tokio::spawn(follow(operations, request, events));
    response
}

async fn follow(operations: Operations, request: WorkRequest, events: mpsc::Sender<WorkEvent>) {
    let teller = events.clone();
    // A slow reader misses some of it.
    let tell: Tell = Arc::new(move |at| drop(teller.try_send(WorkEvent::Progress(at))));
    let ended = tokio::select! {
        ended = work(&operations, request, tell) => ended,
        () = events.closed() => return,
    };
    let last = match ended {
        Ok((answer, parts)) => {
            for part in parts {
                if events.send(WorkEvent::Part(part)).await.is_err() {
                    return;
                }
            }
            WorkEvent::Done(answer)
        }
        Err(refusal) => WorkEvent::Refused(refusal),
    };
    let _ = events.send(last).await;
}

async fn work(operations: &Operations, request: WorkRequest, tell: Tell) -> Result<Worked, Refusal> {
    let whole = |answer| (answer, Vec::new());
    match request {
        WorkRequest::Export { log, to, from } => {
            operations.export_mirror(&log, &to, from, tell).await.map(WorkAnswer::Export).map(whole)
        }
        WorkRequest::Import { log, source } => {
            operations.import_mirror(&log, &source, tell).await.map(WorkAnswer::Import).map(whole)
        }
        WorkRequest::Verify { log } => operations.verify_mirror(&log, tell).await.map(of_verified),
        WorkRequest::Stats { log } => {
            operations.mirror_stats(&log, tell).await.map(WorkAnswer::Stats).map(whole)
        }
        WorkRequest::Diff { log, modules } => {
            operations.compare_mirror(&log, modules, tell).await.map(of_compared)
        }
    }
}

/// Takes the findings out of a verification.
fn of_verified(Reverified { records, heads, findings, unlisted }: Reverified) -> Worked {
    let parts = findings.into_iter().map(|FsckFinding { place, why }| Part::Finding { place, why });
    (WorkAnswer::Verify { records, heads, unlisted }, parts.collect())
}

/// Takes disagreements and paths out of a comparison.
fn of_compared(CompareAnswer { total, paths, disagreements }: CompareAnswer) -> Worked {
    let disagreements = disagreements.into_iter().map(Part::Disagreement);
    (WorkAnswer::Diff(total), disagreements.chain(paths.into_iter().map(Part::Path)).collect())
}
