//! Verified hashes of the remote tree: from memory, from the store, else from the log's URLs.
//!
//! Where a tile comes from decides nothing: each read verifies all its tiles, stored ones too, up
//! to the root of the head that it is made under. What fails is asked for again, with the store
//! passed over and the URL that sent it left out:
//!
//! - A tile that does not match its verified parent was changed by whoever sent it.
//! - Where tiles of the right edge do not lead to the root, one of them is wrong. If they came from
//!   several URLs, each URL is suspected in turn. Once a set verifies, a URL that had sent other
//!   bytes has lied.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::time::timeout_at;

use super::error::{Lie, RemoteError, Unproven};
use super::known::KnownLog;
use super::limits::RemoteLimits;
use crate::share::byte_cache::ByteCache;
use crate::share::single_flight::{Call, SingleFlight};
use crate::source::RedactedUrl;
use crate::store::StoreError;
use crate::store::remote::RemoteTile;
use crate::tlog::{HASH_SIZE, Hash, Tile, TileError, TileLevel, TilePlan};
use crate::upstream::{RemoteSumdb, SumdbAnswer, SumdbError, UrlId};

/// What a tile in memory costs beside its bytes.
const ENTRY_BYTES: u64 = 128;
/// A full tile.
const TILE_BYTES: u64 = 8 << 10;
/// How often one read asks for other bytes. Each attempt leaves out one more URL or passes over
/// stored tiles, and no configuration has this many URLs; the bound is for edges whose senders are
/// suspected in turn.
const MAX_ATTEMPTS: usize = 32;

/// Reads the hash tiles of one log, and remembers those that it has verified.
pub(super) struct TileReader {
    transport: RemoteSumdb,
    known: Arc<KnownLog>,
    /// By level and number, the widest that was verified. The cache has locks of its own.
    memory: ByteCache<(u8, u64)>,
    /// By tile and the URLs that are not asked for it. Each open attempt holds its calls.
    fetches: SingleFlight<(Tile, Vec<UrlId>), Result<Sent, RemoteError>>,
    /// One for each tile that a URL is being asked for.
    permits: Semaphore,
}

/// Hashes that were verified, and all the tiles that they were verified with.
pub(super) struct VerifiedHashes {
    pub(super) hashes: Vec<Hash>,
    pub(super) tiles: Vec<RemoteTile>,
}

/// A tile as a URL sent it: as many bytes as it should have, otherwise unverified.
#[derive(Clone)]
struct Sent {
    body: Bytes,
    url: RedactedUrl,
    from: UrlId,
}

/// A tile of an attempt.
#[derive(Clone)]
enum Got {
    /// From memory or from the store.
    Stored(Bytes),
    /// The call stays open until the tile is verified and in memory, so that nobody fetches it
    /// meanwhile.
    Fetched { sent: Sent, _call: Call<Result<Sent, RemoteError>> },
}

/// One way to fill a plan.
#[derive(Clone, Default)]
struct Attempt {
    got: HashMap<Tile, Got>,
    /// Stored tiles that do not verify under this head.
    passed_over: HashSet<Tile>,
    /// URLs that are not asked.
    excluded: Vec<UrlId>,
}

impl TileReader {
    pub(super) fn new(known: Arc<KnownLog>, transport: RemoteSumdb, limits: &RemoteLimits) -> TileReader {
        let memory = ByteCache::new(limits.memory_bytes, TILE_BYTES, ENTRY_BYTES);
        let permits = Semaphore::new(limits.requests.max(1));
        TileReader { transport, known, memory, fetches: SingleFlight::default(), permits }
    }

    /// Reads the plan's hashes, verified. `given` tiles are taken before any other. `path` is what
    /// is answered with the hashes, for errors.
    pub(super) async fn read(
        self: &Arc<Self>,
        plan: &TilePlan,
        given: &[RemoteTile],
        path: &str,
        deadline: Instant,
    ) -> Result<VerifiedHashes, RemoteError> {
        let mut attempts = vec![Attempt::with(plan, given)];
        let mut refused: Vec<(Tile, Sent, String)> = Vec::new();
        let mut failures: Vec<RemoteError> = Vec::new();
        for _ in 0..MAX_ATTEMPTS {
            let Some(mut attempt) = attempts.pop() else { break };
            if let Err(error) = self.fill(plan, &mut attempt, deadline).await {
                failures.push(error);
                continue;
            }
            let bodies: Vec<&[u8]> = plan.tiles().iter().map(|tile| attempt.got[tile].body()).collect();
            match plan.finish(&bodies) {
                Ok(hashes) => return Ok(self.remember(plan, &attempt, &refused, hashes)),
                Err(error) => attempts.extend(attempt.alternatives(&error, &mut refused)),
            }
        }
        for (_, sent, why) in &refused {
            self.transport.mark_bad(sent.from, why);
        }
        let lies: Vec<Lie> = refused.into_iter().map(|(_, sent, why)| Lie { url: sent.url, why }).collect();
        Err(self.failure(path, lies, failures))
    }

