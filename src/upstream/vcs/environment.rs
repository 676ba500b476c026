//! The surroundings of the go and git commands: an environment built from nothing, and a home of
//! their own.
//!
//! Git's own variables beat its configuration, so nothing stands in the environment that the
//! operator may want to set: our defaults are the first lines of the configuration, and
//! `git_config` follows and wins. It is a file of its own, so that git counts its lines as the
//! operator does. `GOAUTH` is `netrc` or `off`, never a command.
//!
//! | the operator says | go sees | git sees |
//! |---|---|---|
//! | `git_config` | | `~/git_config`, after our own lines in `~/.gitconfig` |
//! | `netrc` | `~/.netrc`, `GOAUTH=netrc` | `~/.netrc` |
//! | `roots`, `SSL_CERT_FILE` | `SSL_CERT_FILE`, no directory | `http.sslCAInfo`, no directory |
//! | `SSL_CERT_DIR` | `SSL_CERT_DIR` | `http.sslCAPath`, where it is one directory |
//! | `HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY` | the same | the same, `http_proxy` |

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::VcsOptions;
use crate::upstream::scratch::Scratch;

/// git as a program without a user: nothing in the background, no hooks, no questions, no helpers
/// but those that the operator names after this.
const GIT_CONFIG: &str = "[gc]\n\tauto = 0\n[maintenance]\n\tauto = false\n[core]\n\thooksPath = /dev/null\n\
                          \tsshCommand = ssh -o BatchMode=yes -o ControlMaster=no -o ConnectTimeout=30\n\
                          [credential]\n\thelper =\n[advice]\n\tdetachedHead = false\n";

/// Where the operator's lines stand in git's home.
const OPERATORS_FILE: &str = "git_config";

/// An empty directory.
const NO_ROOTS: &str = "no-roots";

/// Makes the directory of one run.
pub(super) fn make_scratch(options: &VcsOptions) -> io::Result<Scratch> {
    let scratch = Scratch::new(options.scratch.directory())?;
    std::fs::create_dir(scratch.path(NO_ROOTS))?;
    scratch.write("home/.gitconfig", &git_defaults(options, scratch.root())?)?;
    scratch.write(&format!("home/{OPERATORS_FILE}"), options.git_config.as_deref().unwrap_or_default())?;
    if let Some(netrc) = &options.netrc {
        scratch.write("home/.netrc", netrc.expose())?;
    }
    Ok(scratch)
}

/// Our own lines; the operator's file is the last.
fn git_defaults(options: &VcsOptions, scratch: &Path) -> io::Result<String> {
    let mut config = GIT_CONFIG.to_owned();
    // Git takes one directory.
    let is_one = |directories: &OsString| !directories.to_string_lossy().contains(':');
    let directory = roots_directories(options, scratch).filter(is_one);
    let files = [("sslCAInfo", options.roots.clone()), ("sslCAPath", directory.map(PathBuf::from))];
    for (key, path) in files {
        let Some(path) = path else { continue };
        let path = quoted(&std::path::absolute(path)?);
        writeln!(config, "[http]\n\t{key} = {path}").expect("a text takes what it is given");
    }
    writeln!(config, "[include]\n\tpath = {OPERATORS_FILE}").expect("a text takes what it is given");
    Ok(config)
}

/// Both go and git add the system's directory to a file that is named alone, so an empty one takes
/// its place.
fn roots_directories(options: &VcsOptions, scratch: &Path) -> Option<OsString> {
    let none = || options.roots.is_some().then(|| scratch.join(NO_ROOTS).into_os_string());
    options.roots_directories.clone().or_else(none)
}

/// A value of Git's configuration.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

/// A program that runs in `scratch` and writes its output into two files there.
pub(super) fn command(
    program: impl AsRef<OsStr>,
    options: &VcsOptions,
    scratch: &Scratch,
    [stdout, stderr]: [&str; 2],
) -> io::Result<Command> {
    let mut command = Command::new(program);
    command
        .current_dir(scratch.path("work"))
        .env_clear()
        .env("PATH", &options.path)
        .envs([
            ("LC_ALL", "C"),
            ("GOENV", "off"),
            ("GOTOOLCHAIN", "local"),
            ("GOWORK", "off"),
            ("GO111MODULE", "on"),
            ("GOSUMDB", "off"),
            ("GOPROXY", "direct"),
            ("GOFLAGS", "-modcacherw"),
            ("GOVCS", "*:git"),
            ("GOAUTH", if options.netrc.is_some() { "netrc" } else { "off" }),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            // Git asks this one last, after core.askPass of the operator.
            ("SSH_ASKPASS", "/bin/false"),
            ("GCM_INTERACTIVE", "never"),
        ])
        .envs([
            ("HOME", scratch.path("home")),
            ("XDG_CONFIG_HOME", scratch.path("home/.config")),
            ("GIT_CONFIG_GLOBAL", scratch.path("home/.gitconfig")),
            ("GOPATH", scratch.path("gopath")),
            ("GOMODCACHE", scratch.path("mod")),
            ("GOCACHE", scratch.path("gocache")),
            ("TMPDIR", scratch.path("tmp")),
        ])
        .envs(options.proxies.variables())
        .stdin(Stdio::null())
        .stdout(scratch.create(stdout)?)
        .stderr(scratch.create(stderr)?);
    // Relative paths would start from the scratch directory.
    if let Some(roots) = &options.roots {
        command.env("SSL_CERT_FILE", std::path::absolute(roots)?);
    }
    if let Some(directories) = roots_directories(options, scratch.root()) {
        command.env("SSL_CERT_DIR", directories);
    }
    if let Some(insecure) = &options.insecure {
        command.env("GOINSECURE", insecure);
    }
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operators_file_comes_last_and_paths_are_quoted() {
        let mut options = VcsOptions::new(Path::new("/nonexistent").to_owned());
        options.roots = Some("/etc/a \"b\"\\c.pem".into());
        options.roots_directories = Some("/etc/certs".into());
        let scratch = Path::new("/scratch");
        let config = git_defaults(&options, scratch).unwrap();
        assert!(config.ends_with("[include]\n\tpath = git_config\n"), "{config}");
        assert!(config.contains("[http]\n\tsslCAInfo = \"/etc/a \\\"b\\\"\\\\c.pem\"\n"), "{config}");
        assert!(config.contains("[http]\n\tsslCAPath = \"/etc/certs\"\n"), "{config}");
        options.roots_directories = Some("/etc/certs:/etc/more".into());
        assert!(!git_defaults(&options, scratch).unwrap().contains("sslCAPath"));
    }
}
