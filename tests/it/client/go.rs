//! A developer with the installed `go` command: a home, a module cache and an environment of their own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A developer's machine.
pub(crate) struct Developer {
    home: tempfile::TempDir,
    environment: Vec<(String, String)>,
}

/// How a `go` command ended.
pub(crate) struct Ran {
    pub(crate) ok: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// It must have succeeded.
    #[track_caller]
    pub(crate) fn succeeded(self) -> Ran {
        assert!(self.ok, "go failed: {}", self.stderr);
        self
    }

    /// It must have failed, and have said all of this.
    #[track_caller]
    pub(crate) fn failed_with(self, texts: &[&str]) -> Ran {
        assert!(!self.ok, "go must refuse, but succeeded: {}{}", self.stdout, self.stderr);
        for text in texts {
            assert!(self.stderr.contains(text), "go did not say {text:?} but\n{}", self.stderr);
        }
        self
    }
}

/// A command that hangs is killed after this long: the `go` command itself has no time-out.
const PATIENCE: Duration = Duration::from_secs(60);

impl Developer {
    /// Modules come from `goproxy`, checksums from `gosumdb`, and nothing is excepted.
    pub(crate) fn new(goproxy: &str, gosumdb: &str) -> Developer {
        let home = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(home.path().join("work")).expect("a directory can be made");
        Developer { home, environment: Vec::new() }
            .with("GOPROXY", goproxy)
            .with("GOSUMDB", gosumdb)
            .with("GONOSUMDB", "none")
    }

    /// With this variable; a later value counts.
    pub(crate) fn with(mut self, variable: &str, value: &str) -> Developer {
        self.set(variable, value);
        self
    }

    pub(crate) fn set(&mut self, variable: &str, value: &str) {
        self.environment.retain(|(name, _)| name != variable);
        self.environment.push((variable.to_owned(), value.to_owned()));
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.program("go");
        command.args(arguments);
        command
    }

    /// A program that is started in the project, as this developer.
    pub(crate) fn program(&self, program: &str) -> Command {
        let mut command = Command::new("timeout");
        command.arg(PATIENCE.as_secs().to_string()).arg(program);
        command.current_dir(self.work()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.home.path()).env("GOPATH", self.path("gopath"));
        command.env("GOMODCACHE", self.path("modcache")).env("GOCACHE", self.path("gocache"));
        command.env("GOENV", "off").env("GOTOOLCHAIN", "local").env("GOWORK", "off");
        // Caches that can be removed with the directory.
        command.env("GOFLAGS", "-mod=mod -modcacherw");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    pub(crate) fn go(&self, arguments: &[&str]) -> Ran {
        let output = self.command(arguments).output().expect("go runs");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ran { ok: output.status.success(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// `go mod download` of `path@version`, outside of any project.
    pub(crate) fn download(&self, module: &str) -> Ran {
        self.go(&["mod", "download", module])
    }

    /// A project that requires v1.0.0 of each of these, or another version where one is given as `path@version`.
    pub(crate) fn project(&self, requires: &[String]) {
        let mut text = "module example.com/project\n\ngo 1.21\n\n".to_owned();
        for module in requires {
            let (path, version) = module.split_once('@').unwrap_or((module, "v1.0.0"));
            text += &format!("require {path} {version}\n");
        }
        self.write("go.mod", &text);
    }

    /// A file of the project.
    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.work().join(name), text).expect("a file can be written");
    }

    /// The project's go.sum.
    pub(crate) fn go_sum(&self) -> String {
        std::fs::read_to_string(self.work().join("go.sum")).unwrap_or_default()
    }

    /// What `go clean -modcache` removes: modules, look-ups and tiles, but not the newest head.
    pub(crate) fn forget_modules(&self) {
        std::fs::remove_dir_all(self.path("modcache")).expect("there is a module cache");
    }

    /// The newest head that this client saw.
    pub(crate) fn newest_head(&self, log: &str) -> String {
        std::fs::read_to_string(self.path("gopath/pkg/sumdb").join(log).join("latest")).unwrap_or_default()
    }

    /// Whether the files of `path@version` were unpacked for use.
    pub(crate) fn has_unpacked(&self, module: &str) -> bool {
        self.path("modcache").join(module).exists()
    }

    pub(crate) fn work(&self) -> PathBuf {
        self.path("work")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        Path::new(self.home.path()).join(name)
    }
}
