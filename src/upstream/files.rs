//! `file://` sources. A missing file is a 404 and an unreadable one a 403, as the go command has
//! it; symbolic links are followed, as it does, since the operator owns the directory. A name that
//! the file system cannot hold means no file, and nothing else: clients choose the names. Anything
//! that is not a regular file is refused: a pipe would hang us.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use bytes::Bytes;

use super::error::{FetchError, UpstreamMessage};
use super::spool::{MEMORY_BYTES, Spool, Spooled, blocking};
use crate::files;
use crate::source::RedactedUrl;

/// A file is copied in pieces of at least this.
const LEAST_PIECE_BYTES: u64 = 4 << 10;

/// Reads a whole file of at most `max_bytes`.
pub(super) async fn read(path: &Path, url: RedactedUrl, max_bytes: u64) -> Result<Bytes, FetchError> {
    let path = path.to_owned();
    blocking(move || read_blocking(&path, &url, max_bytes)).await
}

/// The same, on a thread that may block.
pub(super) fn read_blocking(path: &Path, url: &RedactedUrl, max_bytes: u64) -> Result<Bytes, FetchError> {
    let file = open(path, url)?;
    let local = |source| FetchError::Local { url: url.clone(), source };
    // One byte more than it has, so that its end is seen without growing.
    let length = file.metadata().map_err(local)?.len().saturating_add(1).min(max_bytes);
    let mut body = Vec::with_capacity(length as usize);
    file.take(max_bytes.saturating_add(1)).read_to_end(&mut body).map_err(local)?;
    if body.len() as u64 > max_bytes {
        return Err(FetchError::TooLarge { url: url.clone(), max_bytes });
    }
    Ok(body.into())
}

/// Copies a file of at most `max_bytes` into `spool`: what is hashed later must not change under
/// the hand.
pub(super) async fn copy(
    path: &Path,
    url: RedactedUrl,
    max_bytes: u64,
    spool: Spool,
) -> Result<Spooled, FetchError> {
    let path = path.to_owned();
    blocking(move || copy_blocking(&path, &url, max_bytes, spool)).await
}

/// The same, on a thread that may block.
pub(super) fn copy_blocking(
    path: &Path,
    url: &RedactedUrl,
    max_bytes: u64,
    mut spool: Spool,
) -> Result<Spooled, FetchError> {
    let local = |source| FetchError::local(url.clone(), source);
    let file = open(path, url)?;
    // One byte more than it has, so that most files need one piece and its end is seen with it.
    let length = file.metadata().map_err(local)?.len().saturating_add(1);
    spool.expect(length.min(max_bytes)).map_err(local)?;
    let mut piece = vec![0; length.clamp(LEAST_PIECE_BYTES, MEMORY_BYTES as u64 / 4) as usize];
    let mut file = file.take(max_bytes.saturating_add(1));
    let mut size = 0;
    loop {
        let n = match file.read(&mut piece) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(local(e)),
        };
        size += n as u64;
        if size > max_bytes {
            return Err(FetchError::TooLarge { url: url.clone(), max_bytes });
        }
        spool.push_blocking(&piece[..n]).map_err(local)?;
    }
    spool.finish_blocking().map_err(local)
}

fn open(path: &Path, url: &RedactedUrl) -> Result<File, FetchError> {
    let said = UpstreamMessage::default();
    files::open_regular(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => FetchError::NotFound { url: url.clone(), status: 404, said },
        io::ErrorKind::NotADirectory | io::ErrorKind::InvalidFilename => {
            FetchError::Unnameable { url: url.clone(), source }
        }
        io::ErrorKind::PermissionDenied => FetchError::Forbidden { url: url.clone(), status: 403, said },
        io::ErrorKind::InvalidInput => {
            FetchError::BadContent { url: url.clone(), why: source.to_string(), ours: false }
        }
        _ => FetchError::Local { url: url.clone(), source },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(path: &Path) -> RedactedUrl {
        crate::source::SourceUrl::directory(path).unwrap().redacted()
    }

    #[tokio::test]
    async fn files_are_bounded_and_only_regular() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list");
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(read(&path, url(&path), 5).await.unwrap(), "12345");
        assert!(matches!(read(&path, url(&path), 4).await, Err(FetchError::TooLarge { max_bytes: 4, .. })));
        let copied = copy(&path, url(&path), 4, Spool::new(&dir.path().to_owned().into())).await;
        assert!(matches!(copied, Err(FetchError::TooLarge { .. })));
        for impossible in [path.join("below"), dir.path().join("x".repeat(256))] {
            let missing = read(&impossible, url(&path), 5).await.unwrap_err();
            assert!(matches!(missing, FetchError::Unnameable { .. }) && missing.is_not_found(), "{missing}");
        }
        let missing = read(&dir.path().join("absent"), url(&path), 5).await.unwrap_err();
        assert!(matches!(missing, FetchError::NotFound { .. }), "{missing}");
        assert!(matches!(read(dir.path(), url(&path), 5).await, Err(FetchError::BadContent { .. })));
        std::os::unix::fs::symlink(&path, dir.path().join("link")).unwrap();
        assert_eq!(read(&dir.path().join("link"), url(&path), 5).await.unwrap(), "12345");
    }
}
