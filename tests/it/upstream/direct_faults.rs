//! Refusals of the real go and git: each names its party and go's or git's own words, and whoever
//! follows the advice has the module.

use std::ffi::OsString;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use tallystick::config::Netrc;
use tallystick::upstream::{VcsError, VcsFault};

use super::AMPLE;
use super::direct::{PATIENT, Place, git, make_repository};
use super::git_host::{Certificate, export, file_of, serve_proxy, serve_tls};
use crate::support::write_program;

const REPOSITORY: &str = "corp.example/Repo.git";

/// go asks these too; nothing listens there.
const NO_SSH: &str = "[url \"ssh://127.0.0.1:1/\"]\n\tinsteadOf = ssh://corp.example/\n\tinsteadOf = git+ssh://corp.example/\n";

impl Place {
    /// The fault, and the whole text.
    async fn fault_of(&self, path: &str, version: &str) -> (VcsFault, String) {
        match self.download(path, version, PATIENT).await {
            Err(error @ VcsError::Setup { .. }) => {
                assert!(!error.is_transient() && !error.is_not_found());
                let text = error.to_string();
                let VcsError::Setup { fault, .. } = error else { unreachable!("it was matched above") };
                (fault, text)
            }
            Err(error) => panic!("{path}: {error}"),
            Ok(_) => panic!("{path}: it was fetched"),
        }
    }

    async fn fetch(&self, path: &str, version: &str) {
        if let Err(error) = self.download(path, version, PATIENT).await {
            panic!("the advice was followed, and still: {error}");
        }
    }

    fn set_git_config(&mut self, base: &str, more: &str) {
        self.options.git_config =
            Some(format!("[url \"{base}\"]\n\tinsteadOf = https://corp.example/\n{NO_SSH}{more}"));
    }

    /// A directory with links to these programs, as the whole `PATH`.
    fn path_of(&self, name: &str, programs: &[&str]) -> OsString {
        let directory = self.dir.path().join(name);
        std::fs::create_dir_all(&directory).unwrap();
        for program in programs {
            symlink(find(program), directory.join(program)).unwrap();
        }
        directory.into_os_string()
    }
}

fn find(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    let found =
        std::env::split_paths(&path).map(|directory| directory.join(program)).find(|file| file.exists());
    found.unwrap_or_else(|| panic!("there is no {program}"))
}

/// A new version of the repository with this go.mod.
fn release(place: &Place, version: &str, go_mod: &str) {
    let repository = place.repository("Repo");
    std::fs::write(repository.join("go.mod"), go_mod).unwrap();
    assert!(git(&repository, &["commit", "-q", "-a", "-m", version]) && git(&repository, &["tag", version]));
}

#[tokio::test]
async fn a_newer_go_first_in_the_path_fetches_what_this_one_is_too_old_for() {
    let mut place = Place::new();
    if !make_repository(&place, "a_newer_go_first_in_the_path_fetches_what_this_one_is_too_old_for") {
        return;
    }
    release(&place, "v1.1.0", &format!("module {REPOSITORY}\n\ngo 1.99\n"));
    let (fault, text) = place.fault_of(REPOSITORY, "v1.1.0").await;
    let version = Command::new("go").args(["env", "GOVERSION"]).output().unwrap().stdout;
    let version = String::from_utf8(version).unwrap();
    let has = version.trim().trim_start_matches("go").split([' ', '-']).next().unwrap().to_owned();
    assert_eq!(fault, VcsFault::GoTooOld { has, needs: "1.99".to_owned() });
    assert!(text.contains("this server's Go is") && text.contains("requires go >= 1.99"), "{text}");
    assert!(fault.is_server_alone() && fault.fix().contains("install Go 1.99 or newer"), "{}", fault.fix());
    // Stands for a Go that is not published yet.
    let newer = place.dir.path().join("newer");
    std::fs::create_dir(&newer).unwrap();
    let script = "#!/bin/sh\nd=\"$GOMODCACHE/cache/download/corp.example/!repo.git/@v\"; mkdir -p \"$d\"\n\
                  echo 'module m' > \"$d/v1.1.0.mod\"; echo zip > \"$d/v1.1.0.zip\"\n";
    write_program(&newer.join("go"), script.as_bytes());
    let paths = [newer].into_iter().chain(std::env::split_paths(&place.options.path));
    place.options.path = std::env::join_paths(paths).unwrap();
    place.fetch(REPOSITORY, "v1.1.0").await;
}

