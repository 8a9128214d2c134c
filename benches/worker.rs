//! What a whole worker process takes: from its start to the first job on an existing file, and while it has nothing to do.
//!
//! `cargo bench --bench worker`. The start is measured to the first line of the job's own process (`sh` that writes a file),
//! twenty times, beside the bare start of such a process, in turn; idle are ten seconds of a worker on an empty queue.
#![expect(clippy::unwrap_used, reason = "a bench fails by panicking")]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const STARTS: usize = 20;
const IDLE: Duration = Duration::from_secs(10);
const CONFIG: &str = "
queues: { jobs: { embedded: { path: windlass.db } } }
executors: { mark: { command: { run: [sh, -c, \"echo > started\"] } } }
routes: [{ type: mark, run: mark }]
api: { listen: null }
telemetry: { listen: null }
";

fn main() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    std::fs::write(folder.path().join("windlass.yaml"), CONFIG).unwrap();
    let (mut bare, mut worker) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        assert!(windlass(folder.path(), &["submit", "mark"]).wait().unwrap().success());
        bare.push(until_started(folder.path(), || {
            Command::new("sh").args(["-c", "echo > started"]).current_dir(folder.path()).spawn().unwrap()
        }));
        worker.push(until_started(folder.path(), || windlass(folder.path(), &["run"])));
    }
    println!("start to first job: {:?} at the median, {:?} at most", median(&mut worker), worker[STARTS - 1]);
    println!("bare start of the job's process: {:?} at the median", median(&mut bare));
    let mut idle = windlass(folder.path(), &["run"]);
    pause(Duration::from_secs(2));
    let before = cpu_time(&idle);
    pause(IDLE);
    let share = (cpu_time(&idle) - before).as_secs_f64() / IDLE.as_secs_f64();
    println!("idle: {:.2} % of a core, {} MiB resident", share * 100.0, resident(&idle) >> 20);
    end(&mut idle);
}

fn windlass(directory: &Path, arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_windlass"));
    command.args(arguments).current_dir(directory).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

/// From before the process is started until its job has written the file.
fn until_started(directory: &Path, start: impl FnOnce() -> Child) -> Duration {
    let file = directory.join("started");
    let begin = Instant::now();
    let mut child = start();
    while !file.exists() {
        assert!(begin.elapsed() < Duration::from_secs(60), "no job started");
        pause(Duration::from_micros(200));
    }
    let took = begin.elapsed();
    pause(Duration::from_millis(100)); // its end is on the disk
    end(&mut child);
    std::fs::remove_file(file).unwrap();
    took
}

/// In order, and waits for it.
fn end(child: &mut Child) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    let _gone_already = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
    child.wait().unwrap();
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// User and system time so far, of the kernel's hundredths of a second.
fn cpu_time(child: &Child) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = [fields[11], fields[12]].iter().map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

/// In bytes.
fn resident(child: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() << 10
}

fn pause(time: Duration) {
    #[expect(clippy::disallowed_methods, reason = "other processes run in real time")]
    std::thread::sleep(time);
}
