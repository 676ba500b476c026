//! What the real `go` command shows of a refusal: every line of ours, whatever the text was.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use tallystick::visible::{GO_ERROR_LINES_MAX, fit_for_go};
use tempfile::TempDir;

use super::fake::{Setup, long_text};

const TEST: &str = "go_prints_every_refusal_whole";
const VKEY: &str = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8";

/// A module proxy of files with one module that holds a go.mod and nothing else.
fn publish(proxy: &Path, module: &str) {
    let dir = proxy.join(module).join("@v");
    std::fs::create_dir_all(&dir).unwrap();
    let go_mod = format!("module {module}\n");
    std::fs::write(dir.join("v1.0.0.info"), r#"{"Version":"v1.0.0"}"#).unwrap();
    std::fs::write(dir.join("v1.0.0.mod"), &go_mod).unwrap();
    let mut zip = zip::ZipWriter::new(std::fs::File::create(dir.join("v1.0.0.zip")).unwrap());
    zip.start_file(format!("{module}@v1.0.0/go.mod"), zip::write::SimpleFileOptions::default()).unwrap();
    zip.write_all(go_mod.as_bytes()).unwrap();
    zip.finish().unwrap();
}

fn download(dir: &Path, server: std::net::SocketAddr, module: &str) -> std::io::Result<String> {
    let output = Command::new("go")
        .args(["mod", "download", &format!("{module}@v1.0.0")])
        .current_dir(dir)
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .env("HOME", dir)
        .env("GOPATH", dir.join("gopath"))
        .env("GOFLAGS", "-modcacherw")
        .env("GOENV", "off")
        .env("GOTOOLCHAIN", "local")
        .env("GOPROXY", format!("file://{}", dir.join("proxy").display()))
        .env("GONOSUMDB", "none")
        .env("GOSUMDB", format!("{VKEY} http://{server}"))
        .output()?;
    assert!(!output.status.success(), "{module} must be refused");
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn go_prints_every_refusal_whole() {
    let dir = TempDir::new().unwrap();
    let server = Setup::default().start().await;
    let two_lines = |module: &str| format!("{module}@v1.0.0: the first line\n\nand the remedy \u{7}\n");
    for (name, status, text) in [
        ("no", "404 Not Found", two_lines("example.com/no")),
        ("forbidden", "403 Forbidden", two_lines("example.com/forbidden")),
        ("conflict", "409 Conflict", two_lines("example.com/conflict")),
        ("busy", "503 Service Unavailable", two_lines("example.com/busy")),
        ("broken", "500 Internal Server Error", two_lines("example.com/broken")),
        ("long", "403 Forbidden", long_text()),
    ] {
        let module = format!("example.com/{name}");
        publish(&dir.path().join("proxy"), &module);
        let (path, addr) = (dir.path().to_owned(), server.addr);
        let asked = tokio::task::spawn_blocking(move || download(&path, addr, &module)).await.unwrap();
        let printed = match asked {
            Ok(printed) => printed,
            Err(error) => return eprintln!("SKIPPED: {TEST}: go cannot be run: {error}"),
        };
        let body = fit_for_go(&text);
        assert!(body.lines().count() <= GO_ERROR_LINES_MAX);
        let shown = format!("{status}\n\tserver response:\n\t{}", body.trim_end().replace('\n', "\n\t"));
        assert!(printed.contains(&shown), "go printed\n{printed}\nand not\n{shown}");
        assert!(!printed.contains("[Truncated"), "{printed}");
    }
}
