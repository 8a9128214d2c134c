//! Whether a queue can keep the order that a route asks of it, and what would help where it cannot.

use super::Config;
use super::route::{OrderScope, Route};
use crate::ports::Order;

/// A route whose order a queue does not keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unkept {
    /// By index; its `order_by` asks too much.
    pub route: usize,
    pub message: String,
    pub fix: &'static str,
}

/// What the routes ask of the queues that pools take from and these do not keep; `order` says how far one does. Any job
/// can come from any queue, so that every route in order is held against every one of them.
pub fn unkept(config: &Config, order: impl Fn(&str) -> Option<Order>) -> Vec<Unkept> {
    let taken = config.pools.values().flat_map(|pool| &pool.from);
    let orders: Vec<(&String, Order)> = taken.filter_map(|name| Some((name, order(name)?))).collect();
    let routes = config.routes.iter().enumerate();
    routes.flat_map(|(index, route)| orders.iter().filter_map(move |(name, order)| asked(index, route, name, *order))).collect()
}

fn asked(index: usize, route: &Route, queue: &str, order: Order) -> Option<Unkept> {
    route.order_by?;
    let (message, fix) = match (order, route.order_scope) {
        (Order::Key, _) | (Order::Worker, OrderScope::Worker) => return None,
        (Order::Worker, OrderScope::Queue) => (
            format!("the queue {queue:?} keeps the jobs of a key in order only within each worker"),
            "write \"order_scope: worker\" if two workers may run jobs of one key at once, or take them from a queue that keeps order",
        ),
        (Order::None, _) => (
            format!("the queue {queue:?} keeps no order, not even within one worker"),
            "take these jobs from a queue that keeps order, or remove order_by",
        ),
    };
    Some(Unkept { route: index, message, fix })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::read::read;
    use crate::config::yaml::parse;

    fn config() -> Config {
        let yaml = "{ routes: [{ type: a, run: x }, { type: b, run: x, order_by: key }, \
                    { type: c, run: x, order_by: key, order_scope: worker }], pools: { p: { from: [one, two] } } }";
        read::<Config>(&parse(yaml).unwrap().root).0.unwrap()
    }

    fn refused(one: Order, two: Order) -> Vec<(usize, String)> {
        let found = unkept(&config(), |name| Some(if name == "one" { one } else { two }));
        found.into_iter().map(|unkept| (unkept.route, unkept.message)).collect()
    }

    #[test]
    fn a_queue_that_keeps_the_order_of_keys_may_be_asked_for_it() {
        assert_eq!(refused(Order::Key, Order::Key), []);
    }

    #[test]
    fn order_within_a_worker_must_be_said_to_be_enough() {
        let found = refused(Order::Key, Order::Worker);
        assert_eq!(found.iter().map(|(route, _)| *route).collect::<Vec<_>>(), [1]);
        assert!(found[0].1.contains("\"two\" keeps the jobs of a key in order only within each worker"), "{found:?}");
    }

    #[test]
    fn a_queue_without_any_order_is_refused_whatever_is_said() {
        let found = refused(Order::None, Order::Key);
        assert_eq!(found.iter().map(|(route, _)| *route).collect::<Vec<_>>(), [1, 2]);
        assert!(found.iter().all(|(_, message)| message.contains("\"one\" keeps no order")), "{found:?}");
    }

    #[test]
    fn a_queue_that_is_not_known_is_asked_for_nothing() {
        assert_eq!(unkept(&config(), |_| None), []);
    }
}
