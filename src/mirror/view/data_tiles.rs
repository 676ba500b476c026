//! Records of a remote log: one data tile from one of several URLs, verified, with patience for
//! what may pass.
//!
//! | what a URL does | what follows |
//! |---|---|
//! | sends what does not verify | it is marked, and the next one is asked |
//! | is down, overloaded, breaks off | after the last one all are asked again, later and later |
//! | asks for time with `Retry-After` | nobody is asked before it is over |
//! | says that there is no such tile | the next one; for a partial tile also the full tile |

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::error::{Lie, RemoteError, Unproven};
use super::verify::LogVerifier;
use crate::store::StoreError;
use crate::tlog::{
    Hash, HashIndex, InclusionProof, RecordId, TILE_HEIGHT, TILE_WIDTH, Tile, TileLevel, TilePlan, TreeHead,
    inclusion_proof_indexes, prove_inclusion, split_data_tile, stored_hash_index, tile_root,
    verify_inclusion,
};
use crate::upstream::{FetchError, Stage, SumdbError};

/// How long one tile may take at all URLs together, for one try.
pub(in crate::mirror) const PATIENCE: Duration = Duration::from_secs(120);
/// The first pause after a failure that may pass; doubled by each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest: a server that restarts is used again within half a minute.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Why records of a log could not be read or stored.
#[derive(Debug, thiserror::Error)]
pub enum RecordsError {
    /// Every URL refuses to give data tiles. Some routes pass only what the `go` command asks for:
    /// mirror in mode `on-demand` there, name another URL, or import a copy.
    #[error("checksum database {log}: no URL gives {path}, so it cannot be mirrored in full:\n  {said}")]
    NoDataTiles {
        /// The log's name.
        log: String,
        /// The tile that was asked for.
        path: String,
        /// What each URL said, a line each.
        said: String,
    },
    /// As with a look-up: what does not verify, a log that contradicts itself, no network.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// The database of the records.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Reads data tiles, and hash tiles with the same patience. One for each run: a pause is for all
/// of its requests.
pub(in crate::mirror) struct DataTileReader {
    verifier: Arc<LogVerifier>,
    /// How often a tile that no URL has now is asked for.
    tries: u32,
    requests: AtomicU64,
    bytes: AtomicU64,
    retries: AtomicU64,
    /// Nobody asks before: a server that is overloaded is overloaded for all requests of the run.
    not_before: Mutex<Option<Instant>>,
}

/// How much was read so far.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::mirror) struct DataTileCounts {
    /// Requests for data tiles.
    pub(in crate::mirror) requests: u64,
    /// Bytes of data tiles.
    pub(in crate::mirror) bytes: u64,
    /// How often a tile was asked for again because no URL had it.
    pub(in crate::mirror) retries: u64,
}

/// What verifying a tile's bytes says.
pub(in crate::mirror) enum TileVerdict<T> {
    Good(T),
    /// They are not of this log, and why.
    Bad(String),
    /// Not their fault.
    Failed(RecordsError),
}

/// Why one round of questions brought nothing.
enum Round {
    /// No URL (more) has an answer.
    Unanswered(SumdbError),
    Failed(RecordsError),
}

impl DataTileReader {
    pub(in crate::mirror) fn new(verifier: Arc<LogVerifier>, tries: u32) -> DataTileReader {
        DataTileReader {
            verifier,
            tries,
            requests: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            not_before: Mutex::new(None),
        }
    }

    pub(in crate::mirror) fn counts(&self) -> DataTileCounts {
        DataTileCounts {
            requests: self.requests.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            retries: self.retries.load(Ordering::Relaxed),
        }
    }

    /// Reads hashes of a signed tree.
    pub(in crate::mirror) async fn hashes(
        &self,
        head: &TreeHead,
        indexes: &[HashIndex],
    ) -> Result<Vec<Hash>, RemoteError> {
        let plan = TilePlan::new(head, TILE_HEIGHT, indexes).expect("the hashes are of this tree");
        let path = plan.tiles().last().map(Tile::path).unwrap_or_default();
        for attempt in 1.. {
            self.wait().await;
            match self.verifier.tiles.read(&plan, &[], &path, self.now() + PATIENCE).await {
                Ok(verified) => return Ok(verified.hashes),
                Err(RemoteError::Unavailable { retry_after, .. }) if attempt < self.tries => {
                    self.pause(attempt, retry_after);
                }
                Err(error) => return Err(error),
            }
        }
        unreachable!("the last try returns")
    }