    /// Returns the hashes of a tile that was verified before. A damaged row is as good as none: the
    /// tile is fetched again.
    fn stored(&self, tile: &Tile) -> Result<Option<Bytes>, StoreError> {
        if let Some(body) = self.in_memory(tile) {
            return Ok(Some(body));
        }
        match self.known.tile(hash_level(tile), tile.number, tile.width) {
            Err(error @ StoreError::Damaged { .. }) => {
                tracing::warn!(%tile, %error, "a kept tile of a remote log is damaged and is fetched again");
                Ok(None)
            }
            stored => stored,
        }
    }

    fn in_memory(&self, tile: &Tile) -> Option<Bytes> {
        let length = tile.width as usize * HASH_SIZE;
        let body = self.memory.get(&(hash_level(tile), tile.number)).filter(|body| body.len() >= length)?;
        Some(body.slice(..length))
    }

    /// Gets the tiles that the attempt lacks, all at once.
    async fn fill(
        self: &Arc<Self>,
        plan: &TilePlan,
        attempt: &mut Attempt,
        deadline: Instant,
    ) -> Result<(), RemoteError> {
        let mut waiting = Vec::new();
        for tile in plan.tiles() {
            if attempt.got.contains_key(tile) {
                continue;
            }
            let fresh = attempt.passed_over.contains(tile);
            if let Some(body) = if fresh { None } else { self.stored(tile)? } {
                attempt.got.insert(*tile, Got::Stored(body));
                continue;
            }
            let (reader, tile, excluded) = (self.clone(), *tile, attempt.excluded.clone());
            let key = (tile, excluded.clone());
            let known = || if fresh { None } else { self.in_memory(&tile) };
            match self
                .fetches
                .join_unless(key, known, || async move { reader.fetch(tile, excluded, deadline).await })
            {
                Ok(call) => waiting.push((tile, call)),
                Err(body) => drop(attempt.got.insert(tile, Got::Stored(body))),
            }
        }
        let mut result = Ok(());
        for (tile, call) in waiting {
            match call.answer().await {
                Some(Ok(sent)) => drop(attempt.got.insert(tile, Got::Fetched { sent, _call: call })),
                Some(Err(error)) => result = result.and(Err(error)),
                None => result = Err(RemoteError::too_late(&self.known.name, &tile.path())),
            }
        }
        result
    }

    /// Asks the URLs for a tile, and when none has it, for the full tile: a partial one may be gone
    /// by then.
    async fn fetch(&self, tile: Tile, excluded: Vec<UrlId>, deadline: Instant) -> Result<Sent, RemoteError> {
        let mut lies = Vec::new();
        let asking = async {
            let error = match self.ask(&tile, &excluded, deadline, &mut lies).await {
                Ok(sent) => return Ok(sent),
                Err(error) => error,
            };
            if tile.is_partial()
                && let Ok(sent) = self.ask(&tile.full(), &excluded, deadline, &mut lies).await
            {
                // Only what the head covers can be verified now, so only that is used.
                return Ok(Sent { body: sent.body.slice(..tile.width as usize * HASH_SIZE), ..sent });
            }
            Err(error)
        };
        match timeout_at(deadline.into(), asking).await {
            Err(_) => Err(RemoteError::too_late(&self.known.name, &tile.path())),
            Ok(asked) => asked.map_err(|error| RemoteError::without_tile(&error, &tile.path(), lies)),
        }
    }

    async fn ask(
        &self,
        tile: &Tile,
        excluded: &[UrlId],
        deadline: Instant,
        lies: &mut Vec<Lie>,
    ) -> Result<Sent, SumdbError> {
        let mut inquiry = self.transport.tile(tile, deadline);
        let want = tile.width as usize * HASH_SIZE;
        loop {
            let permit = self.permits.acquire().await.expect("the semaphore is never closed");
            let SumdbAnswer { body, url, from } = inquiry.next().await?;
            drop(permit);
            if excluded.contains(&from) {
                continue;
            }
            if body.len() == want {
                return Ok(Sent { body, url, from });
            }
            let why = format!("{tile} has {} bytes, not {want}", body.len());
            self.transport.mark_bad(from, &why);
            lies.push(Lie { url, why });
        }
    }

