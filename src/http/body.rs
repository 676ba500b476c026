//! Bodies of requests: few endpoints take one, and each says how large it may be and how long it may take.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::time::timeout;

use super::answer::{self, Answer};

/// Why a body was not read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// It has more bytes.
    TooLarge(usize),
    /// It took longer.
    TooSlow(Duration),
    /// The client ended it too early.
    Broken,
}

impl Unread {
    /// 400, 408 or 413.
    pub(super) fn answer(self) -> Answer {
        match self {
            Unread::TooLarge(max_bytes) => answer::body_too_large(max_bytes as u64),
            Unread::TooSlow(patience) => answer::body_too_slow(patience),
            Unread::Broken => answer::bad_request("the body ended too early"),
        }
    }
}

/// Reads a whole body, of `max_bytes` at most, within `patience`.
pub(super) async fn read(
    mut body: Incoming,
    max_bytes: usize,
    patience: Duration,
) -> Result<Vec<u8>, Unread> {
    if body.size_hint().lower() > max_bytes as u64 {
        return Err(Unread::TooLarge(max_bytes));
    }
    let whole = async {
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Unread::Broken)?;
            let Some(data) = frame.data_ref() else { continue };
            if bytes.len() + data.len() > max_bytes {
                return Err(Unread::TooLarge(max_bytes));
            }
            bytes.extend_from_slice(data);
        }
        Ok(bytes)
    };
    timeout(patience, whole).await.unwrap_or(Err(Unread::TooSlow(patience)))
}
