//! The command: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    tallystick::cli::run(std::env::args_os())
}
