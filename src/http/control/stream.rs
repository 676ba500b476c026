//! Bodies that are written while they are read, and lines of bodies.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::HttpBody;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Frame;
use serde::Serialize;
use tokio::sync::mpsc::{self, error::TrySendError};

/// The longest line of a stream: a module version with sixteen claims, each with a path of a file.
pub const MAX_LINE_BYTES: usize = 128 << 10;
/// Events that may wait for a reader.
const QUEUE_EVENTS: usize = 64;

/// A body whose parts come through a channel. It ends when the other end of the channel is dropped.
pub struct Pipe(mpsc::Receiver<Bytes>);

impl Pipe {
    /// A body of which `parts` may wait, and where they are put in.
    pub fn new(parts: usize) -> (mpsc::Sender<Bytes>, Pipe) {
        let (sender, receiver) = mpsc::channel(parts);
        (sender, Pipe(receiver))
    }
}

impl HttpBody for Pipe {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|part| part.map(|part| Ok(Frame::data(part))))
    }
}

/// Where long work tells what happens.
pub struct Events(mpsc::Sender<Bytes>);

/// Nobody listens any more.
pub(super) struct Gone;

impl Events {
    /// A teller, and the body that carries what it tells.
    pub(super) fn new() -> (Events, Pipe) {
        let (sender, body) = Pipe::new(QUEUE_EVENTS);
        (Events(sender), body)
    }

    /// Ready when nobody listens any more.
    pub(super) async fn gone(&self) {
        self.0.closed().await;
    }

    /// Tells one thing, unless the reader is behind.
    pub(super) fn tell_if_read(&self, event: &impl Serialize) -> Result<(), Gone> {
        match self.0.try_send(line_of(event)) {
            Ok(()) | Err(TrySendError::Full(_)) => Ok(()),
            Err(TrySendError::Closed(_)) => Err(Gone),
        }
    }

    /// Tells one thing, and waits while the reader is behind.
    pub(super) async fn tell(&self, event: &impl Serialize) -> Result<(), Gone> {
        self.0.send(line_of(event)).await.map_err(|_| Gone)
    }
}

fn line_of(event: &impl Serialize) -> Bytes {
    let mut line = serde_json::to_vec(event).expect("events have string keys only");
    line.push(b'\n');
    line.into()
}

/// Why there is no next line.
#[derive(Debug, thiserror::Error)]
pub enum LinesError {
    /// The other side went away in the middle.
    #[error("the connection was cut: {0}")]
    Cut(String),
    /// A line is longer than [`MAX_LINE_BYTES`].
    #[error("a line has more than {MAX_LINE_BYTES} bytes")]
    TooLong,
}

/// The lines of a body, each without its end. Between two calls nothing is lost when a call is given up.
pub struct Lines<B> {
    body: B,
    buffer: BytesMut,
    /// Bytes of the buffer that hold no line end.
    searched: usize,
    ended: bool,
}

impl<B> Lines<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    /// The lines of `body`.
    pub fn new(body: B) -> Lines<B> {
        Lines { body, buffer: BytesMut::new(), searched: 0, ended: false }
    }

    /// The next line; `None` after the last one, whose end may be missing.
    pub async fn next(&mut self) -> Result<Option<Bytes>, LinesError> {
        loop {
            if let Some(at) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') {
                let mut line = self.buffer.split_to(self.searched + at + 1);
                line.truncate(line.len() - 1);
                self.searched = 0;
                return Ok(Some(line.freeze()));
            }
            self.searched = self.buffer.len();
            if self.searched > MAX_LINE_BYTES {
                return Err(LinesError::TooLong);
            }
            if self.ended {
                self.searched = 0;
                let last = self.buffer.split().freeze();
                return Ok((!last.is_empty()).then_some(last));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => self.buffer.extend_from_slice(&frame.into_data().unwrap_or_default()),
                Some(Err(error)) => return Err(LinesError::Cut(error.to_string())),
                None => self.ended = true,
            }
        }
    }

    /// Reads the rest and throws it away: who still writes would see a broken connection instead of the answer.
    pub(super) async fn drain(mut self) {
        self.buffer.clear();
        drain(&mut self.body).await;
    }
}

/// Reads the rest of a body and throws it away.
pub(super) async fn drain(body: &mut (impl HttpBody + Unpin)) {
    while let Some(Ok(_)) = body.frame().await {}
}
