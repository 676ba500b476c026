//! The parameters of a request: `name=value` pairs, each at most once, none that is not known.
//!
//! A value is percent-decoded; a `+` stands for itself, since base64 and the offsets of times have it.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::{HEADS_DEFAULT, HEADS_MAX};
use crate::http::sumdb::percent_decode;
use crate::tlog::TreeSize;

/// Which heads somebody asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HeadsQuery {
    /// At most `limit`, newest first, of trees smaller than `before`.
    List { before: Option<TreeSize>, limit: usize },
    /// The one that was newest at a time.
    At(Timestamp),
}

/// Reads a query into the values of the known names, in their order.
pub(super) fn values<const N: usize>(query: &str, known: [&str; N]) -> Result<[Option<String>; N], String> {
    let mut values = [const { None }; N];
    for (name, value) in query
        .split('&')
        .filter(|part| !part.is_empty())
        .map(|part| part.split_once('=').unwrap_or((part, "")))
    {
        let Some(at) = known.iter().position(|known| *known == name) else {
            return Err(format!("unknown parameter: there are {}", known.join(", ")));
        };
        let Ok(value) = percent_decode(value) else {
            return Err(format!("{name} has a malformed percent-escape"));
        };
        if values[at].replace(value.into_owned()).is_some() {
            return Err(format!("{name} is given twice"));
        }
    }
    Ok(values)
}

/// Decimal digits that print back to themselves. The log has at most 2^63 - 1 records.
pub(super) fn parse_number(digits: &str) -> Option<u64> {
    let canonical =
        digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    digits.parse().ok().filter(|number| canonical && *number <= i64::MAX as u64)
}

/// The number that a parameter holds, if it is given.
pub(super) fn number(name: &str, value: Option<String>) -> Result<Option<u64>, String> {
    let parse = |value: String| {
        let why = || format!("{name} must be a decimal number without leading zeros");
        parse_number(&value).ok_or_else(why)
    };
    value.map(parse).transpose()
}

/// `before=SIZE&limit=N`, both optional, or `at=TIME`.
pub(super) fn heads(query: &str) -> Result<HeadsQuery, String> {
    let [before, limit, at] = values(query, ["before", "limit", "at"])?;
    if let Some(at) = at {
        if before.is_some() || limit.is_some() {
            return Err("at=TIME names one head: before and limit do not go with it".to_owned());
        }
        return time(&at).map(HeadsQuery::At);
    }
    let limit = match number("limit", limit)? {
        None => HEADS_DEFAULT,
        Some(limit) if (1..=HEADS_MAX as u64).contains(&limit) => limit as usize,
        Some(_) => return Err(format!("limit must be from 1 to {HEADS_MAX}")),
    };
    Ok(HeadsQuery::List { before: number("before", before)?.map(TreeSize), limit })
}

/// A time, or a date, which stands for its last moment in UTC: what was there on that day.
fn time(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let last = |date: Date| {
        let next = date.tomorrow().ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp();
        next.checked_sub(jiff::SignedDuration::from_nanos(1)).ok()
    };
    // Ten characters and no more: what else a date may be written like is nobody's business here.
    let date = text.parse::<Date>().ok().filter(|date| date.to_string() == text);
    let why = "at must be a time as in 2026-06-01T12:00:00Z (RFC 3339), or a date as in 2026-06-01 (UTC)";
    date.and_then(last).ok_or_else(|| why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries() {
        let list = |before: Option<u64>, limit| Ok(HeadsQuery::List { before: before.map(TreeSize), limit });
        let at = |time: &str| Ok(HeadsQuery::At(time.parse().unwrap()));
        for (query, parsed) in [
            ("", list(None, HEADS_DEFAULT)),
            ("limit=1", list(None, 1)),
            ("limit=100&before=0", list(Some(0), 100)),
            ("before=9223372036854775807", list(Some(i64::MAX as u64), HEADS_DEFAULT)),
            ("&before=7&", list(Some(7), HEADS_DEFAULT)),
            ("at=2026-06-01T12:00:00Z", at("2026-06-01T12:00:00Z")),
            ("at=2026-06-01T12:00:00+02:00", at("2026-06-01T10:00:00Z")),
            ("at=2026-06-01T12%3a00%3A00%2B02:00", at("2026-06-01T10:00:00Z")),
            ("at=2026-06-01", at("2026-06-01T23:59:59.999999999Z")),
            ("at=2024-02-29", at("2024-02-29T23:59:59.999999999Z")),
        ] {
            assert_eq!(heads(query), parsed, "{query}");
        }
        for bad in [
            "limit=0",
            "limit=101",
            "limit=",
            "limit",
            "limit=+1",
            "limit=01",
            "limit=1&limit=2",
            "before=-1",
            "before=9223372036854775808",
            "before=99999999999999999999999",
            "before=%zz",
            "at=",
            "at=yesterday",
            "at=2026-13-01",
            "at=2026-02-30",
            "at=2026-06-01T12:00:00",
            "at=20260601",
            "at=99999-01-01",
            "at=2026-06-01&limit=1",
            "before=3&at=2026-06-01",
            "size=3",
            "=",
        ] {
            assert!(heads(bad).is_err(), "{bad}");
        }
    }
}
