//! The least that any worker would pay: the same frames over two pipes, and a process without anything around it.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// What the jobs carry.
pub const DATA: &str = "a short text";

const PROGRAM: &str = r#"
import json, os
rest = b""
while True:
    chunk = os.read(0, 65536)
    if not chunk:
        break
    rest += chunk
    answers = []
    start = 0
    while len(rest) - start >= 4:
        end = start + 4 + int.from_bytes(rest[start:start + 4], "big")
        if end > len(rest):
            break
        run = json.loads(rest[start + 4:end])["run"]
        body = json.dumps({"done": {"id": run["id"], "output": run["job"]["data"]}}).encode()
        answers.append(len(body).to_bytes(4, "big") + body)
        start = end
    rest = rest[start:]
    os.write(1, b"".join(answers))
"#;

/// The interpreter itself, not a shim in front of it.
pub fn interpreter() -> String {
    let told = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output().unwrap();
    String::from_utf8(told.stdout).unwrap().trim().to_owned()
}

/// A Python loop at the other end of two pipes.
pub struct Loop {
    child: Child,
    requests: ChildStdin,
    responses: ChildStdout,
    frame: Vec<u8>,
}

impl Loop {
    pub fn start(python: &str) -> Self {
        let mut child = Command::new(python).args(["-c", PROGRAM]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (requests, responses) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let body = format!(
            r#"{{"run":{{"id":1234,"timeout_ms":300000,"job":{{"id":"job-1","type":"bench.echo","tenant":"default","priority":4,"attempt":1,"traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01","data":"{DATA}"}}}}}}"#
        );
        let mut frame = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
        frame.extend_from_slice(body.as_bytes());
        Loop { child, requests, responses, frame }
    }

    /// Sends `jobs` frames, `together` in one write, and takes as many answers.
    pub fn send(&mut self, jobs: u64, together: usize) {
        let frames = self.frame.repeat(together);
        let mut received = vec![0; 65536];
        for _ in 0..jobs / together as u64 {
            self.requests.write_all(&frames).unwrap();
            let (mut answers, mut held) = (0, 0);
            while answers < together {
                held += self.responses.read(&mut received[held..]).unwrap();
                let mut start = 0;
                while held - start >= 4 {
                    let length = u32::from_be_bytes(received[start..start + 4].try_into().unwrap()) as usize;
                    if held - start - 4 < length {
                        break;
                    }
                    start += 4 + length;
                    answers += 1;
                }
                received.copy_within(start..held, 0);
                held -= start;
            }
        }
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Starts `/bin/true` again and again.
pub async fn spawn(jobs: u64) {
    for _ in 0..jobs {
        assert!(tokio::process::Command::new("/bin/true").status().await.unwrap().success());
    }
}
