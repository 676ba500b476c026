//! Text of others as people may see it.
//!
//! A terminal obeys some characters instead of showing them, and some are not seen at all or change the order in which others
//! are read. Whoever controls a server, an archive or a file could so erase a line, fake a result or make two names
//! look alike. Such a character is shown as `\u{…}` with its code point in hexadecimal, as Rust writes it:
//!
//! ```
//! use tallystick::visible::{escape, escape_line};
//! assert_eq!(escape("sum.example\u{1b}[2K\u{202e}x"), r"sum.example\u{1b}[2K\u{202e}x");
//! assert_eq!(escape_line("one\ntwo"), r"one\u{a}two");
//! ```
//!
//! | what | why |
//! |---|---|
//! | C0 (but newline and tab), DEL, C1 | the terminal obeys them: ESC, BEL, a lone CR, CSI as one byte |
//! | U+061C, U+200E–F, U+202A–E, U+2066–9 | they turn the direction of writing |
//! | U+200B–D, U+2060–4, U+206A–F, U+FEFF, U+00AD, U+034F, U+180B–F, U+115F–60, U+3164, U+FFA0, U+17B4–5, U+FE00–F, U+E0000–E0FFF | nobody sees them |
//! | U+2028–9 | they break a line |
//! | U+FFF9–B, private use, noncharacters | everybody sees something else |
//!
//! The `go` command prints the text of a refusal at its prompt, if it fits:
//!
//! ```
//! use tallystick::visible::fit_for_go;
//! assert_eq!(
//!     fit_for_go("no such version\n\nsee \u{7}corp.example/\u{202e}x"),
//!     r"no such version
//! see \u{7}corp.example/\u{202e}x
//! "
//! );
//! ```
//!
//! Escaping twice gives what escaping once does. JSON has an escape of its own, `\u202e`, and means the same with it.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The most lines of an error's body that the `go` command prints (cmd/go/internal/web/api.go).
pub const GO_ERROR_LINES_MAX: usize = 8;
/// The most bytes of it, counting two bytes for each line break (printed as newline and tab).
pub const GO_ERROR_BYTES_MAX: usize = GO_ERROR_LINES_MAX * 81;
/// What stands at the end of a text that was cut.
const CUT_MARK: &str = "...";

/// Whether a character shows itself and nothing else, on a line of its own text. Newline and tab do not.
pub fn is_plain(c: char) -> bool {
    if matches!(c, ' '..='~') {
        return true;
    }
    let is_hidden = matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{e000}'..='\u{f8ff}' | '\u{fdd0}'..='\u{fdef}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}' | '\u{fffe}'..='\u{ffff}' | '\u{e0000}'..);
    !is_hidden && !c.is_control()
}

/// Escapes what is not plain in a text of several lines. Newlines and tabs stay.
pub fn escape(text: &str) -> Cow<'_, str> {
    escape_where(text, |c| is_plain(c) || matches!(c, '\n' | '\t'))
}

/// Escapes what is not plain in a text that must stay on its line.
pub fn escape_line(text: &str) -> Cow<'_, str> {
    escape_where(text, is_plain)
}

/// Escapes every character for which `stays` does not hold.
pub fn escape_where(text: &str, stays: impl Fn(char) -> bool) -> Cow<'_, str> {
    if text.chars().all(&stays) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if stays(c) {
            escaped.push(c);
        } else {
            escaped.extend(c.escape_unicode());
        }
    }
    Cow::Owned(escaped)
}

/// Escapes what is not plain in JSON, where it can only be in strings and so keeps its meaning: a parser reads what it read
/// before. White space between the values stays.
pub fn escape_json(json: &str) -> Cow<'_, str> {
    let stays = |c| is_plain(c) || matches!(c, '\n' | '\t' | '\r');
    if json.chars().all(stays) {
        return Cow::Borrowed(json);
    }
    let mut escaped = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if stays(c) {
            escaped.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            write!(escaped, "\\u{unit:04x}").expect("a text takes what it is given");
        }
    }
    Cow::Owned(escaped)
}

/// Makes a text fit for the `go` command: graphic characters only (another is named, as in `\u{1b}`), no blank line, at most
/// [`GO_ERROR_LINES_MAX`] lines and [`GO_ERROR_BYTES_MAX`] bytes; a line that would not fit is cut and ends
/// in `...`. The result ends in one newline and is never empty.
pub fn fit_for_go(text: &str) -> String {
    let mut fitted = String::with_capacity(text.len().min(GO_ERROR_BYTES_MAX) + 1);
    // What `go` has printed so far: our bytes, and one more for each line break, which becomes "\n\t".
    let mut printed = 0;
    for line in text.lines().filter(|line| !line.trim().is_empty()).take(GO_ERROR_LINES_MAX) {
        if printed > 0 {
            printed += 2;
        }
        let Some(room) = GO_ERROR_BYTES_MAX.checked_sub(printed).filter(|&room| room > CUT_MARK.len()) else {
            break;
        };
        let start = fitted.len();
        fitted += &escape_where(&line.trim_end().replace('\t', " "), is_graphic_to_go);
        cut(&mut fitted, start + room);
        printed += fitted.len() - start;
        fitted.push('\n');
    }
    if fitted.is_empty() {
        fitted.push_str("no reason given\n");
    }
    fitted
}

