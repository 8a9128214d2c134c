//! A folder of its own for each test, in which the real program runs.
#![expect(clippy::unwrap_used, reason = "a test's tools: what fails here fails the test")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

/// Where commands run; a worker that was started in it ends with it.
pub struct Workshop {
    folder: TempDir,
    worker: Option<Child>,
    /// What the worker said until it was ready.
    said: String,
    /// What it has said since.
    log: Arc<Mutex<String>>,
}

/// What a command answered.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Workshop {
    pub fn new() -> Self {
        Workshop { folder: tempfile::tempdir().unwrap(), worker: None, said: String::new(), log: Arc::default() }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).unwrap();
    }

    pub fn remove(&self, name: &str) {
        std::fs::remove_file(self.path().join(name)).unwrap();
    }

    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.feed(arguments, "")
    }

    /// Runs a command with this on its standard input.
    pub fn feed(&self, arguments: &[&str], input: &str) -> Ran {
        let mut command = self.command(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // a command that does not read its input may be gone by now
        drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
        let output = child.wait_with_output().unwrap();
        Ran {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_windlass"));
        command.args(arguments).current_dir(self.path()).env("USER", "ann");
        for name in ["WINDLASS_CONFIG", "WINDLASS_LOG", "COLUMNS"] {
            command.env_remove(name);
        }
        command
    }

    /// Starts a worker and returns once it says that it is ready.
    pub fn start_worker(&mut self) {
        let mut worker = self.command(&["run"]).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(worker.stderr.take().unwrap()).lines();
        let mut said = String::new();
        while !said.contains("is ready") {
            let line = lines.next().unwrap_or_else(|| panic!("the worker ended: {said}")).unwrap();
            said.push_str(&line);
            said.push('\n');
        }
        let log = self.log.clone();
        let note = move |line: std::io::Result<String>| log.lock().unwrap().push_str(&(line.unwrap_or_default() + "\n"));
        std::thread::spawn(move || lines.for_each(note)); // else it would block on a full pipe
        self.worker = Some(worker);
        self.said = said;
    }

    /// What the worker has said since it was ready.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Asks the worker for one of the pages that need no token: the status code and the body.
    pub fn probe(&self, page: &str) -> (u16, String) {
        let (_, rest) = self.said.split_once("health, ready: http://").unwrap();
        let address = rest.split('/').next().unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET {page} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    pub fn signal(&self, signal: Signal) {
        let worker = self.worker.as_ref().unwrap();
        kill(Pid::from_raw(worker.id().try_into().unwrap()), signal).unwrap();
    }

    /// Waits until the worker has ended by itself; one that does not is killed.
    pub fn ended(&mut self) -> ExitStatus {
        let mut worker = self.worker.take().unwrap();
        let start = Instant::now();
        loop {
            if let Some(status) = worker.try_wait().unwrap() {
                return status;
            }
            if start.elapsed().as_secs() > 60 {
                worker.kill().unwrap();
                worker.wait().unwrap();
                panic!("the worker does not end");
            }
            std::thread::yield_now();
        }
    }

    /// Has the worker read its config again, without an answer.
    pub fn hang_up(&self) {
        self.signal(Signal::SIGHUP);
    }

    /// Ends the worker in order.
    pub fn stop_worker(&mut self) {
        let Some(mut worker) = self.worker.take() else { return };
        kill(Pid::from_raw(worker.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
        worker.wait().unwrap();
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        self.stop_worker();
    }
}

impl Ran {
    /// The answer of a command that did as asked.
    #[track_caller]
    pub fn done(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }

    /// What a command said that ended with this code.
    #[track_caller]
    pub fn failed(self, code: i32) -> String {
        assert_eq!(self.code, code, "{self:?}");
        self.err
    }

    /// The documents of a `--json` answer, one per line.
    #[track_caller]
    pub fn documents(self) -> Vec<Value> {
        self.done().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Looks again and again until it is so.
#[track_caller]
pub fn until(what: &str, mut seen: impl FnMut() -> bool) {
    let start = Instant::now();
    while !seen() {
        assert!(start.elapsed().as_secs() < 60, "never: {what}");
        std::thread::yield_now();
    }
}

/// The text with every number as `#`: ages and instants are not the same twice.
pub fn timeless(text: &str) -> String {
    let mut kept = String::new();
    for character in text.chars() {
        match character {
            '0'..='9' if kept.ends_with('#') => {}
            '0'..='9' => kept.push('#'),
            other => kept.push(other),
        }
    }
    kept
}
