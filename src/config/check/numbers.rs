//! Numbers that can be read and make no sense.

use std::time::Duration;

use super::Inspection;
use crate::config::breaker::Breaker;
use crate::config::executor::{Executor, ExecutorKind};
use crate::config::route::{ClassRetry, Hold, OrderScope};
use crate::config::{Pool, Route};
use crate::outcome::Class;
use crate::units::spell_size;

/// A lease is renewed at a third: below this a busy machine loses it while the job runs.
const SHORTEST_LEASE: Duration = Duration::from_secs(1);

impl Inspection<'_> {
    pub(super) fn numbers(&mut self) {
        self.worker_numbers();
        for (name, pool) in &self.config.pools {
            self.pool_numbers(name, pool);
        }
        for (name, executor) in &self.config.executors {
            self.executor_numbers(name, executor);
        }
        for (number, route) in self.each_route() {
            self.route_numbers(&number, &route);
        }
    }

    fn worker_numbers(&mut self) {
        let worker = &self.config.worker;
        if worker.lease.0 < SHORTEST_LEASE {
            let message = "is too short to be renewed in time while a job runs";
            self.error(&["worker", "lease"], message, "write 1s or more; the default is 30s");
        }
        self.at_least_one(&["worker", "body_limit"], worker.body_limit.0, "every message would be too large");
        let pools = self.config.pools.len() as u64;
        let needed = worker.body_limit.0.saturating_mul(pools);
        if worker.budget().0 < needed {
            let (budget, needed) = (spell_size(worker.budget().0), spell_size(needed));
            let message = format!("{budget} is less than one message of body_limit for each of the {pools} pools");
            self.error(&["worker", "memory"], message, format!("write {needed} or more, or lower worker.body_limit"));
        }
    }

    fn pool_numbers(&mut self, name: &str, pool: &Pool) {
        let at = ["pools", name];
        self.at_least_one(&[&at[..], &["slots"]].concat(), pool.slots as u64, "no job could run");
        if let Some(kept) = pool.kept_free.filter(|kept| *kept >= pool.slots && pool.slots > 0) {
            let message = format!(
                "{kept} of {} slots: while two tenants are around, no slot would be left for one that is busy",
                pool.slots
            );
            self.error(&[&at[..], &["kept_free"]].concat(), message, "write less than slots, 0 for none, or null for one in 32");
        }
        let window = &pool.window;
        self.at_least_one(&[&at[..], &["window", "jobs"]].concat(), window.jobs as u64, "no job could be taken");
        self.at_least_one(&[&at[..], &["window", "bytes"]].concat(), window.bytes.0, "no job could be taken");
        for (tenant, share) in &pool.tenants {
            let path = [&at[..], &["tenants", tenant, "weight"]].concat();
            self.at_least_one(&path, share.weight.into(), "its jobs would never run");
        }
    }

    fn turn_numbers(&mut self, at: &[&str], route: &Route) {
        let key = |key: &[&'static str]| [at, key].concat();
        self.at_least_one(&key(&["weight"]), route.weight.into(), "its jobs would never run");
        for (path, most) in [
            (&["concurrency"][..], route.concurrency),
            (&["per_tenant", "concurrency"], route.per_tenant.concurrency),
            (&["per_key", "concurrency"], route.per_key.concurrency),
        ] {
            self.at_least_one(&key(path), most.unwrap_or(1).into(), "its jobs would never run");
        }
        if route.order_by.is_some() && route.per_key.concurrency.is_some() {
            let message = "has no effect: with order_by: key one job of a key runs at a time";
            self.warn(&key(&["per_key", "concurrency"]), message, "remove it");
        }
        if route.order_by.is_none() && route.order_hold != Hold::default() {
            self.warn(&key(&["order_hold"]), "has no effect without order_by: key", "remove it, or write order_by: key");
        }
        if route.order_by.is_none() && route.order_scope != OrderScope::default() {
            self.warn(&key(&["order_scope"]), "has no effect without order_by: key", "remove it, or write order_by: key");
        }
    }

    fn executor_numbers(&mut self, name: &str, executor: &Executor) {
        self.breaker_numbers(name, &executor.breaker);
        let kind = executor.kind.word();
        let (workers, concurrency) = match &executor.kind {
            ExecutorKind::Command(command) => (command.workers, command.concurrency),
            ExecutorKind::Python(python) => (python.workers, python.concurrency),
            ExecutorKind::Http(_) | ExecutorKind::Lambda(_) => return,
        };
        self.at_least_one(&["executors", name, kind, "workers"], workers as u64, "no job could run");
        self.at_least_one(&["executors", name, kind, "concurrency"], concurrency as u64, "no job could run");
        let ExecutorKind::Command(command) = &executor.kind else { return };
        for code in command.exit_codes.keys() {
            let path = ["executors", name, kind, "exit_codes", &code.to_string()];
            match code {
                0 => self.error(&path, "exit code 0 is success and no failure class", "remove it"),
                1..=255 => {}
                _ => self.error(&path, "is no exit code", "exit codes are 1 to 255"),
            }
        }
    }

    fn breaker_numbers(&mut self, name: &str, breaker: &Breaker) {
        let Breaker::On(keys) = breaker else { return };
        let at = |key| ["executors", name, "breaker", key];
        self.at_least_one(&at("jobs"), keys.jobs, "it would open without a failure");
        if !(keys.ratio > 0.0 && keys.ratio <= 1.0) {
            let message = format!("{} is no part of all runs that can fail", keys.ratio);
            self.error(&at("ratio"), message, "write a number above 0 and up to 1; the default is 0.5");
        }
        for (key, span) in [("window", keys.window), ("probe", keys.probe)] {
            if span.0 < Duration::from_secs(1) {
                self.error(&at(key), "is too short to tell an outage from a hiccup", "write 1s or more");
            }
        }
        if keys.longest_probe.0 < keys.probe.0 {
            self.error(&at("longest_probe"), "is shorter than probe, the first wait", "write a longer one, or a shorter probe");
        }
    }

    fn route_numbers(&mut self, number: &str, route: &Route) {
        let at = ["routes", number];
        if route.timeout.0.is_zero() {
            self.error(&[&at[..], &["timeout"]].concat(), "every run would time out at once", "write 30s, for example");
        }
        self.at_least_one(&[&at[..], &["crashes"]].concat(), route.crashes.into(), "the first run would be one too many");
        self.turn_numbers(&at, route);
        let retry = &route.retry;
        let within = [&at[..], &["retry"]].concat();
        let own = ClassRetry {
            attempts: Some(retry.attempts),
            base: Some(retry.base),
            factor: Some(retry.factor),
            cap: Some(retry.cap),
            jitter: None,
        };
        self.backoff(&within, &own, &own);
        for (class, different) in &retry.classes {
            let within = [&within[..], &["classes", class.as_str()]].concat();
            self.backoff(&within, different, &own);
            if !matches!(class, Class::Timeout | Class::Failed | Class::UnknownOutcome) {
                let message = "has no effect: only timeout, failed and unknown_outcome are retried by attempts";
                self.warn(&within, message, "remove it");
            }
        }
    }

    fn backoff(&mut self, within: &[&str], written: &ClassRetry, route: &ClassRetry) {
        let key = |key| [within, &[key]].concat();
        if let Some(attempts) = written.attempts {
            self.at_least_one(&key("attempts"), attempts.into(), "the first run is an attempt, too");
        }
        if written.factor.is_some_and(|factor| !factor.is_finite() || factor < 1.0) {
            self.error(&key("factor"), "delays would shrink from one retry to the next", "write 1 or more");
        }
        if (written.base.is_some() || written.cap.is_some()) && written.base.or(route.base) > written.cap.or(route.cap) {
            self.error(&key("cap"), "is shorter than base, the first delay", "write a longer cap or a shorter base");
        }
    }

    fn at_least_one(&mut self, path: &[&str], number: u64, why: &str) {
        if number == 0 {
            self.error(path, format!("0: {why}"), "write 1 or more");
        }
    }
}
