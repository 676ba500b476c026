//! The own log as [C2SP tlog-tiles] serves one, under `/tlog/`: the same tree, head and hash-tile bytes in the form that
//! programs for other transparency logs read.
//!
//! | path | answer |
//! |---|---|
//! | `/tlog/checkpoint` | size and root of `/latest` under the log's own origin, with cosignatures; `text/plain`, `no-cache`, `ETag` |
//! | `/tlog/tile/<L>/<N>[.p/<W>]` | the bytes of `/tile/8/<L>/<N>[.p/<W>]` |
//! | `/tlog/tile/entries/<N>[.p/<W>]` | the records of `/tile/8/data/<N>[.p/<W>]`, each after its length in two bytes |
//!
//! Tiles are `application/octet-stream` and immutable. Every partial tile up to the newest size is there; what lies beyond it
//! is 404. A path that is not written as the specification writes it is 400.
//!
//! [C2SP tlog-tiles]: https://c2sp.org/tlog-tiles

use std::time::Duration;

use axum::http::HeaderMap;

use super::answer::{self, Answer};
use super::database::{ChecksumDatabase, Client, ReadError, read_failed};
use super::metrics::Endpoint;
use crate::tlog::{Tile, TileLevel, format_entry_bundle, split_data_tile};

/// A log that signs nothing waits for a person.
const NO_CHECKPOINT_RETRY: Duration = Duration::from_secs(60);

/// Under which name a path after `/tlog/` is counted.
pub(super) fn endpoint(path: &str) -> Endpoint {
    match path {
        "checkpoint" => Endpoint::Checkpoint,
        path if path.starts_with("tile/entries/") => Endpoint::EntryBundle,
        path if path.starts_with("tile/") => Endpoint::HashTile,
        _ => Endpoint::Other,
    }
}

/// Answers a path after `/tlog/`.
pub(super) fn find(sumdb: &dyn ChecksumDatabase, path: &str, client: &Client, headers: &HeaderMap) -> Answer {
    if path == "checkpoint" {
        return checkpoint(sumdb, client, headers);
    }
    if !path.starts_with("tile/") {
        return answer::unknown_path();
    }
    let Ok(tile) = Tile::parse_tiles_path(path) else { return answer::invalid_tile() };
    let read = sumdb.tile(&tile, client).and_then(|body| match (body, tile.level) {
        (Some(body), TileLevel::Data) => bundle(&body).map(|body| Some(body.into())),
        (body, _) => Ok(body),
    });
    match read {
        Ok(Some(body)) => answer::hash_tile(body),
        Ok(None) => answer::no_tile(),
        Err(error) => read_failed(sumdb, &error, "this tile"),
    }
}

fn checkpoint(sumdb: &dyn ChecksumDatabase, client: &Client, headers: &HeaderMap) -> Answer {
    match sumdb.checkpoint(client) {
        Ok(Some(head)) => head.answer_to(headers),
        Ok(None) => answer::try_later(
            "the log signs nothing at the moment, so that it has no checkpoint\nIts newest head is at /latest; the operator of \
             this server knows more from /readyz.",
            NO_CHECKPOINT_RETRY,
        ),
        Err(error) => read_failed(sumdb, &error, "its newest checkpoint"),
    }
}

/// The records of a data tile as an entry bundle.
fn bundle(data: &[u8]) -> Result<Vec<u8>, ReadError> {
    let damaged = |what: String| ReadError::Damaged { what };
    let texts = split_data_tile(data).map_err(|error| damaged(error.to_string()))?;
    format_entry_bundle(texts.into_iter().map(str::as_bytes)).map_err(|error| damaged(error.to_string()))
}
