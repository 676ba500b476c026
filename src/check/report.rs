//! What a check has found, in the terms of whoever reads it.

use serde::{Serialize, Serializer};

use super::prove::{CheckedClaims, ClaimVerdict};
use super::{FilePlace, HashClaim};

/// How something that was checked fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum CheckVerdict {
    /// It is not what the log says. A person must look.
    Differs,
    /// The log has no record of it.
    NotInLog,
    /// Something here keeps it from being checked.
    NotChecked,
    /// No log could vouch for it, or `go` does not use it. It is named, and is no failure.
    Unverified,
    /// The log vouches for it.
    Proved,
}

/// Something that was checked, with its place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Finding {
    /// Where it stands.
    #[serde(flatten, serialize_with = "place")]
    pub(crate) place: FilePlace,
    /// `path@version`, or what stands in its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) module: Option<String>,
    /// How it fared.
    pub(crate) verdict: CheckVerdict,
    /// Why, for people.
    pub(crate) why: String,
}

/// How many of each there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct CheckCounts {
    /// Hashes that the log vouches for.
    pub(crate) proved: usize,
    /// See [`CheckVerdict::NotInLog`].
    pub(crate) not_in_log: usize,
    /// See [`CheckVerdict::Differs`].
    pub(crate) differs: usize,
    /// See [`CheckVerdict::NotChecked`].
    pub(crate) not_checked: usize,
    /// See [`CheckVerdict::Unverified`].
    pub(crate) unverified: usize,
}

fn place<S: Serializer>(place: &FilePlace, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Fields<'a> {
        #[serde(serialize_with = "shown")]
        place: &'a FilePlace,
        file: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        line: Option<usize>,
    }
    Fields { place, file: &place.file, line: place.line }.serialize(serializer)
}

fn shown<S: Serializer>(place: &&FilePlace, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(place)
}

impl CheckedClaims {
    /// What became of each claim, in their order.
    pub(crate) fn findings<'a>(&'a self, claims: &'a [HashClaim]) -> impl Iterator<Item = Finding> + 'a {
        claims.iter().zip(&self.verdicts).map(|(claim, verdict)| {
            let what = claim.kind.as_str();
            let (verdict, why) = match verdict {
                ClaimVerdict::Proved { record } => {
                    (CheckVerdict::Proved, format!("its {what} hash is that of record {record}"))
                }
                ClaimVerdict::NotInLog => {
                    (CheckVerdict::NotInLog, format!("{} has no record of it", self.log))
                }
                ClaimVerdict::Refused { said } => {
                    (CheckVerdict::NotChecked, format!("{} refuses to answer for it: {said}", self.log))
                }
                ClaimVerdict::Differs { record, logged } => (
                    CheckVerdict::Differs,
                    format!(
                        "its {what} hash is {} here, and {logged} in record {record} of {}",
                        claim.hash, self.log
                    ),
                ),
            };
            Finding { place: claim.place.clone(), module: Some(claim.module.to_string()), verdict, why }
        })
    }
}

impl CheckCounts {
    /// Counts them.
    pub(crate) fn of(findings: &[Finding]) -> CheckCounts {
        let mut counts = CheckCounts::default();
        for finding in findings {
            *match finding.verdict {
                CheckVerdict::Proved => &mut counts.proved,
                CheckVerdict::NotInLog => &mut counts.not_in_log,
                CheckVerdict::Differs => &mut counts.differs,
                CheckVerdict::NotChecked => &mut counts.not_checked,
                CheckVerdict::Unverified => &mut counts.unverified,
            } += 1;
        }
        counts
    }
}
