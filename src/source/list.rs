//! The GOPROXY list, as `go help goproxy` and `cmd/go/internal/modfetch` have it. Blanks around an
//! element and empty elements do not count; `direct` and `off` end the list, whatever is written
//! after them.
//!
//! The go command adds `https://` to an element without a scheme, and so do we where we read its own
//! GOPROXY. In a configuration such an element is refused: there it is more often a path or a word
//! that was misspelled. `off` alone is refused too, and at the end it means what the end means.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use super::{MAX_SOURCES, ServerUrl, SourceError, SourceUrl};

/// A GOPROXY list, never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceList(Vec<ListedSource>);

/// A source in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedSource {
    /// The source.
    pub source: ModuleSource,
    /// When the next one is asked; of no meaning for the last.
    pub fall_through: FallThrough,
}

/// One place that serves modules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModuleSource {
    /// A module proxy, or a directory laid out like one.
    Proxy(SourceUrl),
    /// Version control, through the `go` command.
    Direct,
}

/// When the next source of a list is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FallThrough {
    /// A comma: after 404 and 410 only.
    OnNotFound,
    /// A bar: after any error.
    OnAnyError,
}

impl SourceList {
    /// Parses a list.
    pub fn parse(text: &str) -> Result<SourceList, SourceError> {
        SourceList::parse_with(text, |element| Cow::Borrowed(element))
    }

    /// Parses a list as the go command reads GOPROXY: `proxy.example` is `https://proxy.example`.
    pub(crate) fn parse_goproxy(text: &str) -> Result<SourceList, SourceError> {
        SourceList::parse_with(text, |element| {
            // Single words are kept for what they may mean one day, as in cmd/go/internal/modfetch.
            let is_host = element.contains(['.', ':', '/']);
            match is_host && !element.contains(":/") && !element.starts_with('/') {
                true => Cow::Owned(format!("https://{element}")),
                false => Cow::Borrowed(element),
            }
        })
    }

    fn parse_with(text: &str, complete: impl Fn(&str) -> Cow<'_, str>) -> Result<SourceList, SourceError> {
        let mut list = Vec::new();
        for piece in text.split_inclusive([',', '|']) {
            let fall_through =
                if piece.ends_with('|') { FallThrough::OnAnyError } else { FallThrough::OnNotFound };
            let source = match piece.trim_end_matches([',', '|']).trim() {
                "" => continue,
                "off" if list.is_empty() => return Err(SourceError::Off),
                "off" => break,
                "direct" => ModuleSource::Direct,
                url => ModuleSource::Proxy(SourceUrl::parse(&complete(url))?),
            };
            let is_last = source == ModuleSource::Direct;
            list.push(ListedSource { source, fall_through });
            if is_last {
                break;
            }
        }
        // Nothing comes after the last one, whatever is written behind it.
        list.last_mut().ok_or(SourceError::Empty)?.fall_through = FallThrough::OnNotFound;
        if list.len() > MAX_SOURCES {
            return Err(SourceError::TooMany);
        }
        Ok(SourceList(list))
    }

    /// Version control alone.
    pub(crate) fn direct() -> SourceList {
        SourceList(vec![ListedSource { source: ModuleSource::Direct, fall_through: FallThrough::OnNotFound }])
    }

    /// The sources with the rule for asking the one after it, in the order in which they are asked.
    pub fn entries(&self) -> &[ListedSource] {
        &self.0
    }

    /// The proxies and directories in it.
    fn urls(&self) -> impl Iterator<Item = &SourceUrl> {
        self.0.iter().filter_map(|entry| match &entry.source {
            ModuleSource::Proxy(url) => Some(url),
            ModuleSource::Direct => None,
        })
    }

    /// The module proxies among them.
    pub(crate) fn servers(&self) -> impl Iterator<Item = &ServerUrl> {
        self.urls().filter_map(SourceUrl::server)
    }

    /// The directories among them.
    pub(crate) fn directories(&self) -> impl Iterator<Item = &Path> {
        self.urls().filter_map(SourceUrl::local_path)
    }

