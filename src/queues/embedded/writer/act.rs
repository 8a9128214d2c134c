//! What operators do to single jobs.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use rusqlite::{OptionalExtension, params};

use super::super::known::Entry;
use super::super::ledger::Line;
use super::super::located::Located;
use super::super::operation::Act;
use super::super::place::{EndKind, Lane, Place, QueueNumber, Standing};
use super::super::ready::Withdrawn;
use super::super::ready_queue::{DEAD_SUFFIX, ReadyQueue};
use super::super::rows::{self, COLUMNS};
use super::super::waiting::Waiting;
use super::Writer;
use super::settle::Rewritten;
use crate::job::decode::{Received, decode};
use crate::job::failure::Death;
use crate::job::{Decoding, FailureDocument, Life, Origin};
use crate::outcome::{Class, Reason};
use crate::ports::{Acted, Action, End, Ending, State};

/// A job that stands in the file, with the queue it stands in.
struct Found {
    job: Waiting,
    life: Life,
    due: Option<i64>,
    queue: Arc<ReadyQueue>,
}

impl Found {
    fn state(&self) -> State {
        standing_state(&self.queue, self.job.place.lane())
    }
}

/// The state of a job that stands in a lane, unless it is leased.
pub(in super::super) fn standing_state(queue: &ReadyQueue, lane: Lane) -> State {
    match lane {
        _ if queue.is_dead() => State::Dead,
        _ if queue.parked_from().is_some() => State::Parked,
        Lane::DELAYED => State::Delayed,
        Lane::PARKED => State::Parked,
        _ => State::Waiting,
    }
}

/// The state of a job that has ended.
pub(in super::super) fn ended_state(kind: EndKind) -> State {
    match kind {
        EndKind::Completed => State::Completed,
        EndKind::Discarded => State::Discarded,
        EndKind::Moved | EndKind::DeadElsewhere => State::Moved,
    }
}

