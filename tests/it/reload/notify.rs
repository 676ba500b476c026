//! systemd's notify protocol, against a socket of the test's own, and the unit that is shipped.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;

use super::{PATIENCE, reload, route};
use crate::support::serve::{LogDirectory, Server};

fn next(socket: &UnixDatagram) -> String {
    let mut message = [0; 1024];
    let length = socket.recv(&mut message).expect("the server tells");
    String::from_utf8(message[..length].to_vec()).unwrap()
}

#[test]
fn the_service_manager_hears_of_start_reload_and_end() {
    let data = LogDirectory::new("sum.corp.example", &route("https://proxy.example"));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut command = Server::command(&data);
    command.env("NOTIFY_SOCKET", &path);
    let server = Server::spawn(command);
    let ready = next(&socket);
    assert!(ready.starts_with("READY=1\nSTATUS=serving sum.corp.example at http://"), "{ready}");

    assert_eq!(reload(&data).code, 0);
    let reloading = next(&socket);
    let lines: Vec<&str> = reloading.lines().collect();
    assert_eq!(lines[0], "RELOADING=1");
    let micros: u64 = lines[1].strip_prefix("MONOTONIC_USEC=").unwrap().parse().unwrap();
    assert!(micros > 0);
    assert!(next(&socket).starts_with("READY=1\nSTATUS=the configuration was reloaded"));

    // A refused reload ends, too: systemd waits for READY=1.
    data.configure("sum.corp.example", "lisen = 1\n");
    server.hang_up();
    assert!(next(&socket).starts_with("RELOADING=1\n"));
    let refused = next(&socket);
    assert!(refused.starts_with("READY=1\nSTATUS=the last reload was refused: "), "{refused}");
    assert!(refused.lines().count() == 2 && refused.contains("lisen"), "{refused}");
    server.stop();
    assert!(next(&socket).starts_with("STOPPING=1\n"));
}

/// The unit is verified with the program of this build in the place of the installed one.
#[test]
fn systemd_takes_the_unit() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/systemd");
    let unit = std::fs::read_to_string(root.join("tallystick.service")).unwrap();
    assert!(unit.contains("Type=notify\n") && unit.contains("ExecReload="), "{unit}");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tallystick.service");
    std::fs::write(&path, unit.replace("/usr/bin/tallystick", env!("CARGO_BIN_EXE_tallystick"))).unwrap();
    let verified = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&path).output();
    let Ok(verified) = verified else {
        return eprintln!("SKIPPED: systemd_takes_the_unit: systemd-analyze cannot be run");
    };
    let said = String::from_utf8_lossy(&verified.stderr);
    // What it says of other units of this machine is not about ours.
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("tallystick")).collect();
    assert!(verified.status.success() && ours.is_empty(), "{said}");
}
