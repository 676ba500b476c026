//! The control socket: how our own commands reach a log that is open.
//!
//! HTTP/1.1 over the Unix socket `<data>/control.sock` (mode 0600, so the same user only). Both
//! ends are here: what stands behind the socket, and the [`ControlClient`] of a command. The work
//! itself is in [`operate`](crate::operate), which a command that finds no server calls without
//! this protocol.
//!
//! ```text
//! POST /v1/lookup                         {"module":"rsc.io/quote@v1.5.2"}       → LookupAnswer
//! POST /v1/notarize                       the same; appends what is unknown      → LookupAnswer
//! POST /v1/prove                          {"module":"rsc.io/quote@v1.5.2"}       → ModuleProofs
//! POST /v1/reload                         {}                                     → ReloadAnswer
//! POST /v1/state                          {}                                     → LogStateAnswer
//! POST /v1/incidents/decide               a DecisionRequest                      → DecisionAnswer
//! POST /v1/import?importer=NAME           one ClaimedModule a line               → one ImportEvent a line
//! POST /v1/import-trusted?importer=NAME   records, as in data tiles              → one ImportEvent a line
//! POST /v1/door                           {}                                     → OpenDoor
//! POST /v1/mirror/status                  {}                                     → all MirrorStatus
//! POST /v1/mirror/sync                    {"log":"sum.golang.org"}               → one SyncEvent a line
//! POST /v1/mirror/figures                 {}                                     → FiguresAnswer
//! POST /v1/mirror/resume                  {"log":"sum.golang.org","incident":1}  → ResumeAnswer
//! POST /v1/mirror/work                    {"verify":{"log":"sum.golang.org"}}    → one WorkEvent a line
//! ```
//!
//! 200 carries what is promised, 422 a `Refusal`, 400 a text about a malformed request. A program
//! that does not know a path answers 404: command and server are of different versions. Both
//! imports answer while they are asked, in any order, and end with one of `done`, `malformed`,
//! `stopped`; an answer without one was cut.
//!
//! Neither side holds more than a few batches: each writes as fast as the other reads.

mod client;
mod log;
mod mirrors;
mod reply;
mod server;
mod socket;
mod stream;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::post;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::operate::Operations;
pub(crate) use client::{ControlClient, ControlError, ImportAnswers};
pub(crate) use mirrors::figures;
pub(crate) use socket::Socket;

/// Commands at one time, each with a few batches in memory; more wait to be accepted.
const MAX_CONNECTIONS: usize = 16;
/// The head of a request is written at once by a program on the same machine.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);
/// How long the server waits for its commands when it stops.
const DRAIN: Duration = Duration::from_secs(5);

/// Serves commands until the operations are stopped, then tells them so. The socket file is gone
/// afterwards.
pub(crate) async fn serve(operations: Operations, socket: Socket) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            let slot = slots.clone().acquire_owned().await.expect("the semaphore is never closed");
            (socket.accept().await, slot)
        };
        let (stream, slot) = tokio::select! {
            next = next => next,
            () = operations.stopped() => break,
            Some(_) = connections.join_next() => continue,
        };
        let router = router(operations.clone());
        connections.spawn(async move {
            serve_connection(router, stream).await;
            drop(slot);
        });
    }
    drop(socket);
    let all = async { while connections.join_next().await.is_some() {} };
    // What is not done by then is cut; what it has appended stays.
    let _ = timeout(DRAIN, all).await;
}

/// Serves one connection to its end.
async fn serve_connection(router: Router, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    let service = TowerToHyperService::new(router);
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_PATIENCE);
    if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a command went away");
    }
}

fn router(operations: Operations) -> Router {
    Router::new()
        .route("/v1/lookup", post(log::lookup))
        .route("/v1/notarize", post(log::notarize))
        .route("/v1/prove", post(log::prove))
        .route("/v1/reload", post(server::reload))
        .route("/v1/state", post(log::state))
        .route("/v1/incidents/decide", post(log::decide))
        .route("/v1/import", post(log::import_go_sum))
        .route("/v1/import-trusted", post(log::import_records))
        .route("/v1/door", post(log::door))
        .route("/v1/mirror/status", post(mirrors::serve_status))
        .route("/v1/mirror/figures", post(mirrors::serve_figures))
        .route("/v1/mirror/sync", post(mirrors::serve_sync))
        .route("/v1/mirror/resume", post(mirrors::serve_resume))
        .route("/v1/mirror/work", post(mirrors::serve_work))
        .with_state(operations)
}
