//! The table of the queue kinds that are cargo features: how each is opened, in a build that has it.

use std::path::Path;
use std::sync::Arc;

use crate::config::QueueKind;
use crate::ports::Queue;

/// Opens a queue of a kind with a client of its own; none for kinds that are in every build. Nothing is connected yet.
///
/// # Errors
/// What is wrong with its block, or that this build has no such kind.
pub fn open(name: &str, kind: &QueueKind, base: &Path) -> Result<Option<Arc<dyn Queue>>, String> {
    let _ = (name, base);
    match kind {
        QueueKind::Embedded(_) | QueueKind::Memory(_) => Ok(None),
        #[cfg(feature = "kafka")]
        QueueKind::Kafka(config) => Ok(Some(crate::queues::kafka::open(name, config, base)?)),
        #[cfg(not(feature = "kafka"))]
        QueueKind::Kafka(_) => Err(absent(kind.name())),
        #[cfg(feature = "rabbitmq")]
        QueueKind::Rabbitmq(config) => Ok(Some(Arc::new(crate::queues::rabbitmq::RabbitmqQueue::new(name, config, base)?))),
        #[cfg(not(feature = "rabbitmq"))]
        QueueKind::Rabbitmq(_) => Err(absent(kind.name())),
    }
}

/// Says that a kind was left out of this build.
#[must_use]
pub fn absent(kind: &str) -> String {
    format!("this build of windlass has no {kind}: use one that was built with --features {kind}")
}
