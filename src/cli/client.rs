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

use crate::config::{Environment, keys};
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
    /// GitHub Actions: lines to append to $GITHUB_ENV
    Github,
    /// GitLab CI: a file for artifacts:reports:dotenv
    Gitlab,
    /// A .env file, as compose files and editors read it
    Dotenv,
}

impl Shell {
    /// Whether what is printed may have comments.
    fn has_comments(self) -> bool {
        !matches!(self, Shell::Github | Shell::Gitlab)
    }

    /// Whether a shell evaluates what is printed, at the prompt or in a script.
    fn is_evaluated(self) -> bool {
        matches!(self, Shell::Sh | Shell::Fish | Shell::Powershell)
    }
}

/// A value that a file format cannot hold exactly.
#[derive(Debug, thiserror::Error)]
#[error(
    "{name} has the character {character:?}, which {format} does not keep\n  fix: use --shell sh, or give the log an address and a name \
     without it"
)]
pub(super) struct NotExact {
    name: &'static str,
    character: char,
    format: &'static str,
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

    /// Returns the lines that set them, then comments for whoever reads them, where there can be
    /// some. `before` is what was set until now.
    pub(super) fn script(&self, shell: Shell, before: &Environment) -> Result<String, NotExact> {
        let mut text = String::new();
        for (name, value) in self.variables() {
            text += &assignment(shell, name, &value)?;
        }
        if shell.is_evaluated() {
            text += "# To keep them for this user instead:\n";
            for (name, value) in self.variables() {
                text += &format!("#   go env -w {}\n", quote_assignment(shell, name, &value));
            }
            text += "# and to undo that: go env -u GOSUMDB GONOSUMDB\n";
        }
        if shell.has_comments() {
            for line in self.undo(shell, before) {
                text += &format!("# {line}\n");
            }
            text += &format!(
                "# Fingerprint of the key (compare with `tallystick key show`): {}\n",
                self.fingerprint
            );
        }
        Ok(text)
    }

    /// Returns how to undo it, for stderr, where the script cannot say it.
    pub(super) fn undo_beside(&self, shell: Shell) -> Option<String> {
        (!shell.has_comments()).then(|| self.undo(shell, &Environment::default()).join("\n  "))
    }

    fn undo(&self, shell: Shell, before: &Environment) -> Vec<String> {
        match shell {
            Shell::Sh | Shell::Fish | Shell::Powershell => {}
            Shell::Github => {
                return vec![
                    "the variables end with the job; to undo them in a later step:".to_owned(),
                    "printf 'GOSUMDB=\\nGONOSUMDB=\\n' >> \"$GITHUB_ENV\"".to_owned(),
                ];
            }
            Shell::Gitlab => {
                return vec![
                    "the jobs that take this report have the variables; to undo that for a job, give it `dependencies: []`".to_owned(),
                ];
            }
            Shell::Dotenv => return vec!["To undo it, delete these lines.".to_owned()],
        }
        let mut lines = vec!["To undo it in this shell:".to_owned()];
        lines.extend(self.variables().into_iter().map(|(name, value)| {
            // A line end in a value would end the comment, and what a failed run has set helps nobody.
            let is_worth_it = |old: &str| old != value && old != FAILED && !old.contains(char::is_control);
            let old = before.var(name).filter(|old| is_worth_it(old));
            let line = match (shell, old) {
                (Shell::Fish, None) => format!("set -e {name}"),
                (Shell::Fish, Some(old)) => format!("set -gx {name} {}", quote(shell, old)),
                (Shell::Powershell, None) => format!("Remove-Item Env:{name}"),
                (Shell::Powershell, Some(old)) => format!("$env:{name} = {}", quote(shell, old)),
                (_, None) => format!("unset {name}"),
                (_, Some(old)) => format!("export {name}={}", quote(shell, old)),
            };
            format!("  {line}")
        }));
        lines
    }

    /// The `go env -w` lines for sh.
    pub(super) fn go_env_lines(&self) -> Vec<String> {
        let line = |(name, value): (&str, String)| {
            format!("go env -w {}", quote_assignment(Shell::Sh, name, &value))
        };
        self.variables().into_iter().map(line).collect()
    }
}

/// A GOSUMDB that the `go` command refuses.
const FAILED: &str = "tallystick-env-failed";

/// What a shell is told when there is nothing to tell: the `go` command refuses such a GOSUMDB, and the evaluation fails.
pub(super) fn refusal(shell: Shell) -> &'static str {
    match shell {
        Shell::Sh => "export GOSUMDB=tallystick-env-failed\nfalse\n",
        Shell::Fish => "set -gx GOSUMDB tallystick-env-failed\nfalse\n",
        Shell::Powershell => "$env:GOSUMDB = 'tallystick-env-failed'\nthrow 'tallystick env failed'\n",
        Shell::Github | Shell::Gitlab | Shell::Dotenv => "GOSUMDB=tallystick-env-failed\n",
    }
}

/// The line that gives a variable its value.
fn assignment(shell: Shell, name: &'static str, value: &str) -> Result<String, NotExact> {
    let exact = |format, bad: &[char]| {
        let found = value.chars().find(|c| c.is_control() || bad.contains(c));
        found.map_or(Ok(()), |character| Err(NotExact { name, character, format }))
    };
    Ok(match shell {
        Shell::Sh => format!("export {name}={}\n", quote(shell, value)),
        Shell::Fish => format!("set -gx {name} {}\n", quote(shell, value)),
        Shell::Powershell => format!("$env:{name} = {}\n", quote(shell, value)),
        Shell::Github => {
            exact("$GITHUB_ENV", &[])?;
            format!("{name}={value}\n")
        }
        Shell::Gitlab => {
            // There are no quotes; older versions split a line at its last equals sign, and a dollar is expanded.
            exact("GitLab's dotenv report", &['=', '$'])?;
            format!("{name}={value}\n")
        }
        Shell::Dotenv => {
            // Readers disagree about what these mean between single quotes.
            exact("a .env file", &['\'', '\\', '$'])?;
            format!("{name}='{value}'\n")
        }
    })
}

/// `NAME="value"` as one argument.
fn quote_assignment(shell: Shell, name: &str, value: &str) -> String {
    match shell {
        Shell::Sh => format!("{name}={}", quote(shell, value)),
        _ => quote(shell, &format!("{name}={value}")),
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
        Shell::Github | Shell::Gitlab | Shell::Dotenv => value.to_owned(),
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
