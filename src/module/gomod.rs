//! What we read from go.mod files: the module's path, and what it requires.
//!
//! ```text
//! module example.com/m // comment
//!
//! go 1.26
//!
//! require golang.org/x/text v0.3.0
//!
//! require (
//!     rsc.io/quote v1.5.2
//!     "rsc.io/sampler" v1.3.0 // indirect
//! )
//! ```
//!
//! The readers are tolerant: they serve hints (what to notarise ahead, whether a go.mod belongs to its module), so
//! what they do not understand they skip, and they never fail. Their work is bounded by the length of the input.

use super::ModuleVersion;

/// The most requirements read from one go.mod. The largest public ones list about 2,000; what is beyond only
/// misses a hint.
pub const MAX_REQUIREMENTS: usize = 4096;

/// The path of the first `module` line, as written there; it need not be valid. `None` where there is none.
pub fn module_path(go_mod: &[u8]) -> Option<String> {
    for line in go_mod.split(|b| *b == b'\n') {
        let line = before_comment(line).trim_ascii();
        let Some(rest) = line.strip_prefix(b"module") else { continue };
        let path = rest.trim_ascii();
        if path.len() == rest.len() || path.is_empty() {
            continue;
        }
        let path = std::str::from_utf8(path).ok()?;
        return if path.starts_with(['"', '`']) { unquote(path) } else { Some(path.to_owned()) };
    }
    None
}

/// The module versions of the `require` lines and blocks, in order, at most [`MAX_REQUIREMENTS`].
/// Versions that are not canonical and paths that are not valid are left out.
pub fn requirements(go_mod: &[u8]) -> Vec<ModuleVersion> {
    let mut found = Vec::new();
    let mut block = Block::None;
    for line in go_mod.split(|b| *b == b'\n') {
        if found.len() == MAX_REQUIREMENTS {
            break;
        }
        let Some(tokens) = std::str::from_utf8(line).ok().and_then(tokens) else { continue };
        let words: Vec<&str> = tokens.iter().map(|token| token.as_str()).collect();
        match (&block, words.as_slice()) {
            (Block::None, ["require", "("]) => block = Block::Require,
            (Block::None, [.., "("]) => block = Block::Other,
            (Block::None, ["require", path, version]) | (Block::Require, [path, version]) => {
                found.extend(ModuleVersion::from_parts(path, version));
            }
            (Block::Require | Block::Other, [")"]) => block = Block::None,
            _ => {}
        }
    }
    found
}

enum Block {
    None,
    Require,
    Other,
}

fn before_comment(line: &[u8]) -> &[u8] {
    let end = line.windows(2).position(|pair| pair == b"//").unwrap_or(line.len());
    &line[..end]
}

/// The words that a line is understood by: the first three, and the last.
const MAX_TOKENS: usize = 4;

/// The words of a line, quoted ones unquoted; `None` where a string is malformed. Beyond [`MAX_TOKENS`] each takes
/// the place of the one before, so that the last is kept.
fn tokens(line: &str) -> Option<Vec<String>> {
    let mut tokens = Vec::with_capacity(MAX_TOKENS);
    let mut rest = line.trim_start_matches([' ', '\t', '\r']);
    while !rest.is_empty() && !rest.starts_with("//") {
        let end = match rest.as_bytes()[0] {
            b'(' | b')' | b'[' | b']' | b'{' | b'}' | b',' => 1,
            b'"' | b'`' => quoted_len(rest)?,
            _ => word_len(rest),
        };
        let (token, tail) = rest.split_at(end);
        tokens.truncate(MAX_TOKENS - 1);
        tokens.push(if token.starts_with('"') { unquote(token)? } else { token.to_owned() });
        rest = tail.trim_start_matches([' ', '\t', '\r']);
    }
    Some(tokens)
}

fn word_len(text: &str) -> usize {
    let stop = text.find([' ', '\t', '\r', '(', ')', '[', ']', '{', '}', ',']).unwrap_or(text.len());
    text[..stop].find("//").unwrap_or(stop)
}

fn quoted_len(text: &str) -> Option<usize> {
    let quote = text.chars().next()?;
    let mut escaped = false;
    for (position, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' if quote == '"' => escaped = true,
            _ if c == quote => return Some(position + c.len_utf8()),
            _ => {}
        }
    }
    None
}

/// Unquotes a Go string; only `\"` and `\\` of its escapes, since no valid path or version needs another.
fn unquote(text: &str) -> Option<String> {
    if quoted_len(text)? != text.len() {
        return None;
    }
    let inner = &text[1..text.len() - 1];
    if text.starts_with('`') {
        return Some(inner.replace('\r', ""));
    }
    let mut plain = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        plain.push(match c {
            '\\' => chars.next().filter(|c| matches!(c, '"' | '\\'))?,
            c => c,
        });
    }
    Some(plain)
}
