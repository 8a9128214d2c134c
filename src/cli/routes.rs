//! `windlass routes`: what the living worker runs on what, by which rules, and what its jobs wait for.

use clap::Args;
use serde::Deserialize;

use super::screen::{Colour, Column, Screen, Table};
use super::session::{Ask, Missing, Reach, Session};
use super::{Exit, Failure, Globals};
use crate::admin::routes::RouteView;

/// List the routes of the worker, and what their jobs wait for
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  windlass routes
  windlass routes --json | jq 'select(.waiting.rate > 0)'

WAITING counts the jobs that the worker has taken and not started:
  no_slot      every slot of the pool is taken
  rate         a rate allows the next start later
  concurrency  as many run as the route, tenant or key may have at once
  key_busy     another job of the same key comes first
  held         it failed and waits at the head of its key
  suspect      it may have killed its worker, and is run alone")]
pub struct Routes {
    #[command(flatten)]
    reach: Reach,
}

#[derive(Deserialize)]
pub(super) struct Answer {
    pub routes: Vec<RouteView>,
}

pub(super) async fn run(routes: Routes, globals: &Globals, screen: &mut Screen) -> Result<Exit, Failure> {
    let session = Session::open(routes.reach.target(globals)?, Missing::Refuse).await?;
    let answer = session.ask::<Answer>(Ask::get("/routes")).await;
    session.close().await;
    let Answer { routes } = answer?;
    if screen.json {
        routes.iter().try_for_each(|route| screen.document(route))?;
        return Ok(Exit::Done);
    }
    screen.table(table(&routes))?;
    Ok(Exit::Done)
}

/// A line for each route.
pub(super) fn table(routes: &[RouteView]) -> Table {
    let mut table = Table::new(&[
        Column::left("ROUTE"),
        Column::left("EXECUTOR"),
        Column::left("RULES"),
        Column::right("RUNNING"),
        Column::left("WAITING"),
    ]);
    for route in routes {
        let waiting: Vec<String> = route.waiting.iter().map(|(why, count)| format!("{count} {why}")).collect();
        let busy = if route.running == 0 { Colour::Dim } else { Colour::Blue };
        table.painted(vec![
            (route.route.clone(), Colour::Plain),
            (route.executor.clone(), Colour::Plain),
            (rules(route), Colour::Dim),
            (route.running.to_string(), busy),
            (waiting.join(", "), Colour::Yellow),
        ]);
    }
    table
}

fn rules(route: &RouteView) -> String {
    let mut rules = Vec::new();
    if route.ordered {
        rules.push("by key".to_owned());
    }
    if let Some(rate) = &route.rate_per_worker {
        rules.push(rate.to_string());
    }
    if let Some(most) = route.concurrency {
        rules.push(format!("{most} at once"));
    }
    if route.weight > 1 {
        rules.push(format!("weight {}", route.weight));
    }
    rules.join(", ")
}
