//! A module version's `.info`: what a proxy or the go command knows of its origin. It is evidence,
//! never an input of a hash.
//!
//! ```json
//! {"Version":"v1.5.2","Time":"2018-02-14T15:44:20Z","Origin":{"VCS":"git","URL":"https://github.com/rsc/quote",
//!  "Hash":"3ba1e30dc83bd52c990132b9dfb1688a9d22de13","Ref":"refs/tags/v1.5.2"}}
//! ```
//!
//! The origin is kept with the record, forever, so only what `Origin` of
//! [cmd/go/internal/modfetch/codehost](https://cs.opensource.google/go/go/+/refs/tags/go1.26.0:src/cmd/go/internal/modfetch/codehost/codehost.go)
//! defines is taken over, and of that only what has the form that the go command gives it:
//!
//! | field | form | bytes |
//! |---|---|---|
//! | `VCS` | lower-case letters | 16 |
//! | `URL` | one line of plain text, without credentials: no user but `git`, `hg` or `svn`, no password, no query, no fragment | 2048 |
//! | `Subdir`, `TagPrefix`, `Ref` | one line of plain text that is no URL | 1024 |
//! | `Hash` | lower-case hexadecimal | 128 |
//! | `TagSum`, `RepoSum` | letters, digits and `+/=:` | 128 |
//!
//! A field of another form is left out: it says nothing that anybody could check later.

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize};

use crate::source::RedactedUrl;
use crate::visible;

/// Real ones take some 300 bytes.
pub(super) const MAX_INFO_BYTES: u64 = 16 << 10;
const MAX_VCS_BYTES: usize = 16;
const MAX_URL_BYTES: usize = 2048;
const MAX_NAME_BYTES: usize = 1024;
const MAX_SUM_BYTES: usize = 128;
/// How much is shown of a version that is another one.
const MAX_SHOWN_VERSION_CHARS: usize = 80;

/// Users in an address that are part of it, not secrets.
const PUBLIC_USERS: [&str; 3] = ["git", "hg", "svn"];
/// What stands for something that is not shown.
const HIDDEN: &str = "***";

/// A parsed `.info`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleInfo {
    /// The file as it came.
    pub json: Bytes,
    /// Where the source says that the code comes from; none if it says nothing that can be kept.
    pub origin: Option<VcsOrigin>,
}

/// Where code comes from, in the go command's fields and order. Those that the source leaves out,
/// or that do not have their form, are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct VcsOrigin {
    /// `git`, `hg`, `mod`, ...
    #[serde(rename = "VCS", deserialize_with = "or_empty", skip_serializing_if = "String::is_empty")]
    pub vcs: String,
    /// The repository, without credentials.
    #[serde(rename = "URL", deserialize_with = "or_empty", skip_serializing_if = "String::is_empty")]
    pub url: String,
    /// The module's directory in the repository.
    #[serde(deserialize_with = "or_empty", skip_serializing_if = "String::is_empty")]
    pub subdir: String,
    /// The commit.
    #[serde(deserialize_with = "or_empty", skip_serializing_if = "String::is_empty")]
    pub hash: String,
    /// Which tags the version depends on.
    #[serde(deserialize_with = "or_empty", skip_serializing_if = "String::is_empty")]
    pub tag_prefix: String,
    /// The digest of these tags and their commits.
    #[serde(deserialize_with = "or_empty", skip_serializing_if = "String::is_empty")]
    pub tag_sum: String,
    /// The tag or branch.
    #[serde(rename = "Ref", deserialize_with = "or_empty", skip_serializing_if = "String::is_empty")]
    pub reference: String,
    /// The digest of all that the repository refers to.
    #[serde(deserialize_with = "or_empty", skip_serializing_if = "String::is_empty")]
    pub repo_sum: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Wire {
    version: String,
    origin: Option<VcsOrigin>,
}

/// A string; the go command reads `null` as an empty one.
fn or_empty<'de, D: Deserializer<'de>>(wire: D) -> Result<String, D::Error> {
    Ok(Option::<String>::deserialize(wire)?.unwrap_or_default())
}

