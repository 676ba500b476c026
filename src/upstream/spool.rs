//! A body on its way to be hashed: kept in memory while small, else in an unnamed temporary file
//! that the system removes when it is closed, whatever happens to us. The SHA-256 is computed as
//! the bytes come.

use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::space::{ScratchSpace, Share};

/// Bodies up to this size stay in memory, and larger ones are hashed and written in pieces of it.
/// Nine of ten module zips are smaller; the notary's concurrency limit bounds the sum.
pub const MEMORY_BYTES: usize = 1 << 20;

/// A body that has come whole.
pub struct Spooled {
    content: Content,
    /// Its size in bytes.
    pub size: u64,
    /// Its SHA-256.
    pub sha256: [u8; 32],
}

enum Content {
    Memory(Bytes),
    File {
        file: File,
        /// The space that it takes, given back with it.
        _share: Share,
    },
}

/// What reads a body from its start.
#[derive(Debug)]
pub enum SpoolReader<'a> {
    /// From memory.
    Memory(Cursor<&'a [u8]>),
    /// From a file; it has its own handle but shares the position with other readers of the same
    /// body.
    File(&'a File),
}

impl std::fmt::Debug for Spooled {
    /// Where the body is and how large, not the body.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let place = if self.bytes().is_some() { "memory" } else { "file" };
        f.debug_struct("Spooled").field("in", &place).field("size", &self.size).finish_non_exhaustive()
    }
}

impl Spooled {
    /// The bytes, if they are in memory.
    pub fn bytes(&self) -> Option<&Bytes> {
        match &self.content {
            Content::Memory(bytes) => Some(bytes),
            Content::File { .. } => None,
        }
    }

    /// The file, if the bytes are in one. It is positioned anywhere.
    pub fn file(&self) -> Option<&File> {
        match &self.content {
            Content::Memory(_) => None,
            Content::File { file, .. } => Some(file),
        }
    }

    /// Reads the body from its start. Use one reader at a time.
    pub fn reader(&self) -> io::Result<SpoolReader<'_>> {
        match &self.content {
            Content::Memory(bytes) => Ok(SpoolReader::Memory(Cursor::new(bytes))),
            Content::File { file, .. } => {
                let mut file: &File = file;
                file.rewind()?;
                Ok(SpoolReader::File(file))
            }
        }
    }
}

impl Read for SpoolReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            SpoolReader::Memory(reader) => reader.read(buffer),
            SpoolReader::File(reader) => reader.read(buffer),
        }
    }
}

impl Seek for SpoolReader<'_> {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        match self {
            SpoolReader::Memory(reader) => reader.seek(position),
            SpoolReader::File(reader) => reader.seek(position),
        }
    }
}

/// A body that is coming.
#[derive(Debug)]
pub(super) struct Spool {
    space: ScratchSpace,
    /// What has come and is neither hashed nor written yet.
    buffer: Vec<u8>,
    /// The temporary file of a large body, and the space that it takes.
    file: Option<(File, Share)>,
    hasher: Sha256,
    size: u64,
}

impl Spool {
    /// Small bodies in memory, larger ones in a temporary file.
    pub(super) fn new(space: &ScratchSpace) -> Spool {
        Spool { space: space.clone(), buffer: Vec::new(), file: None, hasher: Sha256::new(), size: 0 }
    }

    /// An error if a body that says to be so long has no place now: then none of it need come.
    pub(super) fn expect(&self, bytes: u64) -> io::Result<()> {
        if bytes <= MEMORY_BYTES as u64 {
            return Ok(());
        }
        self.space.check(bytes).map_err(io::Error::other)
    }

    /// Takes the next bytes. Disk and hash work is done on a thread for blocking work, a piece at a
    /// time.
    pub(super) async fn push(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(chunk);
        if self.buffer.len() <= MEMORY_BYTES {
            return Ok(());
        }
        let empty = Spool::new(&self.space);
        let mut spool = std::mem::replace(self, empty);
        *self = blocking(move || spool.flush().map(|()| spool)).await?;
        Ok(())
    }

    /// The same, on a thread that may block already.
    pub(super) fn push_blocking(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(chunk);
        if self.buffer.len() > MEMORY_BYTES { self.flush() } else { Ok(()) }
    }

    /// The whole body. A small one is hashed right here: that takes less than handing it to another
    /// thread.
    pub(super) async fn finish(self) -> io::Result<Spooled> {
        if self.file.is_none() && self.buffer.len() <= MEMORY_BYTES / 16 {
            return self.finish_blocking();
        }
        blocking(move || self.finish_blocking()).await
    }

    pub(super) fn finish_blocking(mut self) -> io::Result<Spooled> {
        if self.file.is_some() {
            self.flush()?;
        }
        self.hasher.update(&self.buffer);
        self.size += self.buffer.len() as u64;
        let content = match self.file {
            Some((file, share)) => Content::File { file, _share: share },
            None => Content::Memory(self.buffer.into()),
        };
        Ok(Spooled { content, size: self.size, sha256: self.hasher.finalize().into() })
    }

    fn flush(&mut self) -> io::Result<()> {
        let bytes = self.buffer.len() as u64;
        let file = match &mut self.file {
            Some((file, share)) => {
                share.take(bytes).map_err(io::Error::other)?;
                file
            }
            None => {
                let mut share = self.space.share();
                share.take(bytes).map_err(io::Error::other)?;
                &mut self.file.insert((tempfile::tempfile_in(self.space.directory())?, share)).0
            }
        };
        file.write_all(&self.buffer)?;
        self.hasher.update(&self.buffer);
        self.size += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

/// Runs blocking work apart from the runtime's workers; a panic in it goes on here.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(e) => match e.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => panic!("the runtime was shut down under blocking work"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SHA-256 of one million `a`, from FIPS 180-2, appendix B.3.
    const MILLION_A: &str = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[tokio::test]
    async fn small_bodies_stay_in_memory_and_large_ones_go_to_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let space = ScratchSpace::from(dir.path().to_owned());
        let mut small = Spool::new(&space);
        for _ in 0..1000 {
            small.push(&[b'a'; 1000]).await.unwrap();
        }
        let small = small.finish().await.unwrap();
        assert_eq!((small.size, hex(&small.sha256).as_str()), (1_000_000, MILLION_A));
        assert!(small.bytes().is_some());

        let body: Vec<u8> = (0..3_500_000u32).map(|i| (i % 251) as u8).collect();
        let mut large = Spool::new(&space);
        for chunk in body.chunks(70_001) {
            large.push(chunk).await.unwrap();
        }
        let large = large.finish().await.unwrap();
        assert!(large.bytes().is_none());
        assert_eq!((large.size, large.sha256), (body.len() as u64, Sha256::digest(&body).into()));
        for _ in 0..2 {
            let mut read = Vec::new();
            large.reader().unwrap().read_to_end(&mut read).unwrap();
            assert!(read == body);
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "the temporary file has no name");
    }
}