    /// Remembers what was verified, and marks the URLs that had sent something else.
    fn remember(
        &self,
        plan: &TilePlan,
        attempt: &Attempt,
        refused: &[(Tile, Sent, String)],
        hashes: Vec<Hash>,
    ) -> VerifiedHashes {
        for (tile, sent, why) in refused {
            if attempt.got[tile].body() != sent.body {
                tracing::warn!(url = %sent.url, why, "a URL of a remote log sent a wrong tile");
                self.transport.mark_bad(sent.from, why);
            }
        }
        let mut tiles = Vec::with_capacity(plan.tiles().len());
        for tile in plan.tiles() {
            let (level, number) = (hash_level(tile), tile.number);
            let body = match &attempt.got[tile] {
                Got::Stored(body) => body.clone(),
                Got::Fetched { sent, .. } => sent.body.clone(),
            };
            if self.memory.get(&(level, number)).is_none_or(|other| other.len() < body.len()) {
                self.memory.insert((level, number), body.clone());
            }
            tiles.push(RemoteTile { level, number, body });
        }
        VerifiedHashes { hashes, tiles }
    }

    /// Chooses the error. Lies outweigh everything: a failure that may pass is worth less than the
    /// news that somebody lied.
    fn failure(&self, path: &str, mut lies: Vec<Lie>, failures: Vec<RemoteError>) -> RemoteError {
        let mut texts = Vec::new();
        for failure in &failures {
            match failure {
                RemoteError::Unproven(unproven) => {
                    lies.extend(unproven.lies.iter().cloned());
                    texts.extend(unproven.failures.iter().cloned());
                }
                RemoteError::Store(_) => return failure.clone(),
                other => texts.push(other.to_string()),
            }
        }
        match failures.into_iter().next() {
            Some(failure) if lies.is_empty() => failure,
            _ => {
                let (log, path) = (self.known.name.clone(), path.to_owned());
                Unproven { log, path, lies, failures: texts }.into()
            }
        }
    }
}

impl Got {
    fn body(&self) -> &[u8] {
        match self {
            Got::Stored(body) => body,
            Got::Fetched { sent, .. } => &sent.body,
        }
    }

    fn sent(&self) -> Option<&Sent> {
        match self {
            Got::Stored(_) => None,
            Got::Fetched { sent, .. } => Some(sent),
        }
    }
}

impl Attempt {
    fn with(plan: &TilePlan, given: &[RemoteTile]) -> Attempt {
        let mut attempt = Attempt::default();
        for tile in plan.tiles() {
            let same = |given: &&RemoteTile| {
                (given.level, given.number, given.body.len() / HASH_SIZE)
                    == (hash_level(tile), tile.number, tile.width as usize)
            };
            if let Some(given) = given.iter().find(same) {
                attempt.got.insert(*tile, Got::Stored(given.body.clone()));
            }
        }
        attempt
    }

    /// What to try instead, after tiles that do not verify.
    fn alternatives(&self, error: &TileError, refused: &mut Vec<(Tile, Sent, String)>) -> Vec<Attempt> {
        let offenders = match error {
            TileError::Mismatch { tile, .. } => vec![*tile],
            TileError::Edge { tiles, .. } => tiles.clone(),
            other => panic!("tiles of the right number and width: {other}"),
        };
        let stored: Vec<Tile> =
            offenders.iter().copied().filter(|tile| self.got[tile].sent().is_none()).collect();
        if !stored.is_empty() {
            // What was verified under another head is not part of this tree, if the log has forked:
            // ask for this tree's.
            let mut fresh = self.clone();
            stored.iter().for_each(|tile| drop(fresh.got.remove(tile)));
            fresh.passed_over.extend(stored);
            return vec![fresh];
        }
        let mut suspects: Vec<UrlId> = Vec::new();
        for tile in &offenders {
            let sent = self.got[tile].sent().expect("none of them was stored");
            refused.push((*tile, sent.clone(), error.to_string()));
            if !suspects.contains(&sent.from) {
                suspects.push(sent.from);
            }
        }
        let without = |suspect: &UrlId| {
            let mut other = self.clone();
            other.excluded.push(*suspect);
            other.got.retain(|tile, got| {
                !(offenders.contains(tile) && got.sent().is_some_and(|sent| sent.from == *suspect))
            });
            other
        };
        suspects.iter().map(without).collect()
    }
}

/// Plans have hash tiles only.
fn hash_level(tile: &Tile) -> u8 {
    match tile.level {
        TileLevel::Hash(level) => level,
        TileLevel::Data => panic!("{tile} is not a hash tile"),
    }
}
