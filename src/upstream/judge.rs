//! What follows from a source's failure: which source is asked next, and what the one who asked is
//! told. This table is the only place that decides it.
//!
//! The go command decides by these rules which source of a list it takes a module from, so we must
//! decide by the same, or we notarize the files of another source forever. It goes on after a comma
//! when a source says 404 or 410, and after a bar whatever happens. So nothing leads to the next
//! source that is only our own refusal: a redirect that the operator has not allowed, a limit of
//! ours, a full disk. (One exception: a source that does not answer in time. The go command would
//! wait for it forever.) What is wrong inside a zip or a go.mod is found later, by us as by the go
//! command, and leads nowhere.
//!
//! A proxy that passes a checksum database on speaks for it. It withholds what it does not want the
//! database to hear of, so whatever it says of a module, unless it only fails, is told to nobody
//! else.
//!
//! | the source | modules: the next is asked | a proxy before a database | the database itself | the answer |
//! |---|---|---|---|---|
//! | 404, 410, no such file | always | never | always | not found |
//! | a name that its file system cannot hold | after a bar | never | always | not found |
//! | 401, 403, 407, an unreadable file | after a bar | never | always | access refused |
//! | 408, 425, 429, 5xx | after a bar | always | always | later |
//! | any other status | after a bar | never | always | rejected |
//! | not reached, broken off, too slow | after a bar | always | always | later |
//! | a redirect that is refused by the go command too | after a bar | never | always | rejected |
//! | a redirect that is refused by our rules | never | never | always | not allowed here |
//! | no HTTP, damaged gzip, no regular file | after a bar | always | always | unusable |
//! | larger than the go command takes | after a bar | always | always | unusable |
//! | beyond a limit of ours | never | always | always | not allowed here |
//! | an `.info` of another version | after a bar, for the `.info` alone | – | – | unusable |
//! | does not pass the database on, wants to be left alone | – | always | always | later |
//! | our disk has no space left | never | always | always | no space |
//! | our disk fails | never | always | always | our fault |

use super::error::{FetchError, RedirectRefusal};

/// `MaxZipFile` of x/mod/zip: the go command takes no larger file.
const GO_MAX_ZIP_BYTES: u64 = 500 << 20;

/// Who was asked, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// A module proxy or a directory laid out like one, for a module.
    Modules,
    /// A module proxy that passes a checksum database on, for the record of a module version.
    Passthrough,
    /// A checksum database or a copy of its files. A passthrough that is asked for heads and tiles,
    /// which name no module, is as good as the database.
    Database,
}

/// When the next source is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextSource {
    /// In every list.
    Always,
    /// In a list where a bar stands before it.
    AfterBar,
    /// Never: the failure stands for the whole list.
    Never,
}

/// What the one who asked is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceVerdict {
    /// There is no such thing.
    NotFound,
    /// The source wants credentials, or others.
    AccessRefused,
    /// The source does not want to answer this. Its operator knows why.
    Rejected,
    /// It may work later with nobody changing anything.
    Later,
    /// Our operator's rules do not let us take what the source offers.
    NotAllowedHere,
    /// What the source sends is of no use, now or later.
    Unusable,
    /// We have no space left. It passes.
    NoSpace,
    /// Our own disk or memory fails.
    OurFault,
}