/// Cuts a text that has more than `max_bytes`, and marks it with `...` at its end.
pub fn cut(text: &mut String, max_bytes: usize) {
    if text.len() > max_bytes {
        text.truncate(text.floor_char_boundary(max_bytes.saturating_sub(CUT_MARK.len())));
        text.push_str(CUT_MARK);
    }
}

/// Characters that every version of Unicode's tables calls graphic: those of ASCII and Latin, and general
/// punctuation. Newer letters would be unknown to an older `go`, which would then drop the whole text.
fn is_graphic_to_go(c: char) -> bool {
    matches!(c, ' '..='~' | '\u{a1}'..='\u{ac}' | '\u{ae}'..='\u{24f}' | '\u{2010}'..='\u{2027}')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `go` prints of a body: formatErrorDetail of cmd/go/internal/web/api.go (Go 1.26), told again.
    fn printed_by_go(body: &str) -> String {
        let odd = |c: char| c.is_control() && !c.is_whitespace() || ('\u{200b}'..='\u{200f}').contains(&c);
        if body.chars().any(odd) {
            return String::new();
        }
        let mut detail = String::new();
        for (i, line) in body.split('\n').enumerate() {
            if line.trim().is_empty() {
                break;
            }
            if i > 0 {
                detail.push_str("\n\t");
            }
            if i >= 8 {
                detail.push_str("[Truncated: too many lines.]");
                break;
            }
            if detail.len() + line.len() > 648 {
                detail.push_str("[Truncated: too long.]");
                break;
            }
            detail.push_str(line);
        }
        detail
    }

    #[test]
    fn every_text_fits_and_is_printed_whole() {
        let long = "x".repeat(10_000);
        let many = "line\n".repeat(50);
        let wide = "é".repeat(1_000);
        let exact = "y".repeat(GO_ERROR_BYTES_MAX);
        let eight = format!("{}\n", "z".repeat(100)).repeat(20);
        let texts = [
            "",
            "\n\n",
            "short",
            "a\n\nb",
            "bell \u{7} and \u{200b}",
            &long,
            &many,
            &wide,
            &exact,
            &eight,
            "a\r\nb\tc",
        ];
        for text in texts {
            let fitted = fit_for_go(text);
            let printed = printed_by_go(&fitted);
            assert_eq!(printed, fitted.trim_end().replace('\n', "\n\t"), "for {text:?}");
            assert!(!printed.contains("[Truncated"), "for {text:?}");
            assert!(!printed.is_empty(), "for {text:?}");
        }
        assert_eq!(fit_for_go("a\u{1b}[2K\u{202e}\r\tb\u{4e00}"), "a\\u{1b}[2K\\u{202e}\\u{d} b\\u{4e00}\n");
        assert_eq!(fit_for_go(&exact), format!("{exact}\n"));
        assert!(fit_for_go(&long).ends_with("xxx...\n"));
        assert_eq!(fit_for_go(&many).lines().count(), 8);
    }

    /// The classes of Unicode's UAX 9 (bidirectional formatting) and UTS 39 (what is invisible), ECMA-48 (C0, C1).
    const TRICKS: [char; 24] = [
        '\u{0}',
        '\u{7}',
        '\u{8}',
        '\r',
        '\u{1b}',
        '\u{7f}',
        '\u{80}',
        '\u{9b}',
        '\u{9f}',
        '\u{ad}',
        '\u{61c}',
        '\u{200b}',
        '\u{200d}',
        '\u{200e}',
        '\u{200f}',
        '\u{2028}',
        '\u{2029}',
        '\u{202a}',
        '\u{202e}',
        '\u{2060}',
        '\u{2066}',
        '\u{2069}',
        '\u{feff}',
        '\u{e0041}',
    ];

    #[test]
    fn every_trick_is_named_and_what_people_write_stays() {
        for c in TRICKS {
            let (text, name) = (format!("a{c}b"), format!("a\\u{{{:x}}}b", u32::from(c)));
            assert_eq!(escape(&text), name, "{c:?}");
            assert_eq!(escape_line(&text), name, "{c:?}");
            assert_eq!(escape(&escape(&text)), name, "{c:?}");
        }
        for plain in ["sum.corp.example", "größer", "日本語", "— sum\u{a0}x", "a\\b", "🦀"] {
            assert_eq!(escape_line(plain), plain);
        }
        assert_eq!(escape("a\n\tb"), "a\n\tb");
        assert_eq!(escape_line("a\n\tb"), r"a\u{a}\u{9}b");
    }

    #[test]
    fn json_means_the_same() {
        for c in TRICKS {
            let value = serde_json::json!({ "name": format!("a{c}\"\\é"), "list": ["\n"] });
            for json in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
                let escaped = escape_json(&json);
                assert!(escaped.chars().all(|c| is_plain(c) || c == '\n'), "{escaped}");
                assert_eq!(serde_json::from_str::<serde_json::Value>(&escaped).unwrap(), value, "{c:?}");
            }
        }
    }
}
