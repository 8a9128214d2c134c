//! What routes ask of queues that these cannot keep.

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
}
