//! Proofs, one by one or several in one request.
//!
//! ```text
//! GET  /api/v1/proofs/inclusion?record=ID[&size=N]         or module=PATH@VERSION, or hash=BASE64, in place of record
//! GET  /api/v1/proofs/consistency?from=A[&to=B]
//! POST /api/v1/proofs                                      [{"record": 7, "size": 100}, {"from": 50, "to": 100}, …]
//! ```
//!
//! Without `size` or `to` the newest published tree is meant, and the answer must be asked for again; with it the answer can
//! never change. In a request for several all that leave it out mean the same tree, and each is answered in its place:
//!
//! ```text
//! {"proofs": [{"inclusion": {…}}, {"consistency": {…}}, {"problem": {"status": 404, "title": "Not Found", "detail": "…"}}]}
//! ```
//!
//! The order of the hashes is that of RFC 6962 (sections 2.1.1 and 2.1.2), as `tlog.CheckRecord` and `tlog.CheckTree` of
//! golang.org/x/mod take them.
//!
//! Several proofs, and proofs that are searched for by their hash, count against an allowance of the client's: they
//! are cheap to ask for. Beyond it the answer is 429 with the time after which they are answered again.
//!
//! A record is found by its number or its module version. By its hash alone it is searched among the last
//! [`HASH_SEARCH_RECORDS`](crate::log::HASH_SEARCH_RECORDS) of the tree, since an index by hash would cost half of the log's size again: whoever holds a record's
//! text knows its module version, and may ask for that.

use std::num::NonZeroU32;

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, Uri};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize, Serializer};

use super::query::{number, values};
use super::{Api, BODY_PATIENCE, read_failed, too_often};
use crate::http::answer::problem::ProblemDetails;
use crate::http::answer::{self, Answer, CacheControl};
use crate::http::{Client, ReadError, body};
use crate::log::{Consistency, Inclusion};
use crate::module::ModuleVersion;
use crate::tlog::{Hash, RecordId, TreeSize};

/// The most proofs in one request: a go.sum of average size, some ten milliseconds of work.
pub const PROOFS_MAX: usize = 100;
/// The longest list: a module path has 1024 bytes at most, most have 30.
pub const PROOFS_BODY_BYTES_MAX: usize = 64 << 10;
/// Other requests have their turn on this thread after so many proofs.
const PROOFS_AT_ONCE: usize = 8;

/// What the search for a hash costs, in proofs of a record whose number is known: it reads up to sixteen tiles.
const HASH_SEARCH_PROOFS: u32 = 10;

/// Which record somebody means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leaf {
    /// By its number.
    Record(RecordId),
    /// By its module version.
    Module(ModuleVersion),
    /// By its hash, among the last [`HASH_SEARCH_RECORDS`](crate::log::HASH_SEARCH_RECORDS) of the tree.
    Hash(Hash),
}

/// A proof that somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// That a record is in the first `size` records.
    Inclusion {
        /// The record.
        leaf: Leaf,
        /// The tree; the newest one if not given.
        size: Option<TreeSize>,
    },
    /// That the first `from` records are the beginning of the first `to`.
    Consistency {
        /// The older tree.
        from: TreeSize,
        /// The newer tree; the newest one if not given.
        to: Option<TreeSize>,
    },
}

/// A proof that was made.
#[derive(Clone, Debug)]
pub enum Proof {
    /// Of a record.
    Inclusion(Inclusion),
    /// Of two trees.
    Consistency(Consistency),
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum NoProof {
    /// No log has such a proof: 400.
    #[error("{0}")]
    Impossible(String),
    /// The log has not, or not yet, what is asked about: 404.
    #[error("{0}")]
    NotFound(String),
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl NoProof {
    fn problem(&self) -> ProblemDetails {
        match self {
            NoProof::Impossible(why) => ProblemDetails::bad_request(why),
            NoProof::NotFound(why) => ProblemDetails::not_found(why),
            NoProof::Read(error) => read_failed(error),
        }
    }
}

/// What a client sends: one element of a list, or the parameters of a URL.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    record: Option<u64>,
    module: Option<String>,
    hash: Option<String>,
    size: Option<u64>,
    from: Option<u64>,
    to: Option<u64>,
}

impl Asked {
    /// What it costs to answer, in proofs of a record whose number is known.
    fn cost(&self) -> u32 {
        if self.hash.is_some() { HASH_SEARCH_PROOFS } else { 1 }
    }

