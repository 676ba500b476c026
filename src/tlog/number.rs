//! Decimal numbers as the log writes them: no sign, no leading zero, nothing else.

use super::tree::MAX_TREE_SIZE;

/// Parses a record number or a tree size: digits that print back to themselves, at most [`MAX_TREE_SIZE`].
pub(super) fn parse_number(text: &str) -> Option<u64> {
    let canonical = match text.as_bytes() {
        [b'0'] => true,
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if !canonical {
        return None;
    }
    text.parse().ok().filter(|&number| number <= MAX_TREE_SIZE.0)
}

#[cfg(test)]
mod tests {
    use super::parse_number;

    #[test]
    fn only_what_prints_back() {
        for (text, want) in [
            ("0", Some(0)),
            ("1", Some(1)),
            ("66398721", Some(66_398_721)),
            ("9223372036854775807", Some(i64::MAX as u64)),
            ("9223372036854775808", None),
            ("99999999999999999999", None),
            ("", None),
            ("00", None),
            ("01", None),
            ("+1", None),
            ("-1", None),
            ("-0", None),
            (" 1", None),
            ("1 ", None),
            ("1_0", None),
            ("0x1", None),
            ("1.0", None),
            ("٣", None),
        ] {
            assert_eq!(parse_number(text), want, "{text:?}");
        }
    }
}
