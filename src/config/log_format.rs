//! The form of log lines, and what can be known of it before there is a configuration.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::file;
use super::loader::{Environment, Overrides};
use super::reference::SERVER;

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// Returns what the environment says, if it says something that we know.
    pub fn of_environment(environment: &Environment) -> Option<LogFormat> {
        environment.var("TALLYSTICK_LOG_FORMAT")?.parse().ok()
    }

    /// Returns what the operator seems to want although the configuration cannot be used, so that
    /// the error has that form. The file is read line by line, since it may be no TOML; a pipe was
    /// read already and is left alone.
    pub fn guess(overrides: &Overrides, environment: &Environment) -> LogFormat {
        let named = || environment.var("TALLYSTICK_CONFIG").map(PathBuf::from);
        let of_file = || {
            let path = overrides.config.clone().or_else(named).filter(|path| path.is_file())?;
            let file = file::read(&path, &SERVER).ok()?;
            file.lines().any(says_json).then_some(LogFormat::Json)
        };
        LogFormat::of_environment(environment).or_else(of_file).unwrap_or_default()
    }
}

fn says_json(line: &str) -> bool {
    let value =
        line.trim_start().strip_prefix("log_format").and_then(|rest| rest.trim_start().strip_prefix('='));
    value.is_some_and(|value| value.trim_start_matches([' ', '\t', '"', '\'']).starts_with("json"))
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        })
    }
}

impl FromStr for LogFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<LogFormat, &'static str> {
        match text {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err("it is neither text nor json"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::says_json;

    #[test]
    fn a_line_that_asks_for_json_is_found_in_any_spelling() {
        for line in
            ["log_format = \"json\"", "  log_format='json' # x", "log_format=json", "log_format\t=\t\"json"]
        {
            assert!(says_json(line), "{line}");
        }
        for line in ["log_format = \"text\"", "# log_format = \"json\"", "log_formats = \"json\"", "", "json"]
        {
            assert!(!says_json(line), "{line}");
        }
    }
}
