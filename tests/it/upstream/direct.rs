//! `direct`: modules out of git repositories by the installed go command, and programs that stand in for it and misbehave.
//!
//! A module path with `.git` in it names its repository without asking a web server, and `url.<base>.insteadOf` in the git
//! configuration leads the repository's URL to a local directory: so the real go and git run, and nothing leaves the machine.

use crate::support::{eventually, write_program};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tallystick::module::ModuleVersion;
use tallystick::upstream::{
    ModuleLimits, ProxySettings, ScratchSpace, SourceName, Vcs, VcsError, VcsOptions,
};

use super::{AMPLE, within};
use crate::crash::full_disk::Disk;

/// A machine under load takes its time to start go and git.
pub(super) const PATIENT: Duration = Duration::from_secs(60);

pub(super) struct Place {
    pub(super) dir: tempfile::TempDir,
    pub(super) options: VcsOptions,
}

impl Place {
    pub(super) fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        for name in ["git", "scratch"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        let base = dir.path().join("git");
        let git_config =
            format!("[url \"file://{}/\"]\n\tinsteadOf = https://corp.example/\n", base.display());
        let options = VcsOptions {
            proxies: ProxySettings::default(),
            git_config: Some(git_config),
            ..VcsOptions::new(dir.path().join("scratch"))
        };
        Place { dir, options }
    }

    /// A program in place of go.
    pub(super) fn with_go(script: &str) -> Place {
        let mut place = Place::new();
        place.options.go = place.dir.path().join("go");
        write_program(&place.options.go, format!("#!/bin/sh\n{script}\n").as_bytes());
        place
    }

    pub(super) fn scratch(&self) -> PathBuf {
        self.dir.path().join("scratch")
    }

    pub(super) fn repository(&self, name: &str) -> PathBuf {
        self.dir.path().join("git").join(name)
    }

    pub(super) async fn download(
        &self,
        path: &str,
        version: &str,
        time: Duration,
    ) -> Result<tallystick::upstream::FetchedModule, VcsError> {
        let module = ModuleVersion::from_parts(path, version).unwrap();
        let got =
            Vcs::new(self.options.clone()).download(&module, &ModuleLimits::default(), within(time)).await;
        if let Err(e) = &got {
            let text = e.to_string();
            assert!(!text.contains(&self.dir.path().display().to_string()), "a local path in {text}");
        }
        got
    }

    pub(super) fn scratch_is_empty(&self) -> bool {
        std::fs::read_dir(self.scratch()).unwrap().count() == 0
    }
}

pub(super) fn git(dir: &Path, args: &[&str]) -> bool {
    let mut command = Command::new("git");
    command.current_dir(dir).args([
        "-c",
        "user.name=t",
        "-c",
        "user.email=t@corp.example",
        "-c",
        "init.defaultBranch=main",
    ]);
    command.args(args).env("GIT_CONFIG_GLOBAL", "/dev/null").stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// A repository with `corp.example/Repo.git` at v1.0.0; false, loudly, where there is no go or git.
pub(super) fn make_repository(place: &Place, test: &str) -> bool {
    let has_go =
        Command::new("go").arg("version").stdout(Stdio::null()).status().is_ok_and(|status| status.success());
    let dir = place.repository("Repo");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("go.mod"), "module corp.example/Repo.git\n\ngo 1.20\n").unwrap();
    std::fs::write(dir.join("repo.go"), "package repo\n").unwrap();
    let made = has_go
        && git(&dir, &["init", "-q"])
        && git(&dir, &["add", "."])
        && git(&dir, &["commit", "-q", "-m", "first"])
        && git(&dir, &["tag", "v1.0.0"]);
    if !made {
        let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: needs go and git");
    }
    made
}

#[tokio::test]
async fn a_tagged_version_comes_out_of_git_with_its_origin() {
    let place = Place::new();
    if !make_repository(&place, "a_tagged_version_comes_out_of_git_with_its_origin") {
        return;
    }
    let fetched = place.download("corp.example/Repo.git", "v1.0.0", PATIENT).await.unwrap();
    assert_eq!(fetched.source, SourceName::Direct);
    assert_eq!(fetched.go_mod, "module corp.example/Repo.git\n\ngo 1.20\n");
    let mut zip = Vec::new();
    fetched.zip.reader().unwrap().read_to_end(&mut zip).unwrap();
    assert!(zip.starts_with(b"PK") && zip.len() as u64 == fetched.zip.size);
    let origin = fetched.info.unwrap().origin.unwrap();
    assert_eq!((origin.vcs.as_str(), origin.url.as_str()), ("git", "https://corp.example/Repo"));
    assert_eq!((origin.reference.as_str(), origin.hash.len()), ("refs/tags/v1.0.0", 40));
    assert!(place.scratch_is_empty());
}

