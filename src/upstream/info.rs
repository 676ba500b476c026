//! A module version's `.info`: what a proxy or the go command knows of its origin. It is evidence, never an input of a hash.
//!
//! ```json
//! {"Version":"v1.5.2","Time":"2018-02-14T15:44:20Z","Origin":{"VCS":"git","URL":"https://github.com/rsc/quote",
//!  "Hash":"3ba1e30dc83bd52c990132b9dfb1688a9d22de13","Ref":"refs/tags/v1.5.2"}}
//! ```

use serde::Deserialize;

use super::url::RedactedUrl;

/// Real ones take some 300 bytes.
pub(super) const MAX_INFO_BYTES: u64 = 16 << 10;

/// A parsed `.info`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleInfo {
    /// The commit's time as it was written.
    pub time: Option<String>,
    /// Where the source says that the code comes from.
    pub origin: Option<Origin>,
    /// The JSON as it came, at most 16 KiB, credentials in the origin's URL taken out.
    pub raw: String,
}

/// Repository and commit. Fields that the source leaves out are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Origin {
    /// `git`, `mod`, ...
    #[serde(rename = "VCS")]
    pub vcs: String,
    /// The repository, without credentials.
    #[serde(rename = "URL")]
    pub url: String,
    /// The module's directory in the repository.
    pub subdir: String,
    /// The tag or branch.
    #[serde(rename = "Ref")]
    pub reference: String,
    /// The commit.
    pub hash: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Wire {
    version: String,
    time: Option<String>,
    origin: Option<Origin>,
}

/// Parses an `.info` that must be about `version`; the error says what is wrong in words.
pub(super) fn parse(json: &[u8], version: &str) -> Result<ModuleInfo, String> {
    let text = std::str::from_utf8(json).map_err(|_| "the .info is not UTF-8".to_owned())?;
    let wire: Wire = serde_json::from_str(text).map_err(|e| format!("the .info is not valid: {e}"))?;
    if wire.version != version {
        let other: String = wire.version.chars().take(80).collect();
        return Err(format!("the .info is about {other:?} instead of {version:?}"));
    }
    let mut raw = text.to_owned();
    let origin = wire.origin.map(|mut origin| {
        if let Some(shown) = without_credentials(&origin.url) {
            raw = hide(text, &shown);
            origin.url = shown;
        }
        origin
    });
    Ok(ModuleInfo { time: wire.time, origin, raw })
}

/// The URL to show instead, if this one holds credentials.
fn without_credentials(url: &str) -> Option<String> {
    if !url.contains('@') {
        return None;
    }
    match reqwest::Url::parse(url) {
        // The user of an ssh URL is part of the address (`git@…`), its password is not.
        Ok(parsed) if parsed.password().is_none() && parsed.scheme().contains("ssh") => None,
        Ok(parsed) => Some(RedactedUrl::of(&parsed).to_string()),
        // `git@host:path`, or something that nobody can vouch for.
        Err(_) => (url.contains("://")).then(|| "***".to_owned()),
    }
}

fn hide(json: &str, shown: &str) -> String {
    let mut value: serde_json::Value = serde_json::from_str(json).expect("it was parsed before");
    value["Origin"]["URL"] = shown.into();
    value.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origin_is_read_and_credentials_are_hidden() {
        let json = r#"{"Version":"v1.5.2","Time":"2018-02-14T15:44:20Z","Origin":{"VCS":"git","URL":"https://github.com/rsc/quote","Hash":"3ba1","Ref":"refs/tags/v1.5.2","New":1}}"#;
        let info = parse(json.as_bytes(), "v1.5.2").unwrap();
        let origin = info.origin.unwrap();
        assert_eq!(
            (origin.vcs.as_str(), origin.hash.as_str(), origin.reference.as_str()),
            ("git", "3ba1", "refs/tags/v1.5.2")
        );
        assert_eq!(info.raw, json);
        let secret = json.replace("https://github.com/", "https://ci:s3cret@corp.example/");
        let info = parse(secret.as_bytes(), "v1.5.2").unwrap();
        assert_eq!(info.origin.unwrap().url, "https://***@corp.example/rsc/quote");
        assert!(!info.raw.contains("s3cret") && info.raw.contains("***@corp.example"), "{}", info.raw);
        for plain in ["git@corp.example:a/b", "ssh://git@corp.example/a"] {
            let info =
                parse(json.replace("https://github.com/rsc/quote", plain).as_bytes(), "v1.5.2").unwrap();
            assert_eq!(info.origin.unwrap().url, plain);
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
            r#"{"Version":1}"#,
        ] {
            assert!(parse(bad.as_bytes(), "v1.5.2").is_err(), "{bad}");
        }
        assert!(parse(br#"{"Version":"v1.5.2"}"#, "v1.5.2").unwrap().origin.is_none());
    }
}
