//! Judges the words of `go mod download -json` or git: who must act, and the one line that says
//! so.
//!
//! ```text
//! {
//!   "Path": "corp.example/repo.git",
//!   "Version": "v1.0.1",
//!   "Error": "corp.example/repo.git@v1.0.1: invalid version: unknown revision v1.0.1"
//! }
//! ```
//!
//! Words of a remote server (`remote: …`, `server response: …`) decide nothing: it could write
//! there what it likes.

use serde::Deserialize;

use super::error::VcsFault;

/// The words by which `go` says that it pinged every protocol in vain, without a word of git.
const NO_PROTOCOL: &str = "no secure protocol found for repository";
/// The most that is shown of one line.
const MAX_LINE_BYTES: usize = 240;

/// Who must act after a failure, as far as the words tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Blame {
    /// No such repository or version.
    Missing,
    /// The repository's content.
    Module,
    /// Our operator's.
    Setup(VcsFault),
    /// Names, connections, servers that answer 5xx.
    Network,
    /// Anything else.
    Unknown,
}

/// Words of go 1.26 and git 2.39, tried in this order: our own faults come first, since they are
/// often wrapped in words that sound like a missing version; so are network failures.
static SIGNS: [(Blame, &[&str]); 15] = [
    (Blame::Setup(VcsFault::NoGit), &["exec: \"git\": executable file not found", "missing Git command"]),
    (Blame::Setup(VcsFault::Ownership), &["detected dubious ownership"]),
    (
        Blame::Setup(VcsFault::NoSsh),
        &["cannot run ssh", "fatal: cannot run", "ssh: not found", "ssh: command not found"],
    ),
    (
        Blame::Setup(VcsFault::GitConfig),
        &[
            "fatal: bad config",
            "fatal: bad numeric config",
            "Problem with the SSL CA cert",
            "error setting certificate",
        ],
    ),
    (Blame::Setup(VcsFault::HostKey), &["Host key verification failed"]),
    (Blame::Setup(VcsFault::SshKey), &["Permission denied (", "Too many authentication failures"]),
    (
        Blame::Setup(VcsFault::InvalidCertificate),
        &[
            "x509: certificate has expired",
            "x509: certificate is valid for",
            "x509: certificate is not valid for any names",
            "certificate has expired",
            "does not match target host name",
        ],
    ),
    (
        Blame::Setup(VcsFault::UntrustedCertificate),
        &[
            "x509: ",
            "server certificate verification failed",
            "SSL certificate problem",
            "certificate signed by",
        ],
    ),
    (
        Blame::Setup(VcsFault::OutgoingProxy),
        &[
            "Proxy Authentication Required",
            "CONNECT tunnel failed, response 4",
            "HTTP code 4",
            "go-get=1\": Forbidden",
            "go-get=1\": Method Not Allowed",
        ],
    ),
    (
        Blame::Network,
        &[
            "no such host",
            "Could not resolve host",
            "server misbehaving",
            "connection refused",
            "Connection refused",
            "Connection timed out",
            "Connection reset",
            "connection reset",
            "Failed to connect",
            "CONNECT tunnel failed",
            "unable to connect to",
            "i/o timeout",
            "TLS handshake timeout",
            "network is unreachable",
            "Network is unreachable",
            "No route to host",
            "no route to host",
            "unexpected EOF",
            "early EOF",
            "go-get=1: 5",
            "go-get=1: 429",
            "go-get=1\": EOF",
            "go-get=1\": Bad Gateway",
            "go-get=1\": Service Unavailable",
            "returned error: 5",
            "returned error: 429",
            "unexpected disconnect",
            "The remote end hung up unexpectedly",
        ],
    ),
    (
        Blame::Setup(VcsFault::Access),
        &[
            "could not read Username",
            "could not read Password",
            "terminal prompts disabled",
            "Permission denied",
            "Authentication failed",
            "returned error: 401",
            "returned error: 403",
            "go-get=1: 401",
            "go-get=1: 403",
            "go-get=1: 407",
        ],
    ),
    (
        Blame::Module,
        &[
            "errors parsing go.mod",
            "go.mod is missing module path",
            "error parsing go.mod",
            "malformed file path",
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
            "go-get=1: 404",
            "returned error: 404",
            "returned error: 410",
            "go-get=1: 410",
            "no matching versions",
            "no go-import meta tags",
            "unrecognized import path",
            "missing go.mod",
            "go.mod has post-",
        ],
    ),
    (Blame::Network, &[NO_PROTOCOL]),
    (Blame::Module, &["create zip", "module source tree too large", "invalid zip"]),
];