    /// Fetches a data tile until a URL has one that `verify` finds good. `verify` gets the bytes
    /// and the tile that they should be: the full one may come for a partial one that nobody has
    /// any more.
    pub(in crate::mirror) async fn read<T, V>(
        &self,
        tile: &Tile,
        verify: impl Fn(Bytes, Tile) -> V,
    ) -> Result<T, RecordsError>
    where
        V: Future<Output = TileVerdict<T>>,
    {
        let mut lies = Vec::new();
        let mut wanted = vec![*tile];
        if tile.is_partial() {
            wanted.push(tile.full());
        }
        for attempt in 1.. {
            let mut last: Option<SumdbError> = None;
            for tile in &wanted {
                self.wait().await;
                match self.one_round(tile, &mut lies, &verify).await {
                    Ok(good) => return Ok(good),
                    Err(Round::Failed(error)) => return Err(error),
                    Err(Round::Unanswered(error)) => match &mut last {
                        None => last = Some(error),
                        Some(last) => last.failures.extend(error.failures),
                    },
                }
            }
            let error = last.expect("at least one tile was asked for");
            // The tree is signed, so the tile exists: that one URL lacks it says nothing about
            // another that is down.
            let may_pass = error.failures.iter().any(FetchError::is_transient);
            if attempt >= self.tries || !may_pass || is_refused(&error) {
                return Err(self.unavailable(tile, &error, lies));
            }
            self.pause(attempt, error.retry_after());
        }
        unreachable!("the last try returns")
    }

    /// Returns the bytes of a data tile where the log is read from a directory that has it.
    pub(in crate::mirror) fn read_local(&self, tile: &Tile) -> Option<Bytes> {
        let body = self.verifier.transport().read_local(tile)?.body;
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
        Some(body)
    }

    /// Asks each URL once.
    async fn one_round<T, V>(
        &self,
        tile: &Tile,
        lies: &mut Vec<Lie>,
        verify: &impl Fn(Bytes, Tile) -> V,
    ) -> Result<T, Round>
    where
        V: Future<Output = TileVerdict<T>>,
    {
        let transport = self.verifier.transport();
        let mut inquiry = transport.tile(tile, self.now() + PATIENCE);
        loop {
            self.requests.fetch_add(1, Ordering::Relaxed);
            let answer = inquiry.next().await.map_err(Round::Unanswered)?;
            self.bytes.fetch_add(answer.body.len() as u64, Ordering::Relaxed);
            match verify(answer.body, *tile).await {
                TileVerdict::Good(good) => return Ok(good),
                TileVerdict::Failed(error) => return Err(Round::Failed(error)),
                TileVerdict::Bad(why) => {
                    let why = format!("{tile}: {why}");
                    tracing::warn!(url = %answer.url, why, "a URL of a remote log sent a wrong tile");
                    transport.mark_bad(answer.from, &why);
                    lies.push(Lie { url: answer.url, why });
                }
            }
        }
    }

    fn unavailable(&self, tile: &Tile, error: &SumdbError, lies: Vec<Lie>) -> RecordsError {
        let (log, path) = (self.verifier.known().name.clone(), tile.path());
        let failures = || error.failures.iter().map(ToString::to_string).collect::<Vec<_>>();
        if !lies.is_empty() {
            let unproven = Unproven { log, path, lies, failures: failures() };
            return RemoteError::from(unproven).into();
        }
        if is_refused(error) {
            return RecordsError::NoDataTiles { log, path, said: failures().join("\n  ") };
        }
        RemoteError::without_tile(error, &path, lies).into()
    }

    fn now(&self) -> Instant {
        self.verifier.known().clock.instant()
    }

    /// Waits until somebody may be asked again.
    async fn wait(&self) {
        loop {
            let until = *self.not_before.lock().expect("nobody panics while holding this lock");
            match until.filter(|until| *until > self.now()) {
                Some(until) => tokio::time::sleep_until(until.into()).await,
                None => return,
            }
        }
    }

    /// Lets nobody be asked for a while: twice as long after each try, or as long as the server
    /// asked for.
    fn pause(&self, attempt: u32, asked: Option<Duration>) {
        self.retries.fetch_add(1, Ordering::Relaxed);
        let doubled = FIRST_PAUSE.saturating_mul(1 << attempt.saturating_sub(1).min(16)).min(LONGEST_PAUSE);
        // Many mirrors that lost the same server at once must not come back to it at once. If there
        // is no randomness they do.
        let random = f64::from(getrandom::u32().unwrap_or(0)) / f64::from(u32::MAX);
        let pause = doubled.mul_f64(1.0 - random / 4.0).max(asked.unwrap_or_default());
        let until = self.now() + pause;
        let mut not_before = self.not_before.lock().expect("nobody panics while holding this lock");
        *not_before = Some(not_before.map_or(until, |before| before.max(until)));
    }
}

/// Whether no URL will ever give the tile: at least one refuses it, and no other one could give it
/// after a while. A host that has no address is a mistake in the configuration, not a failure that
/// passes.
fn is_refused(error: &SumdbError) -> bool {
    let refuses = |failure: &FetchError| {
        failure.is_not_found()
            || matches!(
                failure,
                FetchError::Forbidden { .. }
                    | FetchError::NotPassedOn { .. }
                    | FetchError::UnexpectedStatus { .. }
                    | FetchError::Redirect { .. }
            )
    };
    let has_no_address =
        |failure: &FetchError| matches!(failure, FetchError::Unreachable { stage: Stage::Dns, .. });
    error.failures.iter().any(refuses)
        && error.failures.iter().all(|failure| refuses(failure) || has_no_address(failure))
}

