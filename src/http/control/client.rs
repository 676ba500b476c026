//! A command's end of the control socket.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::socket::{SOCKET_FILE, connect};
use super::stream::{Lines, LinesError, Pipe, line_of};
use super::wire::{
    FiguresAnswer, ModuleRequest, Part, ResumeRequest, StatusRequest, SyncEvent, SyncRequest, WorkAnswer,
    WorkEvent, WorkRequest, Worked,
};
use crate::log::FsckFinding;
use crate::mirror::Reverified;
use crate::module::ModuleVersion;
use crate::operate::{
    ClaimedModule, CompareAnswer, DecisionAnswer, DecisionRequest, ExportAnswer, ImportAnswer, ImportEvent,
    LogStateAnswer, LookupAnswer, MirrorStatus, ModuleProofs, OpenDoor, Refusal, ReloadAnswer, ResumeAnswer,
    RunStatus, StatsAnswer, SyncAnswer, Tell,
};

/// The longest answer that is no stream: a record with a long `Origin` and a head.
const MAX_ANSWER_BYTES: usize = 1 << 20;
/// Parts of a request's body that may wait.
const QUEUE_PARTS: usize = 4;

/// Why a server did not answer, or not as this program knows it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ControlError {
    /// The socket is there and refuses us.
    #[error("cannot connect to {}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The connection cannot begin.
    #[error(transparent)]
    Handshake(hyper::Error),
    /// The connection is gone.
    #[error("the server went away")]
    Cut,
    /// The connection is gone in the middle of an answer that is a stream.
    #[error(transparent)]
    Lines(#[from] LinesError),
    /// There is no answer.
    #[error("the server does not answer")]
    Silent(#[source] hyper::Error),
    /// An answer cannot be read to its end.
    #[error(transparent)]
    Body(Box<dyn std::error::Error + Send + Sync>),
    /// The server does not know the request.
    #[error(
        "the running server is of another version\n  fix: use its own program, or start it again with this one"
    )]
    OtherVersion,
    /// The server answered with another status than a result's.
    #[error("the server answered {status}: {text}")]
    Status {
        /// The status.
        status: StatusCode,
        /// The body.
        text: String,
    },
    /// This program cannot read the answer.
    #[error("the server's answer is not what this program knows")]
    Unreadable(#[source] serde_json::Error),
    /// The answer is one to something else.
    #[error("the server's answer is not what this program knows: {0}")]
    Unexpected(String),
}

/// What the server came to, or why it refused.
type Answered<T> = Result<Result<T, Refusal>, ControlError>;

/// A connection to the server that has the log open.
pub(crate) struct ControlClient(SendRequest<Pipe>);

impl ControlClient {
    /// Connects to the server of a data directory, if one is running.
    pub(crate) async fn connect(data: &Path) -> Result<Option<ControlClient>, ControlError> {
        let failed = |source| ControlError::Connect { path: data.join(SOCKET_FILE), source };
        let Some(stream) = connect(data).await.map_err(failed)? else { return Ok(None) };
        let (requests, connection) =
            handshake(TokioIo::new(stream)).await.map_err(ControlError::Handshake)?;
        // If it fails, the request under way says so.
        tokio::spawn(connection);
        Ok(Some(ControlClient(requests)))
    }

    /// Looks a module version up in the log.
    pub(crate) async fn lookup(&mut self, module: ModuleVersion) -> Answered<LookupAnswer> {
        self.ask("/v1/lookup", &ModuleRequest { module }).await
    }

    /// Brings a module version into the log by its route, unless it is there.
    pub(crate) async fn notarize(&mut self, module: ModuleVersion) -> Answered<LookupAnswer> {
        self.ask("/v1/notarize", &ModuleRequest { module }).await
    }

    /// Proves a module version.
    pub(crate) async fn prove(&mut self, module: ModuleVersion) -> Answered<ModuleProofs> {
        self.ask("/v1/prove", &ModuleRequest { module }).await
    }

    /// Has the server replace its configuration.
    pub(crate) async fn reload(&mut self) -> Answered<ReloadAnswer> {
        self.ask("/v1/reload", &StatusRequest {}).await
    }

    /// Returns where the server listens for clients.
    pub(crate) async fn door(&mut self) -> Answered<OpenDoor> {
        self.ask("/v1/door", &StatusRequest {}).await
    }

    /// Imports go.sum lines by their routes.
    pub(crate) async fn import_go_sum(
        &mut self,
        importer: &str,
        mut claims: mpsc::Receiver<Result<ClaimedModule, String>>,
    ) -> Result<ImportAnswers, ControlError> {
        let (sender, parts) = mpsc::channel(QUEUE_PARTS);
        tokio::spawn(async move {
            while let Some(Ok(claimed)) = claims.recv().await {
                // A server that takes no more says why.
                if sender.send(line_of(&claimed)).await.is_err() {
                    return;
                }
            }
        });
        self.import("/v1/import", importer, parts).await
    }

