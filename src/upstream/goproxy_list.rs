//! The GOPROXY list, as `go help goproxy` and `cmd/go/internal/modfetch` have it:
//!
//! ```text
//! https://a.example,https://b.example|file:///srv/goproxy|direct
//! ```
//!
//! After a comma the next source is asked only when this one says 404 or 410; after a bar, on any error. `direct` is version
//! control and `off` is a refusal; both end the list, whatever is written after them. Blanks around an entry and empty entries do
//! not count; an entry without a scheme gets `https://`.

use std::fmt;

use super::url::{SourceUrl, UrlError};

/// More sources than this in one list are a mistake, and every miss would ask them all.
const MAX_SOURCES: usize = 16;

/// A list of module sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoProxyList {
    entries: Vec<GoProxyEntry>,
}

/// A source, and when the one after it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoProxyEntry {
    /// The source.
    pub source: ModuleSource,
    /// What it takes to go on to the next one.
    pub fall_through: FallThrough,
}

/// Where modules come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModuleSource {
    /// A module proxy, or a directory laid out like one.
    Proxy(SourceUrl),
    /// Version control, by the go command.
    Direct,
    /// Nowhere: the look-up fails.
    Off,
}

/// When the next source is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FallThrough {
    /// `,`: this one says that it does not have the module.
    NotFound,
    /// `|`: this one fails in any way.
    AnyError,
}

/// Why a text is not a GOPROXY list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GoProxyListError {
    /// Nothing in it.
    #[error("GOPROXY list has no entries")]
    Empty,
    /// Too much in it.
    #[error("GOPROXY list has more than {MAX_SOURCES} entries")]
    TooMany,
    /// A word that is neither `direct` nor `off`, or a local path without `file://`.
    #[error("GOPROXY entry {entry:?} has no scheme: use https://, http:// or file://")]
    MissingScheme {
        /// The entry.
        entry: String,
    },
    /// An entry that is not a usable URL.
    #[error("GOPROXY entry: {source}")]
    Url {
        /// Why not.
        #[from]
        source: UrlError,
    },
}

impl GoProxyList {
    /// Parses a list.
    pub fn parse(text: &str) -> Result<GoProxyList, GoProxyListError> {
        let mut entries = Vec::new();
        for piece in text.split_inclusive([',', '|']) {
            let fall_through =
                if piece.ends_with('|') { FallThrough::AnyError } else { FallThrough::NotFound };
            let source = match piece.trim_end_matches([',', '|']).trim() {
                "" => continue,
                "off" => ModuleSource::Off,
                "direct" => ModuleSource::Direct,
                url => ModuleSource::Proxy(parse_proxy(url)?),
            };
            if entries.len() == MAX_SOURCES {
                return Err(GoProxyListError::TooMany);
            }
            let is_last = matches!(source, ModuleSource::Off | ModuleSource::Direct);
            let fall_through = if is_last { FallThrough::NotFound } else { fall_through };
            entries.push(GoProxyEntry { source, fall_through });
            if is_last {
                break;
            }
        }
        if entries.is_empty() {
            return Err(GoProxyListError::Empty);
        }
        Ok(GoProxyList { entries })
    }

    /// The sources, in the order in which they are asked; never empty.
    pub fn entries(&self) -> &[GoProxyEntry] {
        &self.entries
    }

    /// Whether version control is the last resort.
    pub fn has_direct(&self) -> bool {
        self.entries.iter().any(|entry| entry.source == ModuleSource::Direct)
    }

    /// The proxies and directories in it.
    pub fn proxies(&self) -> impl Iterator<Item = &SourceUrl> {
        self.entries.iter().filter_map(|entry| match &entry.source {
            ModuleSource::Proxy(url) => Some(url),
            ModuleSource::Direct | ModuleSource::Off => None,
        })
    }
}

fn parse_proxy(entry: &str) -> Result<SourceUrl, GoProxyListError> {
    let has_scheme = entry.contains(":/");
    let missing = || GoProxyListError::MissingScheme { entry: entry.chars().take(200).collect() };
    if !has_scheme && (entry.starts_with('/') || !entry.contains(['.', ':'])) {
        return Err(missing());
    }
    let url = if has_scheme { entry.to_owned() } else { format!("https://{entry}") };
    Ok(SourceUrl::parse(&url)?)
}

impl fmt::Display for GoProxyList {
    /// The list with credentials and queries hidden.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, entry) in self.entries.iter().enumerate() {
            entry.source.fmt(f)?;
            if n + 1 < self.entries.len() {
                f.write_str(match entry.fall_through {
                    FallThrough::NotFound => ",",
                    FallThrough::AnyError => "|",
                })?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for ModuleSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ModuleSource::Proxy(url) => url.fmt(f),
            ModuleSource::Direct => f.write_str("direct"),
            ModuleSource::Off => f.write_str("off"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_parsed_as_the_go_command_does() {
        for (text, want) in [
            ("https://a.example", "https://a.example/"),
            (
                "https://a.example,https://b.example/x|file:///srv/goproxy|direct",
                "https://a.example/,https://b.example/x|file:///srv/goproxy|direct",
            ),
            (" https://a.example , direct ", "https://a.example/,direct"),
            (",,|https://a.example,|", "https://a.example/"),
            ("a.example", "https://a.example/"),
            ("a.example:8080/go", "https://a.example:8080/go"),
            ("off", "off"),
            ("off,https://a.example", "off"),
            ("https://a.example|direct,not a url at all", "https://a.example/|direct"),
            ("direct|off", "direct"),
            ("https://u:pw@a.example?t=pw,off", "https://***@a.example/?***,off"),
        ] {
            assert_eq!(GoProxyList::parse(text).unwrap().to_string(), want, "{text:?}");
        }
    }

    #[test]
    fn lists_that_the_go_command_refuses_are_refused() {
        for text in [
            "",
            " ",
            ",|,",
            "noproxy",
            "proxy",
            "/srv/goproxy",
            "file://host/x",
            "file:///x?q",
            "ftp://a.example",
            "https://a.example,bad",
        ] {
            assert!(GoProxyList::parse(text).is_err(), "{text:?}");
        }
        assert_eq!(GoProxyList::parse(&"https://a.example,".repeat(17)), Err(GoProxyListError::TooMany));
    }
}