#[tokio::test]
async fn what_git_does_not_have_is_told_apart() {
    let place = Place::new();
    if !make_repository(&place, "what_git_does_not_have_is_told_apart") {
        return;
    }
    let version = place.download("corp.example/Repo.git", "v1.0.1", PATIENT).await.unwrap_err();
    assert!(version.is_not_found() && version.to_string().contains("unknown revision v1.0.1"), "{version}");
    let repository = place.download("corp.example/none.git", "v1.0.0", PATIENT).await.unwrap_err();
    assert!(repository.is_not_found(), "{repository}");
    assert!(repository.to_string().contains("does not appear to be a git repository"), "{repository}");
    let host = place.download("nowhere.invalid/x", "v1.0.0", PATIENT).await.unwrap_err();
    assert!(matches!(host, VcsError::Unreachable { .. }), "{host}");
    assert!(place.scratch_is_empty());
}

#[tokio::test]
async fn the_environment_is_built_from_nothing() {
    let place = Place::with_go("env >&2; pwd >&2; echo \"$@\" >&2; exit 1");
    let VcsError::Failed { .. } = place.download("corp.example/x.git", "v1.0.0", AMPLE).await.unwrap_err()
    else {
        panic!("it failed")
    };
    // The message is cut off for people, so the script writes what it sees to a file for this test.
    let seen = place.dir.path().join("seen");
    let place = Place::with_go(&format!("env > {}; echo \"$@\" >> {0}; pwd >> {0}; exit 1", seen.display()));
    let _ = place.download("corp.example/x.git", "v1.0.0", AMPLE).await;
    let seen = std::fs::read_to_string(&seen).unwrap();
    for line in [
        "GOENV=off",
        "GOTOOLCHAIN=local",
        "GOWORK=off",
        "GOSUMDB=off",
        "GOPROXY=direct",
        "GOFLAGS=-modcacherw",
        "GOVCS=*:git",
        "GIT_TERMINAL_PROMPT=0",
        "GIT_CONFIG_NOSYSTEM=1",
        "GOAUTH=off",
        "SSH_ASKPASS=/bin/false",
        "mod download -json corp.example/x.git@v1.0.0",
    ] {
        assert!(seen.lines().any(|got| got == line), "{line} is not in {seen}");
    }
    let scratch = place.scratch().canonicalize().unwrap().display().to_string();
    for name in ["HOME", "GOPATH", "GOMODCACHE", "GOCACHE", "TMPDIR", "XDG_CONFIG_HOME", "GIT_CONFIG_GLOBAL"]
    {
        assert!(
            seen.contains(&format!("\n{name}={scratch}/")) || seen.starts_with(&format!("{name}={scratch}/")),
            "{name}"
        );
    }
    // These beat what the operator's git configuration says.
    for name in
        ["GIT_SSH", "GIT_ASKPASS", "GIT_SSL", "GIT_PROXY", "GIT_CONFIG_COUNT", "GIT_CONFIG_PARAMETERS"]
    {
        assert!(!seen.contains(&format!("\n{name}")), "{name} in {seen}");
    }
    // Cargo sets this for every test: it would be there if anything was inherited.
    assert!(!seen.contains("CARGO"), "{seen}");
    assert!(!seen.contains("SSL_CERT"), "{seen}");
}

/// Go and git would add the system's directory.
#[tokio::test]
async fn the_roots_are_all_that_go_and_git_trust() {
    let seen = tempfile::NamedTempFile::new().unwrap();
    let script = format!(
        "{{ ls -A \"$SSL_CERT_DIR\" && echo empty; echo \"$SSL_CERT_FILE\"; git config http.sslCAInfo; \
         test \"$(git config http.sslCAPath)\" = \"$SSL_CERT_DIR\" && echo same; git config http.proxy; }} > '{}' 2>&1; exit 1",
        seen.path().display()
    );
    let mut place = Place::with_go(&script);
    place.options.roots = Some("roots.pem".into());
    place.options.git_config = Some("[http]\n\tproxy = http://proxy.example\n".to_owned());
    let _ = place.download("corp.example/x.git", "v1.0.0", AMPLE).await;
    let roots = std::env::current_dir().unwrap().join("roots.pem").display().to_string();
    let lines = ["empty", &roots, &roots, "same", "http://proxy.example"];
    assert_eq!(std::fs::read_to_string(seen.path()).unwrap().lines().collect::<Vec<_>>(), lines);
    // The operator's own beat ours.
    place.options.git_config = Some("[http]\n\tsslCAInfo = /mine.pem\n\tproxy = x\n".to_owned());
    let _ = place.download("corp.example/x.git", "v1.0.0", AMPLE).await;
    let text = std::fs::read_to_string(seen.path()).unwrap();
    assert_eq!(text.lines().nth(2), Some("/mine.pem"), "{text}");
}

