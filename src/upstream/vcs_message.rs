//! What `go mod download -json` says when it fails, made fit for a stranger's terminal, and whose
//! fault it is.
//!
//! ```text
//! {
//!   "Path": "corp.example/repo.git",
//!   "Version": "v1.0.1",
//!   "Error": "corp.example/repo.git@v1.0.1: invalid version: unknown revision v1.0.1"
//! }
//! ```

use std::path::Path;

use serde::Deserialize;

use super::error::UpstreamMessage;

/// Whose fault a failure is, as far as the words tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blame {
    /// No such repository or version.
    Missing,
    /// Credentials.
    Access,
    /// Names, connections, servers that answer 5xx.
    Network,
    /// Anything else.
    Unknown,
}

/// Words of go and git, tried in this order: a network failure is often wrapped in words that sound
/// like a missing version.
const SIGNS: &[(Blame, &[&str])] = &[
    (
        Blame::Network,
        &[
            "no such host",
            "Could not resolve host",
            "connection refused",
            "Connection refused",
            "Connection timed out",
            "Connection reset",
            "connection reset",
            "Failed to connect",
            "i/o timeout",
            "TLS handshake timeout",
            "network is unreachable",
            "Network is unreachable",
            "No route to host",
            "no route to host",
            "unexpected EOF",
            "early EOF",
            "Internal Server Error",
            "Bad Gateway",
            "Service Unavailable",
            "Gateway Time",
            "Too Many Requests",
            "returned error: 5",
            "returned error: 429",
            "no secure protocol found",
        ],
    ),
    (
        Blame::Access,
        &[
            "could not read Username",
            "could not read Password",
            "terminal prompts disabled",
            "Permission denied",
            "Authentication failed",
            "returned error: 401",
            "returned error: 403",
            "401 Unauthorized",
            "403 Forbidden",
            "Host key verification failed",
            "GOVCS disallows",
        ],
    ),
    (
        Blame::Missing,
        &[
            "unknown revision",
            "invalid version",
            "invalid pseudo-version",
            "not found",
            "Not Found",
            "does not exist",
            "does not appear to be a git repository",
            "410 Gone",
            "no matching versions",
            "unrecognized import path",
            "missing go.mod",
            "go.mod has post-",
        ],
    ),
];

/// The message, uncleaned.
#[derive(Debug)]
pub(super) struct Message(String);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Printed {
    error: Option<String>,
}

impl Message {
    /// Takes the error that go printed as JSON, else what it or git wrote to stderr.
    pub(super) fn read(stdout: &[u8], stderr: &[u8]) -> Message {
        let printed = serde_json::from_slice::<Printed>(stdout).ok().and_then(|printed| printed.error);
        Message(printed.unwrap_or_else(|| String::from_utf8_lossy(stderr).into_owned()))
    }

    /// Whose fault it is.
    pub(super) fn blame(&self) -> Blame {
        let names = |(_, signs): &&(Blame, &[&str])| signs.iter().any(|sign| self.0.contains(sign));
        SIGNS.iter().find(names).map_or(Blame::Unknown, |(blame, _)| *blame)
    }

    /// The text without credentials, local paths and what the operator's git configuration holds.
    pub(super) fn clean(&self, scratch: &Path, git_config: Option<&str>) -> UpstreamMessage {
        let mut text = self.0.clone();
        for secret in secrets(git_config.unwrap_or_default()) {
            text = text.replace(secret, "***");
        }
        text = drop_paths(&text, &scratch.display().to_string());
        UpstreamMessage::clean(hide_userinfo(&text).as_bytes())
    }
}

/// Every value in the configuration that must not be shown: the base URLs that others are replaced
/// by (and the path of a local one), user and password in a URL, and headers.
fn secrets(git_config: &str) -> Vec<&str> {
    /// Shorter ones are words, and would riddle the message.
    const MIN_SECRET_BYTES: usize = 4;
    let mut secrets = Vec::new();
    for line in git_config.lines().map(str::trim) {
        if let Some(base) = line.strip_prefix("[url").and_then(|rest| rest.split('"').nth(1)) {
            secrets.push(base);
            secrets.extend(base.strip_prefix("file://"));
            secrets.extend(base.strip_prefix("file://").map(|path| path.trim_end_matches('/')));
        }
        if let Some((_, value)) =
            line.split_once('=').filter(|(key, _)| key.to_ascii_lowercase().contains("extraheader"))
        {
            secrets.push(value.trim());
            secrets.extend(value.split([' ', '"', '\'']).filter(|word| word.len() >= 8));
        }
        for (at, _) in line.match_indices("://") {
            let authority = line[at + 3..].split(['/', '"', ' ']).next().unwrap_or_default();
            if let Some((userinfo, _)) = authority.rsplit_once('@') {
                secrets.push(userinfo);
                secrets.extend(userinfo.split_once(':').map(|(_, password)| password));
            }
        }
    }
    secrets.retain(|secret| secret.len() >= MIN_SECRET_BYTES);
    // The longest first, so that none is left half visible.
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    secrets
}

