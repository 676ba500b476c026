//! What a server serves, as anybody gets it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;

use super::AuditError;
use super::block::{self, Block, NameKey, TileJob};
use crate::crew::Crew;
use crate::gosum::ModuleLines;
use crate::module::ModuleVersion;
use crate::source::SourceUrl;
use crate::tlog::{HASH_SIZE, TILE_HEIGHT, TILE_WIDTH, Tile, TileLevel, TreeSize, split_data_tile};
use crate::upstream::{FetchError, HttpClient, RemoteSumdb, SumdbError};

/// How long a server may take for one answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a tile is asked for, with a pause after each time that is twice the one before.
const TRIES: u32 = 6;
/// How often one record is asked for.
const RECORD_TRIES: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Heads that are listed: a hundred requests. A log that has published more has these compared, the newest.
const MAX_LISTED: usize = 10_000;
/// Heads of one request, as many as are given.
const HEADS_AT_ONCE: usize = 100;
const MAX_LIST_BYTES: u64 = 1 << 20;

/// A checksum database as it is reached.
pub struct Target {
    /// The database itself.
    pub remote: RemoteSumdb,
    /// What its other paths are asked with.
    pub client: HttpClient,
    /// Where it is.
    pub url: SourceUrl,
}

/// The answer to a look-up.
pub(crate) enum LookedUp {
    /// A record with a head.
    Found(Bytes),
    /// The log does not have it and does not take it in.
    Missing,
    /// The log, or who stands before it, refuses to answer, and says why.
    Refused(String),
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("url", &self.shown()).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct List {
    heads: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    size: u64,
    note: String,
}

impl Target {
    /// Where it is, for people.
    pub(crate) fn shown(&self) -> String {
        self.remote.health().first().map_or_else(String::new, |(url, _)| url.to_string())
    }

    /// The newest head, as it came.
    pub(crate) async fn latest(&self) -> Result<Vec<u8>, AuditError> {
        let mut inquiry = self.remote.latest(self.deadline());
        let answer = inquiry.next().await.map_err(|error| unreadable("latest", &error))?;
        Ok(answer.body.to_vec())
    }

    /// A tile in exactly this width.
    pub(crate) async fn tile(&self, tile: &Tile) -> Result<Bytes, AuditError> {
        let wanted = if tile.is_partial() { vec![*tile, tile.full()] } else { vec![*tile] };
        let mut pause = FIRST_PAUSE;
        for attempt in 1.. {
            let mut last = None;
            for asked in &wanted {
                match self.remote.tile(asked, self.deadline()).next().await {
                    Ok(answer) => return Ok(cut(tile, answer.body)),
                    Err(error) => last = last.or(Some(error)),
                }
            }
            let error = last.expect("a tile was asked for");
            if attempt >= TRIES || !error.is_transient() {
                return Err(self.without(tile, &error));
            }
            tokio::time::sleep(pause.max(error.retry_after().unwrap_or_default())).await;
            pause *= 2;
        }
        unreachable!("the last try returns")
    }

    fn without(&self, tile: &Tile, error: &SumdbError) -> AuditError {
        let refused = |failure: &FetchError| {
            failure.is_not_found()
                || matches!(failure, FetchError::Forbidden { .. } | FetchError::NotPassedOn { .. })
        };
        if tile.level == TileLevel::Data && tile.number == 0 && error.failures.iter().all(refused) {
            return AuditError::NoDataTiles { url: self.shown(), why: error.to_string() };
        }
        unreadable(&tile.path(), error)
    }

