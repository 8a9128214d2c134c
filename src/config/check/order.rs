//! What routes ask of queues that these cannot keep.

use std::time::Duration;

use super::Inspection;
use crate::config::QueueKind;
use crate::config::order::unkept;
use crate::ports::Order;

impl Inspection<'_> {
    /// `order` says how far a kind keeps the jobs of a key in order.
    pub(super) fn order(&mut self, order: impl Fn(&QueueKind) -> Order) {
        let of = |name: &str| self.config.queues.get(name).map(|queue| order(&queue.kind));
        for unkept in unkept(self.config, of) {
            let number = self.routes[unkept.route].clone();
            self.error(&["routes", &number, "order_by"], unkept.message, unkept.fix);
        }
    }

    /// A run that may last for longer than its queue leaves a message with one worker.
    pub(super) fn patience(&mut self) {
        let taken = |name: &String| self.config.pools.values().any(|pool| pool.from.contains(name));
        let patient = |(name, queue): (&String, &crate::config::Queue)| match &queue.kind {
            QueueKind::Rabbitmq(rabbitmq) if taken(name) => Some((rabbitmq.consumer_timeout.0, name.clone(), RABBITMQ)),
            QueueKind::Sqs(_) if taken(name) => Some((SQS_LEASE, name.clone(), SQS)),
            _ => None,
        };
        let Some((longest, queue, fix)) = self.config.queues.iter().filter_map(patient).min() else { return };
        for (number, route) in self.config.routes.iter().enumerate().filter(|(_, route)| route.timeout.0 >= longest) {
            let message = format!(
                "a run may last {:?}, but the server of the queue {queue:?} takes a job back after {longest:?}",
                route.timeout.0
            );
            self.error(&["routes", &self.routes[number].clone(), "timeout"], message, fix);
        }
    }
}

/// SQS ends a lease after twelve hours; an hour of it is kept for what comes before and after a run.
const SQS_LEASE: Duration = Duration::from_secs(11 * 3600);
const SQS: &str = "shorten it to less than 11 hours: SQS takes every job back after 12, and nothing can raise that";
const RABBITMQ: &str =
    "shorten it, or raise consumer_timeout on the server (rabbitmq.conf, in milliseconds) and in the queue's block";