/// The message, uncleaned.
#[derive(Debug)]
pub(super) struct Words(String);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Printed {
    error: Option<String>,
}

impl Words {
    /// Takes the error that go printed as JSON, without the module's name before it; else what it
    /// or git wrote to stderr.
    pub(super) fn of_go(stdout: &[u8], stderr: &[u8], module: &str) -> Words {
        let printed = serde_json::from_slice::<Printed>(stdout).ok().and_then(|printed| printed.error);
        let stderr = String::from_utf8_lossy(stderr);
        // Go tells of a missing git here and nowhere else.
        if let Some(line) = stderr.lines().find(|line| line.contains("missing Git command")) {
            return Words(line.to_owned());
        }
        let text = printed.unwrap_or_else(|| stderr.into_owned());
        let text =
            text.trim().strip_prefix(module).map_or(text.trim(), |rest| rest.trim_start_matches([':', ' ']));
        Words(text.trim_start_matches("invalid version: ").to_owned())
    }

    /// Takes what git wrote to stderr.
    pub(super) fn of_git(stderr: &[u8]) -> Words {
        Words(String::from_utf8_lossy(stderr).into_owned())
    }

    /// Returns true where go pinged every protocol in vain, so that only git itself can say why.
    pub(super) fn is_unexplained(&self) -> bool {
        self.0.contains(NO_PROTOCOL)
    }

    /// Returns who must act, and the line that says so; the whole text where nothing is known.
    pub(super) fn judge(&self) -> (Blame, String) {
        let own = self.own_lines();
        if let Some((fault, line)) = own.iter().find_map(|line| Some((parsed_fault(line)?, line))) {
            return (Blame::Setup(fault), shorten(line));
        }
        for (blame, words) in &SIGNS {
            let Some(at) = own.iter().position(|line| words.iter().any(|word| line.contains(word))) else {
                continue;
            };
            // The next line tells what this one announces: `errors parsing go.mod:`.
            let more = own.get(at + 1).filter(|_| own[at].ends_with(':')).copied().unwrap_or_default();
            return (blame.clone(), shorten(format!("{} {more}", own[at]).trim()));
        }
        (Blame::Unknown, self.0.clone())
    }

    /// The lines of go, git and ssh themselves.
    fn own_lines(&self) -> Vec<&str> {
        let lines = self.0.lines().map(str::trim).filter(|line| !line.is_empty());
        let lines = lines.take_while(|line| !line.starts_with("server response:"));
        lines.filter(|line| !line.starts_with("remote:")).collect()
    }
}

/// `requires go >= 1.99 (running go 1.26.8; GOTOOLCHAIN=local)`, and `GOVCS disallows using hg for
/// public hg.example/x`.
fn parsed_fault(line: &str) -> Option<VcsFault> {
    let word = |text: &str| text.split([' ', ';', ')', ',']).next().map(str::to_owned);
    if let Some((_, rest)) = line.split_once("requires go >= ") {
        let (_, running) = rest.split_once("(running go ")?;
        return Some(VcsFault::GoTooOld { has: word(running)?, needs: word(rest)? });
    }
    let (_, rest) = line.split_once("GOVCS disallows using ")?;
    Some(VcsFault::OtherVcs { vcs: word(rest)? })
}

