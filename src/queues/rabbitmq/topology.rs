//! The queues and exchanges that must be there: what each is, how it is looked for, and how it is made.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lapin::options::{ExchangeBindOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::protocol::AMQPSoftError;
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Error, ExchangeKind};

use super::delays;
use super::link::Link;
use super::trouble;
use crate::ports::{Found, Part, QueueError};

/// Set on every queue, far above any limit of ours: a default of the server must not become the loss of a job.
const DELIVERY_LIMIT: i64 = 1_000_000;

/// A queue to be there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Wanted {
    pub name: Arc<str>,
    pub role: Role,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Role {
    /// Jobs, one consumer at a time where told.
    Jobs {
        single: bool,
    },
    Dead,
    /// Jobs that wait for something, and go back to `home` when their time is over.
    Parked {
        home: Arc<str>,
    },
}

impl Wanted {
    fn arguments(&self) -> FieldTable {
        let mut table = quorum();
        match &self.role {
            Role::Jobs { single: true } => put(&mut table, "x-single-active-consumer", true.into()),
            Role::Jobs { .. } | Role::Dead => {}
            Role::Parked { home } => dead_letter(&mut table, "", Some(home)),
        }
        table
    }

    fn what(&self) -> String {
        let more = match &self.role {
            Role::Jobs { single: false } => "",
            Role::Jobs { single: true } => ", one consumer at a time",
            Role::Dead => ", dead letters",
            Role::Parked { .. } => ", jobs that wait for something",
        };
        format!("quorum queue, x-delivery-limit {DELIVERY_LIMIT}{more}")
    }
}