#[tokio::test]
async fn what_is_missing_in_the_path_is_named_and_then_found() {
    let mut place = Place::new();
    if !make_repository(&place, "what_is_missing_in_the_path_is_named_and_then_found") {
        return;
    }
    place.options.path = place.path_of("bin", &[]);
    let error = place.download(REPOSITORY, "v1.0.0", AMPLE).await.unwrap_err();
    assert!(matches!(error, VcsError::NoGo { .. }) && !error.is_transient(), "{error}");
    assert!(error.to_string().starts_with("this server cannot run the go command"), "{error}");
    place.path_of("bin", &["go"]);
    let (fault, text) = place.fault_of(REPOSITORY, "v1.0.0").await;
    assert_eq!(fault, VcsFault::NoGit, "{text}");
    assert!(fault.fix().starts_with("install git"), "{}", fault.fix());
    let (fault, _) = place.fault_of("github.com/corp/example", "v1.0.0").await;
    assert_eq!(fault, VcsFault::NoGit, "go finds it out elsewhere for hosts that it knows");
    place.path_of("bin", &["git"]);
    place.fetch(REPOSITORY, "v1.0.0").await;
    place.set_git_config("ssh://git@127.0.0.1:1/", "");
    let (fault, text) = place.fault_of(REPOSITORY, "v1.0.0").await;
    assert!(fault == VcsFault::NoSsh && text.contains("ssh: not found"), "{text}");
}

/// The operator's SSH command is the one that runs, and what it prints is shown.
#[tokio::test]
async fn ssh_is_what_core_ssh_command_says() {
    let mut place = Place::new();
    if !make_repository(&place, "ssh_is_what_core_ssh_command_says") {
        return;
    }
    let (ssh, base) = (place.dir.path().join("ssh"), place.dir.path().join("git"));
    let lines = format!("[core]\n\tsshCommand = {}\n[ssh]\n\tvariant = ssh\n", ssh.display());
    place.set_git_config("ssh://git@ssh.example/", &lines);
    for (words, want, advice) in [
        ("Host key verification failed.", VcsFault::HostKey, "known_hosts"),
        (
            "git@ssh.example: Permission denied (publickey).",
            VcsFault::SshKey,
            "core.sshCommand = ssh -i FILE",
        ),
    ] {
        write_program(&ssh, format!("#!/bin/sh\necho '{words}' >&2\nexit 255\n").as_bytes());
        let (fault, text) = place.fault_of(REPOSITORY, "v1.0.0").await;
        assert_eq!(fault, want, "{text}");
        assert!(text.contains(words) && fault.fix().contains(advice), "{text}: {}", fault.fix());
    }
    let script = format!(
        "#!/bin/sh\nfor last; do :; done\neval \"set -- $last\"\nexec git-upload-pack '{}'\"$2\"\n",
        base.display()
    );
    write_program(&ssh, script.as_bytes());
    place.fetch(REPOSITORY, "v1.0.0").await;
}

#[tokio::test]
async fn a_repository_of_another_user_is_read_once_it_is_declared_safe() {
    const TEST: &str = "a_repository_of_another_user_is_read_once_it_is_declared_safe";
    let mut place = Place::new();
    if !make_repository(&place, TEST) {
        return;
    }
    let chown = Command::new("chown").args(["-R", "65534"]).arg(place.repository("Repo")).status();
    if !chown.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: {TEST}: only root gives a file to another user");
        return;
    }
    let error = place.download(REPOSITORY, "v1.0.0", PATIENT).await.unwrap_err();
    assert!(error.to_string().contains("dubious ownership"), "{error}");
    let VcsError::Setup { fault: VcsFault::Ownership, in_full, .. } = error else { panic!("{error}") };
    assert!(VcsFault::Ownership.fix().contains("[safe] directory = PATH"));
    // The server's log has the path.
    let path = in_full.as_str().split('\'').nth(1).unwrap();
    assert!(Path::new(path).exists(), "{}", in_full.as_str());
    let config = place.options.git_config.take().unwrap_or_default();
    place.options.git_config = Some(format!("{config}[safe]\n\tdirectory = {path}\n"));
    place.fetch(REPOSITORY, "v1.0.0").await;
}

#[tokio::test]
async fn a_broken_git_configuration_is_named_with_its_own_line() {
    let mut place = Place::new();
    if !make_repository(&place, "a_broken_git_configuration_is_named_with_its_own_line") {
        return;
    }
    let good = place.options.git_config.take().unwrap();
    place.options.git_config = Some(format!("{good}[core\n"));
    let line = good.lines().count() + 1;
    let (fault, text) = place.fault_of(REPOSITORY, "v1.0.0").await;
    assert!(
        fault == VcsFault::GitConfig && text.contains(&format!("bad config line {line} in file")),
        "{text}"
    );
    place.options.git_config = Some(good);
    place.fetch(REPOSITORY, "v1.0.0").await;
}

#[tokio::test]
async fn what_is_no_repository_of_git_or_no_module_is_said_so() {
    let place = Place::new();
    if !make_repository(&place, "what_is_no_repository_of_git_or_no_module_is_said_so") {
        return;
    }
    let (fault, text) = place.fault_of("corp.example/a/Repo.hg", "v1.0.0").await;
    assert_eq!(fault, VcsFault::OtherVcs { vcs: "hg".to_owned() });
    assert!(text.contains("GOVCS disallows using hg") && fault.fix().contains("module proxy"), "{text}");
    release(&place, "v1.2.0", "modul x\n");
    let error = place.download(REPOSITORY, "v1.2.0", PATIENT).await.unwrap_err();
    assert!(matches!(error, VcsError::Malformed { .. }), "{error}");
    assert!(error.to_string().contains("go.mod is missing module path"), "{error}");
}

