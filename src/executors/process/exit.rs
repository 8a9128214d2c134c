//! How a process ended, in words an operator can act on.

use std::time::Duration;

use nix::sys::signal::Signal;
use rustix::process::WaitIdStatus;

use super::evidence;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Signal {
        number: i32,
        /// The kernel counted a kill for want of memory while the process ran.
        out_of_memory: bool,
    },
}

impl Exit {
    pub(super) fn new(status: &WaitIdStatus, kills_before: Option<u64>) -> Self {
        if let Some(number) = status.terminating_signal() {
            let killed = number == Signal::SIGKILL as i32;
            return Exit::Signal { number, out_of_memory: killed && evidence::out_of_memory_since(kills_before) };
        }
        Exit::Code(status.exit_status().unwrap_or_default())
    }

    /// `exited with code 3`, or `was killed by signal 11 (SIGSEGV)` and what is known of the reason.
    #[must_use]
    pub fn describe(&self, memory: Option<u64>, cpu: Option<Duration>) -> String {
        let (number, out_of_memory) = match *self {
            Exit::Code(code) => return format!("exited with code {code}"),
            Exit::Signal { number, out_of_memory } => (number, out_of_memory),
        };
        let signal = Signal::try_from(number).ok();
        let name = signal.map_or(String::new(), |signal| format!(" ({signal})"));
        let reason = match (signal, memory, cpu) {
            (Some(Signal::SIGKILL), ..) if out_of_memory => "; the kernel's out-of-memory killer ended it".into(),
            (Some(Signal::SIGXCPU), _, Some(cpu)) => {
                format!("; it used up its processor time of {} (cpu)", crate::units::spell_duration(cpu))
            }
            (Some(Signal::SIGSEGV | Signal::SIGABRT | Signal::SIGBUS), Some(memory), _) => {
                format!("; it ran with a memory limit of {} (memory)", crate::units::spell_size(memory))
            }
            _ => String::new(),
        };
        format!("was killed by signal {number}{name}{reason}")
    }
}