impl Writer<'_> {
    pub(super) fn act(&mut self, act: &mut Act) -> rusqlite::Result<()> {
        act.moved = Place::NONE;
        let found = self.locate(&act.id)?;
        act.acted = match Located::choose(&found, act.queue.number()).map(|located| located.standing) {
            None => Acted::NotFound,
            Some(Standing::Ended(kind, _)) => Acted::NotNow(ended_state(kind)),
            Some(Standing::At(place)) => match self.found(place)? {
                None => Acted::NotFound,
                Some(found) => self.act_on(act, &found)?,
            },
        };
        Ok(())
    }

    fn found(&self, place: Place) -> rusqlite::Result<Option<Found>> {
        let select = format!("SELECT {COLUMNS}, due FROM jobs WHERE place = ?");
        let registry = &self.shared.registry;
        let mut select = self.connection.prepare_cached(&select)?;
        let found = select.query_row([place.0], |row| Ok((rows::waiting(row, registry)?, rows::life(row)?, row.get(11)?)));
        let found = found.optional()?;
        Ok(found.and_then(|(job, life, due)| {
            let queue = registry.numbered(place.queue())?;
            Some(Found { job, life, due, queue })
        }))
    }

    fn act_on(&mut self, act: &mut Act, found: &Found) -> rusqlite::Result<Acted> {
        act.home = found.job.home;
        let state = found.state();
        let fits = match act.action {
            Action::Cancel { .. } => state != State::Dead,
            Action::RunNow => matches!(state, State::Delayed | State::Parked),
            Action::Replay | Action::Discard { .. } => state == State::Dead,
        };
        let place = found.job.place;
        if place.lane().is_ready() {
            let is_leased = || self.shared.leases().is_leased(place);
            match found.queue.ready().withdraw(place, is_leased) {
                Withdrawn::Running => return Ok(Acted::NotNow(State::Running)),
                Withdrawn::Held => act.withdrawn = Some((found.queue.clone(), place)),
            }
        }
        if !fits {
            act.undo();
            return Ok(Acted::NotNow(state));
        }
        if let Some(due) = found.due {
            self.statements.delete_due.execute([due, place.0])?;
        }
        match act.action.clone() {
            Action::Cancel { by, discard: true } | Action::Discard { by } => self.discard(found, &by)?,
            Action::Cancel { by, discard: false } => act.moved = self.abort(found, &by)?,
            Action::RunNow => act.moved = self.run_now(found)?,
            Action::Replay => match self.replay(found)? {
                Ok(place) => act.moved = place,
                Err(state) => {
                    act.undo();
                    return Ok(Acted::NotNow(state));
                }
            },
        }
        Ok(Acted::Done)
    }

    fn wall_time(&self) -> Timestamp {
        Timestamp::from_millisecond(self.now).unwrap_or_default()
    }

    fn discard(&mut self, found: &Found, by: &str) -> rusqlite::Result<()> {
        let ending = Ending { end: End::Discarded { by: by.into() }, event: None, at: self.wall_time() };
        self.end(&found.job, &ending).map(|_| ())
    }

    /// Into the dead letters as `aborted`.
    fn abort(&mut self, found: &Found, by: &str) -> rusqlite::Result<Place> {
        let now = self.wall_time();
        let received = Received { origin: Origin::default(), published: None, now };
        let job = decode(&found.job.message, &Decoding::Envelope, &received).ok();
        let mut life = found.life.clone();
        (life.due, life.park, life.suspect) = (None, None, false);
        let message = format!("cancelled by {by}");
        let death = Death {
            reason: Reason::Class(Class::Aborted),
            class: Class::Aborted,
            message: &message,
            log_tail: String::new(),
            now,
        };
        let mut document = FailureDocument::new(&found.job.id, &life, death);
        if let Some(job) = job {
            (document.kind, document.tenant) = (Some(job.kind), Some(job.tenant));
        }
        let dead = self.shared.registry.dead_of(&found.queue);
        let number = self.number(&dead)?;
        let to = self.next_place(number, Lane::DEAD);
        let (life, document) = (Bytes::from(life.to_json()), Bytes::from(document.to_json()));
        self.relocate(&found.job, to, None, Rewritten { life: &life, failure: Some(&document), event: None })?;
        Ok(to)
    }

    fn run_now(&mut self, found: &Found) -> rusqlite::Result<Place> {
        let job = &found.job;
        let number = self.home_number(job.place)?;
        let to = self.next_place(number, Lane::of_priority(job.priority));
        let mut life = found.life.clone();
        (life.due, life.park) = (Some(self.wall_time()), None); // an operator's word is younger than its producer's
        let life = life.to_json().into();
        self.relocate(job, to, None, Rewritten { life: &life, failure: None, event: None })?;
        Ok(to)
    }

    /// Back to where it came from with a new life; the state that forbids it otherwise.
    fn replay(&mut self, found: &Found) -> rusqlite::Result<Result<Place, State>> {
        let job = &found.job;
        let Some(home) = self.shared.registry.numbered(job.home) else { return Ok(Err(State::Dead)) };
        let name = home.name.trim_end_matches(DEAD_SUFFIX);
        let target = self.shared.registry.named(if name.is_empty() { &home.name } else { name });
        let number = self.number(&target)?;
        let to = self.next_place(number, Lane::of_priority(job.priority));
        if number != job.home && !self.adopt(job, &target, number)? {
            return Ok(Err(State::Waiting));
        }
        let life = found.life.clone().replayed();
        let place = job.place;
        let mut update = self.connection.prepare_cached(
            "UPDATE jobs SET place = ?, home = ?, due = NULL, life = ?, failure = NULL, event = NULL, unsettled = 0 WHERE place = ?",
        )?;
        update.execute(params![to.0, number, life.to_json(), place.0])?;
        drop(update);
        self.stands(target.digest(&job.id), Standing::At(to), self.now);
        self.ledger.count(place.queue(), Line::of_lane(place.lane()), -1);
        self.ledger.count(number, Line::Waiting, 1);
        Ok(Ok(to))
    }

    /// Makes `queue` the home of a dead letter that another system had sent here; false when a job there has its id.
    fn adopt(&mut self, job: &Waiting, queue: &ReadyQueue, number: QueueNumber) -> rusqlite::Result<bool> {
        let digest = queue.digest(&job.id);
        if matches!(self.known(digest)?, Some(Entry { standing, .. }) if standing >= 0) {
            return Ok(false);
        }
        self.stands(job.digest, Standing::Ended(EndKind::Moved, 0), self.now);
        self.ledger.add(job.home, Line::Moved, 1, job.digest);
        self.ledger.add(number, Line::Submitted, 1, digest);
        Ok(true)
    }
}
