//! `windlass top`: a worker's queues, routes and breakers, live.

use std::collections::HashMap;
use std::io::{IsTerminal as _, stdout};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::breakers::{self, Listed};
use super::queues::number;
use super::routes::{self, Answer};
use super::screen::{Colour, Column, Screen, Table};
use super::session::{Ask, Missing, Reach, Session};
use super::story::Queues;
use super::words::age;
use super::{Exit, Failure, Globals};
use crate::admin::worker::WorkerView;
use crate::ports::QueueStats;
use crate::units::parse_duration;

/// Another screen, and back to the one before; home, with nothing below.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
const HOME: &str = "\x1b[H\x1b[J";

/// Watch queues, routes, breakers and what jobs wait for, live
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  windlass top              until Ctrl-C
  windlass top --every 5s
  windlass top --once       one picture, with rates over one interval; so does a pipe")]
pub struct Top {
    #[command(flatten)]
    reach: Reach,
    /// Between two pictures
    #[arg(long, default_value = "1s", value_parser = parse_duration, value_name = "DURATION")]
    every: Duration,
    /// Show one picture and end
    #[arg(long)]
    once: bool,
}

/// The counts of the last picture.
struct Before {
    at: Instant,
    completed: HashMap<Arc<str>, u64>,
}

pub(super) async fn run(top: Top, globals: &Globals, screen: &mut Screen) -> Result<Exit, Failure> {
    let session = Session::open(top.reach.target(globals)?, Missing::Refuse).await?;
    let live = stdout().is_terminal() && !top.once && !screen.json;
    if live {
        screen.raw(ENTER)?;
    }
    let watched = tokio::select! {
        watched = watch(&session, &top, live, screen) => watched,
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    if live {
        screen.raw(LEAVE)?;
    }
    session.close().await;
    watched.map(|()| Exit::Done)
}

async fn watch(session: &Session, top: &Top, live: bool, screen: &mut Screen) -> Result<(), Failure> {
    let mut before = None;
    let mut tick = interval(top.every.max(Duration::from_millis(100)));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let worker: WorkerView = session.ask(Ask::get("/worker")).await?;
        let Queues { queues } = session.ask(Ask::get("/queues")).await?;
        let Answer { routes } = session.ask(Ask::get("/routes")).await?;
        let Listed { breakers } = session.ask(Ask::get("/breakers")).await?;
        let rates = rates(&mut before, &queues);
        if live || rates.is_some() {
            if screen.json {
                let (worker, queues) = (&worker.facts, &queues);
                let (routes, breakers) = (&routes, &breakers);
                screen.document(&serde_json::json!({
                    "worker": worker, "queues": queues, "routes": routes, "breakers": breakers, "done_per_s": rates
                }))?;
            } else {
                if live {
                    screen.raw(HOME)?;
                }
                let tables = [table(&queues, rates.as_ref()), routes::table(&routes), breakers::table(&breakers)];
                picture(&worker, tables, screen)?;
            }
        }
        screen.flush()?;
        if !live && rates.is_some() {
            return Ok(());
        }
    }
}

/// Jobs done each second since the picture before, by queue; none for the first one.
fn rates(before: &mut Option<Before>, queues: &[QueueStats]) -> Option<HashMap<Arc<str>, f64>> {
    let completed = queues.iter().filter_map(|queue| Some((queue.queue.clone(), queue.completed?))).collect();
    let last = before.replace(Before { at: Instant::now(), completed })?;
    let passed = last.at.elapsed().as_secs_f64().max(0.001);
    #[expect(clippy::cast_precision_loss, reason = "a rate to look at")]
    let rate = |queue: &QueueStats| {
        let completed = queue.completed?;
        let done = completed.saturating_sub(last.completed.get(&queue.queue).copied().unwrap_or(completed));
        Some((queue.queue.clone(), done as f64 / passed))
    };
    Some(queues.iter().filter_map(rate).collect())
}

fn picture(worker: &WorkerView, tables: [Table; 3], screen: &mut Screen) -> Result<(), Failure> {
    let slots: usize = worker.facts.pools.iter().map(|pool| pool.slots).sum();
    let (name, up) = (screen.paint(Colour::Bold, &worker.facts.name), age(Duration::from_secs(worker.uptime)));
    screen.line(&format!("{name}  up {up}  {} of {slots} slots run a job", worker.running.len()))?;
    for table in tables {
        screen.line("")?;
        screen.table(table)?;
    }
    Ok(())
}

fn table(queues: &[QueueStats], rates: Option<&HashMap<Arc<str>, f64>>) -> Table {
    let mut table = Table::new(&[
        Column::left("QUEUE"),
        Column::right("WAITING"),
        Column::right("DELAYED"),
        Column::right("PARKED"),
        Column::right("RUNNING"),
        Column::right("DEAD"),
        Column::right("DONE/S"),
    ]);
    for queue in queues {
        let rate = rates.and_then(|rates| rates.get(&queue.queue)).map_or_else(String::new, |rate| format!("{rate:.1}"));
        table.painted(vec![
            (queue.queue.to_string(), if queue.paused { Colour::Yellow } else { Colour::Plain }),
            number(Some(queue.waiting), Colour::Plain),
            number(queue.delayed, Colour::Plain),
            number(Some(queue.parked), Colour::Yellow),
            number(queue.running, Colour::Blue),
            number(Some(queue.dead), Colour::Red),
            (rate, Colour::Green),
        ]);
    }
    table
}
