//! A checksum database over HTTP: `/latest`, `/lookup/…`, `/tile/…`, at the root for the own log and under
//! `/sumdb/<name>/…` for each log by its name, where `supported` tells a proxy's client that it may ask here.
//!
//! ```text
//! GET /lookup/github.com/!burnt!sushi/toml@v1.3.2          GET /tile/8/0/x001/234.p/5
//! GET /sumdb/sum.corp.example/lookup/rsc.io/quote@v1.5.2   GET /sumdb/sum.corp.example/supported
//! ```
//!
//! `/tlog/…` is the own log in another form, of which [`super::tlog`] knows.
//!
//! The path is percent-decoded exactly once and then compared byte by byte, as Go's server does; `!` escapes are
//! another matter, and of the module path. A log's name may hold slashes and is compared with the known names: one that
//! is not known is 404, whatever follows it, and nothing is ever forwarded. The query is ignored.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;

use super::answer::{self, Answer};
use super::database::{ChecksumDatabase, Client, LatestHead, LookupRefusal, RETRY_AFTER, read_failed};
use super::metrics::Endpoint;
use super::tlog;
use crate::module::{ModuleVersion, WireError};
use crate::tlog::{TILE_HEIGHT, Tile, TileLevel};

/// The logs that are served, by name.
#[derive(Clone)]
pub struct Registry {
    own: Arc<dyn ChecksumDatabase>,
    others: Vec<Arc<dyn ChecksumDatabase>>,
}

impl Registry {
    /// `own` is served at the root, and all of them under `/sumdb/<name>/`.
    pub fn new(own: Arc<dyn ChecksumDatabase>, others: Vec<Arc<dyn ChecksumDatabase>>) -> Registry {
        Registry { own, others }
    }

    /// Finds out which log is asked for what. `None`: a path that no log answers.
    pub fn route<'r, 'p>(&'r self, path: &'p str) -> Option<(&'r Arc<dyn ChecksumDatabase>, Ask<'p>)> {
        if let Some(rest) = path.strip_prefix("/tlog/") {
            return Some((&self.own, Ask::Tlog(rest)));
        }
        let Some(rest) = path.strip_prefix("/sumdb/") else {
            return Ask::parse(path).map(|ask| (&self.own, ask));
        };
        // With the names `a` and `a/tile` a path may fit both: the one whose rest is something to ask wins.
        std::iter::once(&self.own).chain(&self.others).find_map(|sumdb| {
            let rest = rest.strip_prefix(sumdb.name()).filter(|rest| rest.starts_with('/'))?;
            let ask = if rest == "/supported" { Some(Ask::Supported) } else { Ask::parse(rest) };
            ask.map(|ask| (sumdb, ask))
        })
    }
}

