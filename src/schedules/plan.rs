//! Which of the due times since the last look are submitted, and which are passed over: pure.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::clock::between;
use crate::rhythm::Rhythm;

/// A due time that is over for longer was missed: no worker was there to see to it.
pub(super) const MISSED_AFTER: Duration = Duration::from_secs(10);
/// The most due times that are made up for at once; the latest ones are.
pub(super) const MOST: usize = 1000;

/// What becomes of due times at which no worker was there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CatchUp {
    /// The latest of them is made up for.
    #[default]
    Last,
    /// All of them are, up to the latest thousand.
    All,
    None,
}

/// What is to be done about the due times in a span.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// To be submitted, in order.
    pub fire: Vec<Timestamp>,
    /// How many of these were missed before.
    pub made_up: usize,
    /// How many are not submitted, of those that were counted.
    pub over: usize,
    /// There are older ones, which nobody counted.
    pub more: bool,
    /// Every due time up to here is seen to then.
    pub until: Timestamp,
}

impl Plan {
    /// For the due times after `until` up to `now`. Where the clock has gone back, nothing is due before it is `until`
    /// again.
    pub fn new(rhythm: &Rhythm, until: Timestamp, now: Timestamp, catch_up: CatchUp) -> Plan {
        let (mut fire, more) = rhythm.latest(until, now, MOST);
        let Some(last) = fire.last().copied() else { return Plan { fire, made_up: 0, over: 0, more, until } };
        let missed = fire.iter().take_while(|due| between(**due, now) > MISSED_AFTER).count();
        let over = match catch_up {
            CatchUp::All => 0,
            CatchUp::None => missed,
            // what is due now makes up for all before it
            CatchUp::Last => missed.min(fire.len() - 1),
        };
        fire.drain(..over);
        Plan { fire, made_up: missed - over, over, more, until: last }
    }

    /// The sentence for the log, where due times were missed.
    pub fn missed(&self) -> Option<String> {
        let Plan { made_up, over, more, .. } = self;
        match (made_up, over, more) {
            (0, 0, false) => None,
            (made_up, 0, false) => Some(format!("{made_up} missed due times are made up for")),
            (made_up, over, false) => Some(format!("{made_up} missed due times are made up for and {over} passed over")),
            (made_up, over, true) => {
                Some(format!("{made_up} missed due times are made up for, {over} and all older ones are passed over"))
            }
        }
    }
}
