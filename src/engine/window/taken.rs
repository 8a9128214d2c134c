//! A job that was taken from the window, and the slot it is in.

use tokio::time::Instant;

use super::Window;
use crate::engine::admitted::Admitted;
use crate::engine::guard::Pass;
use crate::engine::turns::Ticket;

/// A slot, and the job in it. Dropping it frees the slot.
pub(in crate::engine) struct Taken<'a> {
    pub(super) window: &'a Window,
    pub(super) ticket: Option<Ticket>,
    pub(super) over: bool,
}

impl Taken<'_> {
    /// What the guard of the job's executor has let through.
    pub fn pass(&mut self) -> Option<Pass> {
        self.ticket.as_mut().and_then(|ticket| ticket.pass.take())
    }

    /// The job waits as the head of its key and runs again; a window that is closed gives it back.
    pub fn hold(mut self, admitted: Box<Admitted>, until: Instant) {
        let mut state = self.window.lock();
        if let Some(ticket) = self.ticket.take_if(|_| !state.closed) {
            self.over = true;
            admitted.feed.waiting.add(admitted.message.size());
            state.running -= 1;
            state.turns.hold(ticket, admitted, until, Instant::now());
            self.window.after(&mut state);
        }
    }
}

impl Drop for Taken<'_> {
    /// Wakes no other slot: the one that is free now looks for work itself.
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let mut state = self.window.lock();
        state.running -= 1;
        if let Some(ticket) = self.ticket.take() {
            state.turns.ended(&ticket, Instant::now());
        }
        self.window.after(&mut state);
    }
}
