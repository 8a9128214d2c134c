//! What is counted of one pool: its slots, what it waits for, its sources and its exits.

use super::names::{
    DELIVERIES, DISCARDED, FENCED_ACKS, GIVEN_BACK, LEASES_LOST, PUBLISH_RETRIES, PUBLISHED, REPLIES, SLOTS, SLOTS_USED,
    SOURCE_ERRORS, WAITING, WAITS,
};
use super::recorder::{Counter, Family, Gauge, Labels, Registry};

/// Why a job, a source or a settlement does not move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wait {
    /// Every slot of the pool is taken.
    NoSlot,
    /// A rate allows the next start later.
    Rate,
    /// As many run as its route, tenant or key may have at once.
    Concurrency,
    /// The breaker of its executor is open, or lets few through after an outage.
    BreakerOpen,
    /// The target of its executor bears no more at once, or wants a pause.
    Throttled,
    /// Another job of its key comes first.
    KeyBusy,
    /// Its last run failed, and it waits at the head of its key.
    Held,
    /// A job that may kill its worker waits for its turn alone, or another one for its end.
    Suspect,
    /// The byte budget for deliveries is spent.
    Bytes,
    /// Its queue was paused by an operator.
    Paused,
    /// A job waits without spending attempts: no route, a shut target.
    Parked,
    /// An outcome cannot be published.
    ExitDown,
    /// A source answers with errors.
    SourceError,
}

impl Wait {
    pub const ALL: [Wait; 13] = [
        Wait::NoSlot,
        Wait::Rate,
        Wait::Concurrency,
        Wait::BreakerOpen,
        Wait::Throttled,
        Wait::KeyBusy,
        Wait::Held,
        Wait::Suspect,
        Wait::Bytes,
        Wait::Paused,
        Wait::Parked,
        Wait::ExitDown,
        Wait::SourceError,
    ];

    /// Those that are looked up and counted; whoever waits for one of the others counts itself.
    pub const LOOKED_UP: [Wait; 11] = [
        Wait::NoSlot,
        Wait::Rate,
        Wait::Concurrency,
        Wait::BreakerOpen,
        Wait::Throttled,
        Wait::KeyBusy,
        Wait::Held,
        Wait::Suspect,
        Wait::Paused,
        Wait::Parked,
        Wait::SourceError,
    ];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Wait::NoSlot => "no_slot",
            Wait::Rate => "rate",
            Wait::Concurrency => "concurrency",
            Wait::BreakerOpen => "breaker_open",
            Wait::Throttled => "throttled",
            Wait::KeyBusy => "key_busy",
            Wait::Held => "held",
            Wait::Bytes => "bytes",
            Wait::Paused => "paused",
            Wait::Parked => "parked",
            Wait::Suspect => "suspect",
            Wait::ExitDown => "exit_down",
            Wait::SourceError => "source_error",
        }
    }
}

/// What discards jobs by itself, and the word for persons.
const DISCARDED_BY: [&str; 4] = ["where", "unique", "batch", "operator"];

/// The metrics of one pool.
pub struct PoolMetrics {
    registry: Registry,
    labels: Labels,
    pub slots: Gauge,
    pub slots_used: Gauge,
    pub fenced_acks: Counter,
    pub leases_lost: Counter,
    pub given_back: Counter,
    waits: [(Gauge, Counter); 13],
    discarded: Family<4>,
    replies: Family<2>,
}

/// The metrics of one source of a pool.
#[derive(Clone)]
pub struct SourceMetrics {
    pub deliveries: Counter,
    pub errors: Counter,
}

/// The metrics of one exit of a pool.
pub struct ExitMetrics {
    pub published: Counter,
    pub retries: Counter,
}

/// Something waits as long as this is held.
pub struct Waiting(Gauge);

impl PoolMetrics {
    pub(super) fn new(registry: &Registry, labels: Labels) -> Self {
        let wait = |reason: Wait| {
            let labels = labels.with("reason", reason.as_str());
            (registry.gauge(&WAITING, &labels), registry.counter(&WAITS, &labels))
        };
        PoolMetrics {
            slots: registry.gauge(&SLOTS, &labels),
            slots_used: registry.gauge(&SLOTS_USED, &labels),
            fenced_acks: registry.counter(&FENCED_ACKS, &labels),
            leases_lost: registry.counter(&LEASES_LOST, &labels),
            given_back: registry.counter(&GIVEN_BACK, &labels),
            waits: Wait::ALL.map(wait),
            discarded: Family::new(registry, &DISCARDED, &labels, "by"),
            replies: Family::new(registry, &REPLIES, &labels, "result"),
            registry: registry.clone(),
            labels,
        }
    }

    /// Counts one more that waits, until what is returned is dropped.
    #[must_use]
    pub fn wait(&self, reason: Wait) -> Waiting {
        let (waiting, waits) = &self.waits[reason as usize];
        waits.increment(1);
        waiting.increment(1.0);
        Waiting(waiting.clone())
    }

    /// How many wait for this reason now, as somebody else counts them.
    pub fn waiting(&self, reason: Wait, count: usize) {
        #[expect(clippy::cast_precision_loss, reason = "nobody has 2^53 jobs in a window")]
        self.waits[reason as usize].0.set(count as f64);
    }

    /// Counts waits that nobody holds, such as that of a job parked in its queue.
    pub fn waits(&self, reason: Wait, count: u64) {
        self.waits[reason as usize].1.increment(count);
    }

    /// Counts a job that was discarded; who it was is told apart only where it was no person.
    pub fn discarded(&self, by: &str) {
        let word = by.split(' ').next().unwrap_or_default();
        let index = DISCARDED_BY.iter().position(|known| *known == word).unwrap_or(DISCARDED_BY.len() - 1);
        self.discarded.at(index, DISCARDED_BY[index]).increment(1);
    }

    /// Counts a result for the sender of its job.
    pub fn replied(&self, confirmed: bool) {
        let word = if confirmed { "confirmed" } else { "unroutable" };
        self.replies.at(usize::from(confirmed), word).increment(1);
    }

    /// Take it once, at start.
    #[must_use]
    pub fn source(&self, queue: &str) -> SourceMetrics {
        let labels = self.labels.with("queue", queue);
        SourceMetrics {
            deliveries: self.registry.counter(&DELIVERIES, &labels),
            errors: self.registry.counter(&SOURCE_ERRORS, &labels),
        }
    }

    /// Take it once, at start.
    #[must_use]
    pub fn exit(&self, exit: &str) -> ExitMetrics {
        let labels = self.labels.with("exit", exit);
        ExitMetrics {
            published: self.registry.counter(&PUBLISHED, &labels),
            retries: self.registry.counter(&PUBLISH_RETRIES, &labels),
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}