impl VcsOrigin {
    /// Empties every field that does not have its form, and hides credentials.
    fn checked(self) -> VcsOrigin {
        let keep = |text: String, max_bytes: usize, fits: fn(&str) -> bool| {
            if text.len() <= max_bytes && fits(&text) { text } else { String::new() }
        };
        let sum = |text| keep(text, MAX_SUM_BYTES, |text| has_only(text, "+/=:"));
        let name = |text| keep(text, MAX_NAME_BYTES, |text| is_one_line(text) && !text.contains("://"));
        let hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        VcsOrigin {
            vcs: keep(self.vcs, MAX_VCS_BYTES, |text| text.bytes().all(|byte| byte.is_ascii_lowercase())),
            url: without_credentials(&keep(self.url, MAX_URL_BYTES, is_one_line)),
            subdir: name(self.subdir),
            hash: keep(self.hash, MAX_SUM_BYTES, hex),
            tag_prefix: name(self.tag_prefix),
            tag_sum: sum(self.tag_sum),
            reference: name(self.reference),
            repo_sum: sum(self.repo_sum),
        }
    }
}

fn has_only(text: &str, more: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
}

fn is_one_line(text: &str) -> bool {
    text.chars().all(visible::is_plain)
}

/// Why a text is not the `.info` of a version.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum InfoError {
    /// It is not JSON, or not of its form.
    #[error("{why}")]
    Malformed {
        /// What is wrong, in words.
        why: String,
    },
    /// It is about another version: the source mixes its files up, and the go command refuses it.
    #[error("it is about version {got}")]
    OtherVersion {
        /// The version that it names, escaped and cut off.
        got: String,
    },
}

/// Parses an `.info` that must be about `version`.
pub(super) fn parse(json: &[u8], version: &str) -> Result<ModuleInfo, InfoError> {
    let malformed = |why| InfoError::Malformed { why };
    let text = std::str::from_utf8(json).map_err(|_| malformed("the .info is not UTF-8".to_owned()))?;
    let wire: Wire =
        serde_json::from_str(text).map_err(|e| malformed(format!("the .info is not valid: {e}")))?;
    if wire.version != version {
        let got: String = wire.version.chars().take(MAX_SHOWN_VERSION_CHARS).collect();
        return Err(InfoError::OtherVersion { got: visible::escape_line(&got).into_owned() });
    }
    let origin = wire.origin.map(VcsOrigin::checked).filter(|origin| *origin != VcsOrigin::default());
    Ok(ModuleInfo { json: Bytes::copy_from_slice(json), origin })
}

