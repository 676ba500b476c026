//! Path patterns in the syntax of GOPRIVATE: `corp.example,*.corp.example/team-*`.
//!
//! A comma-separated list of globs. A glob of N elements is matched against the first N elements of the module
//! path, always the unescaped one, so `corp.example` also covers `corp.example/a/b`. In a glob `*` stands for any
//! text without `/`, `?` for one character but `/`, `[a-z]` and `[^a-z]` for one character of a class, and `\` takes
//! the next character as it is. Empty globs count for nothing and a trailing slash is dropped, as in `go help module-private`.
//!
//! Matching is case-sensitive, as in the `go` command. Git hosts are not: for them `github.com/Corp/secret` is the repository
//! that `github.com/corp/*` means. So whoever keeps names private also asks for a [`PathPatterns::near_miss`].

use std::fmt;

/// A list of path patterns. Malformed ones match nothing, as in the `go` command; see [`PathPatterns::malformed`].
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct PathPatterns {
    globs: Vec<Glob>,
}

impl PathPatterns {
    /// Parses a comma-separated list. It never fails, because the `go` command's reading of GOPRIVATE never does.
    pub fn parse(list: &str) -> PathPatterns {
        let globs = list.split(',').map(|glob| glob.strip_suffix('/').unwrap_or(glob));
        PathPatterns { globs: globs.filter(|glob| !glob.is_empty()).map(Glob::parse).collect() }
    }

    /// Whether any prefix of the unescaped module path matches one of the patterns.
    pub fn matches(&self, path: &str) -> bool {
        self.globs.iter().any(|glob| glob.matches_prefix(path))
    }

    /// Finds the pattern that a path misses only by its spelling or by standing right above what the pattern names.
    /// Returns nothing for a path that matches.
    pub fn near_miss(&self, path: &str) -> Option<NearMiss<'_>> {
        if self.matches(path) {
            return None;
        }
        let other_case = self.globs.iter().find(|glob| glob.matches_prefix_by(path, Case::Ignored));
        if let Some(glob) = other_case {
            return Some(NearMiss::OtherCase { pattern: &glob.text });
        }
        let parent = self.globs.iter().find(|glob| glob.is_all_below(path));
        parent.map(|glob| NearMiss::Parent { pattern: &glob.text })
    }

    /// Whether one of the patterns that match the path names its host literally: somebody wrote it with this path in mind,
    /// unlike `*`.
    pub fn names(&self, path: &str) -> bool {
        self.globs.iter().any(|glob| glob.has_literal_host() && glob.matches_prefix(path))
    }

    /// The patterns that can never match because they are malformed, such as `corp.example/[a-`.
    /// A configuration should refuse them: whoever wrote one believes that it protects something.
    pub fn malformed(&self) -> impl Iterator<Item = &str> {
        self.globs.iter().filter(|glob| glob.tokens.is_none()).map(|glob| glob.text.as_str())
    }

    /// Whether there are patterns and each names its host literally, without `*`, `?`, `[` or `\` in the first element.
    pub fn has_literal_host(&self) -> bool {
        !self.globs.is_empty() && self.globs.iter().all(Glob::has_literal_host)
    }

    /// Whether there is no pattern at all, so that nothing matches.
    pub fn is_empty(&self) -> bool {
        self.globs.is_empty()
    }
}

impl fmt::Display for PathPatterns {
    /// Prints the list back, without its empty patterns and trailing slashes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, glob) in self.globs.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            // The parser drops one slash at the end; a glob that has one left had two.
            let slash = if glob.text.ends_with('/') { "/" } else { "" };
            write!(f, "{comma}{}{slash}", glob.text)?;
        }
        Ok(())
    }
}