fn put(table: &mut FieldTable, name: &str, value: AMQPValue) {
    table.insert(name.into(), value);
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

fn quorum() -> FieldTable {
    let mut table = FieldTable::default();
    put(&mut table, "x-queue-type", text("quorum"));
    put(&mut table, "x-delivery-limit", AMQPValue::LongLongInt(DELIVERY_LIMIT));
    table
}

/// At least once: what leaves is kept until its next queue has confirmed it.
fn dead_letter(table: &mut FieldTable, exchange: &str, routing_key: Option<&str>) {
    put(table, "x-dead-letter-exchange", text(exchange));
    if let Some(key) = routing_key {
        put(table, "x-dead-letter-routing-key", text(key));
    }
    put(table, "x-dead-letter-strategy", text("at-least-once"));
    put(table, "x-overflow", text("reject-publish"));
}

/// What of a virtual host is known to be there, and how the rest is looked for and made.
pub(super) struct Topology {
    pub prefix: String,
    known: Mutex<HashSet<String>>,
}

impl Topology {
    pub fn new(prefix: &str) -> Self {
        Topology { prefix: prefix.to_owned(), known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, HashSet<String>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It may be gone: looked for again before it is used the next time.
    pub fn forget(&self, name: &str) {
        self.known().remove(name);
        self.known().remove(&self.prefix);
    }

    /// Makes a queue that was not seen before; another one of that name, made otherwise, is told of.
    ///
    /// # Errors
    /// Why it cannot be made, or what it is instead.
    pub async fn ensure(&self, link: &Link, wanted: &Wanted) -> Result<(), QueueError> {
        if self.known().contains(&*wanted.name) {
            return Ok(());
        }
        let channel = link.channel().await?;
        declare(&channel, &wanted.name, wanted.arguments()).await.map_err(|error| differs(&wanted.name, &error))?;
        self.known().insert(wanted.name.to_string());
        Ok(())
    }

    /// Whether a queue that is there was made as we make it.
    pub async fn is_ours(&self, link: &Link, wanted: &Wanted) -> bool {
        let Ok(channel) = link.channel().await else { return false };
        declare(&channel, &wanted.name, wanted.arguments()).await.is_ok()
    }

    /// Makes the delay queues, and binds the last exchange to a queue.
    ///
    /// # Errors
    /// Why they cannot be made.
    pub async fn ensure_delays(&self, link: &Link, queue: &str) -> Result<(), QueueError> {
        let binding = format!("{}>{queue}", self.prefix);
        if self.known().contains(&binding) {
            return Ok(());
        }
        let channel = link.channel().await?;
        if !self.known().contains(&self.prefix) {
            self.declare_delays(&channel).await?;
            self.known().insert(self.prefix.clone());
        }
        self.bind(&channel, queue).await?;
        self.known().insert(binding);
        Ok(())
    }

    async fn bind(&self, channel: &Channel, queue: &str) -> Result<(), QueueError> {
        let due = delays::due(&self.prefix);
        let (key, options) = (delays::to_queue(queue), QueueBindOptions::default());
        let bound = channel.queue_bind(queue.into(), due.as_str().into(), key.into(), options, FieldTable::default()).await;
        bound.map_err(|error| trouble::doing(&format!("binding {due} to queue {queue:?}"), &error))
    }

    async fn declare_delays(&self, channel: &Channel) -> Result<(), QueueError> {
        let said = |name: &str| {
            let what = format!("delay queue {name:?}");
            move |error: Error| trouble::doing(&what, &error)
        };
        let mut next = delays::due(&self.prefix);
        exchange(channel, &next).await.map_err(said(&next))?;
        for bit in 0..delays::BITS {
            let level = delays::level(&self.prefix, bit);
            exchange(channel, &level).await.map_err(said(&level))?;
            declare(channel, &level, delay_arguments(bit, &next)).await.map_err(said(&level))?;
            let (none, key) = (FieldTable::default, |digit| delays::pattern(bit, digit).into());
            let name = || level.as_str().into();
            channel.queue_bind(name(), name(), key(1), QueueBindOptions::default(), none()).await.map_err(said(&level))?;
            let bind = channel.exchange_bind(next.as_str().into(), name(), key(0), ExchangeBindOptions::default(), none());
            bind.await.map_err(said(&level))?;
            next = level;
        }
        Ok(())
    }

    /// Makes everything that is missing.
    ///
    /// # Errors
    /// What cannot be made, and why.
    pub async fn create(&self, link: &Link, queues: &[Wanted]) -> Result<(), QueueError> {
        for wanted in queues {
            self.forget(&wanted.name);
            self.ensure(link, wanted).await?;
        }
        if let Some(jobs) = queues.iter().find(|wanted| matches!(wanted.role, Role::Jobs { .. })) {
            self.known().remove(&format!("{}>{}", self.prefix, jobs.name));
            self.ensure_delays(link, &jobs.name).await?;
        }
        Ok(())
    }

    /// Looks for everything, and compares queues with what they should be.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn look(&self, link: &Link, queues: &[Wanted]) -> Result<Vec<Part>, QueueError> {
        let mut parts = Vec::new();
        for wanted in queues {
            let found = look_for(link, &wanted.name, wanted.arguments()).await?;
            parts.push(Part { name: wanted.name.clone(), what: wanted.what(), found });
        }
        let mut next = delays::due(&self.prefix);
        let channel = link.channel().await?;
        let options = ExchangeDeclareOptions { passive: true, ..exchange_options() };
        let exchange = channel.exchange_declare(next.as_str().into(), ExchangeKind::Topic, options, FieldTable::default()).await;
        let found = found(&next, exchange)?;
        parts.push(Part { name: next.as_str().into(), what: "topic exchange that brings what is due".into(), found });
        for bit in 0..delays::BITS {
            let level = delays::level(&self.prefix, bit);
            let found = look_for(link, &level, delay_arguments(bit, &next)).await?;
            let what = format!("quorum queue, x-message-ttl {:?}, and topic exchange", Duration::from_secs(1 << bit));
            parts.push(Part { name: level.as_str().into(), what, found });
            next = level;
        }
        Ok(parts)
    }
}

fn delay_arguments(bit: u32, next: &str) -> FieldTable {
    let mut arguments = quorum();
    dead_letter(&mut arguments, next, None);
    put(&mut arguments, "x-message-ttl", AMQPValue::LongLongInt(1000 << bit));
    arguments
}

fn exchange_options() -> ExchangeDeclareOptions {
    ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() }
}

async fn exchange(channel: &Channel, name: &str) -> Result<(), Error> {
    channel.exchange_declare(name.into(), ExchangeKind::Topic, exchange_options(), FieldTable::default()).await
}

pub(super) async fn declare(channel: &Channel, name: &str, arguments: FieldTable) -> Result<(), Error> {
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(name.into(), options, arguments).await.map(|_| ())
}

/// Looks without making anything: arguments are compared only once the queue is known to be there.
async fn look_for(link: &Link, name: &str, arguments: FieldTable) -> Result<Found, QueueError> {
    if depth(link, name).await?.is_none() {
        return Ok(Found::Missing);
    }
    let channel = link.channel().await?;
    match declare(&channel, name, arguments).await {
        // who may not declare cannot compare
        Err(error) if trouble::is(&error, AMQPSoftError::ACCESSREFUSED) => Ok(Found::AsWanted),
        declared => found(name, declared),
    }
}

fn found(name: &str, answer: Result<(), Error>) -> Result<Found, QueueError> {
    match answer {
        Ok(()) => Ok(Found::AsWanted),
        Err(error) if trouble::is(&error, AMQPSoftError::NOTFOUND) => Ok(Found::Missing),
        Err(error) if trouble::is(&error, AMQPSoftError::PRECONDITIONFAILED) => {
            Ok(Found::Differs(differs(name, &error).to_string()))
        }
        Err(error) => Err(trouble::doing(&format!("looking for {name:?}"), &error)),
    }
}

fn differs(name: &str, error: &Error) -> QueueError {
    match trouble::said(error) {
        Some((_, words)) if trouble::is(error, AMQPSoftError::PRECONDITIONFAILED) => QueueError::Unavailable(format!(
            "queue {name:?} is there, but made otherwise ({words}): delete it once it is empty and make it anew, or say \
             \"topology: use\" to take it as it is"
        )),
        _ => trouble::doing(&format!("queue {name:?}"), error),
    }
}

/// Messages that wait in a queue, and its consumers; none when there is no such queue.
///
/// # Errors
/// When the server cannot be asked.
pub(super) async fn depth(link: &Link, name: &str) -> Result<Option<(u32, u32)>, QueueError> {
    let channel = link.channel().await?;
    let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    match channel.queue_declare(name.into(), options, FieldTable::default()).await {
        Ok(queue) => Ok(Some((queue.message_count(), queue.consumer_count()))),
        Err(error) if trouble::is(&error, AMQPSoftError::NOTFOUND) => Ok(None),
        Err(error) => Err(trouble::doing(&format!("looking for queue {name:?}"), &error)),
    }
}