/// What a path asks of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask<'p> {
    /// The newest head.
    Latest,
    /// The record of a module version: what follows `/lookup/`.
    Lookup(&'p str),
    /// A tile: its path from `tile/` on.
    Tile(&'p str),
    /// Whether this log is served at all.
    Supported,
    /// Something of the own log as C2SP sees it: what follows `/tlog/`.
    Tlog(&'p str),
}

impl<'p> Ask<'p> {
    fn parse(path: &'p str) -> Option<Ask<'p>> {
        if let Some(module) = path.strip_prefix("/lookup/") {
            Some(Ask::Lookup(module))
        } else if path.starts_with("/tile/") {
            Some(Ask::Tile(&path[1..]))
        } else {
            (path == "/latest").then_some(Ask::Latest)
        }
    }

    /// Under which name it is counted.
    pub fn endpoint(&self) -> Endpoint {
        match self {
            Ask::Latest => Endpoint::Latest,
            Ask::Lookup(_) => Endpoint::Lookup,
            Ask::Tile(path) if path.starts_with("tile/8/data/") => Endpoint::DataTile,
            Ask::Tile(_) => Endpoint::HashTile,
            Ask::Supported => Endpoint::Supported,
            Ask::Tlog(path) => tlog::endpoint(path),
        }
    }

    /// The answer to a path with a malformed percent-escape, in the words of what it seems to ask.
    pub fn malformed(&self) -> Answer {
        match self {
            Ask::Lookup(_) => answer::invalid_lookup(&WireError::Syntax),
            Ask::Tile(_) => answer::invalid_tile(),
            Ask::Latest | Ask::Supported | Ask::Tlog(_) => answer::invalid_escape(),
        }
    }
}

/// What a log answers at once, or what it must get first.
pub enum Reply {
    /// The answer.
    Answer(Answer),
    /// Ask [`fetch`].
    Miss(Miss),
}

/// What a log does not have at hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Miss {
    /// The record of a module version.
    Lookup(ModuleVersion),
    /// A tile.
    Tile(Tile),
    /// Any head.
    Latest,
}

/// Answers from what the log has.
pub fn find(sumdb: &dyn ChecksumDatabase, ask: Ask<'_>, client: &Client, headers: &HeaderMap) -> Reply {
    match ask {
        Ask::Latest => latest(sumdb, client, headers),
        Ask::Tile(path) => tile(sumdb, path, client),
        Ask::Tlog(path) => Reply::Answer(tlog::find(sumdb, path, client, headers)),
        Ask::Supported => {
            Reply::Answer(sumdb.supported(client).map_or_else(|no| refused(&no), |()| answer::supported()))
        }
        Ask::Lookup(wire) => match ModuleVersion::unescape(wire) {
            Err(error) => Reply::Answer(answer::invalid_lookup(&error)),
            Ok(module) => match sumdb.lookup(&module, client) {
                Ok(Some(body)) => Reply::Answer(answer::lookup_hit(body)),
                Ok(None) => Reply::Miss(Miss::Lookup(module)),
                Err(error) => Reply::Answer(read_failed(sumdb, &error, "this record")),
            },
        },
    }
}

/// Gets what is missing, or says why not. Ends after `deadline` at the latest.
pub async fn fetch(sumdb: &dyn ChecksumDatabase, miss: Miss, client: Client, deadline: Duration) -> Answer {
    let what = match &miss {
        Miss::Lookup(module) => format!("looking up {module}"),
        Miss::Tile(tile) => format!("fetching {tile}"),
        Miss::Latest => "asking for the newest tree head".to_owned(),
    };
    let fetching = async {
        match miss {
            Miss::Lookup(module) => {
                sumdb.fetch_lookup(module, client).await.map_or_else(|no| refused(&no), answer::lookup_hit)
            }
            Miss::Tile(tile) => match sumdb.fetch_tile(tile, client) {
                None => answer::no_tile(),
                Some(fetched) => match (fetched.await, tile.level) {
                    (Ok(body), TileLevel::Hash(_)) => answer::hash_tile(body),
                    (Ok(body), TileLevel::Data) => answer::data_tile(body),
                    (Err(refusal), _) => refused(&refusal),
                },
            },
            Miss::Latest => match sumdb.fetch_latest(client) {
                None => answer::unknown_path(),
                Some(fetched) => fetched.await.map_or_else(|no| refused(&no), LatestHead::answer),
            },
        }
    };
    tokio::time::timeout(deadline, fetching).await.unwrap_or_else(|_| {
        let late = format!(
            "{what} took longer than {} s\nThe server may still be at it: try again in a moment.",
            deadline.as_secs_f32()
        );
        answer::try_later(&late, RETRY_AFTER)
    })
}

fn refused(refusal: &LookupRefusal) -> Answer {
    match refusal {
        LookupRefusal::NotFound { text, max_age } => answer::not_found(text, *max_age),
        LookupRefusal::Forbidden { text } => answer::forbidden(text),
        LookupRefusal::TryLater { text, retry_after } => answer::try_later(text, *retry_after),
        LookupRefusal::Conflict { text } => answer::conflict(text),
        LookupRefusal::Internal { text } => answer::internal(text),
    }
}

fn latest(sumdb: &dyn ChecksumDatabase, client: &Client, headers: &HeaderMap) -> Reply {
    Reply::Answer(match sumdb.latest(client) {
        Ok(None) => return Reply::Miss(Miss::Latest),
        Ok(Some(head)) => head.answer_to(headers),
        Err(error) => read_failed(sumdb, &error, "its newest head"),
    })
}

fn tile(sumdb: &dyn ChecksumDatabase, path: &str, client: &Client) -> Reply {
    let Ok(tile) = Tile::parse(path) else {
        return Reply::Answer(answer::invalid_tile());
    };
    if tile.height != TILE_HEIGHT {
        return Reply::Answer(answer::no_tile());
    }
    Reply::Answer(match (sumdb.tile(&tile, client), tile.level) {
        (Ok(Some(bytes)), TileLevel::Hash(_)) => answer::hash_tile(bytes),
        (Ok(Some(bytes)), TileLevel::Data) => answer::data_tile(bytes),
        (Ok(None), _) => return Reply::Miss(Miss::Tile(tile)),
        (Err(error), _) => read_failed(sumdb, &error, "this tile"),
    })
}

/// A `%` that is not followed by two hexadecimal digits, or bytes that are not UTF-8 when decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed percent-escape")]
pub struct PercentEscapeError;

/// Decodes the percent-escapes of a path, once. Without any it is returned as it is.
pub fn percent_decode(path: &str) -> Result<Cow<'_, str>, PercentEscapeError> {
    let Some(first) = path.find('%') else {
        return Ok(Cow::Borrowed(path));
    };
    let digit = |at: usize| path.as_bytes().get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut decoded = Vec::with_capacity(path.len());
    decoded.extend_from_slice(&path.as_bytes()[..first]);
    let mut at = first;
    while let Some(byte) = path.as_bytes().get(at) {
        if *byte == b'%' {
            let (high, low) = digit(at + 1).zip(digit(at + 2)).ok_or(PercentEscapeError)?;
            decoded.push((high * 16 + low) as u8);
            at += 3;
        } else {
            decoded.push(*byte);
            at += 1;
        }
    }
    String::from_utf8(decoded).map(Cow::Owned).map_err(|_| PercentEscapeError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_decoded_once() {
        for (path, decoded) in [
            ("/latest", "/latest"),
            ("/%6cookup/a%40v1", "/lookup/a@v1"),
            ("%2521", "%21"),
            ("%e2%80%94", "—"),
            ("a%00b", "a\0b"),
            ("%2F%2f", "//"),
        ] {
            assert_eq!(percent_decode(path).as_deref(), Ok(decoded), "{path}");
        }
        for bad in ["%", "%2", "a%2", "%zz", "%+1", "% 1", "%ff", "%e2%80", "%%41", "%4é"] {
            assert_eq!(percent_decode(bad), Err(PercentEscapeError), "{bad}");
        }
    }
}
