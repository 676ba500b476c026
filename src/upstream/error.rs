//! Why a fetch failed, told apart by what the caller does next: [`judge`](super::judge()) says what.

use std::fmt;
use std::io;
use std::time::Duration;

use super::handshake::Fix;
use super::space::NoSpace;
use crate::source::{RedactedUrl, ServerUrl};
use crate::visible;

/// What a source said in words, cleaned: at most 8 lines and 512 bytes of printable text, empty if
/// it said nothing fit to show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamMessage(String);

/// The most that is kept of an error body.
const MAX_SAID_BYTES: usize = 512;
/// The most lines, as the go command prints them.
const MAX_SAID_LINES: usize = 8;

/// How the cause begins when a server answers with something that is not HTTP.
pub(super) const NOT_HTTP: &str = "not a valid HTTP answer";

/// The step at which a source could not be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The name has no address.
    Dns,
    /// No connection.
    Connect,
    /// The certificate or the handshake failed.
    Tls,
    /// The configured proxy cannot be reached, or does not connect.
    Proxy,
}

/// What was being waited for when time ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// The connection.
    Connect,
    /// Status line and headers.
    Answer,
    /// The body.
    Body,
    /// A local file.
    File,
}

/// Why a redirect was not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedirectRefusal {
    /// More hops than allowed, or a loop.
    TooMany,
    /// From https to http.
    Insecure,
    /// To a host that is neither the same nor listed.
    Host,
    /// To a private, loopback or link-local address.
    PrivateAddress,
    /// No usable `Location`.
    Malformed,
    /// A `Location` longer than any URL that is followed.
    TooLong,
}

/// Why a fetch failed. Nothing in it holds credentials.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// 404 or 410, or no such local file.
    #[error("{url}: {status} not found{said}")]
    NotFound {
        /// What was asked for.
        url: RedactedUrl,
        /// 404 or 410; 404 for a missing local file.
        status: u16,
        /// The reason that the server gave.
        said: UpstreamMessage,
    },
    /// 401, 403 or 407, or an unreadable local file. Remedy: credentials in the source's URL, or
    /// permissions.
    #[error("{url}: {status} access refused{said}")]
    Forbidden {
        /// What was asked for.
        url: RedactedUrl,
        /// The status; 403 for a local file.
        status: u16,
        /// The reason that the server gave.
        said: UpstreamMessage,
    },
    /// 408, 425, 429 or 5xx.
    #[error("{url}: {status} unavailable{said}")]
    Unavailable {
        /// What was asked for.
        url: RedactedUrl,
        /// The status.
        status: u16,
        /// How long the server asked to wait, at most [`super::MAX_RETRY_AFTER`].
        retry_after: Option<Duration>,
        /// The reason that the server gave.
        said: UpstreamMessage,
    },
    /// Not asked, since it answered something else with a `Retry-After` that is not over.
    #[error("{url}: not asked, it wants to be left alone for {retry_after:.0?} more")]
    Postponed {
        /// Who is left alone.
        url: RedactedUrl,
        /// For how long yet.
        retry_after: Duration,
    },
    /// A module proxy whose `supported` says that it does not pass this checksum database on.
    #[error(
        "{url}: this proxy does not pass the checksum database on; set `urls` of its [sumdb] to an address of the database, or to \
         a proxy that does"
    )]
    NotPassedOn {
        /// The passthrough.
        url: RedactedUrl,
    },
    /// Any other status than 200.
    #[error("{url}: unexpected status {status}{said}")]
    UnexpectedStatus {
        /// What was asked for.
        url: RedactedUrl,
        /// The status.
        status: u16,
        /// The reason that the server gave.
        said: UpstreamMessage,
    },
    /// The server was not reached.
    #[error("{url}: cannot be reached ({}{why})", stage.prefix())]
    Unreachable {
        /// What was asked for.
        url: RedactedUrl,
        /// How far it came.
        stage: Stage,
        /// The cause.
        why: String,
        /// What to do about it.
        fix: Option<Fix>,
    },
    /// The connection broke: a reset, or an answer that ended early.
    #[error("{url}: the answer broke off after {received} bytes ({why})")]
    Broken {
        /// What was asked for.
        url: RedactedUrl,
        /// Bytes of the body that had come.
        received: u64,
        /// The cause.
        why: String,
    },
    /// Time ran out.
    #[error("{url}: timed out after {after:.1?} waiting for {waiting}")]
    Timeout {
        /// What was asked for.
        url: RedactedUrl,
        /// What for.
        waiting: Waiting,
        /// How long it had taken by then.
        after: Duration,
    },
    /// More bytes than allowed; the rest was not read.
    #[error("{url}: larger than the allowed {max_bytes} bytes")]
    TooLarge {
        /// What was asked for.
        url: RedactedUrl,
        /// The limit.
        max_bytes: u64,
    },
    /// A redirect that the rules forbid.
    #[error("{url}: redirect to {to} refused: {refusal}")]
    Redirect {
        /// Who redirected.
        url: RedactedUrl,
        /// Who was asked first: the source that the rules speak of.
        first: RedactedUrl,
        /// Where to.
        to: RedactedUrl,
        /// Why not.
        refusal: RedirectRefusal,
    },
    /// An answer that is not HTTP, is encoded badly, or is not a regular file.
    #[error("{url}: bad content: {why}")]
    BadContent {
        /// What was asked for.
        url: RedactedUrl,
        /// What is bad.
        why: String,
        /// Whether only a limit of ours makes it bad: the go command would take it.
        ours: bool,
    },
    /// An `.info` about another version than the one asked for.
    #[error("{url}: this .info is about version {got}, not about {asked}")]
    OtherVersion {
        /// What was asked for.
        url: RedactedUrl,
        /// The version asked for.
        asked: String,
        /// The version that the `.info` names, cut off.
        got: String,
    },
    /// A name that no file of a local directory can have: an element is too long for the file
    /// system, or a file stands where a directory would have to be. There is no such file.
    #[error("{url}: no file can have this name there ({source})")]
    Unnameable {
        /// What was asked for.
        url: RedactedUrl,
        /// The system's error.
        source: io::Error,
    },
    /// Scratch has no space left for the body. The source is not to blame, and it passes.
    #[error("{url}: {source}")]
    NoSpace {
        /// What was asked for.
        url: RedactedUrl,
        /// Which disk or limit.
        source: NoSpace,
    },
    /// Our own side failed: a temporary file, or reading a local source.
    #[error("{url}: {source}")]
    Local {
        /// What was asked for.
        url: RedactedUrl,
        /// The system's error.
        source: io::Error,
    },
}