/// An untrusted CA, a missing login, then the module: and what the host answers otherwise.
#[tokio::test]
async fn a_git_host_with_a_ca_and_a_login_of_its_own() {
    const TEST: &str = "a_git_host_with_a_ca_and_a_login_of_its_own";
    let mut place = Place::new();
    let Some(certificate) = Certificate::make(place.dir.path(), &["localhost"], TEST) else { return };
    if !make_repository(&place, TEST) {
        return;
    }
    let served = place.dir.path().join("served");
    export(&place.repository("Repo"), &served.join("Repo"));
    let port = serve_tls(&certificate, move |asked| match (&*asked.path, &asked.authorization) {
        (path, _) if path.starts_with("/forbidden") => (403, b"no".to_vec()),
        (path, _) if path.starts_with("/broken") => (503, b"no".to_vec()),
        (_, None) => (401, b"who are you?".to_vec()),
        // printf ci:s3cret | base64
        (path, Some(login)) if login == "Basic Y2k6czNjcmV0" => file_of(&served, path),
        (_, Some(login)) => (401, login.clone().into_bytes()),
    });
    place.set_git_config(&format!("https://localhost:{port}/"), "");
    let (fault, text) = place.fault_of(REPOSITORY, "v1.0.0").await;
    assert!(fault == VcsFault::UntrustedCertificate && text.contains("certificate"), "{text}");
    assert!(fault.fix().contains("`roots`"), "{}", fault.fix());
    place.options.roots = Some(certificate.pem);
    let (fault, text) = place.fault_of(REPOSITORY, "v1.0.0").await;
    assert!(fault == VcsFault::Access && text.contains("could not read Username"), "{text}");
    assert!(fault.fix().contains("`netrc`"), "{}", fault.fix());
    place.options.netrc = Some(netrc(&place, "machine localhost login ci password wr0ng-one"));
    let (fault, text) = place.fault_of(REPOSITORY, "v1.0.0").await;
    assert!(fault == VcsFault::Access && !text.contains("wr0ng-one"), "{text}");
    place.options.netrc = Some(netrc(&place, "machine localhost login ci password s3cret"));
    place.fetch(REPOSITORY, "v1.0.0").await;
    let missing = place.download("corp.example/none.git", "v1.0.0", PATIENT).await.unwrap_err();
    assert!(missing.is_not_found() && missing.to_string().contains("not found"), "{missing}");
    let (fault, text) = place.fault_of("corp.example/forbidden.git", "v1.0.0").await;
    assert!(fault == VcsFault::Access && text.contains("returned error: 403"), "{text}");
    let broken = place.download("corp.example/broken.git", "v1.0.0", PATIENT).await.unwrap_err();
    assert!(broken.is_transient() && broken.to_string().contains("returned error: 503"), "{broken}");
    place.set_git_config("https://127.0.0.1:1/", "");
    let refused = place.download(REPOSITORY, "v1.0.0", PATIENT).await.unwrap_err();
    assert!(refused.is_transient() && refused.to_string().contains("onnect to server"), "{refused}");
    assert!(refused.to_string().contains("ssh"), "one line for each protocol: {refused}");
}

fn netrc(place: &Place, text: &str) -> Netrc {
    use std::os::unix::fs::PermissionsExt as _;
    let path = place.dir.path().join("netrc");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    Netrc::read(&path).unwrap()
}

#[tokio::test]
async fn an_outgoing_proxy_that_refuses_is_told_from_the_host() {
    const TEST: &str = "an_outgoing_proxy_that_refuses_is_told_from_the_host";
    let mut place = Place::new();
    let Some(certificate) = Certificate::make(place.dir.path(), &["gl.example"], TEST) else { return };
    if !make_repository(&place, TEST) {
        return;
    }
    let port = serve_tls(&certificate, |_| (404, b"nothing".to_vec()));
    place.options.roots = Some(certificate.pem);
    for (status_line, words) in [("407 Proxy Authentication Required", "407"), ("403 Forbidden", "403")] {
        let proxy = serve_proxy(port, "corp.example", status_line);
        place.options.proxies.https = Some(format!("http://ci:pr0xy-pass@127.0.0.1:{proxy}"));
        place.options.git_config = Some(NO_SSH.to_owned());
        for path in ["corp.example/page", "corp.example/repository.git"] {
            let (fault, text) = place.fault_of(path, "v1.0.0").await;
            assert_eq!(fault, VcsFault::OutgoingProxy, "{text}");
            assert!(path.ends_with("page") || text.contains(words), "{text}");
            assert!(fault.fix().contains("NO_PROXY") && !text.contains("pr0xy-pass"), "{text}");
        }
    }
    let (fault, text) = place.fault_of("other.example/page", "v1.0.0").await;
    assert_eq!(fault, VcsFault::InvalidCertificate, "{text}");
    assert!(text.contains("not other.example"), "{text}");
}
