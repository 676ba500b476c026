//! The escaped spelling: every capital letter `X` is written `!x`, and nothing else changes.
//!
//! `github.com/BurntSushi/toml` ⇄ `github.com/!burnt!sushi/toml`

use std::borrow::Cow;

/// Why an escaped text was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EscapeError {
    /// A capital letter, which the escaped spelling never has.
    #[error("capital letter {letter:?} must be escaped")]
    UpperCase {
        /// The first capital letter.
        letter: char,
    },
    /// A `!` that no lower-case letter follows.
    #[error("'!' at byte {position} is not followed by a lower-case letter")]
    BadEscape {
        /// Where the `!` is, in bytes from the start of the path or version.
        position: usize,
    },
    /// A character outside ASCII.
    #[error("character outside ASCII at byte {position}")]
    NotAscii {
        /// Where the character is, in bytes from the start of the path or version.
        position: usize,
    },
}

/// Escapes a valid path or version. Neither ever holds a `!`, so the result is unambiguous.
pub(super) fn escape(plain: &str) -> String {
    let mut escaped = String::with_capacity(plain.len() + 4);
    for c in plain.chars() {
        if c.is_ascii_uppercase() {
            escaped.push('!');
        }
        escaped.push(c.to_ascii_lowercase());
    }
    escaped
}

/// Undoes [`escape`]; the result still has to be checked as a path or a version.
pub(super) fn unescape(escaped: &str) -> Result<Cow<'_, str>, EscapeError> {
    if !escaped.bytes().any(|byte| byte == b'!' || byte.is_ascii_uppercase() || !byte.is_ascii()) {
        return Ok(Cow::Borrowed(escaped));
    }
    let mut plain = String::with_capacity(escaped.len());
    let mut chars = escaped.char_indices();
    while let Some((position, c)) = chars.next() {
        match c {
            '!' => match chars.next() {
                Some((_, letter @ 'a'..='z')) => plain.push(letter.to_ascii_uppercase()),
                _ => return Err(EscapeError::BadEscape { position }),
            },
            'A'..='Z' => return Err(EscapeError::UpperCase { letter: c }),
            _ if !c.is_ascii() => return Err(EscapeError::NotAscii { position }),
            _ => plain.push(c),
        }
    }
    Ok(Cow::Owned(plain))
}
