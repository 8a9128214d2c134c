//! What is known of an id, and which of several jobs with one id is meant.

use super::place::{QueueNumber, Standing};

/// A job that has, or had, an id in one queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Located {
    /// The queue it was submitted to.
    pub home: QueueNumber,
    pub standing: Standing,
    /// When it came to stand there or ended, in seconds since 1970.
    pub at: i64,
}

impl Located {
    fn stands_in(&self, queue: QueueNumber) -> bool {
        matches!(self.standing, Standing::At(place) if place.queue() == queue)
    }

    /// The job that was submitted to the queue, else one that lies in it; without a queue, one that still stands.
    pub fn choose(found: &[Located], queue: Option<QueueNumber>) -> Option<Located> {
        let first = |wanted: &dyn Fn(&Located) -> bool| found.iter().copied().find(|located| wanted(located));
        match queue {
            Some(queue) => first(&|located| located.home == queue).or_else(|| first(&|located| located.stands_in(queue))),
            None => first(&|located| matches!(located.standing, Standing::At(_))).or_else(|| first(&|_| true)),
        }
    }
}
