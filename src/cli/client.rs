//! What a client of the log has to set, in the words of its shell.
//!
//! ```text
//! export GOSUMDB="sum.corp.example+1c2d3e4f+AZ… https://sum.corp.example"
//! export GONOSUMDB=none
//! ```
//! The first field of GOSUMDB is the whole verifier key; the URL keeps GOPROXY out of it. `GONOSUMDB=none` (a pattern
//! that matches nothing) undoes GOPRIVATE's side effect: it is the default of GONOSUMDB, so that exactly the private
//! modules would silently skip the log.

use clap::ValueEnum;

use crate::config::keys;
use crate::note::VerifierKey;

/// Whose syntax is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Shell {
    /// sh, bash, zsh and their kin
    #[value(alias = "bash", alias = "zsh")]
    Sh,
    /// fish
    Fish,
    /// PowerShell
    #[value(alias = "pwsh")]
    Powershell,
}

/// A log as its clients know it.
#[derive(Clone, Debug)]
pub(super) struct ClientSetup {
    pub(super) name: String,
    pub(super) vkey: String,
    pub(super) url: String,
    pub(super) fingerprint: String,
}

impl ClientSetup {
    pub(super) fn new(key: &VerifierKey, url: &str) -> ClientSetup {
        ClientSetup {
            name: key.name().to_string(),
            vkey: key.to_string(),
            url: url.to_owned(),
            fingerprint: keys::fingerprint(key),
        }
    }

    /// The variables and their values.
    pub(super) fn variables(&self) -> [(&'static str, String); 2] {
        [("GOSUMDB", format!("{} {}", self.vkey, self.url)), ("GONOSUMDB", "none".to_owned())]
    }

    /// The lines that set them for a shell, then comments that are of use to someone who reads them.
    pub(super) fn script(&self, shell: Shell) -> String {
        let mut text = String::new();
        for (name, value) in self.variables() {
            text += &match shell {
                Shell::Sh => format!("export {name}={}\n", quote(shell, &value)),
                Shell::Fish => format!("set -gx {name} {}\n", quote(shell, &value)),
                Shell::Powershell => format!("$env:{name} = {}\n", quote(shell, &value)),
            };
        }
        text += "# To keep them for this user instead:\n";
        for (name, value) in self.variables() {
            text += &format!("#   go env -w {}\n", quote_assignment(shell, name, &value));
        }
        text +=
            &format!("# Fingerprint of the key (compare with `tallystick key show`): {}\n", self.fingerprint);
        text
    }

    /// The `go env -w` lines for sh.
    pub(super) fn go_env_lines(&self) -> Vec<String> {
        let line = |(name, value): (&str, String)| {
            format!("go env -w {}", quote_assignment(Shell::Sh, name, &value))
        };
        self.variables().into_iter().map(line).collect()
    }
}

/// What a shell is told when there is nothing to tell: the `go` command refuses such a GOSUMDB, and the evaluation fails.
pub(super) fn refusal(shell: Shell) -> &'static str {
    match shell {
        Shell::Sh => "export GOSUMDB=tallystick-env-failed\nfalse\n",
        Shell::Fish => "set -gx GOSUMDB tallystick-env-failed\nfalse\n",
        Shell::Powershell => "$env:GOSUMDB = 'tallystick-env-failed'\nthrow 'tallystick env failed'\n",
    }
}

/// `NAME="value"` as one argument.
fn quote_assignment(shell: Shell, name: &str, value: &str) -> String {
    match shell {
        Shell::Sh => format!("{name}={}", quote(shell, value)),
        Shell::Fish | Shell::Powershell => quote(shell, &format!("{name}={value}")),
    }
}

/// One word of the shell that stands for exactly `value`, which may hold anything: a log's name comes from elsewhere.
fn quote(shell: Shell, value: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:+=@%,".contains(c);
    match shell {
        Shell::Sh if !value.is_empty() && value.chars().all(is_plain) => value.to_owned(),
        // Nothing in it means anything between double quotes, and they are what people expect to see.
        Shell::Sh if value.chars().all(|c| is_plain(c) || c == ' ') => format!("\"{value}\""),
        Shell::Sh => format!("'{}'", value.replace('\'', r"'\''")),
        Shell::Fish => format!("'{}'", value.replace('\\', r"\\").replace('\'', r"\'")),
        // PowerShell takes typographic quotes for quotes, too, and two of any of them for one.
        Shell::Powershell => {
            let is_quote = |c: char| matches!(c, '\'' | '\u{2018}' | '\u{2019}' | '\u{201a}' | '\u{201b}');
            let doubled: String =
                value.chars().flat_map(|c| std::iter::repeat_n(c, if is_quote(c) { 2 } else { 1 })).collect();
            format!("'{doubled}'")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the manuals of the shells: POSIX XCU 2.2, fish "Quotes", PowerShell about_Quoting_Rules.
    #[test]
    fn words_are_quoted_as_each_shell_wants() {
        let table = [
            ("none", "none", "'none'", "'none'"),
            ("a+b/c= http://h:1", "\"a+b/c= http://h:1\"", "'a+b/c= http://h:1'", "'a+b/c= http://h:1'"),
            ("it's", r"'it'\''s'", r"'it\'s'", "'it''s'"),
            ("$(rm)`x`!\"", "'$(rm)`x`!\"'", "'$(rm)`x`!\"'", "'$(rm)`x`!\"'"),
            (r"a\b", r"'a\b'", r"'a\\b'", r"'a\b'"),
            ("\u{2019}", "'\u{2019}'", "'\u{2019}'", "'\u{2019}\u{2019}'"),
            ("", "\"\"", "''", "''"),
        ];
        for (value, sh, fish, powershell) in table {
            assert_eq!(quote(Shell::Sh, value), sh);
            assert_eq!(quote(Shell::Fish, value), fish);
            assert_eq!(quote(Shell::Powershell, value), powershell);
        }
    }
}
