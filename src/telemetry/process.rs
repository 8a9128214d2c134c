//! What a scrape shows of the process, under the names that Prometheus clients share, read from `/proc` when asked.

use std::fmt::Write as _;
use std::fs;

/// What `/proc/self/stat` and `statm` tell.
struct Process {
    cpu_seconds: f64,
    resident_bytes: u64,
    /// Since 1970.
    start_seconds: f64,
    open_files: usize,
}

/// Appends the metrics of this process; nothing where `/proc` cannot be read.
pub fn render(out: &mut String) {
    let Some(process) = Process::read() else { return };
    let lines = [
        ("process_cpu_seconds_total", "counter", process.cpu_seconds.to_string()),
        ("process_resident_memory_bytes", "gauge", process.resident_bytes.to_string()),
        ("process_start_time_seconds", "gauge", process.start_seconds.to_string()),
        ("process_open_fds", "gauge", process.open_files.to_string()),
    ];
    for (name, kind, value) in lines {
        // writing to a string cannot fail
        let _ = writeln!(out, "# TYPE {name} {kind}\n{name} {value}\n");
    }
}

impl Process {
    fn read() -> Option<Self> {
        let (ticks, page) = (rustix::param::clock_ticks_per_second(), rustix::param::page_size());
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        // the second field is the program's name in brackets and may hold anything
        let fields: Vec<u64> = stat.rsplit_once(')')?.1.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
        #[expect(clippy::cast_precision_loss, reason = "clock ticks stay far below 2^53")]
        let seconds = |field: usize| Some(*fields.get(field)? as f64 / ticks as f64);
        let statm = fs::read_to_string("/proc/self/statm").ok()?;
        let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
        Some(Process {
            cpu_seconds: seconds(11)? + seconds(12)?,
            resident_bytes: pages * page as u64,
            start_seconds: boot()? + seconds(19)?,
            open_files: fs::read_dir("/proc/self/fd").ok()?.count(),
        })
    }
}

/// When the machine was started, in seconds since 1970.
fn boot() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}