/// The address without anything that may be secret: `https://host/x`, `ssh://git@host/x`,
/// `git@host:x` stay as they are.
fn without_credentials(address: &str) -> String {
    if let Some(parsed) = address.contains("://").then(|| reqwest::Url::parse(address)) {
        // Something that nobody can vouch for.
        let Ok(parsed) = parsed else { return HIDDEN.to_owned() };
        let is_public = parsed.password().is_none() && PUBLIC_USERS.contains(&parsed.username());
        if is_public && parsed.query().is_none() && parsed.fragment().is_none() {
            return address.to_owned();
        }
        let shown = RedactedUrl::of(&parsed).to_string();
        let has_secret = address.contains(['@', '?', '#']);
        // What the parser changes beside that (a host in capitals) is the source's own business.
        return if has_secret { shown } else { address.to_owned() };
    }
    let (place, hidden) = match address.find(['?', '#']) {
        Some(at) => (&address[..at], format!("?{HIDDEN}")),
        None => (address, String::new()),
    };
    match place.rsplit_once('@') {
        Some((user, rest)) if !PUBLIC_USERS.contains(&user) => format!("{HIDDEN}@{rest}{hidden}"),
        _ => format!("{place}{hidden}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin_of(json: &str) -> Option<VcsOrigin> {
        parse(json.as_bytes(), "v1.5.2").unwrap().origin
    }

    fn with(field: &str, value: &str) -> VcsOrigin {
        let value = serde_json::Value::from(value);
        origin_of(&format!(r#"{{"Version":"v1.5.2","Origin":{{"Hash":"3ba1","{field}":{value}}}}}"#)).unwrap()
    }

    /// The fields of Go 1.26.8's codehost.Origin, in its order, with values that its git and hg
    /// code makes.
    #[test]
    fn the_fields_of_go_are_kept_as_it_writes_them_and_no_others() {
        let go = r#"{"VCS":"git","URL":"https://github.com/rsc/quote","Subdir":"a/b","Hash":"3ba1e30dc83bd52c990132b9dfb1688a9d22de13","TagPrefix":"a/b/","TagSum":"t1:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=","Ref":"refs/tags/a/b/v1.5.2","RepoSum":"r1:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="}"#;
        let more = go.replace(r#""Subdir""#, r#""New":{"deep":["x"]},"Token":"s3cret","Subdir""#);
        let json = format!(r#"{{"Version":"v1.5.2","Time":"2018-02-14T15:44:20Z","Origin":{more},"X":1}}"#);
        assert_eq!(serde_json::to_string(&origin_of(&json).unwrap()).unwrap(), go);
        assert_eq!(origin_of(r#"{"Version":"v1.5.2","Origin":{"New":1}}"#), None);
        assert_eq!(origin_of(r#"{"Version":"v1.5.2","Origin":null}"#), None);
        assert_eq!(
            origin_of(r#"{"Version":"v1.5.2","Origin":{"Hash":"ab","Ref":null}}"#).unwrap().hash,
            "ab"
        );
    }

    #[test]
    fn fields_that_do_not_have_their_form_are_left_out() {
        let long = "a".repeat(MAX_URL_BYTES + 1);
        for (field, bad) in [
            ("VCS", "Git"),
            ("URL", "https://h/\u{1b}[2Kx"),
            ("URL", long.as_str()),
            ("Subdir", "a\nb"),
            ("Subdir", "a\u{202e}b"),
            ("TagPrefix", "x\u{200b}"),
            ("TagSum", "t1:a b"),
            ("Ref", "https://ci:s3cret@h/x"),
            ("Ref", long.as_str()),
            ("RepoSum", "r1:\u{9b}"),
        ] {
            let kept = with(field, bad);
            assert_eq!(kept, VcsOrigin { hash: "3ba1".to_owned(), ..VcsOrigin::default() }, "{field} {bad}");
        }
        for bad in ["3BA1", "ghp_s3cret", long.as_str()] {
            let json = format!(r#"{{"Version":"v1.5.2","Origin":{{"Hash":"{bad}"}}}}"#);
            assert_eq!(origin_of(&json), None, "{bad}");
        }
    }

    #[test]
    fn credentials_are_hidden_in_every_form_of_an_address() {
        for (url, kept) in [
            ("https://github.com/rsc/quote", "https://github.com/rsc/quote"),
            ("https://GitHub.com/rsc/quote", "https://GitHub.com/rsc/quote"),
            ("git@corp.example:a/b", "git@corp.example:a/b"),
            ("ssh://git@corp.example/a", "ssh://git@corp.example/a"),
            ("file:///srv/git/a", "file:///srv/git/a"),
            ("https://ci:s3cret@corp.example/a", "https://***@corp.example/a"),
            ("https://s3cret@corp.example/a", "https://***@corp.example/a"),
            ("https://git:s3cret@corp.example/a", "https://***@corp.example/a"),
            ("ssh://s3cret@corp.example/a", "ssh://***@corp.example/a"),
            ("ssh://git:s3cret@corp.example/a", "ssh://***@corp.example/a"),
            ("https://corp.example/a?private_token=s3cret", "https://corp.example/a?***"),
            ("ssh://git@corp.example/a?key=s3cret", "ssh://***@corp.example/a?***"),
            ("https://corp.example/a#s3cret", "https://corp.example/a"),
            ("s3cret@corp.example:a/b", "***@corp.example:a/b"),
            ("ci:s3cret@corp.example:a/b", "***@corp.example:a/b"),
            ("git@s3cret@corp.example:a/b", "***@corp.example:a/b"),
            ("git@corp.example:a/b?token=s3cret", "git@corp.example:a/b?***"),
            ("corp.example/a?token=s3cret", "corp.example/a?***"),
            ("https://s3cret@[x/", "***"),
        ] {
            assert_eq!(with("URL", url).url, kept, "{url}");
        }
    }

    #[test]
    fn an_info_about_something_else_is_refused() {
        for bad in [
            "",
            "{}",
            "[]",
            "not found",
            r#"{"Version":"v1.5.3"}"#,
            r#"{"Version":"v1.5.2","Origin":"x"}"#,
            r#"{"Version":"v1.5.2","Origin":{"URL":["x"]}}"#,
            r#"{"Version":1}"#,
        ] {
            assert!(parse(bad.as_bytes(), "v1.5.2").is_err(), "{bad}");
        }
        assert!(parse(br#"{"Version":"v1.5.2"}"#, "v1.5.2").unwrap().origin.is_none());
    }
}
