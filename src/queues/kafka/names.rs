//! The topics of a queue: its own, and those beside it, which carry the group's name so that groups do not meet.

use std::sync::Arc;
use std::time::Duration;

use super::config::KafkaConfig;

/// The tiers of delay, longest first, each with a topic of its own.
pub const TIERS: [(Duration, &str); 6] = [
    (Duration::from_secs(3600), "1h"),
    (Duration::from_secs(600), "10m"),
    (Duration::from_secs(120), "2m"),
    (Duration::from_secs(30), "30s"),
    (Duration::from_secs(5), "5s"),
    (Duration::from_secs(1), "1s"),
];

/// What the topics of one queue are called.
#[derive(Clone, Debug)]
pub struct Names {
    pub topic: Arc<str>,
    pub group: Arc<str>,
    /// `<topic>.<group>`, what those beside it begin with.
    pub queue: Arc<str>,
    delays: Arc<str>,
    /// Further topics that are taken from, as names or patterns.
    also: Arc<[String]>,
}

/// Whether a topic matches a pattern, in which `*` is anything without a dot.
fn matches(pattern: &str, topic: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == topic };
    topic.strip_prefix(start).is_some_and(|left| {
        let most = left.find('.').unwrap_or(left.len());
        (0..=most).any(|at| left.get(at..).is_some_and(|left| matches(rest, left)))
    })
}

impl Names {
    pub fn new(block: &str, config: &KafkaConfig) -> Self {
        let topic = config.topic.as_deref().unwrap_or(block);
        Names {
            topic: topic.into(),
            group: config.group.as_str().into(),
            queue: format!("{topic}.{}", config.group).into(),
            delays: config.delays.as_str().into(),
            also: config.also.clone().into(),
        }
    }

    /// A pattern of `also` that takes what lies beside a queue, its own or another group's: dead letters would run again.
    pub fn too_wide(&self) -> Option<&String> {
        let beside = |pattern: &String| {
            let own = [self.retry(), self.dead(), self.handled(), self.parked("x"), self.topic.to_string()];
            own.iter().chain(&self.delays()).any(|name| matches(pattern, name))
        };
        self.also.iter().find(|pattern| beside(pattern))
    }

    /// Whether new jobs come from a topic.
    fn takes(&self, topic: &str) -> bool {
        topic == &*self.topic || self.also.iter().any(|pattern| matches(pattern, topic))
    }

    /// Those topics of a cluster whose records are jobs of the queue.
    pub fn own<'t>(&self, there: impl Iterator<Item = &'t String>) -> Vec<String> {
        let retry = self.retry();
        there.filter(|topic| self.takes(topic) || **topic == retry).cloned().collect()
    }

    /// What a consumer subscribes to: names, and regular expressions that begin with `^`.
    pub fn subscription(&self) -> Vec<String> {
        let pattern = |text: &str| text.replace('.', "\\.").replace('*', "[^.]*");
        let also = self.also.iter().map(|other| format!("^{}$", pattern(other)));
        let parked = format!("^{}\\.parked\\..*", pattern(&self.queue));
        [self.topic.to_string(), self.retry(), parked].into_iter().chain(also).collect()
    }

    /// Where retries come back, and whatever else comes back at its time.
    pub fn retry(&self) -> String {
        format!("{}.retry", self.queue)
    }

    pub fn dead(&self) -> String {
        format!("{}.dead", self.queue)
    }

    /// Names the dead letters that operators have dealt with.
    pub fn handled(&self) -> String {
        format!("{}.dead.handled", self.queue)
    }

    pub fn parked(&self, place: &str) -> String {
        format!("{}.parked.{place}", self.queue)
    }

    /// The place whose topic this is.
    pub fn place_of<'t>(&self, topic: &'t str) -> Option<&'t str> {
        topic.strip_prefix(&*self.queue)?.strip_prefix(".parked.")
    }

    pub fn delay(&self, tier: &str) -> String {
        format!("{}.{tier}", self.delays)
    }

    pub fn delays(&self) -> Vec<String> {
        TIERS.iter().map(|(_, tier)| self.delay(tier)).collect()
    }

    /// The group of those who serve the delay topics.
    pub fn forwarders(&self) -> String {
        match self.delays.strip_suffix(".delay") {
            Some(start) => format!("{start}-forwarder"),
            None => format!("{}-forwarder", self.delays),
        }
    }

    /// The topic of the longest tier that fits into a delay; what is shorter than all waits in the shortest.
    pub fn tier(&self, delay: Duration) -> String {
        let fits = TIERS.iter().find(|(span, _)| *span <= delay);
        self.delay(fits.map_or(TIERS[TIERS.len() - 1].1, |(_, tier)| tier))
    }

    /// How long a record waits in a delay topic.
    pub fn span(&self, topic: &str) -> Option<Duration> {
        let tier = topic.strip_prefix(&*self.delays)?.strip_prefix('.')?;
        TIERS.iter().find(|(_, name)| *name == tier).map(|(span, _)| *span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_beside_a_queue_carry_its_group_and_delays_are_shared() {
        let names = Names::new("block", &KafkaConfig::at("b:1", "orders"));
        assert_eq!((&*names.retry(), &*names.dead()), ("orders.windlass.retry", "orders.windlass.dead"));
        assert_eq!(names.place_of("orders.windlass.parked.thumbs"), Some("thumbs"));
        assert_eq!((names.place_of("orders.other.parked.x"), names.place_of("orders.windlass.retry")), (None, None));
        assert_eq!(names.forwarders(), "windlass-forwarder");
    }

    #[test]
    fn further_topics_are_named_by_patterns_that_take_nothing_which_lies_beside_a_queue() {
        let names = |also: &str| Names::new("b", &KafkaConfig { also: vec![also.into()], ..KafkaConfig::at("b:1", "orders") });
        for (pattern, topic, taken) in [
            ("orders-*", "orders-eu", true),
            ("orders-*", "orders-eu.other.dead", false),
            ("pay-*", "pay", false),
            ("*.orders", "eu.orders", true),
            ("a*b*c", "a-b-b-c", true),
            ("payments", "payments2", false),
        ] {
            assert_eq!(names(pattern).takes(topic), taken, "{pattern} {topic}");
        }
        assert_eq!(names("eu.*").subscription()[3], "^eu\\.[^.]*$");
        for (pattern, wide) in [("orders-*", false), ("*.*.dead", true), ("orders.*.retry", true), ("*", true), ("*.*.5s", true)]
        {
            assert_eq!(names(pattern).too_wide().is_some(), wide, "{pattern}");
        }
    }

    #[test]
    fn a_delay_is_served_by_the_longest_tier_that_fits() {
        let names = Names::new("block", &KafkaConfig::at("b:1", "orders"));
        for (millis, tier) in [(0, "1s"), (999, "1s"), (4_999, "1s"), (5_000, "5s"), (119_999, "30s"), (90_000_000, "1h")] {
            let topic = names.tier(Duration::from_millis(millis));
            assert_eq!(topic, format!("windlass.delay.{tier}"));
            assert!(names.span(&topic).unwrap() <= Duration::from_millis(millis.max(1000)));
        }
        assert_eq!(names.span("windlass.delayed.1s"), None);
    }
}
