//! The way into the log: through the running server, or, when none runs, by being one for a moment.
//!
//! Without a server a command opens the log itself, under the same lock, and speaks the control protocol to itself through
//! a pipe. So there is one path, and what a command does is the same with a server and without.

use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite, duplex};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use super::engines::Engines;
use super::exit::{Exit, OrExit};
use super::founding::{self, NewLog, NoKey};
use crate::config::{Config, Environment, GoEnvironment};
use crate::http::control::{Control, Lines, Pipe, Reason, Refusal, SOCKET_FILE, connect};
use crate::log::{ReadOnly, State};
use crate::notary::Notary;

/// Bytes in the pipe of a command that is its own server.
const PIPE_BYTES: usize = 512 << 10;
/// How long a server that has the lock may take until its socket is there: the rest of its start.
const SOCKET_PATIENCE: Duration = Duration::from_secs(3);
/// The pause between two looks.
const SOCKET_POLL: Duration = Duration::from_millis(50);
/// How long work that nobody waits for may go on at the end.
const NOTARY_PATIENCE: Duration = Duration::from_secs(5);
/// Parts of a request's body that may wait.
const QUEUE_PARTS: usize = 4;
/// The longest answer that is no stream: a record with a long `Origin` and a head.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// What of the configuration a command needs if it has to open the log itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    /// Routes, to find out what to append.
    Routes,
    /// Only the log: nobody is asked for anything.
    Log,
}

/// A connection to whoever has the log open.
pub(super) struct Session {
    requests: SendRequest<Pipe>,
    own: Option<Own>,
}

/// The log, open in this process.
struct Own {
    log: crate::log::Log,
    notary: Notary,
    _stop: watch::Sender<bool>,
}

impl Session {
    /// The running server, if there is one.
    pub(super) async fn running(config: &Config) -> anyhow::Result<Option<Session>> {
        let path = config.data.join(SOCKET_FILE);
        let stream =
            connect(&config.data).await.with_context(|| format!("cannot connect to {}", path.display()))?;
        match stream {
            Some(stream) => Ok(Some(Session { requests: start(stream).await?, own: None })),
            None => Ok(None),
        }
    }

    /// The running server, or the log itself. Exit code 5 if somebody has it and does not answer.
    pub(super) async fn open(config: &Config, needs: Needs) -> anyhow::Result<Session> {
        Session::open_or_found(config, needs, NewLog::default()).await
    }

    /// The same for a command that may make the log of a key that has none.
    pub(super) async fn open_or_found(
        config: &Config,
        needs: Needs,
        new_log: NewLog,
    ) -> anyhow::Result<Session> {
        if let Some(session) = Session::running(config).await? {
            return Ok(session);
        }
        match Session::own(config.clone(), needs, new_log).await {
            Err(error) if Exit::of(&error) == Exit::Running => {
                Session::wait_for_server(config).await?.ok_or(error)
            }
            opened => opened,
        }
    }

    /// Whoever has the lock may be a server that is just starting.
    pub(super) async fn wait_for_server(config: &Config) -> anyhow::Result<Option<Session>> {
        let appears = async {
            loop {
                match Session::running(config).await {
                    Ok(None) => sleep(SOCKET_POLL).await,
                    found => return found,
                }
            }
        };
        timeout(SOCKET_PATIENCE, appears).await.unwrap_or(Ok(None))
    }

    async fn own(mut config: Config, needs: Needs, new_log: NewLog) -> anyhow::Result<Session> {
        let (signer, _) = founding::signing_key(&config, new_log, NoKey::Refuse)?;
        match needs {
            Needs::Routes => config.discover(&GoEnvironment::read(&Environment::of_process()))?,
            Needs::Log => {
                config.routes.clear();
                config.sumdbs.clear();
            }
        }
        let Engines { log, notary, mirrors, .. } = Engines::open(&config, signer)?;
        // A server shows a head that waits to its witnesses again and again, a command once.
        if matches!(&*log.state(), State::ReadOnly(ReadOnly::Unwitnessed { .. })) {
            let _ = log.append(Vec::new()).await;
        }
        let (stop, stopped) = watch::channel(false);
        let control = Control::new(log.clone(), notary.clone(), mirrors, stopped);
        let (ours, theirs) = duplex(PIPE_BYTES);
        tokio::spawn(async move { control.serve_connection(theirs).await });
        Ok(Session { requests: start(ours).await?, own: Some(Own { log, notary, _stop: stop }) })
    }

