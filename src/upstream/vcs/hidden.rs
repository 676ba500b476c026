//! Hides what the words of go and git must not carry out of the server.
//!
//! Passwords, tokens and headers reach nobody. Clients see no local paths either, nor the addresses
//! that the operator's `insteadOf` leads to: those are for the server's own log.

use std::path::Path;

use zeroize::Zeroizing;

use crate::upstream::error::UpstreamMessage;

/// Shorter secrets are words, and would riddle a message: they are replaced only where they stand
/// alone.
const MIN_SECRET_BYTES: usize = 4;
const HIDDEN: &str = "***";

/// The texts to hide, the longest first, so that none is left half visible.
#[derive(Default)]
pub(super) struct Hidden {
    secrets: Vec<Zeroizing<String>>,
    places: Vec<String>,
}

impl Hidden {
    /// Collects what the operator's git configuration holds, and `secrets`.
    pub(super) fn new<'s>(git_config: &str, secrets: impl Iterator<Item = &'s str>) -> Hidden {
        let mut hidden = Hidden::default();
        hidden.secrets.extend(secrets.map(|secret| Zeroizing::new(secret.to_owned())));
        for line in git_config.lines().map(str::trim) {
            hidden.read_line(line);
        }
        hidden.secrets.retain(|secret| !secret.is_empty());
        hidden.places.retain(|place| place.len() >= MIN_SECRET_BYTES);
        hidden.secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        hidden.places.sort_by_key(|place| std::cmp::Reverse(place.len()));
        hidden
    }

    /// Adds user and password of a URL, as in `http://user:password@proxy.example`.
    pub(super) fn add_userinfo(&mut self, url: &str) {
        for (at, _) in url.match_indices("://") {
            let authority = url[at + 3..].split(['/', '"', ' ']).next().unwrap_or_default();
            if let Some((userinfo, _)) = authority.rsplit_once('@') {
                let parts =
                    std::iter::once(userinfo).chain(userinfo.split_once(':').map(|(_, password)| password));
                let long = parts.filter(|part| part.len() >= MIN_SECRET_BYTES);
                self.secrets.extend(long.map(|part| Zeroizing::new(part.to_owned())));
            }
        }
    }

    /// The base URLs that others are replaced by (and the path of a local one), user and password
    /// in a URL, headers, and passwords that a helper prints.
    fn read_line(&mut self, line: &str) {
        if let Some(base) = line.strip_prefix("[url").and_then(|rest| rest.split('"').nth(1)) {
            self.places.push(base.to_owned());
            let path = base.strip_prefix("file://").into_iter();
            self.places.extend(path.flat_map(|path| [path, path.trim_end_matches('/')]).map(str::to_owned));
        }
        let is_header = |key: &str| key.to_ascii_lowercase().contains("extraheader");
        if let Some((_, value)) = line.split_once('=').filter(|(key, _)| is_header(key)) {
            let words = value.split([' ', '"', '\'']).filter(|word| word.len() >= 8);
            let all = std::iter::once(value.trim()).chain(words);
            self.secrets.extend(all.map(|word| Zeroizing::new(word.to_owned())));
        }
        for (at, word) in line.match_indices("password=") {
            let value = line[at + word.len()..].split([' ', '"', '\'', ';', '\\']).next().unwrap_or_default();
            self.secrets.push(Zeroizing::new(value.to_owned()));
        }
        self.add_userinfo(line);
    }

    /// The text for clients: without secrets and local paths.
    pub(super) fn for_clients(&self, text: &str, scratch: &Path) -> UpstreamMessage {
        let mut text = self.without_secrets(text);
        for place in &self.places {
            text = text.replace(place.as_str(), HIDDEN);
        }
        UpstreamMessage::clean(drop_paths(&drop_scratch(&text, scratch)).as_bytes())
    }

    /// The text for the server's log: without secrets.
    pub(super) fn for_log(&self, text: &str, scratch: &Path) -> UpstreamMessage {
        UpstreamMessage::clean(drop_scratch(&self.without_secrets(text), scratch).as_bytes())
    }

    fn without_secrets(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.secrets {
            text = match secret.len() {
                0..MIN_SECRET_BYTES => hide_word(&text, secret),
                _ => text.replace(secret.as_str(), HIDDEN),
            };
        }
        hide_userinfo(&text)
    }
}

