//! One account and region as one queue of the config uses them: the client, what is there, and how messages are sent.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::Region;
use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
use futures_util::FutureExt as _;
use jiff::Timestamp;
use tokio::sync::{Notify, OnceCell};

use super::batch::{Answer, Batcher};
use super::config::{FIFO, PARKED, SqsConfig, Topology as Policy};
use super::receipt::Issuer;
use super::topology::{self, Role, Wanted};
use super::wire::{self, Written};
use super::{marks, trouble};
use crate::clock::between;
use crate::ports::{Outgoing, QueueError};

/// How long a message can be made to wait when it is sent.
pub(super) const LONGEST_HOP: Duration = Duration::from_secs(900);
/// How long one try of a request may take, beside the time that it waits for messages.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

type Sends = Arc<Batcher<(Written, i32)>>;

pub(super) struct System {
    pub config: SqsConfig,
    pub home: Arc<str>,
    pub fifo: bool,
    /// Where it is, for people.
    pub place: String,
    client: OnceCell<Client>,
    urls: Mutex<HashMap<Arc<str>, Arc<str>>>,
    /// Held by whoever looks for a queue or makes one; the others wait for the answer.
    finding: tokio::sync::Mutex<()>,
    sends: Mutex<HashMap<Arc<str>, Sends>>,
    /// The places beside the queue that hold jobs, and when the first of them has waited long enough, where that is known.
    places: Mutex<BTreeMap<Arc<str>, Option<Timestamp>>>,
    pub places_changed: Notify,
    /// What is taken from here.
    issuers: Mutex<Vec<Weak<Issuer>>>,
    /// Messages that came when nobody took any more, and how often: these deliveries are held against nobody.
    bounced: Mutex<HashMap<Arc<str>, u32>>,
    pub marks: marks::Seen,
    /// The queue was seen to have a redrive policy of its owner's.
    pub redriven: AtomicBool,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl System {
    pub fn new(home: &str, config: &SqsConfig) -> Self {
        let region = config.region.as_deref().map_or("the usual region", |region| region);
        System {
            home: home.into(),
            fifo: home.ends_with(FIFO),
            place: config.endpoint.clone().unwrap_or_else(|| format!("SQS in {region}")),
            client: OnceCell::new(),
            urls: Mutex::default(),
            finding: tokio::sync::Mutex::default(),
            sends: Mutex::default(),
            places: Mutex::default(),
            places_changed: Notify::new(),
            issuers: Mutex::default(),
            bounced: Mutex::default(),
            marks: marks::Seen::default(),
            redriven: AtomicBool::default(),
            config: config.clone(),
        }
    }

    /// The client, made with the first call: credentials and region are looked for then.
    pub async fn client(&self) -> &Client {
        self.client.get_or_init(|| connect(&self.config)).await
    }

    /// Notes that somebody takes with it.
    pub fn takes(&self, issuer: &Arc<Issuer>) {
        let mut issuers = locked(&self.issuers);
        issuers.retain(|issuer| issuer.strong_count() > 0);
        issuers.push(Arc::downgrade(issuer));
    }

    /// What is taken in this process from a queue.
    pub fn taking(&self, queue: &str) -> Vec<Arc<Issuer>> {
        locked(&self.issuers).iter().filter_map(Weak::upgrade).filter(|issuer| *issuer.wanted.name == *queue).collect()
    }

    pub fn places(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Option<Timestamp>>> {
        locked(&self.places)
    }

    pub fn bounced(&self) -> MutexGuard<'_, HashMap<Arc<str>, u32>> {
        locked(&self.bounced)
    }

    /// The places beside the queue, those that other workers have made included where we may list queues.
    ///
    /// # Errors
    /// When the service cannot be asked.
    pub async fn list_places(&self) -> Result<Vec<Arc<str>>, QueueError> {
        let stem = self.home.strip_suffix(FIFO).unwrap_or(&self.home);
        let mut pages = self.client().await.list_queues().queue_name_prefix(format!("{stem}{PARKED}")).into_paginator().send();
        while let Some(page) = pages.next().await {
            match page {
                Ok(page) => {
                    let names = page.queue_urls.iter().flatten().filter_map(|url| url.rsplit('/').next());
                    let ours = names.filter(|name| name.ends_with(FIFO) == self.fifo);
                    let mut places = self.places();
                    for place in ours.filter_map(|name| topology::place_of(&self.home, name)) {
                        places.entry(place.into()).or_default();
                    }
                }
                Err(error) if trouble::is_denied(&error) => break, // those of this process are known all the same
                Err(error) => return Err(trouble::doing("listing queues", &self.place, &error)),
            }
        }
        Ok(self.places().keys().cloned().collect())
    }

    /// The address of a queue, asked for once; none when it does not exist.
    ///
    /// # Errors
    /// When the service cannot be asked.
    pub async fn find(&self, queue: &Arc<str>) -> Result<Option<Arc<str>>, QueueError> {
        if let Some(url) = self.known(queue) {
            return Ok(Some(url));
        }
        let _finding = self.finding.lock().await;
        self.ask(queue).await
    }

    fn known(&self, queue: &Arc<str>) -> Option<Arc<str>> {
        let base = self.config.queue.as_deref().and_then(|url| url.rsplit_once('/'));
        base.map(|(base, _)| format!("{base}/{queue}").into()).or_else(|| locked(&self.urls).get(queue).cloned())
    }

    async fn ask(&self, queue: &Arc<str>) -> Result<Option<Arc<str>>, QueueError> {
        if let Some(url) = self.known(queue) {
            return Ok(Some(url));
        }
        match self.client().await.get_queue_url().queue_name(&**queue).send().await {
            Ok(found) => {
                let url: Arc<str> = found.queue_url.unwrap_or_default().into();
                locked(&self.urls).insert(queue.clone(), url.clone());
                Ok(Some(url))
            }
            Err(error) if trouble::is_missing(&error) => Ok(None),
            Err(error) => Err(trouble::doing(&format!("queue {queue:?}"), &self.place, &error)),
        }
    }

    /// As [`System::find`]; a queue that is missing is made where that is the policy.
    ///
    /// # Errors
    /// When it is missing, or the service cannot be asked.
    pub async fn url(&self, wanted: &Wanted) -> Result<Arc<str>, QueueError> {
        if let Some(url) = self.known(&wanted.name) {
            return Ok(url);
        }
        let _finding = self.finding.lock().await;
        if let Some(url) = self.ask(&wanted.name).await? {
            return Ok(url);
        }
        if self.config.topology == Policy::Declare {
            topology::make(self, wanted).await?;
            if let Some(url) = self.ask(&wanted.name).await? {
                return Ok(url);
            }
        }
        Err(QueueError::Unavailable(format!("queue {:?} at {}: {}", wanted.name, self.place, trouble::MISSING)))
    }

    /// It may be gone: looked for again before it is used the next time.
    pub fn forget(&self, queue: &Arc<str>) {
        locked(&self.urls).remove(queue);
        locked(&self.sends).remove(queue);
    }

    /// Resolves when the queue has confirmed that it holds the message.
    ///
    /// # Errors
    /// Why it does not, or is not known to.
    pub async fn send(&self, wanted: &Wanted, outgoing: &Outgoing) -> Answer {
        let sent = self.try_to_send(wanted, outgoing).await;
        if matches!(sent, Err(QueueError::Unavailable(_))) {
            self.forget(&wanted.name);
        }
        sent
    }

    async fn try_to_send(&self, wanted: &Wanted, outgoing: &Outgoing) -> Answer {
        let now = Timestamp::now();
        let parked = matches!(wanted.role, Role::Parked);
        let due = outgoing.due.filter(|due| *due > now || parked);
        let written = wire::write(outgoing, due, self.fifo)?;
        // whole seconds, rounded down: the rest is waited for by whoever takes it. A FIFO queue delays none by itself
        let delay = due.filter(|_| !parked && !self.fifo).map_or(Duration::ZERO, |due| between(now, due).min(LONGEST_HOP));
        let sends = self.sends(wanted).await?;
        if let (true, Some(due)) = (parked, due) {
            self.note_place(&wanted.name, due);
        }
        let size = written.size;
        sends.send((written, i32::try_from(delay.as_secs()).unwrap_or_default()), size).await
    }

    fn note_place(&self, queue: &str, due: Timestamp) {
        let Some(place) = topology::place_of(&self.home, queue) else { return };
        let mut places = locked(&self.places);
        let first = places.entry(place.into()).or_default();
        if first.is_none_or(|first| due < first) {
            *first = Some(due);
            drop(places);
            self.places_changed.notify_one();
        }
    }

    async fn sends(&self, wanted: &Wanted) -> Result<Sends, QueueError> {
        if let Some(sends) = locked(&self.sends).get(&wanted.name) {
            return Ok(sends.clone());
        }
        let (url, client) = (self.url(wanted).await?, self.client().await.clone());
        let (name, place) = (wanted.name.clone(), self.place.clone());
        let call =
            move |entries| send_all(client.clone(), url.clone(), format!("queue {name:?}"), place.clone(), entries).boxed();
        Ok(locked(&self.sends).entry(wanted.name.clone()).or_insert_with(|| Arc::new(Batcher::new(call))).clone())
    }

    /// Waits until nothing is on its way any more.
    pub async fn idle(&self) {
        let sends: Vec<Sends> = locked(&self.sends).values().cloned().collect();
        for batcher in sends {
            batcher.idle().await;
        }
        let issuers: Vec<Arc<Issuer>> = locked(&self.issuers).iter().filter_map(Weak::upgrade).collect();
        for issuer in issuers {
            issuer.idle().await;
        }
    }
}

async fn connect(config: &SqsConfig) -> Client {
    let timeouts = TimeoutConfig::builder().connect_timeout(Duration::from_secs(5)).operation_attempt_timeout(PATIENCE).build();
    // what fails is tried again by whoever waits for it, with the reason told
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .timeout_config(timeouts)
        .retry_config(RetryConfig::standard().with_max_attempts(2));
    if let Some(region) = &config.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some(profile) = &config.profile {
        loader = loader.profile_name(profile);
    }
    let shared = loader.load().await;
    let mut builder = aws_sdk_sqs::config::Builder::from(&shared);
    if let Some(role) = &config.role {
        let role = aws_config::sts::AssumeRoleProvider::builder(role).session_name("windlass").configure(&shared).build().await;
        builder = builder.credentials_provider(role);
    }
    if let Some(endpoint) = &config.endpoint {
        builder = builder.endpoint_url(endpoint);
    }
    Client::from_conf(builder.build())
}

async fn send_all(client: Client, url: Arc<str>, what: String, place: String, entries: Vec<(Written, i32)>) -> Vec<Answer> {
    let count = entries.len();
    let mut request = client.send_message_batch().queue_url(&*url);
    for (number, (written, delay)) in entries.into_iter().enumerate() {
        let entry = SendMessageBatchRequestEntry::builder()
            .id(number.to_string())
            .message_body(written.body)
            .set_message_attributes(Some(written.attributes).filter(|attributes| !attributes.is_empty()))
            .set_message_group_id(written.group)
            .set_message_deduplication_id(written.deduplication)
            .set_delay_seconds(Some(delay).filter(|delay| *delay > 0));
        if let Ok(entry) = entry.build() {
            request = request.entries(entry);
        }
    }
    match request.send().await {
        Ok(answer) => {
            let done = answer.successful.iter().map(|entry| entry.id.as_str());
            answers(count, done, &answer.failed, &what)
        }
        Err(error) => vec![Err(trouble::doing(&what, &place, &error)); count],
    }
}

/// The answer to each entry of a request, which the service names in any order.
pub(super) fn answers<'a>(
    count: usize,
    done: impl Iterator<Item = &'a str>,
    failed: &[aws_sdk_sqs::types::BatchResultErrorEntry],
    what: &str,
) -> Vec<Answer> {
    let silent = || Err(QueueError::Unavailable(format!("{what}: the server has not answered for this message")));
    let mut answers: Vec<Answer> = (0..count).map(|_| silent()).collect();
    let mut put = |id: &str, answer| {
        if let Some(place) = id.parse::<usize>().ok().and_then(|number| answers.get_mut(number)) {
            *place = answer;
        }
    };
    done.for_each(|id| put(id, Ok(())));
    failed.iter().for_each(|failed| put(failed.id(), Err(trouble::entry(what, failed))));
    answers
}
