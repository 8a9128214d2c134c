//! The schedules of a config, with the queues that their jobs go to.

use std::sync::Arc;

use super::StartError;
use super::queues::Systems;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::schedules::{Schedule, Schedules, Template};
use crate::telemetry::Telemetry;

/// Puts the schedules together; none where the config has none.
///
/// # Errors
/// What the config names and does not have; `check` has found it before.
pub fn schedules(
    config: &Config,
    systems: &Systems,
    clock: Clock,
    telemetry: &Telemetry,
) -> Result<Option<Arc<Schedules>>, StartError> {
    let Some(state) = systems.state.clone().filter(|_| !config.schedules.is_empty()) else { return Ok(None) };
    let list = config.schedules.iter().map(|(name, schedule)| build(name, schedule, systems, telemetry));
    Ok(Some(Arc::new(Schedules::new(list.collect::<Result<_, _>>()?, state, clock))))
}

fn build(name: &str, schedule: &config::Schedule, systems: &Systems, telemetry: &Telemetry) -> Result<Schedule, StartError> {
    let wrong = |(key, why): (&str, String)| StartError::Other(format!("schedules.{name}.{key}: {why}"));
    let queue = &systems.get(&schedule.queue)?.queue;
    Ok(Schedule {
        name: name.into(),
        rhythm: schedule.rhythm().map_err(wrong)?,
        spelled: schedule.spelled(),
        queue: schedule.queue.as_str().into(),
        sink: queue.sink(),
        recognised: queue.capabilities().recognises,
        job: Template {
            kind: schedule.kind.clone(),
            data: schedule.data.clone(),
            key: schedule.key.clone(),
            tenant: schedule.tenant.clone(),
            priority: schedule.priority,
        },
        catch_up: schedule.catch_up,
        jitter: schedule.jitter.map(|jitter| jitter.0),
        metrics: telemetry.schedule(name),
    })
}