/// `in /scratch/mod/cache/vcs/19…: exit` becomes `in …: exit`.
fn drop_paths(text: &str, scratch: &str) -> String {
    let mut pieces = text.split(scratch);
    let mut clean = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        clean.push('…');
        clean.push_str(piece.trim_start_matches(|c: char| !(c.is_whitespace() || "\"'`:,;)]".contains(c))));
    }
    clean
}

/// `https://user:password@host` becomes `https://***@host`.
fn hide_userinfo(text: &str) -> String {
    let mut pieces = text.split("://");
    let mut clean = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        clean.push_str("://");
        let end = piece.find(|c: char| c.is_whitespace() || "/\"'`,".contains(c)).unwrap_or(piece.len());
        match piece[..end].rfind('@') {
            Some(at) => {
                clean.push_str("***");
                clean.push_str(&piece[at..]);
            }
            None => clean.push_str(piece),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(error: &str) -> Message {
        Message::read(serde_json::json!({ "Path": "p", "Error": error }).to_string().as_bytes(), b"noise")
    }

    /// The texts are those of go 1.26.8 and git 2.39.5.
    #[test]
    fn blame_follows_the_words() {
        for (error, want) in [
            ("corp.example/r.git@v1.0.1: invalid version: unknown revision v1.0.1", Blame::Missing),
            (
                "x@v1: invalid version: git ls-remote -q --end-of-options https://github.com/x in /s: exit status 128:\n\tfatal: unable to access 'https://github.com/x/': Could not resolve host: github.com",
                Blame::Network,
            ),
            (
                "x@v1: unrecognized import path \"nowhere.invalid/x\": https fetch: Get \"https://nowhere.invalid/x?go-get=1\": dial tcp: lookup nowhere.invalid on 10.0.0.1:53: no such host",
                Blame::Network,
            ),
            (
                "x@v1: unrecognized import path \"a.example/x\": reading https://a.example/x?go-get=1: 404 Not Found",
                Blame::Missing,
            ),
            (
                "x@v1: invalid version: git ls-remote -q origin in /s: exit status 128:\n\tfatal: could not read Username for 'https://github.com': terminal prompts disabled",
                Blame::Access,
            ),
            ("x@v1: no secure protocol found for repository", Blame::Network),
            ("go: something else", Blame::Unknown),
        ] {
            assert_eq!(printed(error).blame(), want, "{error}");
        }
        assert_eq!(Message::read(b"", b"go: unknown revision x").blame(), Blame::Missing);
    }

    #[test]
    fn secrets_and_local_paths_do_not_get_out() {
        let config = "[url \"https://ci:s3cret@git.example/\"]\n insteadOf = https://corp.example/\n\
                      [url \"file:///srv/git/\"]\n insteadOf = https://b.example/\n\
                      [http \"https://c.example/\"]\n extraHeader = Authorization: Basic Y2k6czNjcmV0\n";
        let message = printed(
            "x@v1: git fetch https://ci:s3cret@git.example/x in /tmp/s-1/mod/cache/vcs/19ab: exit status 128:\n\
             \tfatal: '/srv/git/x' does not exist; https://u:other@d.example/x; Basic Y2k6czNjcmV0 s3cret\n",
        );
        let said = message.clean(Path::new("/tmp/s-1"), Some(config));
        for secret in ["s3cret", "other", "/tmp", "/srv", "Y2k6"] {
            assert!(!said.as_str().contains(secret), "{secret} in {}", said.as_str());
        }
        assert!(said.as_str().contains("in …: exit status 128:"), "{}", said.as_str());
        assert!(said.as_str().contains("https://***@d.example/x"), "{}", said.as_str());
    }
}