    /// Imports a record stream.
    pub(crate) async fn import_records(
        &mut self,
        importer: &str,
        stream: mpsc::Receiver<Bytes>,
    ) -> Result<ImportAnswers, ControlError> {
        self.import("/v1/import-trusted", importer, stream).await
    }

    /// Returns the state of each mirror.
    pub(crate) async fn mirror_statuses(&mut self) -> Answered<Vec<MirrorStatus>> {
        self.ask("/v1/mirror/status", &StatusRequest {}).await
    }

    /// Returns the mirrors' figures, in the text format of Prometheus.
    pub(crate) async fn figures(&mut self) -> Answered<String> {
        let answer: Result<FiguresAnswer, Refusal> =
            self.ask("/v1/mirror/figures", &StatusRequest {}).await?;
        Ok(answer.map(|answer| answer.text))
    }

    /// Brings a mirror up to date, and tells how far it is.
    pub(crate) async fn sync_mirror(
        &mut self,
        log: &str,
        mut tell: impl FnMut(RunStatus),
    ) -> Answered<SyncAnswer> {
        let mut events = self.follow("/v1/mirror/sync", &SyncRequest { log: log.to_owned() }).await?;
        loop {
            match events.next().await? {
                SyncEvent::Running(run) => tell(run),
                SyncEvent::Done(answer) => return Ok(Ok(answer)),
                SyncEvent::Refused(refusal) => return Ok(Err(refusal)),
            }
        }
    }

    /// Ends the stop of a mirror.
    pub(crate) async fn resume_mirror(&mut self, log: &str, incident: u64) -> Answered<ResumeAnswer> {
        self.ask("/v1/mirror/resume", &ResumeRequest { log: log.to_owned(), incident }).await
    }

    /// Writes a full mirror as static files. The server writes them, so `to` is an absolute path.
    pub(crate) async fn export_mirror(
        &mut self,
        log: &str,
        to: &Path,
        from: Option<u64>,
        tell: Tell,
    ) -> Answered<ExportAnswer> {
        let request = WorkRequest::Export { log: log.to_owned(), to: to.to_owned(), from };
        self.work(request, tell, |worked| match worked {
            (WorkAnswer::Export(answer), _) => Ok(answer),
            (other, _) => Err(unexpected(&other)),
        })
        .await
    }

    /// Takes static files into a full mirror. The server reads them: a path in `source` is
    /// absolute.
    pub(crate) async fn import_mirror(
        &mut self,
        log: &str,
        source: &str,
        tell: Tell,
    ) -> Answered<ImportAnswer> {
        let request = WorkRequest::Import { log: log.to_owned(), source: source.to_owned() };
        self.work(request, tell, |worked| match worked {
            (WorkAnswer::Import(answer), _) => Ok(answer),
            (other, _) => Err(unexpected(&other)),
        })
        .await
    }

    /// Computes everything again that a full mirror has stored.
    pub(crate) async fn verify_mirror(&mut self, log: &str, tell: Tell) -> Answered<Reverified> {
        self.work(WorkRequest::Verify { log: log.to_owned() }, tell, verified).await
    }

    /// Counts what a full mirror has stored.
    pub(crate) async fn mirror_stats(&mut self, log: &str, tell: Tell) -> Answered<StatsAnswer> {
        self.work(WorkRequest::Stats { log: log.to_owned() }, tell, |worked| match worked {
            (WorkAnswer::Stats(answer), _) => Ok(answer),
            (other, _) => Err(unexpected(&other)),
        })
        .await
    }

    /// Compares the own log with a full mirror.
    pub(crate) async fn compare_mirror(
        &mut self,
        log: &str,
        modules: Option<String>,
        tell: Tell,
    ) -> Answered<CompareAnswer> {
        self.work(WorkRequest::Diff { log: log.to_owned(), modules }, tell, compared).await
    }

    async fn work<T>(
        &mut self,
        request: WorkRequest,
        tell: Tell,
        answer: impl FnOnce(Worked) -> Result<T, ControlError>,
    ) -> Answered<T> {
        let (mut events, mut parts) = (self.follow("/v1/mirror/work", &request).await?, Vec::new());
        loop {
            match events.next().await? {
                WorkEvent::Progress(at) => tell(at),
                WorkEvent::Part(part) => parts.push(part),
                WorkEvent::Refused(refusal) => return Ok(Err(refusal)),
                WorkEvent::Done(done) => {
                    return answer((done, parts)).map(Ok);
                }
            }
        }
    }

