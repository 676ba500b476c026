//! Lengths of time as people write them: `30s`, `5m`, `1h 30m`, `1h30m`.
//!
//! ```
//! use tallystick::config::Span;
//! let span: Span = "1h 30m".parse()?;
//! assert_eq!((span.0.as_secs(), span.to_string().as_str()), (5400, "1h 30m"));
//! assert!("-1s".parse::<Span>().is_err() && "30".parse::<Span>().is_err());
//! # Ok::<(), tallystick::config::SpanError>(())
//! ```

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::SignedDuration;

/// A length of time that is not negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// A text is no length of time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no length of time as in 30s, 5m or 1h")]
pub struct SpanError;

impl FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Span, SpanError> {
        let signed: SignedDuration = text.parse().map_err(|_| SpanError)?;
        Duration::try_from(signed).map(Span).map_err(|_| SpanError)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signed = SignedDuration::try_from(self.0).unwrap_or(SignedDuration::MAX);
        write!(f, "{signed:#}")
    }
}
