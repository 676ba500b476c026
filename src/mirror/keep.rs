//! What is answered to others from here: records and tiles that were proved before, and tiles that are fetched and
//! proved for whoever asks.
//!
//! Invariant: what proves a kept record under the newest head is kept. It holds when the record comes in, since it is
//! proved under the newest head then, and each step to a newer head reads the tiles of the old right edge at their new
//! width. So a look-up is answered with the newest head, and a client can verify it with no network behind us.
//!
//! Kept things are answered also when the log is stopped: they were proved before it contradicted itself.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Inner, RemoteError, RemoteLog, TILE_HEIGHT};
use crate::module::ModuleVersion;
use crate::store::StoreError;
use crate::store::remote::{Added, Addition, SeenHead};
use crate::tlog::{HASH_SIZE, RecordId, Tile, TileLevel, TilePlan, TreeHead, stored_hash_index};

/// A tile of a larger tree makes us ask for the newest head, but not again so soon after the last time: whoever asks for
/// tiles that no tree has costs the log's operators a request a second at most.
const ADVANCE_PAUSE: Duration = Duration::from_secs(1);

/// A record that was proved: [`RemoteLog::head_for`] has a head that covers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptRecord {
    /// Its number.
    pub id: RecordId,
    /// Its text, byte for byte as authenticated.
    pub text: String,
}

impl RemoteLog {
    /// The record of a module version, if it is kept; no network.
    pub fn kept(&self, module: &ModuleVersion) -> Result<Option<KeptRecord>, RemoteError> {
        let Some(record) = self.0.kept.find(module)? else { return Ok(None) };
        if self.head_for(record.id).is_none() {
            // Another process, or a commit a moment ago: its head is in the store.
            self.0.reload_newest()?;
        }
        // A record beyond every head that is known is there, and cannot be shown to anybody yet.
        Ok(Some(record).filter(|record| self.head_for(record.id).is_some()))
    }

    /// A tile of height 8, if as much of it is kept; no network. A damaged hash tile is as good as none.
    pub fn kept_tile(&self, tile: &Tile) -> Result<Option<Bytes>, RemoteError> {
        let TileLevel::Hash(level) = tile.level else { return Ok(self.0.kept.data_tile(tile)?) };
        match self.0.kept.tile(level, tile.number, tile.width) {
            Err(error @ StoreError::Damaged { .. }) => {
                tracing::warn!(log = %self.0.name, %tile, %error, "a kept tile of a remote log is damaged");
                Ok(None)
            }
            kept => Ok(kept?),
        }
    }

    /// A hash tile of height 8: kept, else fetched, verified up to the root of the newest head and kept from then on.
    /// `None` when the newest tree, asked for just now, does not have it.
    pub async fn tile(&self, tile: &Tile, deadline: Instant) -> Result<Option<Bytes>, RemoteError> {
        if let Some(body) = self.kept_tile(tile)? {
            return Ok(Some(body));
        }
        let inner = &self.0;
        inner.check_running()?;
        let TileLevel::Hash(level) = tile.level else { return Ok(None) };
        let _place = inner.place().await?;
        let covers = |head: &SeenHead| covers(&head.tree, level, tile);
        if !self.newest().is_some_and(|newest| covers(&newest)) && !inner.advanced_just_now() {
            inner.advance(deadline).await?;
        }
        match self.newest().filter(|newest| covers(newest)) {
            Some(newest) => inner.fetch_tile(tile, level, &newest.tree, deadline).await.map(Some),
            None => Ok(None),
        }
    }
}

/// Whether a tree has a tile at this level in this width.
fn covers(tree: &TreeHead, level: u8, tile: &Tile) -> bool {
    let hashes = tree.size.0.checked_shr(u32::from(TILE_HEIGHT) * u32::from(level)).unwrap_or(0);
    (u128::from(tile.number) << TILE_HEIGHT) + u128::from(tile.width) <= u128::from(hashes)
}

impl Inner {
    fn advanced_just_now(&self) -> bool {
        let last = *self.advanced_at.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        last.is_some_and(|last| self.clock.instant().saturating_duration_since(last) < ADVANCE_PAUSE)
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
        let tiles = self.tiles.read(&plan, &[], &tile.path(), deadline).await?.tiles;
        let whole = tiles.iter().find(|read| (read.level, read.number) == (level, tile.number));
        let whole = whole.expect("the plan has the tile of the hash").body.clone();
        let addition = Addition { newest: Some(*newest), heads: Vec::new(), tiles, record: None };
        if self.store.add(addition).await? == Added::Stopped {
            self.reload_stopped()?;
            self.check_running()?;
        }
        let length = tile.width as usize * HASH_SIZE;
        Ok(if length < whole.len() { Bytes::copy_from_slice(&whole[..length]) } else { whole })
    }
}