/// Only the files at their places count.
#[tokio::test]
async fn status_and_printed_paths_are_not_believed() {
    let files = "d=\"$GOMODCACHE/cache/download/corp.example/!x.git/@v\"; mkdir -p \"$d\"; echo 'module m' > \"$d/v1.0.0.mod\"; \
                 printf zip > \"$d/v1.0.0.zip\"";
    let place = Place::with_go(&format!("{files}; echo nonsense; exit 1"));
    let fetched = place.download("corp.example/X.git", "v1.0.0", AMPLE).await.unwrap();
    assert_eq!((fetched.go_mod.as_ref(), fetched.zip.size), (b"module m\n".as_slice(), 3));
    let place = Place::with_go(
        r#"printf x > "$TMPDIR/z"; printf '{"Zip":"%s/z","GoMod":"%s/z","Sum":"h1:x"}' "$TMPDIR" "$TMPDIR""#,
    );
    let error = place.download("corp.example/x.git", "v1.0.0", AMPLE).await.unwrap_err();
    assert!(matches!(error, VcsError::Failed { .. }), "{error}");
}

#[tokio::test]
async fn it_is_killed_at_the_deadline_with_its_children() {
    let place = Place::with_go("mkdir -p $GOMODCACHE/a; sleep 600 & echo $! > \"${0%/go}/pid\"; sleep 600");
    let error = place.download("corp.example/x.git", "v1.0.0", Duration::from_millis(500)).await.unwrap_err();
    assert!(matches!(error, VcsError::Timeout { .. }) && error.is_transient(), "{error}");
    assert!(place.scratch_is_empty());
    assert_gone(&place.dir.path().join("pid"));
}

#[tokio::test]
async fn it_is_killed_when_nobody_waits_any_more() {
    let place = Place::with_go("sleep 600 & echo $! > \"${0%/go}/pid\"; wait");
    let pid = place.dir.path().join("pid");
    {
        let download = place.download("corp.example/x.git", "v1.0.0", PATIENT);
        tokio::pin!(download);
        let started = eventually("go runs", async || {
            std::fs::read_to_string(&pid).is_ok_and(|text| text.ends_with('\n'))
        });
        tokio::select! {
            got = &mut download => panic!("it cannot end: {:?}", got.err()),
            () = started => {}
        }
    }
    assert_gone(&pid);
    eventually("the scratch directory is gone", async || place.scratch_is_empty()).await;
}

#[tokio::test]
async fn it_is_killed_when_it_fills_the_disk() {
    let mut place = Place::with_go("while :; do head -c 100000 /dev/zero >> \"$TMPDIR/big\"; done");
    place.options.max_disk_bytes = 1 << 20;
    let error = place.download("corp.example/x.git", "v1.0.0", PATIENT).await.unwrap_err();
    assert!(matches!(error, VcsError::TooLarge { max_bytes, .. } if max_bytes == 1 << 20), "{error}");
    assert!(place.scratch_is_empty());
}

#[tokio::test]
async fn it_is_killed_before_the_disk_of_the_log_is_full() {
    const TEST: &str = "upstream::direct::it_is_killed_before_the_disk_of_the_log_is_full";
    const MIB: u64 = 1 << 20;
    let mut place = Place::with_go("while :; do head -c 1000000 /dev/zero >> \"$TMPDIR/big\"; done");
    let scratch = place.scratch();
    let Some(disk) = Disk::mount(&scratch, (256 + 32) * MIB, TEST) else { return };
    place.options.scratch = ScratchSpace::new(scratch.clone(), &[&scratch]);
    let error = place.download("corp.example/x.git", "v1.0.0", PATIENT).await.unwrap_err();
    let VcsError::NoSpace { source } = &error else { panic!("{error}") };
    assert!(
        source.to_string().contains(&format!("or mount another disk at {}", scratch.display())),
        "{source}"
    );
    assert!(place.scratch_is_empty());
    // The advice: more space.
    disk.resize(4096 * MIB);
    place.options.max_disk_bytes = 64 * MIB;
    let error = place.download("corp.example/x.git", "v1.0.0", PATIENT).await.unwrap_err();
    assert!(matches!(error, VcsError::TooLarge { .. }), "{error}");
}

#[tokio::test]
async fn secrets_of_the_git_configuration_do_not_get_out() {
    let mut place = Place::with_go(
        "cat \"$GIT_CONFIG_GLOBAL\" \"$HOME/git_config\" | tr '\\n' ' ' >&2; echo https://ci:s3cret@git.example/ >&2; exit 1",
    );
    place.options.git_config =
        Some("[url \"https://ci:s3cret@git.example/\"]\n\tinsteadOf = https://corp.example/\n".into());
    let error = place.download("corp.example/x.git", "v1.0.0", AMPLE).await.unwrap_err().to_string();
    assert!(error.contains("insteadOf") && !error.contains("s3cret"), "{error}");
    assert!(!format!("{:?}", Vcs::new(place.options.clone())).contains("s3cret"));
}

/// The process is dead, or a zombie that its new parent has not reaped yet.
fn assert_gone(pid: &Path) {
    let pid = std::fs::read_to_string(pid).unwrap();
    let deadline = within(AMPLE);
    loop {
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())) else { return };
        if stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')) {
            return;
        }
        assert!(within(Duration::ZERO) < deadline, "process {} is alive: {stat}", pid.trim());
        std::thread::yield_now();
    }
}