    /// Where the proxies among them would pass the checksum database `name` on (`go help goproxy`).
    pub(crate) fn passthroughs_of(&self, name: &str) -> impl Iterator<Item = SourceUrl> {
        self.servers().map(move |proxy| SourceUrl::Server(proxy.join(&format!("sumdb/{name}"))))
    }

    /// Whether version control is among them.
    pub fn has_direct(&self) -> bool {
        self.0.iter().any(|entry| entry.source == ModuleSource::Direct)
    }

    /// The list without version control; none where nothing else is in it.
    pub(crate) fn without_direct(mut self) -> Option<SourceList> {
        self.0.retain(|entry| entry.source != ModuleSource::Direct);
        Some(self).filter(|list| !list.0.is_empty())
    }

    /// The list as evidence and messages name it; see [`SourceUrl::redacted`].
    pub(crate) fn redacted(&self) -> String {
        self.to_text(|source| match source {
            ModuleSource::Proxy(url) => url.redacted().to_string(),
            ModuleSource::Direct => source.to_string(),
        })
    }

    fn to_text(&self, show: impl Fn(&ModuleSource) -> String) -> String {
        let mut text = String::new();
        for (n, entry) in self.0.iter().enumerate() {
            text += &show(&entry.source);
            if n + 1 < self.0.len() {
                text += match entry.fall_through {
                    FallThrough::OnNotFound => ",",
                    FallThrough::OnAnyError => "|",
                };
            }
        }
        text
    }
}

impl AsRef<SourceList> for SourceList {
    fn as_ref(&self) -> &SourceList {
        self
    }
}

impl FromStr for SourceList {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<SourceList, SourceError> {
        SourceList::parse(text)
    }
}

impl fmt::Display for SourceList {
    /// As an operator would write it, with its secrets hidden.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_text(ModuleSource::to_string))
    }
}