    /// Says whether the own log signs.
    pub(crate) async fn log_state(&mut self) -> Answered<LogStateAnswer> {
        self.ask("/v1/state", &StatusRequest {}).await
    }

    /// Keeps what a person has decided about an incident.
    pub(crate) async fn decide_incident(&mut self, request: DecisionRequest) -> Answered<DecisionAnswer> {
        self.ask("/v1/incidents/decide", &request).await
    }

    /// Asks for one thing.
    async fn ask<T: DeserializeOwned>(&mut self, path: &str, request: &impl Serialize) -> Answered<T> {
        let response = self.post(path, request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
        let body = body.map_err(ControlError::Body)?.to_bytes();
        if status == StatusCode::UNPROCESSABLE_ENTITY {
            return serde_json::from_slice(&body).map(Err).map_err(ControlError::Unreadable);
        }
        serde_json::from_slice(&body).map(Ok).map_err(ControlError::Unreadable)
    }

    /// Asks for something that takes long.
    async fn follow(&mut self, path: &str, request: &impl Serialize) -> Result<EventLines, ControlError> {
        Ok(EventLines(Lines::new(self.post(path, request).await?.into_body())))
    }

    async fn post(
        &mut self,
        path: &str,
        request: &impl Serialize,
    ) -> Result<Response<Incoming>, ControlError> {
        let (sender, parts) = mpsc::channel(1);
        let body = serde_json::to_vec(request).expect("requests have string keys only");
        sender.try_send(body.into()).expect("the channel has room for one");
        drop(sender);
        self.send(path, parts).await
    }

    async fn import(
        &mut self,
        path: &str,
        importer: &str,
        parts: mpsc::Receiver<Bytes>,
    ) -> Result<ImportAnswers, ControlError> {
        let query =
            url::form_urlencoded::Serializer::new(String::new()).append_pair("importer", importer).finish();
        let response = self.send(&format!("{path}?{query}"), parts).await?;
        Ok(ImportAnswers(EventLines(Lines::new(response.into_body()))))
    }

    async fn send(
        &mut self,
        path: &str,
        parts: mpsc::Receiver<Bytes>,
    ) -> Result<Response<Incoming>, ControlError> {
        let request = Request::post(path).header(header::HOST, "control").body(Pipe::of_bytes(parts));
        let request = request.expect("a path of ours and a header that is a constant");
        self.0.ready().await.map_err(|_| ControlError::Cut)?;
        let response = self.0.send_request(request).await.map_err(ControlError::Silent)?;
        match response.status() {
            StatusCode::OK | StatusCode::UNPROCESSABLE_ENTITY => Ok(response),
            StatusCode::NOT_FOUND => Err(ControlError::OtherVersion),
            status => {
                let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
                let body = body.map(|body| body.to_bytes()).unwrap_or_default();
                Err(ControlError::Status { status, text: String::from_utf8_lossy(&body).into_owned() })
            }
        }
    }
}

fn unexpected(answer: &WorkAnswer) -> ControlError {
    ControlError::Unexpected(format!("{answer:?}"))
}

/// Puts a verification together again.
fn verified((answer, parts): Worked) -> Result<Reverified, ControlError> {
    let WorkAnswer::Verify { records, heads, unlisted } = answer else { return Err(unexpected(&answer)) };
    let finding = |part| match part {
        Part::Finding { place, why } => Some(FsckFinding { place, why }),
        Part::Path(_) | Part::Disagreement(_) => None,
    };
    Ok(Reverified { records, heads, findings: parts.into_iter().filter_map(finding).collect(), unlisted })
}

/// Puts a comparison together again.
fn compared((answer, parts): Worked) -> Result<CompareAnswer, ControlError> {
    let WorkAnswer::Diff(total) = answer else { return Err(unexpected(&answer)) };
    let (mut paths, mut disagreements) = (Vec::new(), Vec::new());
    for part in parts {
        match part {
            Part::Path(path) => paths.push(path),
            Part::Disagreement(disagreeing) => disagreements.push(disagreeing),
            Part::Finding { .. } => {}
        }
    }
    Ok(CompareAnswer { total, paths, disagreements })
}

/// What a server tells about an import.
pub(crate) struct ImportAnswers(EventLines);

impl ImportAnswers {
    /// Waits for the next event. After the last one there is none.
    pub(crate) async fn next(&mut self) -> Result<ImportEvent, ControlError> {
        self.0.next().await
    }
}

/// Events, one a line.
struct EventLines(Lines<Incoming>);

impl EventLines {
    async fn next<T: DeserializeOwned>(&mut self) -> Result<T, ControlError> {
        let line = self.0.next().await?.ok_or(ControlError::Cut)?;
        serde_json::from_slice(&line).map_err(ControlError::Unreadable)
    }
}
