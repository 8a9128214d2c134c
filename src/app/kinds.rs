//! The table of the kinds that are cargo features: how each is opened or built, in a build that has it.

use std::path::Path;
use std::sync::Arc;

use crate::config::QueueKind;
use crate::config::executor::ExecutorKind;
use crate::executors::command::CommandExecutor;
use crate::executors::python::PythonExecutor;
use crate::ports::{Executor, Queue};
use crate::queues::kafka::config::KafkaStateConfig;
use crate::state::StateStore;

/// Opens a queue of a kind with a client of its own; none for kinds that are in every build. Nothing is connected yet.
/// Jobs may be parked in these places from an earlier run.
///
/// # Errors
/// What is wrong with its block, or that this build has no such kind.
pub fn open(name: &str, kind: &QueueKind, base: &Path, places: &[Arc<str>]) -> Result<Option<Arc<dyn Queue>>, String> {
    let _ = (name, base, places);
    match kind {
        QueueKind::Embedded(_) | QueueKind::Memory(_) => Ok(None),
        #[cfg(feature = "kafka")]
        QueueKind::Kafka(config) => Ok(Some(crate::queues::kafka::open(name, config, base)?)),
        #[cfg(not(feature = "kafka"))]
        QueueKind::Kafka(_) => Err(absent(kind.name())),
        #[cfg(feature = "rabbitmq")]
        QueueKind::Rabbitmq(config) => {
            let queue = crate::queues::rabbitmq::RabbitmqQueue::new(name, config, base)?;
            Ok(Some(Arc::new(queue.beside(places))))
        }
        #[cfg(not(feature = "rabbitmq"))]
        QueueKind::Rabbitmq(_) => Err(absent(kind.name())),
        #[cfg(feature = "sqs")]
        QueueKind::Sqs(config) => Ok(Some(Arc::new(crate::queues::sqs::SqsQueue::new(name, config)?))),
        #[cfg(not(feature = "sqs"))]
        QueueKind::Sqs(_) => Err(absent(kind.name())),
    }
}

/// Builds an executor; none starts a process yet.
///
/// # Errors
/// What is wrong with its block, or that this build has no such kind.
pub fn executor(name: &str, kind: &ExecutorKind, base: &Path) -> Result<Arc<dyn Executor>, String> {
    match kind {
        ExecutorKind::Command(config) => Ok(CommandExecutor::new(name, config.clone(), base)?),
        ExecutorKind::Python(config) => Ok(PythonExecutor::new(name, config.clone(), base)?),
        #[cfg(feature = "http")]
        ExecutorKind::Http(config) => Ok(crate::executors::http::HttpExecutor::new(config, base)?),
        #[cfg(not(feature = "http"))]
        ExecutorKind::Http(_) => Err(absent(kind.word())),
        #[cfg(feature = "lambda")]
        ExecutorKind::Lambda(config) => Ok(crate::executors::lambda::LambdaExecutor::new(config, base)?),
        #[cfg(not(feature = "lambda"))]
        ExecutorKind::Lambda(_) => Err(absent(kind.word())),
    }
}

/// Opens a state store that lies on a broker. Nothing is connected yet.
///
/// # Errors
/// As [`open`].
pub fn state(config: &KafkaStateConfig, base: &Path) -> Result<Arc<dyn StateStore>, String> {
    let _ = (config, base);
    #[cfg(feature = "kafka")]
    return Ok(Arc::new(crate::queues::kafka::TopicStore::open(config, base)?));
    #[cfg(not(feature = "kafka"))]
    Err(absent("kafka"))
}

/// What such a store needs on its broker, as a queue that is only sent to.
///
/// # Errors
/// As [`open`].
pub fn state_topic(config: &KafkaStateConfig, base: &Path) -> Result<Arc<dyn Queue>, String> {
    let _ = (config, base);
    #[cfg(feature = "kafka")]
    return crate::queues::kafka::state_topic(config, base);
    #[cfg(not(feature = "kafka"))]
    Err(absent("kafka"))
}

/// Says that a kind was left out of this build.
#[must_use]
pub fn absent(kind: &str) -> String {
    format!("this build of windlass has no {kind}: use one that was built with --features {kind}")
}
