//! The names under which a module version is asked for: escaped, since they become URLs and file names.

use super::url::{SourceUrl, UrlError};

/// A module path and version in their escaped form, as they stand in URLs: `github.com/!burnt!sushi/toml`, `v1.3.2`.
///
/// The core has checked the module already; what is checked again here is what this layer relies on: that the parts lead
/// nowhere but below a source, and are not taken for flags by the go command.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EscapedModule {
    path: String,
    version: String,
}

impl EscapedModule {
    /// Takes the escaped path and version.
    pub fn new(path: &str, version: &str) -> Result<EscapedModule, UrlError> {
        let starts_well = |text: &str| text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '!' || c == '_');
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._~!+".contains(c);
        let path_is_safe = path.split('/').all(|e| !matches!(e, "" | "." | "..") && e.chars().all(plain));
        if !starts_well(path) || !path_is_safe {
            return Err(UrlError::UnsafePath { path: path.chars().take(200).collect() });
        }
        if !version.starts_with('v') || !version.chars().all(plain) {
            return Err(UrlError::UnsafePath { path: version.chars().take(200).collect() });
        }
        Ok(EscapedModule { path: path.to_owned(), version: version.to_owned() })
    }

    /// `github.com/!burnt!sushi/toml/@v/v1.3.2.<extension>`: where module proxies and the module cache keep a file.
    pub(super) fn file(&self, extension: &str) -> String {
        format!("{}/@v/{}.{extension}", self.path, self.version)
    }

    /// The URL of one file of this module version at a proxy.
    pub(super) fn url(&self, proxy: &SourceUrl, extension: &str) -> Result<SourceUrl, UrlError> {
        proxy.join(&self.file(extension))
    }

    /// `github.com/BurntSushi/toml@v1.3.2`
    pub(super) fn unescaped(&self) -> String {
        format!("{}@{}", unescape(&self.path), unescape(&self.version))
    }

    /// `v1.3.2`, unescaped.
    pub(super) fn unescaped_version(&self) -> String {
        unescape(&self.version)
    }
}

/// `!x` stands for `X`.
fn unescape(text: &str) -> String {
    let mut unescaped = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '!' => unescaped.extend(chars.next().map(|c| c.to_ascii_uppercase())),
            c => unescaped.push(c),
        }
    }
    unescaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_and_unescape() {
        let module = EscapedModule::new("github.com/!burnt!sushi/toml", "v1.3.2-!r!c1+incompatible").unwrap();
        assert_eq!(module.unescaped(), "github.com/BurntSushi/toml@v1.3.2-RC1+incompatible");
        assert_eq!(module.file("zip"), "github.com/!burnt!sushi/toml/@v/v1.3.2-!r!c1+incompatible.zip");
        for (path, version) in [
            ("", "v1.0.0"), ("-x.example/a", "v1.0.0"), ("a/../b", "v1.0.0"), ("/a", "v1.0.0"), ("a//b", "v1.0.0"), ("a@v1/b", "v1.0.0"),
            ("a b", "v1.0.0"), ("a", ""), ("a", "1.0.0"), ("a", "v1/../.."), ("a", "v1@x"), ("a", "v1\n"), ("a%2f", "v1.0.0"),
        ] {
            assert!(EscapedModule::new(path, version).is_err(), "{path:?} {version:?}");
        }
    }
}
