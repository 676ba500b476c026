//! Where a line comes from, and what went wrong: the two things that a log keeps beside its
//! records.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

/// Why a record is in the log. Kept as JSON, so that a person with the database and no program can
/// read it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", try_from = "Fields")]
pub enum Evidence {
    /// The lines were taken from a record of another log, proved under a head of that log.
    Sumdb {
        /// The other log's name.
        log: String,
        /// The record's number there.
        record: u64,
        /// The size of the head under which it was proved.
        head_size: u64,
        /// The root of that head, base64.
        head_root: String,
    },
    /// The lines were computed from the files that a source served.
    Computed {
        /// The source as the configuration names it.
        source: String,
        /// The address of the zip, without credentials.
        url: String,
        /// When the files were fetched.
        fetched_at: Timestamp,
        /// SHA-256 of the zip file, hexadecimal.
        zip_sha256: String,
        /// Size of the zip file in bytes.
        zip_bytes: u64,
        /// What the source says about repository and commit: the `Origin` of the go command,
        /// checked (`upstream::ModuleInfo`). Rows from before that may hold any fields.
        #[serde(skip_serializing_if = "Option::is_none")]
        origin: Option<Box<RawValue>>,
    },
    /// The lines were given by somebody whom the operator trusts.
    Imported {
        /// Who.
        importer: String,
    },
}

/// A record's evidence as it is kept: with the time at which the record was appended.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "Fields")]
pub struct StoredEvidence {
    /// When the record was appended.
    pub appended_at: Timestamp,
    /// Why.
    #[serde(flatten)]
    pub evidence: Evidence,
}

/// Every field that evidence of any kind has. serde buffers what is tagged or flattened, and a
/// buffered `RawValue` is lost, so evidence is read through this instead.
#[derive(Deserialize)]
struct Fields {
    appended_at: Option<Timestamp>,
    kind: String,
    log: Option<String>,
    record: Option<u64>,
    head_size: Option<u64>,
    head_root: Option<String>,
    source: Option<String>,
    url: Option<String>,
    fetched_at: Option<Timestamp>,
    zip_sha256: Option<String>,
    zip_bytes: Option<u64>,
    origin: Option<Box<RawValue>>,
    importer: Option<String>,
}

impl TryFrom<Fields> for Evidence {
    type Error = String;

    fn try_from(fields: Fields) -> Result<Evidence, String> {
        let missing = || format!("evidence of the kind {:?} lacks a field", fields.kind);
        let evidence = match fields.kind.as_str() {
            "sumdb" => Evidence::Sumdb {
                log: fields.log.ok_or_else(missing)?,
                record: fields.record.ok_or_else(missing)?,
                head_size: fields.head_size.ok_or_else(missing)?,
                head_root: fields.head_root.ok_or_else(missing)?,
            },
            "computed" => Evidence::Computed {
                source: fields.source.ok_or_else(missing)?,
                url: fields.url.ok_or_else(missing)?,
                fetched_at: fields.fetched_at.ok_or_else(missing)?,
                zip_sha256: fields.zip_sha256.ok_or_else(missing)?,
                zip_bytes: fields.zip_bytes.ok_or_else(missing)?,
                origin: fields.origin,
            },
            "imported" => Evidence::Imported { importer: fields.importer.ok_or_else(missing)? },
            kind => return Err(format!("unknown kind of evidence {kind:?}")),
        };
        Ok(evidence)
    }
}

impl TryFrom<Fields> for StoredEvidence {
    type Error = String;

    fn try_from(fields: Fields) -> Result<StoredEvidence, String> {
        let appended_at = fields.appended_at.ok_or("evidence without the time of its record")?;
        Ok(StoredEvidence { appended_at, evidence: fields.try_into()? })
    }
}

/// What kind of incident it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IncidentKind {
    /// Another hash was offered for a module version that is in the log.
    HashConflict,
    /// A signed contradiction of another log.
    Misbehavior,
    /// A stored row is damaged.
    Damage,
    /// What a person has decided about another incident.
    Decision,
}

impl IncidentKind {
    /// The name under which it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            IncidentKind::HashConflict => "hash-conflict",
            IncidentKind::Misbehavior => "misbehaviour",
            IncidentKind::Damage => "damage",
            IncidentKind::Decision => "decision",
        }
    }
}

/// Something that a person must look at.
#[derive(Clone, Debug)]
pub struct Incident {
    /// What kind it is.
    pub kind: IncidentKind,
    /// When it was seen.
    pub at: Timestamp,
    /// What was seen, as JSON. The same detail is kept once, however often it happens.
    pub detail: String,
}

impl Incident {
    /// What makes two incidents the same: kind and detail, not the time.
    pub fn digest(&self) -> [u8; 32] {
        digest_of(self.kind.as_str(), &self.detail)
    }
}

impl KeptIncident {
    /// As that of the [`Incident`] that was kept.
    pub fn digest(&self) -> [u8; 32] {
        digest_of(&self.kind, &self.detail)
    }
}

/// The digest of an incident, which also shows whether it is as it was written.
pub(crate) fn digest_of(kind: &str, detail: &str) -> [u8; 32] {
    Sha256::new().chain_update(kind).chain_update([0]).chain_update(detail).finalize().into()
}

/// An incident as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeptIncident {
    /// Its number.
    pub id: u64,
    /// When it was first seen.
    pub at: Timestamp,
    /// What kind it is.
    pub kind: String,
    /// What was seen, as JSON.
    pub detail: String,
}