/// Returns the records of a full data tile, if they are those under `root`.
pub(in crate::mirror) fn check_full<'a>(body: &'a [u8], root: &Hash) -> Result<Vec<&'a str>, String> {
    let texts = split_data_tile(body).map_err(|error| error.to_string())?;
    if texts.len() as u64 != TILE_WIDTH {
        return Err(format!("it has {} records, not {TILE_WIDTH}", texts.len()));
    }
    let leaves: Vec<Hash> = texts.iter().map(|text| Hash::of_record(text.as_bytes())).collect();
    let found = tile_root(&leaves);
    if found == *root {
        Ok(texts)
    } else {
        Err(format!("its records have the root {found}, the log's have {root}"))
    }
}

/// Returns the first records of a data tile that was asked for at some width, if they are those
/// with these hashes.
pub(in crate::mirror) fn check_edge(body: &[u8], leaves: &[Hash], asked: u32) -> Result<Vec<String>, String> {
    let mut texts = split_data_tile(body).map_err(|error| error.to_string())?;
    if texts.len() != asked as usize {
        return Err(format!("it has {} records, not {asked}", texts.len()));
    }
    // Only what the signed head covers of a full tile can be verified, so only that is used.
    texts.truncate(leaves.len());
    for (at, (text, leaf)) in texts.iter().zip(leaves).enumerate() {
        let found = Hash::of_record(text.as_bytes());
        if found != *leaf {
            return Err(format!("its record {at} has the hash {found}, the log's has {leaf}"));
        }
    }
    Ok(texts.into_iter().map(str::to_owned).collect())
}

/// Reads the texts of the records of data tile `number`, as many as are under `head`, which was
/// compared. Nothing is stored: this is for those who only look at what is new.
pub(super) async fn read_records(
    verifier: &Arc<LogVerifier>,
    number: u64,
    head: &TreeHead,
) -> Result<Vec<String>, RecordsError> {
    let first = number * TILE_WIDTH;
    assert!(first < head.size.0, "tile {number} is beyond {head}");
    let width = (head.size.0 - first).min(TILE_WIDTH);
    let tile = Tile { height: TILE_HEIGHT, level: TileLevel::Data, number, width: width as u32 };
    let indexes: Vec<_> = (first..first + width).map(|id| stored_hash_index(0, id)).collect();
    let plan = TilePlan::new(head, TILE_HEIGHT, &indexes).expect("the hashes are of this tree");
    let reader = DataTileReader::new(verifier.clone(), 1);
    let deadline = reader.now() + PATIENCE;
    let leaves = Arc::new(verifier.tiles.read(&plan, &[], &tile.path(), deadline).await?.hashes);
    let verify = |body: Bytes, _| {
        let leaves = leaves.clone();
        async move { texts_of(&body, &leaves).map_or_else(TileVerdict::Bad, TileVerdict::Good) }
    };
    reader.read(&tile, verify).await
}

/// Returns the first records of a tile, if they have these hashes. A full tile may come for a
/// partial one that is gone.
fn texts_of(body: &[u8], leaves: &[Hash]) -> Result<Vec<String>, String> {
    let texts = split_data_tile(body).map_err(|error| error.to_string())?;
    if texts.len() < leaves.len() {
        return Err(format!("{} records, not {}", texts.len(), leaves.len()));
    }
    let wrong = texts.iter().zip(leaves).position(|(text, leaf)| Hash::of_record(text.as_bytes()) != *leaf);
    match wrong {
        Some(at) => Err(format!("its record {at} is another one")),
        None => Ok(texts[..leaves.len()].iter().map(|text| (*text).to_owned()).collect()),
    }
}

/// Proves that a record with this hash is under `head`, which was compared.
pub(super) async fn prove_under(
    verifier: &LogVerifier,
    record: RecordId,
    leaf: &Hash,
    head: &TreeHead,
) -> Result<InclusionProof, RemoteError> {
    let indexes = inclusion_proof_indexes(head.size, record).expect("the record is in the tree");
    let plan = TilePlan::new(head, TILE_HEIGHT, &indexes).expect("the hashes are of this tree");
    let deadline = verifier.known().clock.instant() + PATIENCE;
    let hashes = verifier.tiles.read(&plan, &[], "proof", deadline).await?.hashes;
    let proof = prove_inclusion(head.size, record, &hashes).expect("as many hashes as were planned");
    verify_inclusion(&proof, head.size, &head.root, record, leaf)
        .expect("verified hashes lead from a verified leaf to the root");
    Ok(proof)
}