    fn parse(self) -> Result<Wanted, String> {
        let Asked { record, module, hash, size, from, to } = self;
        let tree = |size: u64| match i64::try_from(size) {
            Ok(_) => Ok(TreeSize(size)),
            Err(_) => Err(format!("{size} is larger than any tree")),
        };
        if let Some(from) = from {
            if record.is_some() || module.is_some() || hash.is_some() || size.is_some() {
                return Err("from and to go with each other only".to_owned());
            }
            return Ok(Wanted::Consistency { from: tree(from)?, to: to.map(tree).transpose()? });
        }
        let leaf = match (record, module, hash) {
            (Some(record), None, None) => Leaf::Record(RecordId(tree(record)?.0)),
            (None, Some(module), None) => Leaf::Module(parse_module(&module)?),
            (None, None, Some(hash)) => Leaf::Hash(parse_hash(&hash)?),
            _ => return Err("say which: one of record, module and hash, or from".to_owned()),
        };
        if to.is_some() {
            return Err("to goes with from; the tree of a record is named by size".to_owned());
        }
        Ok(Wanted::Inclusion { leaf, size: size.map(tree).transpose()? })
    }
}

/// `rsc.io/quote@v1.5.2`; a path with capital letters as it is, or escaped as in a look-up.
fn parse_module(text: &str) -> Result<ModuleVersion, String> {
    if text.contains('!') {
        return ModuleVersion::unescape(text).map_err(|error| format!("module: {error}"));
    }
    text.parse().map_err(|error| format!("module: {error}"))
}

/// 32 bytes in base64, as everywhere here, or in hexadecimal.
fn parse_hash(text: &str) -> Result<Hash, String> {
    let hex = |text: &str| -> Option<Vec<u8>> {
        let digits: Vec<u8> =
            text.chars().map(|c| c.to_digit(16).map(|digit| digit as u8)).collect::<Option<_>>()?;
        Some(digits.chunks_exact(2).map(|pair| pair[0] * 16 + pair[1]).collect())
    };
    let bytes = if text.len() == 64 { hex(text) } else { STANDARD.decode(text).ok() };
    let why = "hash must be 32 bytes in base64 (44 characters, + and / as %2B and %2F in a URL) or 64 hexadecimal digits";
    bytes.and_then(|bytes| Hash::from_slice(&bytes)).ok_or_else(|| why.to_owned())
}

/// A hash in base64, written where it goes: a proof has two dozen.
struct Base64(Hash);

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

#[derive(Serialize)]
struct InclusionDocument<'a> {
    record: u64,
    leaf: Base64,
    size: u64,
    root: Base64,
    hashes: Vec<Base64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'a str>,
}

