//! The job files, read by a YAML parser and run by bash as the runners call it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// How a run ended.
pub(super) struct Outcome {
    /// The exit code of the step that ended it; 0 where none did.
    pub(super) code: i32,
    /// Whether it passed with a warning.
    pub(super) is_warning: bool,
    pub(super) printed: String,
    variables: BTreeMap<String, String>,
    /// The files that the CI server keeps.
    pub(super) archived: Vec<PathBuf>,
}

impl Outcome {
    /// A variable that later steps or jobs have.
    pub(super) fn variable(&self, name: &str) -> &str {
        self.variables.get(name).map_or("", String::as_str)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit {} {:?}\n{}", self.code, self.variables, self.printed)
    }
}

type Pairs<'a> = &'a [(&'static str, String)];

fn parse(file: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/ci").join(file);
    let program = "import json, sys, yaml; json.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout)";
    let output = Command::new("python3").args(["-c", program]).arg(&path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Runs a script, and returns its code and what it printed, in that order of streams.
fn bash(
    script: &str,
    checkout: &Path,
    environment: Pairs<'_>,
    variables: &BTreeMap<String, String>,
) -> (i32, String) {
    let mut bash = Command::new("bash");
    bash.args(["--noprofile", "--norc", "-eo", "pipefail", "-c", script]).current_dir(checkout).env_clear();
    let output =
        bash.envs(environment.iter().cloned()).envs(variables).stdin(Stdio::null()).output().unwrap();
    let printed = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (output.status.code().unwrap(), printed.concat())
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

/// A GitHub job.
pub(super) struct Github<'a> {
    pub(super) checkout: &'a Path,
    pub(super) environment: Pairs<'a>,
    pub(super) variables: Pairs<'a>,
}

impl Github<'_> {
    /// Runs the steps one after another, each with what the ones before appended to the files of the runner.
    pub(super) fn run(&self) -> Outcome {
        let file = parse("github.yml");
        let runner = tempfile::tempdir().unwrap();
        let at = |name: &str| runner.path().join(name);
        let (env_file, path_file) = (at("env"), at("path"));
        let mut variables = self.expressions(&file["env"]);
        for (name, path) in [
            ("RUNNER_TEMP", at("temp")),
            ("GITHUB_ENV", env_file.clone()),
            ("GITHUB_PATH", path_file.clone()),
        ] {
            variables.insert(name.to_owned(), path.display().to_string());
        }
        variables.insert("GITHUB_ACTIONS".to_owned(), "true".to_owned());
        let mut outcome = Outcome {
            code: 0,
            is_warning: false,
            printed: String::new(),
            variables: BTreeMap::new(),
            archived: Vec::new(),
        };
        let mut used = Vec::new();
        for step in file["jobs"]["check"]["steps"].as_array().unwrap() {
            if let Some(action) = step["uses"].as_str() {
                used.push(action.split('@').next().unwrap().to_owned());
                if action.starts_with("actions/upload-artifact@") {
                    assert_eq!(step["if"], "always()", "a report is kept also when the check fails");
                    let files = step["with"]["path"].as_str().unwrap().lines();
                    outcome.archived = files.map(|file| self.checkout.join(file)).collect();
                }
                continue;
            }
            if outcome.code != 0 {
                continue;
            }
            assert_eq!(step["shell"], "bash", "with pipefail, unlike the default");
            let (code, printed) =
                bash(step["run"].as_str().unwrap(), self.checkout, self.environment, &variables);
            outcome.is_warning |= code == 0 && printed.contains("::warning title=tallystick::");
            outcome.printed += &printed;
            outcome.code = code;
            for line in std::fs::read_to_string(&env_file).unwrap_or_default().lines() {
                let (name, value) = line.split_once('=').expect("NAME=value");
                variables.insert(name.to_owned(), value.to_owned());
                outcome.variables.insert(name.to_owned(), value.to_owned());
            }
            let more = std::fs::read_to_string(&path_file).unwrap_or_default().replace('\n', ":");
            let path = self.environment.iter().find(|(name, _)| *name == "PATH").unwrap();
            variables.insert("PATH".to_owned(), format!("{more}{}", path.1));
        }
        assert_eq!(used, ["actions/checkout", "actions/setup-go", "actions/upload-artifact"]);
        outcome
    }

    /// Puts the organization's variables in place of `${{ vars.NAME }}`.
    fn expressions(&self, env: &Value) -> BTreeMap<String, String> {
        let value = |text: &str| {
            let inner = text.strip_prefix("${{ vars.").and_then(|text| text.strip_suffix(" }}"));
            let name = inner.unwrap_or_else(|| panic!("{text}")).split(' ').next().unwrap();
            self.variables.iter().find(|(known, _)| *known == name).unwrap().1.clone()
        };
        let env = env.as_object().unwrap().iter();
        env.map(|(name, text)| (name.clone(), value(text.as_str().unwrap()))).collect()
    }
}

/// The GitLab jobs.
pub(super) struct Gitlab<'a> {
    pub(super) checkout: &'a Path,
    pub(super) environment: Pairs<'a>,
    pub(super) variables: Pairs<'a>,
}

impl Gitlab<'_> {
    /// Runs the job that makes the variables, and with them the one that checks.
    pub(super) fn run(&self) -> Outcome {
        let file = parse("gitlab.yml");
        let defaults = file["variables"].as_object().unwrap().iter();
        let mut variables: BTreeMap<String, String> =
            defaults.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect();
        // What is set for a group counts before what a file says.
        for (name, value) in self.variables {
            assert!(
                variables.insert((*name).to_owned(), value.clone()).is_some(),
                "{name} is not in the file"
            );
        }
        let check = &file["tallystick-check"];
        let archived =
            texts(&check["artifacts"]["paths"]).iter().map(|path| self.checkout.join(path)).collect();
        assert_eq!(check["artifacts"]["when"], "always", "a report is kept also when the check fails");
        let (mut code, mut printed) = self.job(&file, "tallystick-env", &variables);
        let mut outcome = Outcome {
            code,
            is_warning: false,
            printed: printed.clone(),
            variables: BTreeMap::new(),
            archived,
        };
        if code != 0 {
            return outcome;
        }
        let report = file["tallystick-env"]["artifacts"]["reports"]["dotenv"].as_str().unwrap();
        assert_eq!(texts(&check["needs"]), ["tallystick-env"]);
        for line in std::fs::read_to_string(self.checkout.join(report)).unwrap().lines() {
            let (name, value) = line.split_once('=').expect("NAME=value");
            variables.insert(name.to_owned(), value.to_owned());
            outcome.variables.insert(name.to_owned(), value.to_owned());
        }
        (code, printed) = self.job(&file, "tallystick-check", &variables);
        outcome.printed += &printed;
        outcome.is_warning = code != 0 && check["allow_failure"]["exit_codes"] == code;
        outcome.code = code;
        outcome
    }

    /// Runs a job with the template that it extends, as one shell.
    fn job(&self, file: &Value, name: &str, variables: &BTreeMap<String, String>) -> (i32, String) {
        let job = &file[name];
        let template = &file[job["extends"].as_str().unwrap()];
        let lines = [texts(&template["before_script"]), texts(&job["script"])].concat();
        bash(&lines.join("\n"), self.checkout, self.environment, variables)
    }
}
