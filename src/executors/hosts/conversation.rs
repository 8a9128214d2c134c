//! The task that listens to one process: its greeting, its answers, its log, and its end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::Settings;
use super::ending::End;
use super::frames::Frames;
use super::host::Host;
use super::response::{Hello, Response};
use crate::executors::lines::Lines;
use crate::executors::process::{self, Exit, Leader, Recipe, Stream};
use crate::outcome::{Class, Failure};

/// The version of the protocol that this worker speaks.
const PROTOCOL: u32 = 1;
/// How long a plugin may load.
const GREETING: Duration = Duration::from_secs(300);
/// A process that closes its end for responses usually ends; its own exit is waited for so long.
const LAST_BREATH: Duration = Duration::from_secs(1);
/// What a pipe holds, unless it was made larger.
const ONE_PIPE: usize = 64 * 1024;
/// What is read at most of the last lines of a dead process.
const LAST_BYTES: usize = 1 << 20;

/// Starts a process and waits for its hello.
///
/// # Errors
/// Why there is none, with the last words of the process.
pub async fn start(settings: &Settings) -> Result<Arc<Host>, Failure> {
    let mut recipe = settings.recipe.clone();
    let protocol = [("FD_IN", 3), ("FD_OUT", 4), ("OUTPUT_LIMIT", settings.output)];
    recipe.environment.extend(protocol.map(|(name, value)| (format!("WINDLASS_{name}"), value.to_string())));
    let (started, pipes) = process::start_speaking(&recipe).await.map_err(|error| recipe.not_started(&error))?;
    let mut conversation = Conversation {
        leader: started.leader,
        responses: pipes.responses,
        frames: Frames::new(settings.output),
        outputs: [Output::new(started.stdout), Output::new(started.stderr)],
        last_words: String::new(),
        recipe,
        gone: false,
    };
    let greeting = tokio::time::timeout(GREETING, conversation.greeting()).await;
    let hello = greeting
        .unwrap_or_else(|_| Err("it did not say hello within 5 minutes".into()))
        .map_err(|why| Failure::new(Class::Misconfigured, format!("{} does not serve: {why}", settings.name)))?;
    tracing::debug!(target: "windlass::plugin", executor = &*settings.name, plugin = hello.name, "a plugin process is ready");
    let host = Host::new(settings.name.clone(), hello, conversation.leader.id(), pipes.requests);
    tokio::spawn(host.clone().write_rest());
    tokio::spawn(conversation.listen(host.clone()));
    Ok(host)
}

/// Who hears what a process says.
trait Listener {
    /// # Errors
    /// How the frame breaks the protocol.
    fn frame(&mut self, frame: &[u8]) -> Result<(), String>;
    fn line(&mut self, line: &str);
}

struct Conversation {
    leader: Leader,
    responses: Stream,
    frames: Frames,
    outputs: [Output; 2],
    /// The last line it wrote, which often says why it died.
    last_words: String,
    recipe: Recipe,
    gone: bool,
}

enum Event {
    Received,
    Written,
    Ended(io::Result<Exit>),
}

impl Conversation {
    async fn greeting(&mut self) -> Result<Hello, String> {
        let mut greeting = Greeting { hello: None };
        loop {
            let event = self.event().await;
            let end = self.handle(event, &mut greeting).await;
            match (greeting.hello.take(), end) {
                (Some(hello), _) => return hello,
                (None, Some(End::Crashed(why))) => return Err(format!("before its hello, {why}")),
                (None, Some(_)) => return Err("it sent something else than a hello".into()),
                (None, None) => {}
            }
        }
    }

    async fn listen(mut self, host: Arc<Host>) {
        let mut listener = &*host;
        let end = loop {
            tokio::select! {
                biased;
                event = self.event() => if let Some(end) = self.handle(event, &mut listener).await { break end },
                () = host.doomed.notified() => break End::Ours,
            }
        };
        if !self.gone {
            self.leader.kill();
            let _how = self.leader.ended().await;
            self.take_last_outputs(&mut listener);
        }
        host.ended(&end);
    }

