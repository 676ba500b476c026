//! Patterns that can match nothing. The go command skips what it cannot read and never says so;
//! whoever wrote such a pattern believes that it protects something, while the names that it is
//! for go to the public route. So they are refused, in a configuration as in GOPRIVATE.
//!
//! | pattern | meant is |
//! |---|---|
//! | `https://corp.example/x` | `corp.example/x` |
//! | `git@corp.example:team/x.git` | `corp.example/team/x.git` |
//! | `corp.example:8443/x` | `corp.example/x` |
//! | `corp.example/...` | `corp.example` |

use crate::module::PathPatterns;

/// Why a pattern matches nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DeadPattern {
    /// The cause, as the end of a sentence that begins with the pattern.
    pub(super) why: String,
    /// The pattern that is probably meant.
    pub(super) meant: Option<String>,
}

impl DeadPattern {
    /// Finds out whether a pattern is one. It may not be empty.
    pub(super) fn of(pattern: &str) -> Option<DeadPattern> {
        let why = if pattern.contains("://") {
            "is a URL: module paths have no scheme".to_owned()
        } else if pattern.starts_with('/') || pattern.contains("//") {
            "has an empty path element".to_owned()
        } else if let Some(c) = pattern.chars().find(|c| !is_of_patterns(*c)) {
            format!("holds `{}`, which no module path has", c.escape_debug())
        } else if pattern.split('/').any(is_dots) {
            "has an element of dots only, which no module path has".to_owned()
        } else if PathPatterns::parse(pattern).malformed().next().is_some() {
            "is not a complete pattern".to_owned()
        } else {
            return None;
        };
        Some(DeadPattern { why, meant: meant(pattern) })
    }

    /// What to write instead, as the end of a sentence.
    pub(super) fn advice(&self) -> String {
        match &self.meant {
            Some(meant) => format!("write `{meant}`"),
            None => "write module paths or globs of them, such as `git.corp.example/team/*`".to_owned(),
        }
    }
}

/// Whether a character can stand in a module path or is one of `path.Match`.
fn is_of_patterns(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~/*?[]^\\".contains(c)
}

fn is_dots(element: &str) -> bool {
    !element.is_empty() && element.bytes().all(|byte| byte == b'.')
}

/// The pattern without what belongs to a URL, if that is a sound one.
fn meant(pattern: &str) -> Option<String> {
    let rest = pattern.split_once("://").map_or(pattern, |(_, rest)| rest);
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let (host, after_colon) = host.split_once(':').unwrap_or((host, ""));
    // `git@host:team/x` has a path there, `host:8443/x` a port.
    let is_port = after_colon.bytes().all(|byte| byte.is_ascii_digit());
    let elements = [host, if is_port { "" } else { after_colon }].into_iter().chain(path.split('/'));
    let meant = elements.filter(|part| !part.is_empty() && !is_dots(part)).collect::<Vec<_>>().join("/");
    let sound = !meant.is_empty() && meant != pattern && DeadPattern::of(&meant).is_none();
    sound.then_some(meant)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matches_nothing_is_found_and_the_right_pattern_named() {
        for (pattern, meant) in [
            ("https://corp.example/x", Some("corp.example/x")),
            ("ssh://git@corp.example:22/team", Some("corp.example/team")),
            ("git@corp.example:team/x.git", Some("corp.example/team/x.git")),
            ("corp.example:8443/x", Some("corp.example/x")),
            ("https://corp.example/*?private=1", Some("corp.example/*")),
            ("corp.example/...", Some("corp.example")),
            ("/corp.example", Some("corp.example")),
            ("corp.example//x", Some("corp.example/x")),
            ("corp.example/größe", None),
            ("corp.example/a b", None),
            ("corp.example/[a", None),
            ("https://", None),
        ] {
            let dead = DeadPattern::of(pattern).unwrap_or_else(|| panic!("{pattern} matches something"));
            assert_eq!(dead.meant.as_deref(), meant, "{pattern}");
        }
        for sound in
            ["*", "corp.example", "*.corp.example/team-?", "corp.example/[^a-c]x/*", r"corp.example/\*"]
        {
            assert_eq!(DeadPattern::of(sound), None, "{sound}");
        }
    }
}