    /// The heads that the server says it published, of these sizes; or why it says nothing.
    pub(super) async fn published(
        &self,
        from: u64,
        to: u64,
    ) -> Result<Result<Vec<(String, Vec<u8>)>, String>, AuditError> {
        let Some(server) = self.url.server() else {
            return Ok(Err("published heads: a directory does not list them".to_owned()));
        };
        let mut heads = Vec::new();
        let mut before = to.saturating_add(1);
        while heads.len() < MAX_LISTED {
            let query = format!("before={before}&limit={HEADS_AT_ONCE}");
            let url = SourceUrl::Server(server.join("api/v1/heads").with_query(&query));
            let answer = match self.client.get(&url, MAX_LIST_BYTES, self.deadline()).await {
                Ok(answer) => answer.body,
                Err(error) if error.is_transient() => {
                    let path = "api/v1/heads".to_owned();
                    let fix = error.fix();
                    return Err(AuditError::Unreadable { path, why: error.to_string(), may_pass: true, fix });
                }
                Err(_) => return Ok(Err("published heads: this server does not list them".to_owned())),
            };
            let Ok(List { heads: list }) = serde_json::from_slice(&answer) else {
                return Ok(Err(
                    "published heads: this server does not list them as a Tallystick does".to_owned()
                ));
            };
            // Sizes fall, or it would never end.
            let list: Vec<Listed> = list.into_iter().filter(|head| head.size < before).collect();
            let Some(smallest) = list.iter().map(|head| head.size).min() else { break };
            let wanted = list.into_iter().filter(|head| head.size >= from);
            heads.extend(wanted.map(|head| (format!("api/v1/heads/{}", head.size), head.note.into_bytes())));
            before = smallest;
            if smallest <= from {
                break;
            }
        }
        Ok(Ok(heads))
    }

    /// The answer to a look-up of the record with this text; none when its name is no module version. Or why none can be had.
    pub(super) async fn lookup(&self, text: &str) -> Result<Result<Option<Bytes>, String>, AuditError> {
        let Ok(lines) = ModuleLines::parse(text) else { return Ok(Ok(None)) };
        match self.answer_of(&lines.module).await? {
            Some(answer) => Ok(Ok(Some(answer))),
            None if self.remote.is_local() => {
                Ok(Err("look-ups: there are none in this directory".to_owned()))
            }
            // What is in the tiles must be found: an empty answer is one that is wrong.
            None => Ok(Ok(Some(Bytes::new()))),
        }
    }

