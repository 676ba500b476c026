//! Bodies of requests: few endpoints take one, and each says how large it may be and how long it
//! may take.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Body;
use tokio::time::timeout;

/// A body that is larger than allowed by no more than this is read to its end before it is refused:
/// a client that still sends when the connection is closed may miss the answer, and nginx then
/// says 502.
const DRAINED_BYTES: usize = 64 << 10;

/// Why a body was not read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BodyError {
    /// It has more bytes.
    #[error("the body is larger than {max_bytes} bytes")]
    TooLarge {
        /// The most that it may have.
        max_bytes: usize,
    },
    /// It took longer.
    #[error("the body did not come within {} s", .patience.as_secs())]
    TooSlow {
        /// The most that it may take.
        patience: Duration,
    },
    /// The client ended it too early.
    #[error("the body ended too early")]
    Broken,
}

/// Reads a whole body, of `max_bytes` at most, within `patience`.
pub(super) async fn read<B>(body: B, max_bytes: usize, patience: Duration) -> Result<Vec<u8>, BodyError>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut bytes = Vec::new();
    feed(body, max_bytes, patience, |chunk| bytes.extend_from_slice(chunk)).await?;
    Ok(bytes)
}

/// The same, chunk by chunk as it comes, for those who need not keep it.
pub(super) async fn feed<B>(
    mut body: B,
    max_bytes: usize,
    patience: Duration,
    mut take: impl FnMut(&[u8]),
) -> Result<(), BodyError>
where
    B: Body<Data = Bytes> + Unpin,
{
    let declared = body.size_hint().lower();
    if declared > max_bytes as u64 {
        if declared <= (max_bytes + DRAINED_BYTES) as u64 {
            let rest = async { while let Some(Ok(_)) = body.frame().await {} };
            // Slow or not, the answer is the same.
            let _ = timeout(patience, rest).await;
        }
        return Err(BodyError::TooLarge { max_bytes });
    }
    let whole = async {
        let mut room = max_bytes;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| BodyError::Broken)?;
            let Some(chunk) = frame.data_ref() else { continue };
            room = room.checked_sub(chunk.len()).ok_or(BodyError::TooLarge { max_bytes })?;
            take(chunk);
        }
        Ok(())
    };
    timeout(patience, whole).await.unwrap_or(Err(BodyError::TooSlow { patience }))
}
