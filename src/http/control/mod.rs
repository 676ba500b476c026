//! The control socket: how our own commands reach a log that is open.
//!
//! HTTP/1.1 over the Unix socket `<data>/control.sock` (mode 0600, so the same user only). A command that finds no server
//! opens the log itself and speaks the same protocol to itself through a pipe, so there is one way into the log.
//!
//! ```text
//! POST /v1/lookup                          {"module":"rsc.io/quote@v1.5.2"}            → one LookupAnswer
//! POST /v1/notarize                        the same; appends what is unknown           → one LookupAnswer
//! POST /v1/prove                           {"module":"rsc.io/quote@v1.5.2"}            → one ProveAnswer
//! POST /v1/import?importer=NAME            one ModuleClaims a line                     → one Event a line
//! POST /v1/import-trusted?importer=NAME    records, as data tiles hold them            → one Event a line
//! POST /v1/mirror/status                   {}                                          → all MirrorStatus
//! POST /v1/mirror/sync                     {"log":"sum.golang.org"}                    → one SyncEvent a line
//! POST /v1/mirror/figures                  {}                                          → one FiguresAnswer
//! POST /v1/mirror/resume                   {"log":"sum.golang.org","incident":1}       → one ResumeAnswer
//! POST /v1/mirror/work                     {"verify":{"log":"sum.golang.org"}}         → one WorkEvent a line
//! ```
//!
//! 200 carries what is promised, 422 a [`Refusal`], 400 a text about a malformed request. A program that does not know a path
//! answers 404: command and server are of different versions. Both imports answer while they are asked, in any order, and
//! end with one of [`Event::Done`], [`Event::Malformed`], [`Event::Stopped`]; an answer without one was cut.
//!
//! Nobody is asked to hold more than a few batches: who reads slowly is written to slowly, in both directions.

pub mod by_hand;
pub mod figures;
pub mod mirrors;
mod modules;
mod prove;
mod records;
mod socket;
mod stream;
mod trusted;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::Response;
use axum::routing::post;
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::log::{Log, Snapshot, evidence_of};
use crate::mirror::Mirrors;
use crate::module::ModuleVersion;
use crate::notary::{Notarized, Notary, NotaryError};
use crate::share::Claimant;
use crate::store::{StoreError, StoredRecord};
use crate::visible;
pub use records::{MAX_RECORD_BYTES, Malformed, RecordParser, Trusted};
pub use socket::{SOCKET_FILE, Socket, connect};
pub use stream::{Events, Lines, MAX_LINE_BYTES, Pipe};
pub use wire::*;

/// Commands at one time, each with a few batches in memory; more wait to be accepted.
const MAX_CONNECTIONS: usize = 16;
/// The head of a request is written at once by a program on the same machine.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);
/// The body of a request that is not a stream comes with its head. Each connection is one of a few.
const BODY_PATIENCE: Duration = Duration::from_secs(10);
/// A request that is not a stream names one module version.
const MAX_REQUEST_BYTES: usize = 16 << 10;
/// How long commands may take to hear that the server stops.
const DRAIN: Duration = Duration::from_secs(5);
/// The longest name of an importer: it is kept with every record.
const MAX_IMPORTER_BYTES: usize = 200;

/// What stands behind the socket. Clones share everything.
#[derive(Clone)]
pub struct Control(Arc<Inner>);

struct Inner {
    log: Log,
    notary: Notary,
    mirrors: Mirrors,
    stopped: watch::Receiver<bool>,
}

impl Control {
    /// The control of an open log. When `stopped` becomes true, imports end at the next record.
    pub fn new(log: Log, notary: Notary, mirrors: Mirrors, stopped: watch::Receiver<bool>) -> Control {
        Control(Arc::new(Inner { log, notary, mirrors, stopped }))
    }

    /// Serves commands until the log is stopped, then tells them so. The socket file is gone afterwards.
    pub async fn serve(self, socket: Socket) {
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            let next = async {
                let slot = slots.clone().acquire_owned().await.expect("the semaphore is never closed");
                (socket.accept().await, slot)
            };
            let (stream, slot) = tokio::select! {
                next = next => next,
                () = self.stopped() => break,
                Some(_) = connections.join_next() => continue,
            };
            let control = self.clone();
            connections.spawn(async move {
                control.serve_connection(stream).await;
                drop(slot);
            });
        }
        drop(socket);
        let all = async { while connections.join_next().await.is_some() {} };
        // What is not done by then is cut; what it has appended stays.
        let _ = timeout(DRAIN, all).await;
    }

    /// Serves one connection to its end.
    pub async fn serve_connection(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let service = TowerToHyperService::new(self.router());
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(HEAD_PATIENCE);
        if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
            tracing::debug!(%error, "a command went away");
        }
    }

    fn router(&self) -> Router {
        Router::new()
            .route("/v1/lookup", post(lookup))
            .route("/v1/notarize", post(notarize))
            .route("/v1/prove", post(prove::prove))
            .route("/v1/import", post(import))
            .route("/v1/import-trusted", post(import_trusted))
            .route("/v1/mirror/status", post(mirrors::serve_status))
            .route("/v1/mirror/figures", post(figures::serve_figures))
            .route("/v1/mirror/sync", post(mirrors::serve_sync))
            .route("/v1/mirror/resume", post(mirrors::serve_resume))
            .route("/v1/mirror/work", post(by_hand::serve_work))
            .with_state(self.clone())
    }

    fn mirrors(&self) -> &Mirrors {
        &self.0.mirrors
    }

    fn log(&self) -> &Log {
        &self.0.log
    }

    /// Ready when the log is to be closed.
    async fn stopped(&self) {
        // An error means that the sender is gone, which is the same.
        let _ = self.0.stopped.clone().wait_for(|stopped| *stopped).await;
    }

    /// A damaged row ends signing, whoever finds it.
    fn failed(&self, error: &StoreError) -> Refusal {
        if let StoreError::Damaged { .. } = error {
            tracing::error!(%error, "a stored row is damaged");
            self.log().stop_signing(error);
        }
        Refusal::from(error)
    }

    fn answer(
        &self,
        module: ModuleVersion,
        snapshot: &Snapshot,
        record: Option<StoredRecord>,
        appended: bool,
    ) -> Result<LookupAnswer, Refusal> {
        let found = match record {
            Some(record) => {
                let kept = evidence_of(snapshot, record.id).map_err(|error| self.failed(&error))?;
                Some((record, kept))
            }
            None => None,
        };
        Ok(LookupAnswer::new(self.log().identity(), module, snapshot.head(), found, appended))
    }

    /// Brings a module version into the log, and says whether it is new there. A source that takes long is waited for
    /// until the notary itself gives up on it.
    async fn notarize(&self, module: &ModuleVersion) -> Result<(Notarized, bool), NotaryError> {
        let size = self.log().snapshot().size();
        let mut tries = modules::TRIES;
        loop {
            tries -= 1;
            match self.0.notary.lookup(module.clone(), Claimant::Operator).await {
                Ok(notarized) => {
                    let is_new = notarized.record.id.0 >= size.0;
                    return Ok((notarized, is_new));
                }
                Err(error) if tries == 0 => return Err(error),
                Err(error) => modules::wait_for_next_try(error).await?,
            }
        }
    }
}