    /// The answer to a look-up; none where it is said not to be there.
    pub(crate) async fn answer_of(&self, module: &ModuleVersion) -> Result<Option<Bytes>, AuditError> {
        match self.remote.lookup(module, self.deadline()).next().await {
            Ok(answer) => Ok(Some(answer.body)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(unreadable(&format!("lookup of {module}"), &error)),
        }
    }

    /// Looks a module version up as the `go` command does, and again where the server asks for that.
    pub(crate) async fn look_up(&self, module: &ModuleVersion) -> Result<LookedUp, AuditError> {
        let (mut pause, mut left) = (FIRST_PAUSE, RECORD_TRIES);
        loop {
            left -= 1;
            let error = match self.remote.lookup(module, self.deadline()).next().await {
                Ok(answer) => return Ok(LookedUp::Found(answer.body)),
                Err(error) if error.is_not_found() => return Ok(LookedUp::Missing),
                Err(error) => error,
            };
            if error
                .failures
                .iter()
                .any(|failure| matches!(failure, FetchError::Forbidden { status: 403, .. }))
            {
                return Ok(LookedUp::Refused(error.to_string()));
            }
            if left == 0 || !error.is_transient() {
                return Err(unreadable(&format!("lookup of {module}"), &error));
            }
            tokio::time::sleep(pause.max(error.retry_after().unwrap_or_default())).await;
            pause *= 2;
        }
    }

    /// The text of one record.
    pub(super) async fn record(&self, id: u64, size: TreeSize) -> Result<String, AuditError> {
        let (number, path) = (id / TILE_WIDTH, format!("record {id}"));
        let width = (size.0 - number * TILE_WIDTH).min(TILE_WIDTH) as u32;
        let data = self.tile(&Tile { height: TILE_HEIGHT, level: TileLevel::Data, number, width }).await?;
        let gone = || AuditError::Unreadable {
            path: path.clone(),
            why: "it was there before".to_owned(),
            may_pass: true,
            fix: None,
        };
        let texts = split_data_tile(&data).map_err(|_| gone())?;
        texts.get((id % TILE_WIDTH) as usize).map(|text| (*text).to_owned()).ok_or_else(gone)
    }

    /// The verifier keys that the server names as those of its log; none where the server is no Tallystick.
    pub(crate) async fn named_keys(&self) -> Result<Option<Vec<String>>, FetchError> {
        #[derive(Deserialize)]
        struct Log {
            keys: Vec<Key>,
        }
        #[derive(Deserialize)]
        struct Key {
            #[serde(alias = "vkey")]
            verifier: String,
        }
        let Ok(url) = self.url.join("api/v1/log") else { return Ok(None) };
        match self.client.get(&url, MAX_LIST_BYTES, self.deadline()).await {
            Ok(answer) => {
                let log: Option<Log> = serde_json::from_slice(&answer.body).ok();
                Ok(log.map(|log| log.keys.into_iter().map(|key| key.verifier).collect()))
            }
            Err(error) if error.is_transient() || matches!(error, FetchError::Forbidden { .. }) => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// The record of a module version, its number and its text, as a Tallystick server tells it without bringing
    /// anything in; none where the log has none.
    pub(crate) async fn recorded(&self, module: &ModuleVersion) -> Result<Option<(u64, String)>, AuditError> {
        #[derive(Deserialize)]
        struct Record {
            record: u64,
            lines: Vec<String>,
        }
        let path = format!("api/v1/modules/{}", module.escaped());
        let Some(answer) = self.of_api(&path).await? else { return Ok(None) };
        match serde_json::from_slice(&answer) {
            Ok(Record { record, lines }) => {
                Ok(Some((record, lines.iter().map(|line| format!("{line}\n")).collect())))
            }
            Err(error) => {
                Err(AuditError::Unreadable { path, why: error.to_string(), may_pass: false, fix: None })
            }
        }
    }

    async fn of_api(&self, path: &str) -> Result<Option<Bytes>, AuditError> {
        let unreadable =
            |why: String, may_pass, fix| AuditError::Unreadable { path: path.to_owned(), why, may_pass, fix };
        let url = self.url.join(path).map_err(|error| unreadable(error.to_string(), false, None))?;
        let (mut pause, mut left) = (FIRST_PAUSE, RECORD_TRIES);
        loop {
            left -= 1;
            match self.client.get(&url, MAX_LIST_BYTES, self.deadline()).await {
                Ok(answer) => return Ok(Some(answer.body)),
                Err(error) if error.is_not_found() => return Ok(None),
                Err(error) if left == 0 || !error.is_transient() => {
                    return Err(unreadable(error.to_string(), error.is_transient(), error.fix()));
                }
                Err(error) => tokio::time::sleep(pause.max(error.retry_after().unwrap_or_default())).await,
            }
            pause *= 2;
        }
    }

    fn deadline(&self) -> std::time::Instant {
        self.client.clock().instant() + PATIENCE
    }
}

/// Reads and checks the block with this number.
pub(super) async fn block(
    target: Arc<Target>,
    crew: Arc<Crew>,
    number: u64,
    width: u32,
    key: NameKey,
    total: u64,
) -> Result<Block, AuditError> {
    let place = TileJob { number, width, key, total };
    let tile = |level| Tile { height: TILE_HEIGHT, level, number, width };
    let (data, hashes) = (tile(TileLevel::Data), tile(TileLevel::Hash(0)));
    let broken = move |why| AuditError::Broken { path: data.path(), why };
    if target.remote.is_local() {
        let local = target.clone();
        let checked = crew
            .run(move || {
                let (data, hashes) = (local.remote.read_local(&data)?, local.remote.read_local(&hashes)?);
                Some(block::check(place, &data.body, &hashes.body))
            })
            .await;
        if let Some(checked) = checked {
            return checked.map_err(broken);
        }
    }
    let (data, hashes) = tokio::try_join!(target.tile(&data), target.tile(&hashes))?;
    crew.run(move || block::check(place, &data, &hashes)).await.map_err(broken)
}

/// The part of a full hash tile that was asked for in vain. Data tiles are cut where they are taken apart.
fn cut(tile: &Tile, body: Bytes) -> Bytes {
    let length = tile.width as usize * HASH_SIZE;
    if tile.is_partial() && tile.level != TileLevel::Data && body.len() == TILE_WIDTH as usize * HASH_SIZE {
        return body.slice(..length);
    }
    body
}

fn unreadable(path: &str, error: &SumdbError) -> AuditError {
    AuditError::Unreadable {
        path: path.to_owned(),
        why: error.to_string(),
        may_pass: error.is_transient(),
        fix: error.failures.iter().find_map(FetchError::fix),
    }
}