/// How a path misses a pattern that probably means it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NearMiss<'p> {
    /// The pattern matches when upper and lower case are the same: `github.com/Corp/x` and `github.com/corp/*`.
    OtherCase {
        /// The pattern.
        pattern: &'p str,
    },
    /// The pattern names everything right below the path, in any case: `corp.example/team` and `corp.example/team/*`.
    Parent {
        /// The pattern.
        pattern: &'p str,
    },
}

/// Whether upper and lower case of ASCII differ. Module paths have no other letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    Exact,
    Ignored,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Glob {
    text: String,
    /// `None` where the text is malformed.
    tokens: Option<Vec<Token>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Char(char),
    AnyChar,
    AnyText,
    Class { negated: bool, ranges: Vec<(char, char)> },
}

impl Glob {
    fn parse(text: &str) -> Glob {
        Glob { text: text.to_owned(), tokens: parse_tokens(text) }
    }

    fn has_literal_host(&self) -> bool {
        !self.text.split('/').next().unwrap_or_default().contains(['*', '?', '[', '\\'])
    }

    fn matches_prefix(&self, path: &str) -> bool {
        self.matches_prefix_by(path, Case::Exact)
    }

    /// Whether the glob is `<above>/*` (or `<above>/*/*` ...) and the path is exactly `<above>`.
    fn is_all_below(&self, path: &str) -> bool {
        let mut above = self.text.as_str();
        while let Some(shorter) = above.strip_suffix("/*") {
            above = shorter;
        }
        let is_shorter = above.len() < self.text.len();
        let depth = |text: &str| text.bytes().filter(|byte| *byte == b'/').count();
        // What has a wildcard for a host, like `*/*`, would make every host's own path private.
        is_shorter
            && above.split('/').next().is_some_and(|host| host.contains(char::is_alphanumeric))
            && depth(above) == depth(path)
            && Glob::parse(above).matches_prefix_by(path, Case::Ignored)
    }

    fn matches_prefix_by(&self, path: &str, case: Case) -> bool {
        let Some(tokens) = &self.tokens else { return false };
        let slashes = self.text.bytes().filter(|b| *b == b'/').count();
        let mut elements = path.match_indices('/').map(|(position, _)| position);
        let end = match elements.nth(slashes) {
            Some(position) => position,
            None if path.bytes().filter(|b| *b == b'/').count() == slashes => path.len(),
            None => return false,
        };
        let name: Vec<char> = path[..end].chars().collect();
        matches_all(tokens, &name, case)
    }
}

fn parse_tokens(glob: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut chars = glob.chars().peekable();
    while let Some(c) = chars.next() {
        tokens.push(match c {
            '*' => Token::AnyText,
            '?' => Token::AnyChar,
            '\\' => Token::Char(chars.next()?),
            '[' => {
                let negated = chars.next_if_eq(&'^').is_some();
                let mut ranges = Vec::new();
                while ranges.is_empty() || chars.next_if_eq(&']').is_none() {
                    let low = class_char(&mut chars)?;
                    let high = if chars.next_if_eq(&'-').is_some() { class_char(&mut chars)? } else { low };
                    ranges.push((low, high));
                }
                Token::Class { negated, ranges }
            }
            c => Token::Char(c),
        });
    }
    Some(tokens)
}

/// One end of a range in a class. `-` and `]` must be escaped there.
fn class_char(chars: &mut impl Iterator<Item = char>) -> Option<char> {
    match chars.next()? {
        '-' | ']' => None,
        '\\' => chars.next(),
        c => Some(c),
    }
}

/// Matches the whole name, returning only to the last `*`, so that the work is at most |tokens| × |name|.
fn matches_all(tokens: &[Token], name: &[char], case: Case) -> bool {
    let (mut t, mut n) = (0, 0);
    // Where to go on after a mismatch: the token after the last `*`, and where its text ends so far.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        match (tokens.get(t), name.get(n)) {
            (None, None) => return true,
            (Some(Token::AnyText), _) => {
                t += 1;
                retry = Some((t, n));
            }
            (Some(token), Some(c)) if token.matches_by(*c, case) => (t, n) = (t + 1, n + 1),
            _ => match retry {
                Some((token, end)) if name.get(end).is_some_and(|c| *c != '/') => {
                    (t, n) = (token, end + 1);
                    retry = Some((token, end + 1));
                }
                _ => return false,
            },
        }
    }
}