impl FetchError {
    /// What was asked for.
    pub fn url(&self) -> &RedactedUrl {
        match self {
            FetchError::NotFound { url, .. }
            | FetchError::Forbidden { url, .. }
            | FetchError::Unavailable { url, .. }
            | FetchError::Postponed { url, .. }
            | FetchError::NotPassedOn { url }
            | FetchError::UnexpectedStatus { url, .. }
            | FetchError::Unreachable { url, .. }
            | FetchError::Broken { url, .. }
            | FetchError::Timeout { url, .. }
            | FetchError::TooLarge { url, .. }
            | FetchError::Redirect { url, .. }
            | FetchError::BadContent { url, .. }
            | FetchError::OtherVersion { url, .. }
            | FetchError::Unnameable { url, .. }
            | FetchError::NoSpace { url, .. }
            | FetchError::Local { url, .. } => url,
        }
    }

    /// Our own side failed.
    pub(super) fn local(url: RedactedUrl, source: io::Error) -> FetchError {
        match source.downcast::<NoSpace>() {
            Ok(source) => FetchError::NoSpace { url, source },
            Err(source) => FetchError::Local { url, source },
        }
    }

    /// Whether the source does not have it: it says so, or it cannot have it.
    pub fn is_not_found(&self) -> bool {
        matches!(self, FetchError::NotFound { .. } | FetchError::Unnameable { .. })
    }

    /// Whether the same request may well succeed later with nobody changing anything.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            FetchError::Unavailable { .. }
                | FetchError::Postponed { .. }
                | FetchError::Unreachable { .. }
                | FetchError::Broken { .. }
                | FetchError::Timeout { .. }
                | FetchError::NoSpace { .. }
        )
    }

    /// What happened, without the URL.
    pub fn reason(&self) -> String {
        let (text, url) = (self.to_string(), self.url().as_str());
        text.strip_prefix(url).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(&text).to_owned()
    }

    /// The same, of a fetch that began at this server.
    pub(super) fn of_first(mut self, server: &ServerUrl) -> FetchError {
        if let FetchError::Redirect { first, .. } = &mut self {
            *first = server.redacted();
        }
        self
    }

    /// The same, asking for no longer pause than this.
    pub(super) fn asking_for_at_most(mut self, longest: Duration) -> FetchError {
        if let FetchError::Unavailable { retry_after: Some(asked), .. } = &mut self {
            *asked = longest.min(*asked);
        }
        self
    }

    /// Returns what a person can do about it, where that follows from the error alone.
    pub fn fix(&self) -> Option<Fix> {
        match self {
            FetchError::Unreachable { fix, .. } => *fix,
            FetchError::Forbidden { status: 407, .. } => Some(Fix::ProxyLogin),
            FetchError::BadContent { url, why, .. } if !url.is_https() && why.starts_with(NOT_HTTP) => {
                Some(Fix::NotPlain)
            }
            _ => None,
        }
    }

    /// How long the server asked to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            FetchError::Unavailable { retry_after, .. } => *retry_after,
            FetchError::Postponed { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }
}

