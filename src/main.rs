//! The command: everything is in the library.

use std::process::ExitCode;

/// After a flood of 8,000 connections glibc's allocator keeps 170 MiB for good. This one gives them
/// back within some seconds, by threads of its own.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    tallystick::cli::run(std::env::args_os())
}