#[derive(Serialize)]
struct ConsistencyDocument<'a> {
    from: u64,
    from_root: Base64,
    to: u64,
    to_root: Base64,
    hashes: Vec<Base64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Document<'a> {
    Inclusion(InclusionDocument<'a>),
    Consistency(ConsistencyDocument<'a>),
    Problem { status: u16, title: &'static str, detail: String },
}

fn hashes(hashes: &[Hash]) -> Vec<Base64> {
    hashes.iter().copied().map(Base64).collect()
}

impl Proof {
    fn document(&self) -> Document<'_> {
        match self {
            Proof::Inclusion(Inclusion { record, leaf, tree, proof, note }) => {
                Document::Inclusion(InclusionDocument {
                    record: record.0,
                    leaf: Base64(*leaf),
                    size: tree.size.0,
                    root: Base64(tree.root),
                    hashes: hashes(&proof.0),
                    note: note.as_deref(),
                })
            }
            Proof::Consistency(Consistency { older, newer, proof, note }) => {
                Document::Consistency(ConsistencyDocument {
                    from: older.size.0,
                    from_root: Base64(older.root),
                    to: newer.size.0,
                    to_root: Base64(newer.root),
                    hashes: hashes(&proof.0),
                    note: note.as_deref(),
                })
            }
        }
    }
}

pub(super) async fn inclusion(
    State(api): Api,
    client: Option<Extension<Client>>,
    uri: Uri,
    headers: HeaderMap,
) -> Answer {
    let parse = || {
        let known = ["record", "module", "hash", "size"];
        let [record, module, hash, size] = values(uri.query().unwrap_or_default(), known)?;
        let (record, size) = (number("record", record)?, number("size", size)?);
        Asked { record, module, hash, size, ..Asked::default() }.parse()
    };
    let wanted = parse();
    // One proof by GET costs no more than to ask for it, unless it is searched for.
    if let (Ok(Wanted::Inclusion { leaf: Leaf::Hash(_), .. }), Some(Extension(client))) = (&wanted, client)
        && let Err(exhausted) =
            api.admit(client, NonZeroU32::new(HASH_SEARCH_PROOFS).expect("it is not zero"))
    {
        return too_often(exhausted).answer();
    }
    one(&api, wanted, &headers)
}

pub(super) async fn consistency(State(api): Api, uri: Uri, headers: HeaderMap) -> Answer {
    let parse = || {
        let [from, to] = values(uri.query().unwrap_or_default(), ["from", "to"])?;
        let (from, to) = (number("from", from)?, number("to", to)?);
        if from.is_none() {
            return Err("from=SIZE is missing: the older tree".to_owned());
        }
        Asked { from, to, ..Asked::default() }.parse()
    };
    one(&api, parse(), &headers)
}

fn one(api: &super::SharedApi, wanted: Result<Wanted, String>, headers: &HeaderMap) -> Answer {
    let wanted = match wanted {
        Ok(wanted) => wanted,
        Err(why) => return ProblemDetails::bad_request(why).answer(),
    };
    let is_fixed = match &wanted {
        Wanted::Inclusion { size, .. } => size.is_some(),
        Wanted::Consistency { to, .. } => to.is_some(),
    };
    let cache = if is_fixed { CacheControl::Immutable } else { CacheControl::Revalidate };
    match api.prove(&wanted) {
        Ok(proof) => match proof.document() {
            Document::Inclusion(document) => answer::json(headers, cache, &document),
            Document::Consistency(document) => answer::json(headers, cache, &document),
            Document::Problem { .. } => unreachable!("a proof is no problem"),
        },
        Err(error) => error.problem().answer(),
    }
}

/// Several at once, in order. What a list asks for without a size is all in one tree.
pub(super) async fn several(State(api): Api, client: Option<Extension<Client>>, body: Body) -> Answer {
    #[derive(Serialize)]
    struct Proofs<'a> {
        proofs: Vec<Document<'a>>,
    }
    let body = match body::read(body, PROOFS_BODY_BYTES_MAX, BODY_PATIENCE).await {
        Ok(body) => body,
        Err(error) => return ProblemDetails::from(error).answer(),
    };
    let asked: Vec<Asked> = match serde_json::from_slice(&body) {
        Ok(asked) => asked,
        Err(error) => {
            let why = format!("the body must be a JSON list such as [{{\"record\": 7}}]: {error}");
            return ProblemDetails::bad_request(why).answer();
        }
    };
    if asked.len() > PROOFS_MAX {
        let why = format!("{} proofs at once: {PROOFS_MAX} are the most", asked.len());
        return ProblemDetails::too_large(why).answer();
    }
    let cost = asked.iter().map(Asked::cost).sum();
    if let (Some(Extension(client)), Some(cost)) = (client, NonZeroU32::new(cost))
        && let Err(exhausted) = api.admit(client, cost)
    {
        return too_often(exhausted).answer();
    }
    let newest = match api.log() {
        Ok(log) => log.head.size,
        Err(error) => return read_failed(&error).answer(),
    };
    let mut made = Vec::with_capacity(asked.len());
    for (number, asked) in asked.into_iter().enumerate() {
        if number % PROOFS_AT_ONCE == PROOFS_AT_ONCE - 1 {
            tokio::task::yield_now().await;
        }
        let proof = asked
            .parse()
            .map_err(NoProof::Impossible)
            .and_then(|wanted| api.prove(&wanted.or_in_tree_of(newest)));
        if let Err(NoProof::Read(error)) = &proof {
            return read_failed(error).answer();
        }
        made.push(proof);
    }
    fn document(made: &Result<Proof, NoProof>) -> Document<'_> {
        match made {
            Ok(proof) => proof.document(),
            Err(error) => {
                let problem = error.problem();
                let (status, title, detail) = (problem.status(), problem.title(), problem.into_detail());
                Document::Problem { status, title, detail }
            }
        }
    }
    let proofs = made.iter().map(document).collect();
    answer::json(&HeaderMap::new(), CacheControl::NoStore, &Proofs { proofs })
}

impl Wanted {
    /// The same, in this tree where none is named.
    fn or_in_tree_of(self, newest: TreeSize) -> Wanted {
        match self {
            Wanted::Inclusion { leaf, size } => Wanted::Inclusion { leaf, size: size.or(Some(newest)) },
            Wanted::Consistency { from, to } => Wanted::Consistency { from, to: to.or(Some(newest)) },
        }
    }
}