    /// What happens next. Cancel-safe. Lines come first: what a job printed before it was answered is its own.
    async fn event(&mut self) -> Event {
        let [stdout, stderr] = &mut self.outputs;
        tokio::select! {
            biased;
            () = stdout.read() => Event::Written,
            () = stderr.read() => Event::Written,
            () = self.responses.read(&mut self.frames.received) => Event::Received,
            exit = self.leader.ended() => Event::Ended(exit),
        }
    }

    /// Hands what happened to the listener; tells the end if it was that.
    async fn handle(&mut self, event: Event, listener: &mut impl Listener) -> Option<End> {
        match event {
            Event::Received => {}
            Event::Written => {
                // answers are fetched too, so that no flood of lines can hold them up; and before the lines are looked
                // for, so that a line between the two is not left behind
                self.responses.drain(&mut self.frames.received, ONE_PIPE);
                self.take_outputs(listener, ONE_PIPE);
            }
            Event::Ended(exit) => return Some(self.exited(exit, listener)),
        }
        match self.frames.each(|frame| listener.frame(frame)) {
            Ok(()) if self.responses.is_open() => None,
            Ok(()) => match tokio::time::timeout(LAST_BREATH, self.leader.ended()).await {
                Ok(exit) => Some(self.exited(exit, listener)),
                Err(_) => Some(End::Crashed("it closed its end for responses (descriptor 4)".into())),
            },
            Err(end) => Some(end),
        }
    }

    /// What it said last still lies in the pipes.
    fn exited(&mut self, exit: io::Result<Exit>, listener: &mut impl Listener) -> End {
        self.gone = true;
        self.responses.drain(&mut self.frames.received, usize::MAX);
        self.take_last_outputs(listener);
        if let Err(end) = self.frames.each(|frame| listener.frame(frame)) {
            return end;
        }
        let how = match exit {
            Ok(exit) => exit.describe(self.recipe.memory, self.recipe.cpu),
            Err(error) => format!("could not be waited for: {error}"),
        };
        let words = if self.last_words.is_empty() { String::new() } else { format!(": {}", self.last_words) };
        End::Crashed(format!("its process {how}{words}"))
    }

    fn take_outputs(&mut self, listener: &mut impl Listener, most: usize) {
        for output in &mut self.outputs {
            output.stream.drain(&mut output.fresh, most);
            output.lines.take(&output.fresh, |line| {
                line.clone_into(&mut self.last_words);
                listener.line(line);
            });
            output.fresh.clear();
        }
    }

    fn take_last_outputs(&mut self, listener: &mut impl Listener) {
        self.take_outputs(listener, LAST_BYTES);
        for output in &mut self.outputs {
            output.lines.finish(|line| {
                line.clone_into(&mut self.last_words);
                listener.line(line);
            });
        }
    }
}

/// One of the two streams whose lines are log lines.
struct Output {
    stream: Stream,
    fresh: Vec<u8>,
    lines: Lines,
}

impl Output {
    fn new(stream: Stream) -> Self {
        Output { stream, fresh: Vec::new(), lines: Lines::default() }
    }

    async fn read(&mut self) {
        self.stream.read(&mut self.fresh).await;
    }
}

/// Waits for the first frame.
struct Greeting {
    hello: Option<Result<Hello, String>>,
}

impl Listener for Greeting {
    fn frame(&mut self, frame: &[u8]) -> Result<(), String> {
        self.hello.get_or_insert(match serde_json::from_slice(frame) {
            Ok(Response::Hello(hello)) if hello.protocol == PROTOCOL => Ok(hello),
            Ok(Response::Hello(hello)) => Err(format!("it speaks protocol {}, this worker {PROTOCOL}", hello.protocol)),
            Ok(Response::Refused(refused)) => Err(refused.message),
            Ok(_) => Err("it sent something else before its hello".into()),
            Err(error) => Err(format!("its first frame is no hello: {error}")),
        });
        Ok(())
    }

    fn line(&mut self, line: &str) {
        tracing::info!(target: "windlass::plugin", "{line}");
    }
}

impl Listener for &Host {
    fn frame(&mut self, frame: &[u8]) -> Result<(), String> {
        self.take(frame)
    }

    fn line(&mut self, line: &str) {
        self.log(None, line);
    }
}
