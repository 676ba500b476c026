//! Look-ups of module versions, and the tiles that clients need beside them: who is asked, in which
//! order, for how long.
//!
//! ```text
//! lookup ── known? ── answer
//!   │ single flight, by module version
//!   ├─ /latest          only while no head is known
//!   ├─ /lookup/M@V      record and signed head
//!   ├─ /tile/8/L/N …    all at once: the record's tiles up to the root, and those that compare
//!   │                   the two heads
//!   └─ commit           heads, tiles and record in one transaction, then the answer
//! ```
//!
//! The work for a question goes on when the caller who asked first has given up, for `patience` at
//! most, and what it verified is stored.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout_at;

use super::advance::Advances;
use super::error::{Lie, RemoteError};
use super::known::KnownLog;
use super::limits::RemoteLimits;
use super::negative::NegativeCache;
use super::prove::{self, ProvenRecord};
use super::verify::{LogVerifier, NotVerified};
use crate::module::ModuleVersion;
use crate::share::single_flight::SingleFlight;
use crate::share::turns::Line;
use crate::share::{Claimant, Shed, Turns};
use crate::store::StoreError;
use crate::store::remote::{Added, Addition, SeenHead};
use crate::tlog::{
    HASH_SIZE, TILE_HEIGHT, Tile, TileLevel, TilePlan, TreeHead, hashes_at, stored_hash_index,
};
use crate::upstream::{Inquiry, SumdbAnswer};

/// When all places for look-ups are taken, a caller may come back after this long.
const BUSY_PAUSE: Duration = Duration::from_secs(1);
/// A tile of a larger tree makes us ask for the newest head, but not again so soon after the last
/// time: whoever asks for tiles that no tree has costs the log's operators a request a second at
/// most.
const ADVANCE_PAUSE: Duration = Duration::from_secs(1);

/// Puts look-ups to the URLs of a log.
pub(super) struct Lookups {
    pub(super) advances: Arc<Advances>,
    /// One for each look-up or tile in flight.
    places: Semaphore,
    /// A place for each look-up that is put to a URL. A log may take minutes for one, so tiles
    /// have [places of their own](super::tiles::TileReader).
    turns: Turns<ModuleVersion, Claimant>,
    line: Line,
    /// What the log said lately that it does not have. It has locks of its own.
    pub(super) missing: NegativeCache,
    flight: SingleFlight<ModuleVersion, Result<ProvenRecord, RemoteError>>,
}

fn lookup_path(module: &ModuleVersion) -> String {
    format!("lookup/{}", module.escaped())
}

impl Lookups {
    pub(super) fn new(advances: Arc<Advances>, limits: &RemoteLimits) -> Lookups {
        let (turns, line) = Turns::with_places(limits.requests);
        Lookups {
            advances,
            places: Semaphore::new(limits.lookups.max(1)),
            turns,
            line,
            missing: NegativeCache::new(),
            flight: SingleFlight::default(),
        }
    }

    fn verifier(&self) -> &LogVerifier {
        &self.advances.verifier
    }

    fn known(&self) -> &KnownLog {
        self.verifier().known()
    }

    /// Returns the lines of a module version, from the store or from the log. Without a client
    /// nobody waits for the answer: the question is put only while no client needs its place.
    pub(super) async fn lookup(
        self: &Arc<Self>,
        module: &ModuleVersion,
        client: Option<Claimant>,
        deadline: Instant,
    ) -> Result<ProvenRecord, RemoteError> {
        self.known().check_running()?;
        if let Some(proven) = prove::find(self.known(), module)? {
            return Ok(proven);
        }
        let answer = self.join(module, client, deadline).await;
        match &answer {
            Ok(_) => self.missing.forget(module),
            Err(RemoteError::NotFound { .. }) => {
                self.missing.remember(module, self.known().clock.instant());
            }
            Err(_) => {}
        }
        answer
    }

    /// Joins the work for a module version, or starts it, and waits until `deadline` at the latest.
    async fn join(
        self: &Arc<Self>,
        module: &ModuleVersion,
        client: Option<Claimant>,
        deadline: Instant,
    ) -> Result<ProvenRecord, RemoteError> {
        let _want = client.map(|client| self.turns.want(module.clone(), client));
        let (lookups, wanted) = (self.clone(), module.clone());
        let call = self.flight.join(module.clone(), || async move {
            let _place = lookups.place().await?;
            lookups.ask_log(wanted).await
        });
        self.advances.wait(call, &lookup_path(module), deadline).await
    }

