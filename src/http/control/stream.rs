//! Bodies that are written while they are read, and lines of bodies.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::HttpBody;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Frame;
use serde::Serialize;
use tokio::sync::mpsc;

/// The longest line of a stream: a module version with sixteen claims, each with a path of a file.
const MAX_LINE_BYTES: usize = 128 << 10;

/// A body whose parts come through a channel. It ends when the other end of the channel is dropped.
pub(super) struct Pipe<T = Bytes> {
    parts: mpsc::Receiver<T>,
    encode: fn(T) -> Bytes,
}

impl Pipe<Bytes> {
    /// Returns a body of these bytes.
    pub(super) fn of_bytes(parts: mpsc::Receiver<Bytes>) -> Pipe<Bytes> {
        Pipe { parts, encode: |part| part }
    }
}

impl<T: Serialize> Pipe<T> {
    /// Returns a body of a line of JSON for each part.
    pub(super) fn of_lines(parts: mpsc::Receiver<T>) -> Pipe<T> {
        Pipe { parts, encode: |part| line_of(&part) }
    }
}

impl<T> HttpBody for Pipe<T> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let encode = self.encode;
        self.parts.poll_recv(context).map(|part| part.map(|part| Ok(Frame::data(encode(part)))))
    }
}

/// Returns a line of JSON.
pub(super) fn line_of(value: &impl Serialize) -> Bytes {
    let mut line = serde_json::to_vec(value).expect("only string keys");
    line.push(b'\n');
    line.into()
}

/// Why there is no next line.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinesError {
    /// The other side went away in the middle.
    #[error("the connection was cut: {0}")]
    Cut(String),
    /// A line is longer than [`MAX_LINE_BYTES`].
    #[error("a line has more than {MAX_LINE_BYTES} bytes")]
    TooLong,
}

/// The lines of a body, each without its end. Between two calls nothing is lost when a call is
/// given up.
pub(super) struct Lines<B> {
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
    /// Returns the lines of `body`.
    pub(super) fn new(body: B) -> Lines<B> {
        Lines { body, buffer: BytesMut::new(), searched: 0, ended: false }
    }

    /// The next line; `None` after the last one, whose end may be missing.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, LinesError> {
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

    /// Reads the rest and throws it away: a client that still writes would see a broken connection
    /// instead of the answer.
    pub(super) async fn drain(mut self) {
        self.buffer.clear();
        drain(&mut self.body).await;
    }
}

/// Reads the rest of a body and throws it away.
pub(super) async fn drain(body: &mut (impl HttpBody + Unpin)) {
    while let Some(Ok(_)) = body.frame().await {}
}