impl Token {
    fn matches_by(&self, c: char, case: Case) -> bool {
        match case {
            Case::Exact => self.matches(c),
            Case::Ignored => match self {
                Token::Char(own) => own.eq_ignore_ascii_case(&c),
                _ => self.matches(c.to_ascii_lowercase()) || self.matches(c.to_ascii_uppercase()),
            },
        }
    }

    fn matches(&self, c: char) -> bool {
        match self {
            Token::Char(own) => *own == c,
            Token::AnyChar => c != '/',
            Token::AnyText => false,
            // As in Go's path.Match, a class may take a slash.
            Token::Class { negated, ranges } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literal_hosts() {
        for (list, literal) in [
            ("corp.example/*", true),
            ("corp.example,git.corp.example/team-?", true),
            ("*.corp.example", false),
            ("corp.example,*", false),
            ("cor[p].example/x", false),
            ("", false),
            (",/,", false),
        ] {
            assert_eq!(PathPatterns::parse(list).has_literal_host(), literal, "{list}");
        }
    }

    #[test]
    fn near_misses_are_other_spellings_and_the_path_right_above() {
        use NearMiss::{OtherCase, Parent};
        let patterns = PathPatterns::parse(
            "github.com/corp/*,git.corp.example/[a-c]x/*,*.corp.example/team,GitHub.com/other,sub.example/a/*/*",
        );
        for (path, expected) in [
            ("github.com/corp/secret", None),
            ("github.com/Corp/secret", Some(OtherCase { pattern: "github.com/corp/*" })),
            ("github.com/CORP/Secret/v2", Some(OtherCase { pattern: "github.com/corp/*" })),
            ("git.corp.example/Bx/y", Some(OtherCase { pattern: "git.corp.example/[a-c]x/*" })),
            ("git.corp.example/dx/y", None),
            ("a.corp.example/Team/x", Some(OtherCase { pattern: "*.corp.example/team" })),
            // A host in a module path is always in lower case: this pattern matches nothing exactly.
            ("github.com/other/x", Some(OtherCase { pattern: "GitHub.com/other" })),
            ("github.com/corp", Some(Parent { pattern: "github.com/corp/*" })),
            ("github.com/Corp", Some(Parent { pattern: "github.com/corp/*" })),
            ("sub.example/a", Some(Parent { pattern: "sub.example/a/*/*" })),
            // Hosts and paths that are everybody's.
            ("github.com", None),
            ("github.com/x/y", None),
            ("github.com/corporation/x", None),
            ("github.com/corp-x", None),
            ("sub.example", None),
        ] {
            assert_eq!(patterns.near_miss(path), expected, "{path}");
        }
        for path in ["gocloud.dev", "gocloud.dev/x"] {
            assert_eq!(PathPatterns::parse("*/*").near_miss(path), None, "{path}");
        }
        assert!(patterns.names("github.com/corp/x") && !PathPatterns::parse("*").names("github.com/corp/x"));
    }

    #[test]
    fn malformed_patterns_are_named() {
        let patterns = PathPatterns::parse("corp.example/[a-,ok.example,x\\");
        assert_eq!(patterns.malformed().collect::<Vec<_>>(), ["corp.example/[a-", "x\\"]);
        assert!(!patterns.matches("corp.example/a") && patterns.matches("ok.example/a"));
    }

    #[test]
    fn stars_do_not_explode() {
        let patterns = PathPatterns::parse(&format!("{}c", "a*".repeat(500)));
        assert!(!patterns.matches(&format!("{}b", "a".repeat(1000))));
    }
}
