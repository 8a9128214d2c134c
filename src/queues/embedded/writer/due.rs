//! Delayed jobs, when their time has come.

use super::super::ledger::Line;
use super::super::place::{Lane, Place, Standing};
use super::Writer;

/// The most that become due in one transaction.
const MOST: i64 = 512;

impl Writer<'_> {
    pub(super) fn is_due(&self) -> bool {
        self.next_due.is_some_and(|due| due <= self.now)
    }

    /// Moves what is due to the end of its ready lane.
    pub(super) fn move_due(&mut self) -> rusqlite::Result<()> {
        let mut select = self.connection.prepare_cached("SELECT at, place FROM due WHERE at <= ? ORDER BY at, place LIMIT ?")?;
        let due: Vec<(i64, i64)> =
            select.query_map([self.now, MOST], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
        for (at, place) in due {
            self.statements.delete_due.execute([at, place])?;
            if let Some(ready) = self.make_ready(Place(place))? {
                self.became_due.push(ready);
            }
        }
        self.next_due = self.connection.query_row("SELECT min(at) FROM due", [], |row| row.get(0))?;
        Ok(())
    }

    /// Has a job moved when its time comes.
    pub(super) fn wakes(&mut self, place: Place, at: i64) -> rusqlite::Result<()> {
        self.statements.insert_due.execute([at, place.0])?;
        self.next_due = Some(self.next_due.map_or(at, |next| next.min(at)));
        Ok(())
    }

    /// Moves a delayed or parked job to the end of its queue's ready lane; the caller has taken it off the table `due`.
    fn make_ready(&mut self, place: Place) -> rusqlite::Result<Option<Place>> {
        let mut number = place.queue();
        if place.lane().is_ready()
            && let Some(queue) = self.shared.registry.numbered(number)
        {
            if !self.leaves(&queue, place)? {
                return Ok(None);
            }
            number = self.home_number(place)?;
        }
        let mut select = self.connection.prepare_cached("SELECT id, home, priority FROM jobs WHERE place = ?")?;
        let mut rows = select.query([place.0])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let (id, priority) = (row.get_ref(0)?.as_str()?, row.get(2)?);
        let digest = self.shared.registry.numbered(row.get(1)?).map(|home| home.digest(id));
        drop(rows);
        let ready = self.next_place(number, Lane::of_priority(priority));
        let mut update = self.connection.prepare_cached("UPDATE jobs SET place = ?, due = NULL WHERE place = ?")?;
        update.execute([ready.0, place.0])?;
        if let Some(digest) = digest {
            self.stands(digest, Standing::At(ready), self.now);
        }
        self.ledger.count(place.queue(), Line::of_lane(place.lane()), -1);
        self.ledger.count(number, Line::Waiting, 1);
        Ok(Some(ready))
    }
}