    /// Asks for one thing.
    pub(super) async fn ask<T: DeserializeOwned>(
        &mut self,
        path: &str,
        request: &impl Serialize,
    ) -> anyhow::Result<Result<T, Refusal>> {
        let (sender, body) = Pipe::new(1);
        sender.send(serde_json::to_vec(request)?.into()).await?;
        drop(sender);
        let response = self.send(path, body).await?;
        let status = response.status();
        let body = http_body_util::Limited::new(response.into_body(), MAX_ANSWER_BYTES);
        let body = http_body_util::BodyExt::collect(body).await.map_err(|error| anyhow!(error))?.to_bytes();
        if status == StatusCode::UNPROCESSABLE_ENTITY {
            return Ok(Err(serde_json::from_slice(&body)?));
        }
        Ok(Ok(serde_json::from_slice(&body).context("the server's answer is not what this program knows")?))
    }

    /// Sends what is put into the other end of `body`, and returns what is told meanwhile.
    pub(super) async fn stream(&mut self, path: &str, importer: &str, body: Pipe) -> anyhow::Result<Told> {
        let query =
            url::form_urlencoded::Serializer::new(String::new()).append_pair("importer", importer).finish();
        let response = self.send(&format!("{path}?{query}"), body).await?;
        Ok(Told(Lines::new(response.into_body())))
    }

    /// Asks for something that takes long, and returns what is told meanwhile.
    pub(super) async fn follow(&mut self, path: &str, request: &impl Serialize) -> anyhow::Result<Told> {
        let (sender, body) = Pipe::new(1);
        sender.send(serde_json::to_vec(request)?.into()).await?;
        drop(sender);
        Ok(Told(Lines::new(self.send(path, body).await?.into_body())))
    }

    /// A body for [`Session::stream`], and where its parts are put in.
    pub(super) fn body() -> (mpsc::Sender<Bytes>, Pipe) {
        Pipe::new(QUEUE_PARTS)
    }

    async fn send(&mut self, path: &str, body: Pipe) -> anyhow::Result<Response<Incoming>> {
        let request = Request::post(path).header(header::HOST, "control").body(body)?;
        self.requests.ready().await.map_err(|_| cut()).or_exit(Exit::Unreachable)?;
        let response = self.requests.send_request(request).await;
        let response = response
            .map_err(|error| anyhow!(error).context("the server does not answer"))
            .or_exit(Exit::Unreachable)?;
        match response.status() {
            StatusCode::OK | StatusCode::UNPROCESSABLE_ENTITY => Ok(response),
            StatusCode::NOT_FOUND => bail!(
                "the running server is of another version\n  fix: use its own program, or start it again with this one"
            ),
            status => {
                let body = http_body_util::Limited::new(response.into_body(), MAX_ANSWER_BYTES);
                let body = http_body_util::BodyExt::collect(body)
                    .await
                    .map(|body| body.to_bytes())
                    .unwrap_or_default();
                bail!("the server answered {status}: {}", String::from_utf8_lossy(&body))
            }
        }
    }

    /// Ends the session. A log that was opened by it is closed, and tidied.
    pub(super) async fn close(self) -> anyhow::Result<()> {
        drop(self.requests);
        let Some(Own { log, notary, .. }) = self.own else { return Ok(()) };
        notary.stop(NOTARY_PATIENCE).await;
        tokio::task::spawn_blocking(move || log.close()).await?;
        Ok(())
    }
}

async fn start(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> anyhow::Result<SendRequest<Pipe>> {
    let (requests, connection) = handshake(TokioIo::new(stream)).await?;
    // What goes wrong with it, requests and answers tell.
    tokio::spawn(connection);
    Ok(requests)
}

fn cut() -> anyhow::Error {
    anyhow!("the server went away")
}

/// What long work tells.
pub(super) struct Told(Lines<Incoming>);

impl Told {
    /// The next event. After the last one there is none.
    pub(super) async fn next<T: DeserializeOwned>(&mut self) -> anyhow::Result<T> {
        let line = self.0.next().await.map_err(|error| anyhow!(error)).or_exit(Exit::Unreachable)?;
        let line = line.ok_or_else(cut).or_exit(Exit::Unreachable)?;
        serde_json::from_slice(&line).context("the server's answer is not what this program knows")
    }
}

/// The exit code that a refusal stands for.
pub(super) fn exit_of(reason: Reason) -> Exit {
    match reason {
        Reason::NotFound | Reason::Failed => Exit::Failed,
        Reason::Unavailable => Exit::Unreachable,
        Reason::Alarming => Exit::Damage,
        Reason::Busy => Exit::Running,
        Reason::Usage => Exit::Usage,
    }
}

/// A refusal that ends the command.
pub(super) fn refused<T>(Refusal { reason, why }: Refusal) -> anyhow::Result<T> {
    Err(anyhow!(why)).or_exit(exit_of(reason))
}
