//! Text in XML 1.0, as content or as the value of an attribute.

/// Escapes the markup in a text. What XML cannot hold at all, most control characters among it, is named ([`crate::visible`]).
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            // As they are they would become spaces in an attribute.
            '\n' => escaped += "&#10;",
            '\t' => escaped += "&#9;",
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.extend(c.escape_unicode()),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn markup_and_what_xml_has_no_room_for() {
        assert_eq!(escape("a<b>&\"c\"\n\t\u{e9}"), "a&lt;b&gt;&amp;&quot;c&quot;&#10;&#9;\u{e9}");
        assert_eq!(escape("\0\u{1b}\r\u{7f}\u{ffff}x"), r"\u{0}\u{1b}\u{d}\u{7f}\u{ffff}x");
    }
}