impl fmt::Display for ModuleSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // A comma or a bar would divide the list that it stands in.
            ModuleSource::Proxy(url @ SourceUrl::Local(_)) => {
                f.write_str(&url.to_string().replace(',', "%2C").replace('|', "%7C"))
            }
            ModuleSource::Proxy(url) => url.fmt(f),
            ModuleSource::Direct => f.write_str("direct"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rules are those of `go help goproxy`.
    #[test]
    fn lists_read_as_goproxy_is_read() {
        let list: SourceList =
            "https://a.example|http://b.example/go/,,file:///srv/proxy,direct,https://never".parse().unwrap();
        assert_eq!(list.to_string(), "https://a.example|http://b.example/go,file:///srv/proxy,direct");
        assert_eq!(list.entries()[0].fall_through, FallThrough::OnAnyError);
        assert_eq!(list.entries()[1].fall_through, FallThrough::OnNotFound);
        let directory = SourceUrl::Local("/srv/proxy".into());
        assert_eq!(list.entries()[2].source, ModuleSource::Proxy(directory));
        assert!(list.has_direct());
        for odd in [
            "file:///a%2Cb",
            "file:///a%7Cb",
            "file:///a%23b",
            "file:///a%2541",
            "file:///a%3Fb",
            "file:///a%20b",
        ] {
            let list: SourceList = odd.parse().unwrap();
            assert_eq!(list.to_string(), odd);
            assert_eq!(list.to_string().parse::<SourceList>().unwrap(), list, "{odd} is the same directory");
        }
    }

    /// What two parsers read before, and `redacted` shows in evidence.
    #[test]
    fn lists_are_named_in_evidence_as_before() {
        for (text, want) in [
            ("https://a.example", "https://a.example/"),
            (
                "https://a.example,https://b.example/x|file:///srv/goproxy|direct",
                "https://a.example/,https://b.example/x|file:///srv/goproxy|direct",
            ),
            (" https://a.example , direct ", "https://a.example/,direct"),
            (",,|https://a.example,|", "https://a.example/"),
            ("https://a.example|direct,not a url at all", "https://a.example/|direct"),
            ("https://b.example/go/", "https://b.example/go"),
            ("file:///srv/go%20proxy", "file:///srv/go proxy"),
            ("direct|off", "direct"),
            ("https://u:pw@a.example?t=pw,off", "https://***@a.example/?***"),
        ] {
            assert_eq!(SourceList::parse(text).unwrap().redacted(), want, "{text:?}");
        }
    }

    #[test]
    fn what_is_no_source_is_refused() {
        let table = [
            ("", SourceError::Empty),
            (" , ", SourceError::Empty),
            (",|,", SourceError::Empty),
            ("off", SourceError::Off),
            ("ssh://git.corp.example", SourceError::Scheme { scheme: "ssh".to_owned() }),
            ("https://a.example/#x", SourceError::Fragment),
            ("http://ci:pw@a.example", SourceError::CredentialsInClear),
            ("file://host/srv", SourceError::NotAbsolute),
            ("file:///x?q", SourceError::NotAbsolute),
        ];
        for (text, want) in table {
            assert_eq!(text.parse::<SourceList>().unwrap_err(), want, "{text}");
        }
        for text in [" ", "noproxy", "proxy", "/srv/goproxy", "ftp://a.example", "https://a.example,bad"] {
            assert!(SourceList::parse(text).is_err(), "{text:?}");
        }
        let many = vec!["https://a.example"; MAX_SOURCES + 1].join(",");
        assert_eq!(many.parse::<SourceList>().unwrap_err(), SourceError::TooMany);
    }

    /// The configuration and the clients had a parser each. Where they disagreed, what the
    /// configuration said counts, because an operator met it first; nothing that it refused ever
    /// reached the other.
    #[test]
    fn where_two_parsers_disagreed_the_configuration_decides() {
        let list = |text: &str| SourceList::parse(text).map(|list| list.to_string());
        let no_base = || SourceError::NotAUrl { why: "relative URL without a base".to_owned() };
        for (text, want) in [
            // The clients added https://, as the go command does.
            ("a.example", Err(no_base())),
            ("a.example/go", Err(no_base())),
            ("a.example:8080/go", Err(SourceError::Scheme { scheme: "a.example".to_owned() })),
            // They dropped a fragment.
            ("https://a.example/#f", Err(SourceError::Fragment)),
            // They let credentials go to an address that is this machine in another spelling.
            ("http://u:p@[::ffff:127.0.0.1]/", Err(SourceError::CredentialsInClear)),
            // They kept `off` as a source that has nothing.
            ("off", Err(SourceError::Off)),
            ("off,https://a.example", Err(SourceError::Off)),
            ("https://a.example,off", Ok("https://a.example".to_owned())),
            // They refused these two, which the URL parser takes for an absolute path.
            ("file://localhost/srv", Ok("file:///srv".to_owned())),
            ("file:srv", Ok("file:///srv".to_owned())),
            // They kept the slash at the end.
            ("https://a.example/go/", Ok("https://a.example/go".to_owned())),
        ] {
            assert_eq!(list(text), want, "{text}");
        }
    }

    /// The rule of `proxyList` in cmd/go/internal/modfetch (Go 1.26).
    #[test]
    fn goproxy_needs_no_scheme() {
        let list = |text: &str| SourceList::parse_goproxy(text).map(|list| list.to_string());
        for (text, want) in [
            ("proxy.example,direct", "https://proxy.example,direct"),
            ("localhost:3000", "https://localhost:3000"),
            ("a.example/go|http://b.example", "https://a.example/go|http://b.example"),
            ("ci:s3cret@a.example", "https://***@a.example"),
            ("file:///srv/goproxy", "file:///srv/goproxy"),
        ] {
            assert_eq!(list(text).as_deref(), Ok(want), "{text}");
        }
        for text in ["proxy", "noproxy", "/srv/goproxy", "ssh://a.example", "off"] {
            assert_eq!(list(text), SourceList::parse(text).map(|list| list.to_string()), "{text}");
        }
    }

    #[test]
    fn a_list_without_version_control_may_be_none() {
        assert_eq!(SourceList::direct().without_direct(), None);
        let mixed = SourceList::parse("https://a.example,direct").unwrap().without_direct().unwrap();
        assert_eq!(mixed.to_string(), "https://a.example");
    }
}