/// Replaces a word where no letter or digit stands beside it.
fn hide_word(text: &str, word: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut done = 0;
    for (at, _) in text.match_indices(word) {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        if !before.is_some_and(char::is_alphanumeric) && !after.is_some_and(char::is_alphanumeric) {
            clean.push_str(&text[done..at]);
            clean.push_str(HIDDEN);
            done = at + word.len();
        }
    }
    clean.push_str(&text[done..]);
    clean
}

/// `in /scratch/mod/cache/vcs/19…: exit` becomes `in …: exit`.
fn drop_scratch(text: &str, scratch: &Path) -> String {
    let scratch = scratch.to_string_lossy();
    let mut pieces = text.split(&*scratch);
    let mut clean = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        clean.push('…');
        clean.push_str(piece.trim_start_matches(|c| !ends_path(c)));
    }
    clean
}

/// `at '/srv/git/x.git'` becomes `at '…'`. What follows a letter or `:` is part of a URL.
fn drop_paths(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('/') {
        let (before, path) = rest.split_at(at);
        clean.push_str(before);
        let starts_here = clean.chars().next_back().is_none_or(|c| c.is_whitespace() || "\"'`=(".contains(c));
        let end = path.find(ends_path).unwrap_or(path.len());
        clean.push_str(if starts_here && end > 1 { "…" } else { &path[..end] });
        rest = &path[end..];
    }
    clean.push_str(rest);
    clean
}

fn ends_path(c: char) -> bool {
    c.is_whitespace() || "\"'`:,;)]".contains(c)
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
                clean.push_str(HIDDEN);
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

    const CONFIG: &str = "[url \"https://ci:s3cret@git.example/\"]\n insteadOf = https://corp.example/\n\
                          [url \"file:///srv/git/\"]\n insteadOf = https://b.example/\n\
                          [http \"https://c.example/\"]\n extraHeader = Authorization: Basic Y2k6czNjcmV0\n\
                          [credential]\n helper = \"!f() { echo username=u; echo password=hunter2; }; f\"\n";

    #[test]
    fn secrets_get_nowhere_and_local_paths_to_the_log_only() {
        let text = "x@v1: git fetch https://ci:s3cret@git.example/x in /tmp/s-1/mod/cache/vcs/19ab: exit status 128:\n\
                    \tfatal: '/srv/git/x' does not exist; https://u:other@d.example/x; Basic Y2k6czNjcmV0 s3cret hunter2\n\
                    \tcannot read /etc/corp/ca.pem, tok p (p) pp";
        let mut hidden = Hidden::new(CONFIG, ["tok", "p"].into_iter());
        hidden.add_userinfo("http://proxy:pr0xypass@proxy.example:3128");
        let scratch = Path::new("/tmp/s-1");
        let (said, in_full) = (hidden.for_clients(text, scratch), hidden.for_log(text, scratch));
        for message in [&said, &in_full] {
            for secret in ["s3cret", "other", "/tmp", "Y2k6", "hunter2", "tok", "(p)"] {
                assert!(!message.as_str().contains(secret), "{secret} in {}", message.as_str());
            }
            assert!(message.as_str().contains("in …: exit status 128:"), "{}", message.as_str());
            assert!(message.as_str().contains("https://***@d.example/x"), "{}", message.as_str());
            assert!(message.as_str().ends_with("*** *** (***) pp"), "{}", message.as_str());
        }
        for place in ["/srv", "/etc"] {
            assert!(!said.as_str().contains(place), "{place} in {}", said.as_str());
            assert!(in_full.as_str().contains(place), "{place} not in {}", in_full.as_str());
        }
        assert_eq!(hidden.for_clients("auth pr0xypass", scratch).as_str(), "auth ***");
    }

    #[test]
    fn urls_are_no_local_paths() {
        for text in [
            "reading https://a.example/x?go-get=1: 404 Not Found",
            "fatal: repository 'https://a.example/x/' not found",
            "a.example/x@v1 / b",
        ] {
            assert_eq!(drop_paths(text), text);
        }
        assert_eq!(drop_paths("at '/srv/x.git' (/a) /b: no"), "at '…' (…) …: no");
    }
}