fn shorten(line: &str) -> String {
    let mut line = line.to_owned();
    if line.len() > MAX_LINE_BYTES {
        line.truncate(line.floor_char_boundary(MAX_LINE_BYTES));
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(error: &str) -> (Blame, String) {
        let stdout = serde_json::json!({ "Path": "p", "Error": error }).to_string();
        Words::of_go(stdout.as_bytes(), b"noise", "x@v1").judge()
    }

    const EXIT: &str =
        "invalid version: git ls-remote -q --end-of-options https://a.example/x in /s: exit status 128:\n\t";
    const PAGE: &str =
        "unrecognized import path \"a.example/x\": https fetch: Get \"https://a.example/x?go-get=1\": ";
    const READ: &str = "unrecognized import path \"a.example/x\": reading https://a.example/x?go-get=1: ";

    /// The text before the words, the words, who must act. The texts are those of go 1.26.8, git
    /// 2.39.5 and OpenSSH 9.2.
    static CASES: &[(&str, &str, Blame)] = &[
        ("", "unknown revision v1.0.1", Blame::Missing),
        (
            EXIT,
            "fatal: unable to access 'https://a.example/x/': Could not resolve host: a.example",
            Blame::Network,
        ),
        (
            EXIT,
            "fatal: unable to access 'https://a.example/x/': Failed to connect to 127.0.0.1 port 1 after 0 ms: Couldn't connect to server",
            Blame::Network,
        ),
        (
            EXIT,
            "fatal: unable to access 'https://a.example/x/': The requested URL returned error: 503",
            Blame::Network,
        ),
        (
            EXIT,
            "fatal: unable to access 'https://a.example/x/': The requested URL returned error: 403",
            Blame::Setup(VcsFault::Access),
        ),
        (EXIT, "fatal: repository 'https://a.example/x/' not found", Blame::Missing),
        (
            EXIT,
            "fatal: could not read Username for 'https://a.example': terminal prompts disabled",
            Blame::Setup(VcsFault::Access),
        ),
        (
            EXIT,
            "fatal: unable to access 'https://a.example/x/': server certificate verification failed. CAfile: none CRLfile: none",
            Blame::Setup(VcsFault::UntrustedCertificate),
        ),
        (
            EXIT,
            "fatal: unable to access 'https://a.example/x/': SSL certificate problem: unable to get local issuer certificate",
            Blame::Setup(VcsFault::UntrustedCertificate),
        ),
        (
            EXIT,
            "fatal: unable to access 'https://a.example/x/': SSL: certificate subject name (b) does not match target host name 'a.example'",
            Blame::Setup(VcsFault::InvalidCertificate),
        ),
        (
            EXIT,
            "fatal: unable to access 'https://a.example/x/': CONNECT tunnel failed, response 407",
            Blame::Setup(VcsFault::OutgoingProxy),
        ),
        (
            EXIT,
            "fatal: unable to access 'https://a.example/x/': CONNECT tunnel failed, response 502",
            Blame::Network,
        ),
        (PAGE, "dial tcp: lookup a.example on 10.0.0.1:53: no such host", Blame::Network),
        (PAGE, "proxyconnect tcp: dial tcp 127.0.0.1:1: connect: connection refused", Blame::Network),
        (
            PAGE,
            "tls: failed to verify certificate: x509: certificate signed by unknown authority",
            Blame::Setup(VcsFault::UntrustedCertificate),
        ),
        (
            PAGE,
            "tls: failed to verify certificate: x509: certificate is valid for b.example, not a.example",
            Blame::Setup(VcsFault::InvalidCertificate),
        ),
        (
            PAGE,
            "tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time 2026",
            Blame::Setup(VcsFault::InvalidCertificate),
        ),
        (PAGE, "Proxy Authentication Required", Blame::Setup(VcsFault::OutgoingProxy)),
        (PAGE, "Forbidden", Blame::Setup(VcsFault::OutgoingProxy)),
        (READ, "404 Not Found", Blame::Missing),
        (READ, "401 Unauthorized", Blame::Setup(VcsFault::Access)),
        (READ, "500 Internal Server Error", Blame::Network),
        ("", "no secure protocol found for repository", Blame::Network),
        (
            "",
            "unable to resolve git version: failed to execute git version: exec: \"git\": executable file not found in $PATH",
            Blame::Setup(VcsFault::NoGit),
        ),
        ("", "go.mod is missing module path at revision v1.0.0", Blame::Module),
        ("", "something else", Blame::Unknown),
    ];

    #[test]
    fn blame_and_line_follow_the_words() {
        for (before, words, want) in CASES {
            let (blame, line) = judged(&format!("x@v1: {before}{words}"));
            assert_eq!(blame, *want, "{before}{words}");
            assert!(line.ends_with(*words) && !line.contains('\n') && !line.contains("x@v1"), "{line}");
        }
        let too_old = judged("x@v1 requires go >= 1.99 (running go 1.26.8; GOTOOLCHAIN=local)").0;
        assert_eq!(too_old, Blame::Setup(VcsFault::GoTooOld { has: "1.26.8".into(), needs: "1.99".into() }));
        let hg = judged("x@v1: GOVCS disallows using hg for public hg.example/a/x.hg; see 'go help vcs'").0;
        assert_eq!(hg, Blame::Setup(VcsFault::OtherVcs { vcs: "hg".into() }));
        let missing = Words::of_go(
            b"{\"Error\":\"x@v1: no secure protocol found for repository\"}",
            b"go: missing Git command. See https://a",
            "x@v1",
        );
        assert_eq!(missing.judge().0, Blame::Setup(VcsFault::NoGit));
        assert_eq!(Words::of_go(b"", b"go: unknown revision x", "x@v1").judge().0, Blame::Missing);
    }

    #[test]
    fn the_decisive_line_of_git_is_found_among_its_others() {
        use VcsFault as Fault;
        let access = "fatal: Could not read from remote repository.\n\nPlease make sure you have the correct access rights\nand the repository exists.\n";
        for (line, want) in [
            ("Host key verification failed.", Fault::HostKey),
            ("git@a.example: Permission denied (publickey).", Fault::SshKey),
            ("error: cannot run ssh: No such file or directory", Fault::NoSsh),
            ("fatal: cannot run /opt/ssh: No such file or directory", Fault::NoSsh),
            ("ssh -o BatchMode=yes: 1: ssh: not found", Fault::NoSsh),
            ("fatal: detected dubious ownership in repository at '/srv/x.git'", Fault::Ownership),
            ("fatal: bad config line 1 in file /home/x/.gitconfig", Fault::GitConfig),
        ] {
            let judged = Words::of_git(format!("warning: noise\n{line}\n{access}").as_bytes()).judge();
            assert_eq!(judged, (Blame::Setup(want), line.to_owned()));
        }
        let refused = format!("ssh: connect to host 127.0.0.1 port 1: Connection refused\n{access}");
        assert_eq!(Words::of_git(refused.as_bytes()).judge().0, Blame::Network);
    }

    #[test]
    fn words_of_the_remote_server_decide_nothing() {
        let git = Words::of_git(
            b"remote: Host key verification failed\nfatal: repository 'https://a.example/x/' not found",
        );
        assert_eq!(git.judge().0, Blame::Missing);
        let page = "x@v1: reading https://a.example/x?go-get=1: 404 Not Found\n\tserver response: connection refused\n\tmissing Git command";
        assert_eq!(judged(page).0, Blame::Missing);
        let long = judged(&format!("x@v1: unknown revision {}", "é".repeat(4000))).1;
        assert!(long.len() < 300, "{}", long.len());
    }
}
