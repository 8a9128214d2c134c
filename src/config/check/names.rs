//! What a config calls by name: is it there, is it called at all, is it called twice.

use std::collections::{BTreeMap, BTreeSet};

use super::Inspection;
use crate::config::problem::nearest;
use crate::config::queue::QueueKind;
use crate::routing::{RouteTable, Tie};

/// The longest name of a queue, an executor or a pool: it becomes a label, a part of addresses, a part of ids.
const LONGEST_NAME: usize = 100;

impl Inspection<'_> {
    pub(super) fn names(&mut self) {
        let (executors, queues) = (self.named("executors"), self.named("queues"));
        for (number, route) in self.each_route() {
            self.known(&["routes", &number, "run"], &route.run, &executors);
            self.known_exits(&["routes", &number], [route.results, route.dead_letters], &queues);
        }
        for (name, pool) in &self.config.pools {
            for (index, queue) in pool.from.iter().enumerate() {
                self.known(&["pools", name, "from", &index.to_string()], queue, &queues);
            }
            self.known_exits(&["pools", name], [pool.results.clone(), pool.dead_letters.clone()], &queues);
        }
        for (block, names) in [("queues", queues), ("executors", executors), ("pools", self.named("pools"))] {
            for name in names.unwrap_or_default() {
                self.well_named(&[block, &name], &name);
            }
        }
    }

    /// The names in a block, those of entries at fault included; none when the block itself could not be read.
    pub(super) fn named(&self, block: &str) -> Option<BTreeSet<String>> {
        let written = self.source.root.all_entries().iter().find(|entry| entry.key.text == block);
        let default = || match block {
            "queues" => self.config.queues.keys().cloned().collect(),
            _ => BTreeSet::new(),
        };
        match written {
            Some(entry) if entry.node.dropped() => None,
            Some(entry) => Some(entry.node.all_entries().iter().map(|entry| entry.key.text.clone()).collect()),
            None => Some(default()),
        }
    }

    fn known_exits(&mut self, path: &[&str; 2], exits: [Option<String>; 2], queues: &Option<BTreeSet<String>>) {
        for (key, exit) in ["results", "dead_letters"].into_iter().zip(exits) {
            if let Some(exit) = exit {
                self.known(&[path[0], path[1], key], &exit, queues);
            }
        }
    }

    pub(super) fn known(&mut self, path: &[&str], name: &str, names: &Option<BTreeSet<String>>) {
        let Some(names) = names.as_ref().filter(|names| !names.contains(name)) else { return };
        let (block, one) = if path.contains(&"run") { ("executors", "executor") } else { ("queues", "queue") };
        let fix = match nearest(name, names.iter().map(String::as_str)) {
            Some(meant) => format!("write {meant:?}"),
            None if names.is_empty() => format!("add it below \"{block}:\""),
            None => format!("add it below \"{block}:\", or name one that is there: {}", joined(names)),
        };
        self.error(path, format!("there is no {one} {name:?}"), fix);
    }

    pub(super) fn well_named(&mut self, path: &[&str], name: &str) {
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
        if !plain || name.is_empty() || name.len() > LONGEST_NAME {
            let fix = format!("letters, digits, dots, dashes and underscores, {LONGEST_NAME} at most");
            self.error(path, format!("{name:?} cannot be a name"), fix);
        }
        if name.contains(".parked.") || (path[0] == "executors" && name == "no-route") {
            let message = format!("{name:?} cannot be a name: <queue>.parked.<executor> is where a queue's jobs are parked");
            self.error(path, message, "choose another one");
        }
    }

    /// What two pools or two blocks must not share.
    pub(super) fn sharing(&mut self) {
        let mut takers: BTreeMap<&str, &str> = BTreeMap::new();
        for (name, pool) in &self.config.pools {
            for (index, queue) in pool.from.iter().enumerate() {
                if let Some(first) = takers.insert(queue, name) {
                    let message = format!("the queue {queue:?} belongs to the pool {first:?} already");
                    self.error(&["pools", name, "from", &index.to_string()], message, "let one pool take from it");
                }
            }
            if pool.from.is_empty() {
                self.error(&["pools", name, "from"], "takes from no queue", "name at least one queue");
            }
        }
        self.twins();
        self.loops();
    }

    /// Two blocks that are one queue in one file.
    fn twins(&mut self) {
        let (mut places, mut topics) = (BTreeMap::<_, &String>::new(), BTreeMap::<_, &String>::new());
        let (mut rabbits, mut sqs_queues) = (BTreeMap::<_, &String>::new(), BTreeMap::<_, &String>::new());
        for (name, queue) in &self.config.queues {
            let embedded = match &queue.kind {
                QueueKind::Embedded(embedded) => embedded,
                QueueKind::Kafka(kafka) => {
                    let topic = kafka.topic.as_ref().unwrap_or(name);
                    if let Some(first) = topics.insert((&kafka.brokers, topic, &kafka.group), name) {
                        let message = format!("is the same queue as {first:?}: {topic:?} for the group {:?}", kafka.group);
                        self.error(&["queues", name], message, "give it a \"topic\" or a \"group\" of its own");
                    }
                    continue;
                }
                QueueKind::Rabbitmq(rabbitmq) => {
                    let queue = rabbitmq.queue.as_ref().unwrap_or(name);
                    if let Some(first) = rabbits.insert((rabbitmq.url.to_string(), queue), name) {
                        let message = format!("is the same queue as {first:?}: {queue:?} on {}", rabbitmq.url);
                        self.error(&["queues", name], message, "give it a \"queue\" of its own");
                    }
                    continue;
                }
                QueueKind::Sqs(sqs) => {
                    let place = (&sqs.endpoint, &sqs.region, &sqs.profile, &sqs.role, sqs.name(name));
                    if let Some(first) = sqs_queues.insert(place, name) {
                        let message = format!("is the same queue as {first:?}: {:?}", sqs.name(name));
                        self.error(&["queues", name], message, "give it a \"queue\" of its own");
                    }
                    continue;
                }
                QueueKind::Memory(_) => continue,
            };
            let inside = embedded.queue.as_ref().unwrap_or(name);
            self.inside_name(name, inside);
            if let Some(first) = places.insert((&embedded.path, inside), name) {
                let message = format!("is the same queue as {first:?}: {inside:?} in {}", embedded.path.display());
                self.error(&["queues", name], message, "give it a \"queue\" or a \"path\" of its own");
            }
        }
    }

    fn inside_name(&mut self, block: &str, inside: &str) {
        if block != inside {
            self.well_named(&["queues", block, "embedded", "queue"], inside);
        }
    }

    /// A pool that takes what it has published itself.
    fn loops(&mut self) {
        for (name, pool) in &self.config.pools {
            for (key, exit) in [("results", &pool.results), ("dead_letters", &pool.dead_letters)] {
                if exit.as_ref().is_some_and(|exit| pool.from.contains(exit)) {
                    let message = "is a queue that this pool takes from: what it publishes comes back as jobs";
                    self.warn(&["pools", name, key], message, "name another queue");
                }
            }
        }
        for (number, route) in self.each_route() {
            for (key, exit) in [("results", &route.results), ("dead_letters", &route.dead_letters)] {
                let Some(exit) = exit else { continue };
                if let Some((pool, _)) = self.config.pools.iter().find(|(_, pool)| pool.from.contains(exit)) {
                    let message = format!("is a queue that the pool {pool:?} takes from: what is published comes back as jobs");
                    self.warn(&["routes", &number, key], message, "name another queue");
                }
            }
        }
    }

    /// Which jobs the routes take.
    pub(super) fn routing(&mut self) {
        let routes = self.each_route();
        for (number, route) in &routes {
            let prefix = route.kind.strip_suffix('*').unwrap_or(&route.kind);
            if route.kind.is_empty() {
                self.error(&["routes", number, "type"], "empty", "name a job type, or \"*\" for all");
            } else if prefix.contains('*') {
                self.error(&["routes", number, "type"], "a * stands only at the end", "write a prefix, such as \"image.*\"");
            }
        }
        let table = RouteTable::new(self.config.routes.iter().map(|route| (route.kind.as_str(), route.version.as_deref())));
        for Tie { first, second } in table.err().unwrap_or_default() {
            let (number, route) = &routes[second];
            let line = self.source.root.mark_of(&["routes", &routes[first].0]).map_or(0, |mark| mark.line);
            let message = format!("takes the same jobs as the route in line {line}: {}", route.name());
            self.error(&["routes", number, "type"], message, "remove one, or tell them apart by \"version\"");
        }
    }

    /// What nothing uses.
    pub(super) fn idle(&mut self) {
        if self.config.routes.is_empty() {
            let message = "there are none: every job waits for its route and is then dead-lettered as no_route";
            self.warn(&["routes"], message, "add a route: { type: \"*\", run: <executor> }");
        }
        let used: BTreeSet<&String> = self.config.routes.iter().map(|route| &route.run).collect();
        for name in self.config.executors.keys().filter(|name| !used.contains(name)) {
            self.warn(&["executors", name], "no route runs on it", "add a route, or remove it");
        }
        let pools = self.config.pools.values();
        let ends = |exits: [&Option<String>; 2]| exits.map(Clone::clone);
        let mut used: BTreeSet<String> = pools.clone().flat_map(|pool| pool.from.clone()).collect();
        used.extend(pools.flat_map(|pool| ends([&pool.results, &pool.dead_letters])).flatten());
        used.extend(self.config.routes.iter().flat_map(|route| ends([&route.results, &route.dead_letters])).flatten());
        for name in self.config.queues.keys().filter(|name| !used.contains(*name)) {
            self.warn(&["queues", name], "no pool takes from it and no exit names it", "name it in a pool, or remove it");
        }
    }
}

fn joined(names: &BTreeSet<String>) -> String {
    names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}
