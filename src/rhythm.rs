//! When something periodic is due: by cron in a time zone, or at multiples of a span.

use std::time::Duration;

use croner::Cron;
use croner::parser::CronParser;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, Zoned, civil};

/// What [`Rhythm::latest`] looks at first: this long before the end.
const FIRST_LOOK: Duration = Duration::from_secs(64);

/// When something is due, again and again.
#[derive(Clone, Debug)]
pub enum Rhythm {
    /// Wall-clock times of a zone. One that a clock change skips is due at the instant of the change; one that a change
    /// repeats is due the first time only.
    Cron { cron: Box<Cron>, zone: TimeZone },
    /// At the multiples of this span since 1970 UTC, so that nobody needs to remember when it began.
    Every(Duration),
}

impl Rhythm {
    /// Five fields (minute, hour, day, month, weekday), or six with seconds first.
    ///
    /// # Errors
    /// What is wrong with the pattern, in a sentence.
    pub fn cron(pattern: &str, zone: TimeZone) -> Result<Self, String> {
        let cron = CronParser::new().parse(pattern).map_err(|error| error.to_string().to_lowercase())?;
        Ok(Rhythm::Cron { cron: Box::new(cron), zone })
    }

    /// The first due time after `after`; none when there is no more.
    #[must_use]
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        match self {
            Rhythm::Every(span) => {
                let span = i64::try_from(span.as_millis()).ok().filter(|span| *span > 0)?;
                let next = after.as_millisecond().div_euclid(span).checked_add(1)?.checked_mul(span)?;
                Timestamp::from_millisecond(next).ok()
            }
            Rhythm::Cron { cron, zone } => {
                let mut wall = zone.to_datetime(after);
                loop {
                    wall = next_wall_time(cron, wall)?;
                    // in the second pass of a repeated hour the wall shows times whose instant is over
                    if let Some(instant) = instant_of(wall, zone).filter(|instant| *instant > after) {
                        return Some(instant);
                    }
                }
            }
        }
    }

    /// The last `most` due times after `after` up to `until`, in order, and whether there are earlier ones.
    #[must_use]
    pub fn latest(&self, after: Timestamp, until: Timestamp, most: usize) -> (Vec<Timestamp>, bool) {
        let mut look = FIRST_LOOK;
        loop {
            let start = until.saturating_sub(look).map_or(after, |start| start.max(after));
            let mut due = Vec::new();
            let mut at = start;
            while let Some(next) = self.next(at).filter(|next| *next <= until) {
                due.push(next);
                at = next;
            }
            if due.len() > most || start == after {
                let earlier = due.len() > most || self.next(after).is_some_and(|first| Some(&first) < due.first());
                return (due.split_off(due.len().saturating_sub(most)), earlier);
            }
            look = look.saturating_mul(2);
        }
    }
}

/// The next time that matches after `wall`, as if no clock were ever changed.
fn next_wall_time(cron: &Cron, wall: civil::DateTime) -> Option<civil::DateTime> {
    let unchanging = wall.to_zoned(TimeZone::UTC).ok()?;
    let next: Zoned = cron.find_next_occurrence(&unchanging, false).ok()?;
    Some(next.datetime())
}

/// When a clock in the zone shows this time, for the first time; where it never does, when it is set past it.
fn instant_of(wall: civil::DateTime, zone: &TimeZone) -> Option<Timestamp> {
    let ambiguous = zone.to_ambiguous_timestamp(wall);
    match ambiguous.offset() {
        AmbiguousOffset::Unambiguous { .. } => ambiguous.unambiguous().ok(),
        AmbiguousOffset::Fold { .. } => ambiguous.earlier().ok(),
        AmbiguousOffset::Gap { .. } => {
            let before = ambiguous.earlier().ok()?;
            let change = zone.following(before).next()?;
            Some(change.timestamp())
        }
    }
}

#[cfg(test)]
mod tests;
