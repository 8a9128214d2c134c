//! Real worker processes, started, killed and frozen; and the few bytes of HTTP that a producer needs.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How a worker dies.
#[derive(Debug)]
pub enum Death {
    After(Duration),
    /// At the `pass`-th passing of a named point of the code.
    At {
        point: &'static str,
        pass: u32,
    },
}

/// A worker process; killed when dropped.
pub struct Worker(Child);

impl Worker {
    pub fn start(directory: &Path, death: Option<&Death>, environment: &[(&str, String)]) -> Self {
        let log = std::fs::File::options().create(true).append(true).open(directory.join("worker.log")).unwrap();
        let built = env!("CARGO_BIN_EXE_windlass").to_owned();
        let mut command = Command::new(std::env::var("WINDLASS").unwrap_or(built));
        command.args(["run", "--config"]).arg(directory.join("windlass.yaml")).current_dir(directory);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command.envs(environment.iter().map(|(name, value)| (*name, value.as_str())));
        if let Some(Death::At { point, pass }) = death {
            command.env("WINDLASS_STOP_AT", format!("{point}:{pass}"));
        }
        Worker(command.spawn().unwrap())
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.0.id()).unwrap()), signal).unwrap();
    }

    /// Waits until it has died by itself; false when it has not after `patience`.
    pub fn dies_within(&mut self, patience: Duration) -> bool {
        let end = Instant::now() + patience;
        while Instant::now() < end {
            if self.0.try_wait().unwrap().is_some() {
                return true;
            }
            pause(Duration::from_millis(10));
        }
        false
    }

    pub fn is_alive(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    /// Of a worker that has ended by itself.
    pub fn exit_code(&mut self) -> Option<i32> {
        self.0.try_wait().unwrap().and_then(|status| status.code())
    }

    /// Stops it as an orchestrator would, and insists on a clean end.
    pub fn stop(mut self) {
        self.signal(Signal::SIGTERM);
        assert!(self.dies_within(Duration::from_secs(60)), "the worker does not stop");
        let status = self.0.wait().unwrap();
        assert!(status.success(), "the worker ended with {status}");
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Chaos lives in real time.
pub fn pause(duration: Duration) {
    #[expect(clippy::disallowed_methods, reason = "real processes die in real time")]
    std::thread::sleep(duration);
}

/// One request to the worker's socket; its status and body, or none when there was no answer: the outcome is unknown.
pub fn request(socket: &Path, head: &str, body: &str) -> Option<(u16, String)> {
    let mut stream = UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    stream.set_write_timeout(Some(Duration::from_secs(20))).ok()?;
    let length = body.len();
    let text = format!(
        "{head} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/x-ndjson\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(text.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}