    /// Takes a place among what is in flight. When all are taken, a look-up that nobody waits for
    /// is ended for it.
    async fn place(&self) -> Result<SemaphorePermit<'_>, RemoteError> {
        if let Ok(place) = self.places.try_acquire() {
            return Ok(place);
        }
        match self.turns.shed() {
            true => Ok(self.places.acquire().await.expect("the semaphore is never closed")),
            false => Err(self.busy()),
        }
    }

    fn busy(&self) -> RemoteError {
        let text = format!("checksum database {}: too many requests at once", self.known().name);
        RemoteError::Unavailable { text, retry_after: Some(BUSY_PAUSE) }
    }

    /// Does the work of one look-up.
    async fn ask_log(&self, module: ModuleVersion) -> Result<ProvenRecord, RemoteError> {
        // The call before may have brought it between the caller's look and this one.
        if let Some(proven) = prove::find(self.known(), &module)? {
            return Ok(proven);
        }
        let verifier = self.verifier();
        let path = lookup_path(&module);
        let deadline = self.known().clock.instant() + self.advances.patience;
        verifier.compare_replicated(super::advance::LATEST, deadline).await?;
        let has_head = || self.known().newest().is_some();
        if !has_head() {
            match self.advances.advance_unless(has_head, deadline).await {
                // Some passthroughs serve only what the go command asks for. The look-up has a
                // signed head of its own.
                Ok(()) | Err(RemoteError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let work = async {
            let mut inquiry = verifier.transport().lookup(&module, deadline);
            let mut lies = Vec::new();
            loop {
                let answer = self.ask_in_turn(&module, &mut inquiry, &mut lies, deadline).await?;
                match verifier.accept(&module, &answer.body, &path, deadline).await {
                    Ok(proven) => return Ok(proven),
                    Err(NotVerified::Bad(why)) => verifier.refuse(answer, why, &mut lies),
                    Err(NotVerified::Fatal(error)) => return Err(error.after(lies)),
                }
            }
        };
        timeout_at(deadline.into(), work).await.unwrap_or_else(|_| Err(verifier.too_late(&path)))
    }

    /// Puts a look-up to the next URL when it is its turn, and to all of them anew when its place
    /// was needed for another client.
    async fn ask_in_turn(
        &self,
        module: &ModuleVersion,
        inquiry: &mut Inquiry,
        lies: &mut Vec<Lie>,
        deadline: Instant,
    ) -> Result<SumdbAnswer, RemoteError> {
        let path = lookup_path(module);
        loop {
            let mut turn = self.turns.turn(module.clone(), self.line);
            turn.granted().await.map_err(|Shed| self.busy())?;
            tokio::select! {
                biased;
                answer = self.verifier().ask(inquiry, &path, lies) => return answer,
                ended = turn.ended() => ended.map_err(|Shed| self.busy())?,
            }
            *inquiry = self.verifier().transport().lookup(module, deadline);
        }
    }

    /// Returns a tile of height 8, if as much of it is stored; no network. A damaged hash tile is
    /// as good as none.
    pub(super) fn stored_tile(&self, tile: &Tile) -> Result<Option<Bytes>, RemoteError> {
        let TileLevel::Hash(level) = tile.level else { return Ok(self.known().data_tile(tile)?) };
        match self.known().tile(level, tile.number, tile.width) {
            Err(error @ StoreError::Damaged { .. }) => {
                tracing::warn!(log = %self.known().name, %tile, %error, "a kept tile of a remote log is damaged");
                Ok(None)
            }
            stored => Ok(stored?),
        }
    }

    /// Returns a hash tile of height 8: stored, else fetched, verified up to the root of the newest
    /// head and stored. None when the newest tree, asked for just now, does not have it.
    pub(super) async fn tile(&self, tile: &Tile, deadline: Instant) -> Result<Option<Bytes>, RemoteError> {
        if let Some(body) = self.stored_tile(tile)? {
            return Ok(Some(body));
        }
        self.known().check_running()?;
        let TileLevel::Hash(level) = tile.level else { return Ok(None) };
        let _place = self.place().await?;
        let covers = |head: &SeenHead| covers(&head.tree, level, tile);
        if !self.known().newest().is_some_and(|newest| covers(&newest))
            && !self.advances.asked_within(ADVANCE_PAUSE)
        {
            self.advances.advance(deadline).await?;
        }
        match self.known().newest().filter(|newest| covers(newest)) {
            Some(newest) => self.fetch_tile(tile, level, &newest.tree, deadline).await.map(Some),
            None => Ok(None),
        }
    }

    async fn fetch_tile(
        &self,
        tile: &Tile,
        level: u8,
        newest: &TreeHead,
        deadline: Instant,
    ) -> Result<Bytes, RemoteError> {
        // One hash of it is enough: a tile is verified whole.
        let first = stored_hash_index(TILE_HEIGHT * level, tile.number << TILE_HEIGHT);
        let plan = TilePlan::new(newest, TILE_HEIGHT, &[first]).expect("the tree has the tile");
        let tiles = self.verifier().tiles.read(&plan, &[], &tile.path(), deadline).await?.tiles;
        let whole = tiles.iter().find(|read| (read.level, read.number) == (level, tile.number));
        let whole = whole.expect("the plan has the tile of the hash").body.clone();
        let addition = Addition { newest: Some(*newest), heads: Vec::new(), tiles, record: None };
        if self.known().store.add(addition).await? == Added::Stopped {
            self.known().reload_incident()?;
            self.known().check_running()?;
        }
        let length = tile.width as usize * HASH_SIZE;
        Ok(if length < whole.len() { Bytes::copy_from_slice(&whole[..length]) } else { whole })
    }
}

/// Checks whether a tree has a tile at this level in this width.
fn covers(tree: &TreeHead, level: u8, tile: &Tile) -> bool {
    let hashes = hashes_at(TILE_HEIGHT, level, tree.size);
    (u128::from(tile.number) << TILE_HEIGHT) + u128::from(tile.width) <= u128::from(hashes)
}