async fn lookup(State(control): State<Control>, request: Request) -> Response {
    let module = match module_of(request).await {
        Ok(module) => module,
        Err(why) => return malformed(why),
    };
    let snapshot = control.log().snapshot();
    let found = snapshot.find(&module).map_err(|error| control.failed(&error));
    result(found.and_then(|record| control.answer(module, &snapshot, record, false)))
}

async fn notarize(State(control): State<Control>, request: Request) -> Response {
    let module = match module_of(request).await {
        Ok(module) => module,
        Err(why) => return malformed(why),
    };
    match control.notarize(&module).await {
        Ok((Notarized { record, snapshot }, is_new)) => {
            result(control.answer(module, &snapshot, Some(record), is_new))
        }
        Err(error) => result::<LookupAnswer>(Err(Refusal::from(&error))),
    }
}

async fn import(State(control): State<Control>, uri: Uri, request: Request) -> Response {
    streamed(&uri, request, |importer, body, events| modules::import(control, importer, body, events))
}

async fn import_trusted(State(control): State<Control>, uri: Uri, request: Request) -> Response {
    streamed(&uri, request, |importer, body, events| trusted::import(control, importer, body, events))
}

/// Answers with what the task says while it reads the request.
fn streamed<F>(uri: &Uri, request: Request, task: impl FnOnce(Arc<str>, Body, Events) -> F) -> Response
where
    F: Future<Output = ()> + Send + 'static,
{
    let importer = match importer_of(uri) {
        Ok(importer) => importer,
        Err(why) => return malformed(why),
    };
    let (events, body) = Events::new();
    tokio::spawn(task(importer, request.into_body(), events));
    response(StatusCode::OK, "application/x-ndjson", Body::new(body))
}

async fn module_of(request: Request) -> Result<ModuleVersion, String> {
    let body = body_of(request).await?;
    let request: ModuleRequest = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
    Ok(request.module)
}

/// The body of a request that is not a stream.
async fn body_of(request: Request) -> Result<Bytes, String> {
    let body = timeout(BODY_PATIENCE, Limited::new(request.into_body(), MAX_REQUEST_BYTES).collect()).await;
    let body = body.map_err(|_| format!("the body did not come within {} s", BODY_PATIENCE.as_secs()))?;
    Ok(body.map_err(|error| error.to_string())?.to_bytes())
}

fn importer_of(uri: &Uri) -> Result<Arc<str>, String> {
    let query = uri.query().unwrap_or_default();
    let importer = url::form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "importer");
    let importer = importer.map(|(_, value)| value.into_owned()).unwrap_or_default();
    check_importer(&importer)?;
    Ok(importer.into())
}

/// Whether a name can stand as evidence forever: 1 to 200 bytes of plain text on one line.
pub fn check_importer(importer: &str) -> Result<(), String> {
    if importer.trim().is_empty() {
        return Err("the importer has no name".to_owned());
    }
    if importer.len() > MAX_IMPORTER_BYTES {
        return Err(format!("the importer's name has more than {MAX_IMPORTER_BYTES} bytes"));
    }
    if !importer.chars().all(visible::is_plain) {
        let shown = visible::escape_line(importer);
        return Err(format!("the importer's name has control or invisible characters: {shown}"));
    }
    Ok(())
}

fn result<T: serde::Serialize>(result: Result<T, Refusal>) -> Response {
    let (status, body) = match &result {
        Ok(answer) => (StatusCode::OK, serde_json::to_vec(answer)),
        Err(refusal) => (StatusCode::UNPROCESSABLE_ENTITY, serde_json::to_vec(refusal)),
    };
    response(status, "application/json", Body::from(body.expect("only string keys")))
}

fn malformed(why: String) -> Response {
    response(StatusCode::BAD_REQUEST, "text/plain; charset=utf-8", Body::from(why))
}

fn response(status: StatusCode, content_type: &'static str, body: Body) -> Response {
    let builder = Response::builder().status(status).header(header::CONTENT_TYPE, content_type);
    builder.body(body).expect("a status and a header that are constants")
}
