//! The requests about the own log.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Uri;
use axum::response::Response;
use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::sync::mpsc;

use super::reply::{events, request_of, result};
use super::stream::{Lines, drain};
use super::wire::{ModuleRequest, StatusRequest};
use crate::http::answer::control::malformed;
use crate::operate::{ClaimedModule, DecisionRequest, ImportEvent, Operations, check_importer};

/// Parts of a request's body that may wait for the import.
const QUEUE_PARTS: usize = 1;

pub(super) async fn lookup(State(operations): State<Operations>, request: Request) -> Response {
    match request_of::<ModuleRequest>(request).await {
        Ok(ModuleRequest { module }) => result(operations.lookup(module)),
        Err(why) => malformed(why),
    }
}

pub(super) async fn notarize(State(operations): State<Operations>, request: Request) -> Response {
    match request_of::<ModuleRequest>(request).await {
        Ok(ModuleRequest { module }) => result(operations.notarize(module).await),
        Err(why) => malformed(why),
    }
}

pub(super) async fn prove(State(operations): State<Operations>, request: Request) -> Response {
    match request_of::<ModuleRequest>(request).await {
        Ok(ModuleRequest { module }) => result(operations.prove(module)),
        Err(why) => malformed(why),
    }
}

pub(super) async fn state(State(operations): State<Operations>, request: Request) -> Response {
    match request_of::<StatusRequest>(request).await {
        Ok(StatusRequest {}) => result(operations.log_state()),
        Err(why) => malformed(why),
    }
}

pub(super) async fn decide(State(operations): State<Operations>, request: Request) -> Response {
    match request_of::<DecisionRequest>(request).await {
        Ok(request) => result(operations.decide_incident(request).await),
        Err(why) => malformed(why),
    }
}

pub(super) async fn door(State(operations): State<Operations>, request: Request) -> Response {
    match request_of::<StatusRequest>(request).await {
        Ok(StatusRequest {}) => result(operations.door()),
        Err(why) => malformed(why),
    }
}

/// Imports one [`ClaimedModule`] a line.
pub(super) async fn import_go_sum(
    State(operations): State<Operations>,
    uri: Uri,
    request: Request,
) -> Response {
    import(&uri, |importer, events| {
        let (sender, claims) = mpsc::channel(QUEUE_PARTS);
        tokio::spawn(operations.import_go_sum(importer, claims, events));
        tokio::spawn(send_claims(Lines::new(request.into_body()), sender));
    })
}

/// Imports a record stream, as data tiles hold it.
pub(super) async fn import_records(
    State(operations): State<Operations>,
    uri: Uri,
    request: Request,
) -> Response {
    import(&uri, |importer, events| {
        let (sender, stream) = mpsc::channel(QUEUE_PARTS);
        let import = tokio::spawn(operations.import_records(importer, stream, events));
        tokio::spawn(async move {
            // The command went away: nobody listens, and what it sent last may be half of a record.
            if send_pieces(request.into_body(), &sender).await.is_err() {
                import.abort();
            }
        });
    })
}

/// Answers with what an import tells, while it reads the request.
fn import(uri: &Uri, start: impl FnOnce(Arc<str>, mpsc::Sender<ImportEvent>)) -> Response {
    match importer_of(uri) {
        Ok(importer) => {
            let (events, response) = events();
            start(importer, events);
            response
        }
        Err(why) => malformed(why),
    }
}

/// Sends the lines of a request until there are no more, or one that cannot be read. What the
/// import does not want is read all the same: a client that still writes would see a broken
/// connection instead of the answer.
async fn send_claims(mut lines: Lines<Body>, claims: mpsc::Sender<Result<ClaimedModule, String>>) {
    loop {
        let line = match lines.next().await {
            Ok(Some(line)) => serde_json::from_slice(&line).map_err(|error| error.to_string()),
            Ok(None) => return,
            Err(error) => Err(error.to_string()),
        };
        let is_last = line.is_err();
        if claims.send(line).await.is_err() || is_last {
            return lines.drain().await;
        }
    }
}

/// The body of a request was cut.
struct Cut;

/// Sends the pieces of a request, and reads to its end also what the import does not want.
async fn send_pieces(mut body: Body, stream: &mpsc::Sender<Bytes>) -> Result<(), Cut> {
    loop {
        let piece = match body.frame().await {
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            Some(Err(_)) => return Err(Cut),
            None => return Ok(()),
        };
        if stream.send(piece).await.is_err() {
            drain(&mut body).await;
            return Ok(());
        }
    }
}

fn importer_of(uri: &Uri) -> Result<Arc<str>, String> {
    let query = uri.query().unwrap_or_default();
    let importer = url::form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "importer");
    let importer = importer.map(|(_, value)| value.into_owned()).unwrap_or_default();
    check_importer(&importer)?;
    Ok(importer.into())
}
