//! `windlass queues stats`: how much waits, how long already, who takes it, and how far behind.

use jiff::Timestamp;

use super::{ask, number};
use crate::cli::screen::{Colour, Column, Screen, Table};
use crate::cli::session::Session;
use crate::cli::words::{grouped, since};
use crate::cli::{Exit, Failure};
use crate::ports::QueueStats;

pub(super) async fn tell(session: &Session, only: Option<&str>, screen: &mut Screen) -> Result<Exit, Failure> {
    let (mut queues, exit) = ask(session).await?;
    if let Some(only) = only {
        queues.retain(|queue| &*queue.queue == only);
        if queues.is_empty() && exit == Exit::Done {
            return Err(Failure::not_found(format!("there is no queue {only:?}")).fix("windlass queues stats names them all"));
        }
    }
    if screen.json {
        queues.iter().try_for_each(|queue| screen.document(queue))?;
        return Ok(exit);
    }
    let mut table = Table::new(&[
        Column::left("QUEUE"),
        Column::right("WAITING"),
        Column::right("OLDEST"),
        Column::right("LAG"),
        Column::right("CONSUMERS"),
        Column::right("DEAD"),
    ]);
    let now = Timestamp::now();
    queues.iter().for_each(|queue| table.painted(row(queue, now)));
    screen.table(table)?;
    for part in queues.iter().filter(|_| only.is_some()).flat_map(|queue| &queue.lag) {
        screen.line(&format!("  {}/{}  lag {}", part.topic, part.partition, grouped(part.lag)))?;
    }
    Ok(exit)
}

fn row(queue: &QueueStats, now: Timestamp) -> Vec<(String, Colour)> {
    let lag = (!queue.lag.is_empty()).then(|| queue.lag.iter().map(|part| part.lag).sum());
    let oldest = match queue.oldest {
        Some(oldest) => since(oldest, now),
        None if queue.waiting == 0 => String::new(),
        None => "-".into(),
    };
    let nobody = queue.consumers == Some(0) && queue.waiting > 0;
    vec![
        (queue.queue.to_string(), if queue.paused { Colour::Yellow } else { Colour::Plain }),
        number(Some(queue.waiting), Colour::Plain),
        (oldest, Colour::Plain),
        number(lag, Colour::Plain),
        match nobody {
            true => ("none".into(), Colour::Red),
            false => number(queue.consumers, Colour::Plain),
        },
        number(Some(queue.dead), Colour::Red),
    ]
}