/// Looks a failure up in the table.
pub fn judge(kind: SourceKind, error: &FetchError) -> (NextSource, SourceVerdict) {
    use NextSource::{AfterBar, Always, Never};
    let (modules, passthrough, verdict) = match error {
        FetchError::NotFound { .. } => (Always, Never, SourceVerdict::NotFound),
        FetchError::Unnameable { .. } => (AfterBar, Never, SourceVerdict::NotFound),
        FetchError::Forbidden { .. } => (AfterBar, Never, SourceVerdict::AccessRefused),
        FetchError::UnexpectedStatus { .. } => (AfterBar, Never, SourceVerdict::Rejected),
        FetchError::Unavailable { .. }
        | FetchError::Unreachable { .. }
        | FetchError::Broken { .. }
        | FetchError::Timeout { .. }
        | FetchError::Postponed { .. }
        | FetchError::NotPassedOn { .. } => (AfterBar, Always, SourceVerdict::Later),
        FetchError::Redirect { refusal, .. } => match refusal {
            RedirectRefusal::TooMany | RedirectRefusal::Insecure | RedirectRefusal::Malformed => {
                (AfterBar, Never, SourceVerdict::Rejected)
            }
            RedirectRefusal::Host | RedirectRefusal::PrivateAddress | RedirectRefusal::TooLong => {
                (Never, Never, SourceVerdict::NotAllowedHere)
            }
        },
        FetchError::TooLarge { max_bytes, .. } if *max_bytes < GO_MAX_ZIP_BYTES => {
            (Never, Always, SourceVerdict::NotAllowedHere)
        }
        FetchError::BadContent { ours: true, .. } => (Never, Always, SourceVerdict::NotAllowedHere),
        FetchError::TooLarge { .. } | FetchError::BadContent { .. } | FetchError::OtherVersion { .. } => {
            (AfterBar, Always, SourceVerdict::Unusable)
        }
        FetchError::NoSpace { .. } => (Never, Always, SourceVerdict::NoSpace),
        FetchError::Local { .. } => (Never, Always, SourceVerdict::OurFault),
    };
    let next = match kind {
        SourceKind::Modules => modules,
        SourceKind::Passthrough => passthrough,
        SourceKind::Database => Always,
    };
    (next, verdict)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::time::Duration;

    use super::*;
    use crate::source::{RedactedUrl, SourceUrl};
    use crate::upstream::{Stage, Waiting};

    fn url() -> RedactedUrl {
        SourceUrl::parse("https://a.example").unwrap().redacted()
    }

    fn redirect(refusal: RedirectRefusal) -> FetchError {
        FetchError::Redirect { url: url(), first: url(), to: url(), refusal }
    }

    /// The rows that no server brings about; the others are tried with servers in `it::upstream::judged`.
    #[test]
    fn failures_of_ours_lead_to_no_other_source() {
        use NextSource::{AfterBar, Always, Never};
        use SourceVerdict::{Later, NotAllowedHere, OurFault, Rejected, Unusable};
        let go_limit = FetchError::TooLarge { url: url(), max_bytes: GO_MAX_ZIP_BYTES };
        let our_limit = FetchError::TooLarge { url: url(), max_bytes: GO_MAX_ZIP_BYTES - 1 };
        let headers = FetchError::BadContent { url: url(), why: String::new(), ours: true };
        let version =
            FetchError::OtherVersion { url: url(), asked: "v1.0.0".to_owned(), got: "v1.0.1".to_owned() };
        let disk = FetchError::Local { url: url(), source: io::Error::other("a damaged sector") };
        let unreached = |stage| FetchError::Unreachable { url: url(), stage, why: String::new(), fix: None };
        let silent =
            FetchError::Timeout { url: url(), waiting: Waiting::Answer, after: Duration::from_secs(1) };
        for (error, modules, passthrough, verdict) in [
            (go_limit, AfterBar, Always, Unusable),
            (our_limit, Never, Always, NotAllowedHere),
            (headers, Never, Always, NotAllowedHere),
            (version, AfterBar, Always, Unusable),
            (disk, Never, Always, OurFault),
            (unreached(Stage::Dns), AfterBar, Always, Later),
            (unreached(Stage::Connect), AfterBar, Always, Later),
            (unreached(Stage::Tls), AfterBar, Always, Later),
            (silent, AfterBar, Always, Later),
            (redirect(RedirectRefusal::Insecure), AfterBar, Never, Rejected),
            (redirect(RedirectRefusal::PrivateAddress), Never, Never, NotAllowedHere),
        ] {
            assert_eq!(judge(SourceKind::Modules, &error), (modules, verdict), "{error}");
            assert_eq!(judge(SourceKind::Passthrough, &error), (passthrough, verdict), "{error}");
            assert_eq!(judge(SourceKind::Database, &error), (Always, verdict), "{error}");
        }
    }
}
