//! Figures of this process, as every program has them: read from `/proc/self` at each scrape.
//!
//! What the kernel does not tell (on another system, or where `/proc` is not mounted) is left out.

use std::fs;

use rustix::process::{Resource, getrlimit};

use super::sample::{MetricsSource, Sample, SampleValue};

/// Ticks a second in `/proc/<pid>/stat`: 100 on every architecture that Rust's standard library
/// runs on under Linux, whatever the kernel's own timer does.
const TICKS_PER_SECOND: f64 = 100.0;

/// The figures of this process.
#[derive(Debug)]
pub(super) struct ProcessFigures;

impl MetricsSource for ProcessFigures {
    fn samples(&self) -> Vec<Sample> {
        let gauge = SampleValue::Gauge;
        let stat = Stat::read();
        let (cpu, started) = stat.map_or((None, None), |stat| {
            (Some(SampleValue::Seconds(stat.cpu_seconds)), stat.started_at().map(gauge))
        });
        let (total, resident) = memory_bytes();
        // Of the directory that is read, one is this process's own way of reading it.
        let open =
            fs::read_dir("/proc/self/fd").ok().map(|entries| gauge(entries.count().saturating_sub(1) as f64));
        // None where there is no limit.
        let limit = getrlimit(Resource::Nofile).current.map(|limit| gauge(limit as f64));
        [
            ("process_cpu_seconds", "User and system CPU time spent", cpu),
            ("process_resident_memory_bytes", "Resident memory size", resident.map(gauge)),
            ("process_virtual_memory_bytes", "Virtual memory size", total.map(gauge)),
            ("process_open_fds", "Open file descriptors", open),
            ("process_max_fds", "File descriptors that may be open", limit),
            ("process_start_time_seconds", "When the process started, in seconds since 1970", started),
        ]
        .into_iter()
        .filter_map(|(name, help, value)| Some(Sample::new(name, help, value?)))
        .collect()
    }
}

/// What `/proc/self/stat` tells.
struct Stat {
    cpu_seconds: f64,
    /// Since the machine was started.
    started_seconds: f64,
}

impl Stat {
    fn read() -> Option<Stat> {
        let text = fs::read_to_string("/proc/self/stat").ok()?;
        // The program's name stands in parentheses, and may hold spaces and parentheses itself.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        // The first of them is field 3 of proc(5): user time is 14, system time 15, start 22.
        let seconds = |field: usize| Some(fields.get(field - 3)?.parse::<f64>().ok()? / TICKS_PER_SECOND);
        Some(Stat { cpu_seconds: seconds(14)? + seconds(15)?, started_seconds: seconds(22)? })
    }

    /// In seconds since 1970.
    fn started_at(&self) -> Option<f64> {
        let text = fs::read_to_string("/proc/stat").ok()?;
        let booted = text.lines().find_map(|line| line.strip_prefix("btime "))?;
        Some(booted.trim().parse::<f64>().ok()? + self.started_seconds)
    }
}

/// Virtual and resident memory.
fn memory_bytes() -> (Option<f64>, Option<f64>) {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bytes = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: f64 = value.trim().strip_suffix(" kB")?.trim().parse().ok()?;
        Some(kib * 1024.0)
    };
    (bytes("VmSize:"), bytes("VmRSS:"))
}
