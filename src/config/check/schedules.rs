//! Schedules: due some day, and to a queue that takes their jobs.

use jiff::Timestamp;

use super::Inspection;
use crate::config::problem::nearest;
use crate::config::queue::Decode;
use crate::config::schedule::Schedule;

/// A shorter one would keep a worker busy with nothing else.
const SHORTEST: std::time::Duration = std::time::Duration::from_secs(1);

impl Inspection<'_> {
    pub(super) fn schedules(&mut self) {
        let queues = self.named("queues");
        for (name, schedule) in &self.config.schedules {
            self.well_named(&["schedules", name], name);
            self.known(&["schedules", name, "queue"], &schedule.queue, &queues);
            self.rhythm(name, schedule);
            self.submitted(name, schedule);
            self.needs_state(&["schedules", name], "when it was last due");
        }
    }

    fn rhythm(&mut self, name: &str, schedule: &Schedule) {
        let at = |key| ["schedules", name, key];
        let rhythm = match schedule.rhythm() {
            Ok(rhythm) => rhythm,
            Err(("zone", why)) => return self.error(&at("zone"), why, zone_fix(&schedule.zone)),
            Err(("", why)) => return self.error(&["schedules", name], why, "write \"cron: 0 7 * * *\" or \"every: 10m\""),
            Err(("every", why)) => return self.error(&at("every"), why, "remove one of them"),
            Err((key, why)) => {
                let fix = "write minute, hour, day, month and weekday, such as \"*/5 * * * *\" or \"0 7 * * MON-FRI\"";
                return self.error(&at(key), why, fix);
            }
        };
        if schedule.every.is_some_and(|every| every.0 < SHORTEST) {
            return self.error(&at("every"), "is too short", "write 1s or more");
        }
        let Some(first) = rhythm.next(Timestamp::now()) else {
            return self.error(&at("cron"), "it is never due", "name a date that comes; there is no 30 February");
        };
        if schedule.every.is_some() && self.source.root.at(&at("zone")).is_some() {
            self.warn(&at("zone"), "has no effect on a span", "remove it, or write a cron");
        }
        let gap = rhythm.next(first).map(|second| crate::clock::between(first, second));
        if gap.is_some_and(|gap| schedule.jitter.is_some_and(|jitter| jitter.0 > gap)) {
            self.warn(
                &at("jitter"),
                "is longer than the time to the next one: jobs may overtake each other",
                "write a shorter one",
            );
        }
    }

    fn submitted(&mut self, name: &str, schedule: &Schedule) {
        let at = |key| ["schedules", name, key];
        if schedule.priority.is_some_and(|priority| priority > 9) {
            self.error(&at("priority"), "is outside 0 to 9, 9 first", "write 0 to 9");
        }
        if schedule.kind.is_empty() {
            return self.error(&at("type"), "empty", "name a job type");
        }
        let raw = self.config.queues.get(&schedule.queue).is_some_and(|queue| queue.decode != Decode::Envelope);
        if raw {
            let message = format!("{:?} takes any body as data, so the job would not be read as one", schedule.queue);
            self.error(&at("queue"), message, "name a queue with \"decode: envelope\"");
        }
        let taken = self.config.pools.values().any(|pool| pool.from.contains(&schedule.queue));
        let routed = self.config.route_table().is_ok_and(|table| table.find(&schedule.kind, None).is_some());
        if taken && !routed && !self.config.routes.is_empty() {
            self.warn(
                &at("type"),
                "no route takes jobs of this type",
                format!("add one: {{ type: {}, run: <executor> }}", schedule.kind),
            );
        }
    }

    /// Refuses what must remember something where there is no place for it.
    pub(super) fn needs_state(&mut self, path: &[&str], what: &str) {
        if self.config.state.is_none() {
            let message = format!("needs a state store that remembers {what}");
            self.error(path, message, "add \"state: { embedded: { path: windlass.db } }\"");
        }
    }
}

fn zone_fix(zone: &str) -> String {
    let names: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
    match nearest(zone, names.iter().map(String::as_str)) {
        Some(name) => format!("write {name}"),
        None => "write a name such as Europe/Vienna or UTC".into(),
    }
}