impl UpstreamMessage {
    /// Cleans what a server or a program printed: it is shown on a developer's terminal, so
    /// characters that are not plain are named ([`crate::visible`]). What is not UTF-8 is dropped
    /// whole.
    pub fn clean(text: &[u8]) -> UpstreamMessage {
        let cut = &text[..text.len().min(4 * MAX_SAID_BYTES)];
        let text = match std::str::from_utf8(cut) {
            Ok(text) => text,
            // Only a character that the cut went through is forgiven.
            Err(e) if e.error_len().is_none() => {
                std::str::from_utf8(&cut[..e.valid_up_to()]).unwrap_or_default()
            }
            Err(_) => return UpstreamMessage::default(),
        };
        let mut said = String::new();
        let lines = text.lines().map(str::trim).skip_while(|line| line.is_empty());
        for line in lines.take_while(|line| !line.is_empty()).take(MAX_SAID_LINES) {
            if !said.is_empty() {
                said.push_str("; ");
            }
            said.push_str(&visible::escape_line(&line.replace('\t', " ")));
        }
        if said.len() > MAX_SAID_BYTES {
            said.truncate(said.floor_char_boundary(MAX_SAID_BYTES));
            said.push('…');
        }
        UpstreamMessage(said)
    }

    /// Returns the message with a sentence of ours before it.
    pub(super) fn after(&self, ours: &str) -> UpstreamMessage {
        let Self(theirs) = self;
        UpstreamMessage(if theirs.is_empty() { ours.to_owned() } else { format!("{ours}: {theirs}") })
    }

    /// The text without decoration; may be empty.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UpstreamMessage {
    /// `: text`, or nothing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, ": {}", self.0) }
    }
}

impl Stage {
    /// Returns what stands before the cause. That of a proxy names it itself.
    fn prefix(self) -> String {
        if self == Stage::Proxy { String::new() } else { format!("{self}: ") }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Dns => "name look-up",
            Stage::Connect => "connection",
            Stage::Tls => "TLS",
            Stage::Proxy => "proxy",
        })
    }
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Waiting::Connect => "the connection",
            Waiting::Answer => "the answer",
            Waiting::Body => "the rest of the answer",
            Waiting::File => "the file",
        })
    }
}

impl fmt::Display for RedirectRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RedirectRefusal::TooMany => "too many redirects",
            RedirectRefusal::Insecure => "it leads from https to http",
            RedirectRefusal::Host => "its host is not in the server's redirects.hosts",
            RedirectRefusal::PrivateAddress => "it leads to a private address, and the source is not in the server's redirects.private_sources",
            RedirectRefusal::Malformed => "its Location is not a usable URL",
            RedirectRefusal::TooLong => "its Location is longer than 4096 bytes",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn said_keeps_plain_text_and_names_tricks() {
        for (text, want) in [
            ("not found: unknown revision\n", "not found: unknown revision"),
            ("\nfirst\r\n\tsecond\n\nthird", "first; second"),
            ("", ""),
            ("\x1b[31mred\u{9b}", "\\u{1b}[31mred\\u{9b}"),
            ("a\0b", "a\\u{0}b"),
            ("evil \u{202e}txt", "evil \\u{202e}txt"),
            ("true\rfalse\tx", "true\\u{d}false x"),
            ("größer", "größer"),
        ] {
            assert_eq!(UpstreamMessage::clean(text.as_bytes()).as_str(), want, "{text:?}");
        }
        assert_eq!(UpstreamMessage::clean(b"\xff\xfe plain").as_str(), "");
        let long = "é".repeat(4000);
        let said = UpstreamMessage::clean(long.as_bytes());
        assert!(
            said.as_str().len() <= MAX_SAID_BYTES + 3 && said.as_str().ends_with('…'),
            "{}",
            said.as_str().len()
        );
        assert_eq!(
            UpstreamMessage::clean("l\n".repeat(100).as_bytes()).as_str().matches('l').count(),
            MAX_SAID_LINES
        );
    }
}
