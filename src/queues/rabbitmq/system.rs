//! One server as one queue of the config uses it: its connections, what is there, and how messages are sent.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use jiff::Timestamp;
use lapin::types::ShortString;

use super::config::{RabbitmqConfig, Topology as Policy};
use super::link::Link;
use super::publisher::{Publisher, To};
use super::receipt::Issuer;
use super::topology::{Role, Topology, Wanted, depth};
use super::{delays, marks, wire};
use crate::clock::between;
use crate::ports::{Found, Outgoing, QueueError};

pub(super) struct System {
    pub config: RabbitmqConfig,
    /// Messages come here and are acknowledged here.
    pub taking: Link,
    /// Everything else.
    pub sending: Link,
    pub publisher: Publisher,
    /// For results that senders have asked for.
    pub answers: Publisher,
    pub topology: Topology,
    /// The places beside the queue that were sent to.
    pub places: Mutex<BTreeSet<Arc<str>>>,
    /// What is taken from here.
    issuers: Mutex<Vec<Weak<Issuer>>>,
}

impl System {
    /// # Errors
    /// What is wrong with the address.
    pub fn new(config: &RabbitmqConfig, password: Option<&str>) -> Result<Self, String> {
        Ok(System {
            taking: Link::new(config, password, "takes")?,
            sending: Link::new(config, password, "sends")?,
            publisher: Publisher::new(),
            answers: Publisher::by_hearsay(),
            topology: Topology::new(&config.delays),
            places: Mutex::default(),
            issuers: Mutex::default(),
            config: config.clone(),
        })
    }

    /// Where the dead letters of a queue lie.
    pub fn dead(&self, home: &str) -> Wanted {
        let name = self.config.dead_letters.clone().unwrap_or_else(|| format!("{home}.dead"));
        Wanted { name: name.into(), role: Role::Dead }
    }

    /// Notes that somebody takes with it.
    pub fn takes(&self, issuer: &Arc<Issuer>) {
        let mut issuers = self.issuers.lock().unwrap_or_else(PoisonError::into_inner);
        issuers.retain(|issuer| issuer.strong_count() > 0);
        issuers.push(Arc::downgrade(issuer));
    }

    /// Whether nothing of a queue waits here or on the server: what is in somebody's hands does not.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn is_drained(&self, queue: &str) -> Result<bool, QueueError> {
        if depth(&self.sending, queue).await?.is_some_and(|(waiting, _)| waiting > 0) {
            return Ok(false);
        }
        // asked last: what the server had a moment ago is here by now, or in somebody's hands
        let issuers = self.issuers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ours = issuers.iter().filter_map(Weak::upgrade).filter(|issuer| *issuer.queue == *queue);
        Ok(!ours.any(|issuer| issuer.shelf.load().waiting > 0))
    }

    /// Makes a queue where that is the policy.
    pub async fn ready(&self, wanted: &Wanted) -> Result<(), QueueError> {
        match self.config.topology {
            Policy::Declare => self.topology.ensure(&self.sending, wanted).await,
            Policy::Check | Policy::Use => Ok(()),
        }
    }

    /// Whether there is this queue, made now where that is the policy.
    pub async fn has(&self, wanted: &Wanted) -> Result<bool, QueueError> {
        self.ready(wanted).await?;
        Ok(depth(&self.sending, &wanted.name).await?.is_some())
    }

    /// Looks at what the jobs of a queue will need, where that is the policy, and tells what is missing or otherwise.
    ///
    /// # Errors
    /// When the queue itself is missing, or the server cannot be asked.
    pub async fn check(&self, wanted: &Wanted) -> Result<(), QueueError> {
        if !matches!(wanted.role, Role::Jobs { .. }) {
            return Ok(());
        }
        if let Err(error) = marks::try_out(self, &wanted.name).await {
            tracing::warn!("{error}");
        }
        if self.config.topology != Policy::Check {
            return Ok(());
        }
        let dead = self.dead(&wanted.name);
        for part in self.topology.look(&self.sending, &[wanted.clone(), dead]).await? {
            match part.found {
                Found::AsWanted => {}
                Found::Missing if part.name == wanted.name => {
                    return Err(QueueError::Unavailable(format!(
                        "queue {:?} does not exist: \"windlass queues create\" makes it, or \"topology: declare\" when it is \
                         first needed",
                        wanted.name
                    )));
                }
                Found::Missing => tracing::warn!(
                    "{:?} does not exist, and jobs that need it will wait: \"windlass queues \
                    create\" makes it",
                    part.name
                ),
                Found::Differs(why) => tracing::warn!("{why}"),
            }
        }
        Ok(())
    }

    /// Resolves when a queue has confirmed that it holds the message, or the delay queues that it will.
    pub async fn send(&self, wanted: &Wanted, outgoing: Outgoing) -> Result<(), QueueError> {
        let sent = self.try_to_send(wanted, outgoing).await;
        if sent.is_err() {
            self.topology.forget(&wanted.name);
        }
        sent
    }

    async fn try_to_send(&self, wanted: &Wanted, outgoing: Outgoing) -> Result<(), QueueError> {
        let (size, most) = (outgoing.message.body.len(), self.config.max_message.0);
        if size as u64 > most {
            return Err(QueueError::Refused(format!(
                "the message has {size} bytes; queue {:?} takes {most}: raise \"max_message\", and max_message_size on the server",
                wanted.name
            )));
        }
        self.ready(wanted).await?;
        let now = Timestamp::now();
        let due = outgoing.due.filter(|due| *due > now);
        let key = self.config.key.as_ref();
        if let Role::Parked { .. } = wanted.role {
            let until = outgoing.due.map_or(delays::LONGEST, |until| between(now, until)).min(delays::LONGEST);
            let expiration = ShortString::from(until.as_millis().to_string());
            let properties = wire::write(&outgoing, None, key)?.with_expiration(expiration);
            self.note_place(wanted);
            return self.publish(wanted, properties, &outgoing).await;
        }
        let properties = wire::write(&outgoing, due, key)?;
        let way = due.and_then(|due| delays::way(&self.topology.prefix, &wanted.name, between(now, due)));
        let Some((exchange, routing_key)) = way else { return self.publish(wanted, properties, &outgoing).await };
        if self.config.topology == Policy::Declare {
            self.topology.ensure_delays(&self.sending, &wanted.name).await?;
        }
        let to = To { exchange: &exchange, routing_key: &routing_key, queue: &exchange };
        self.publisher.publish(&self.sending, to, properties, &outgoing.message.body).await
    }

    /// Sends into any queue of the server, which must be there.
    ///
    /// # Errors
    /// As [`System::send`].
    pub async fn send_to(&self, queue: &str, outgoing: Outgoing) -> Result<(), QueueError> {
        let properties = wire::write(&outgoing, None, self.config.key.as_ref())?;
        let to = To { exchange: "", routing_key: queue, queue };
        self.publisher.publish(&self.sending, to, properties, &outgoing.message.body).await
    }

    async fn publish(&self, wanted: &Wanted, properties: lapin::BasicProperties, outgoing: &Outgoing) -> Result<(), QueueError> {
        let to = To { exchange: "", routing_key: &wanted.name, queue: &wanted.name };
        self.publisher.publish(&self.sending, to, properties, &outgoing.message.body).await
    }

    fn note_place(&self, wanted: &Wanted) {
        if let Some((_, place)) = wanted.name.rsplit_once(super::PARKED) {
            self.places.lock().unwrap_or_else(PoisonError::into_inner).insert(place.into());
        }
    }
}
