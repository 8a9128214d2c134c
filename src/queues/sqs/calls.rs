//! What is asked of one queue about what was taken from it: deletes and changes of visibility, in batches.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, Message, MessageSystemAttributeName,
};
use futures_util::FutureExt as _;

use super::batch::{Answer, Batcher};
use super::system::{PATIENCE, answers};
use super::trouble;
use crate::ports::QueueError;

pub(super) struct Calls {
    client: Client,
    url: Arc<str>,
    /// For people.
    what: Arc<str>,
    place: Arc<str>,
    pub deletes: Batcher<Arc<str>>,
    /// A handle, and the seconds from now for which nobody else gets the message.
    pub visibility: Batcher<(Arc<str>, i32)>,
}

/// What a request for messages asks.
pub(super) struct Ask {
    pub most: usize,
    pub lease: Duration,
    pub wait: Duration,
}

impl Calls {
    pub fn new(client: &Client, url: &Arc<str>, queue: &str, place: &str) -> Self {
        let (what, place): (Arc<str>, Arc<str>) = (format!("queue {queue:?}").into(), place.into());
        let with = || (client.clone(), url.clone(), what.clone(), place.clone());
        let (of_deletes, of_visibility) = (with(), with());
        Calls {
            client: client.clone(),
            url: url.clone(),
            what: what.clone(),
            place: place.clone(),
            deletes: Batcher::new(move |entries| delete(of_deletes.clone(), entries).boxed()),
            visibility: Batcher::new(move |entries| change(of_visibility.clone(), entries).boxed()),
        }
    }

    /// Waits for messages, ten at most.
    ///
    /// # Errors
    /// A sentence.
    pub async fn receive(&self, ask: Ask) -> Result<Vec<Message>, QueueError> {
        let seconds = |time: Duration| i32::try_from(time.as_secs()).unwrap_or(i32::MAX);
        let most = i32::try_from(ask.most).unwrap_or(10);
        let request = self.client.receive_message().queue_url(&*self.url).max_number_of_messages(most);
        let request = request.wait_time_seconds(seconds(ask.wait)).visibility_timeout(seconds(ask.lease));
        let names = [
            MessageSystemAttributeName::ApproximateReceiveCount,
            MessageSystemAttributeName::SentTimestamp,
            MessageSystemAttributeName::MessageGroupId,
        ];
        let request = request.set_message_system_attribute_names(Some(names.into())).message_attribute_names("All");
        let patience = TimeoutConfig::builder().operation_attempt_timeout(ask.wait + PATIENCE).build();
        let patient = aws_sdk_sqs::config::Config::builder().timeout_config(patience);
        let answer = request.customize().config_override(patient).send().await;
        let answer = answer.map_err(|error| trouble::doing(&self.what, &self.place, &error))?;
        Ok(answer.messages.unwrap_or_default())
    }
}

type With = (Client, Arc<str>, Arc<str>, Arc<str>);

async fn delete((client, url, what, place): With, handles: Vec<Arc<str>>) -> Vec<Answer> {
    let entry = |(number, handle): (usize, &Arc<str>)| {
        DeleteMessageBatchRequestEntry::builder().id(number.to_string()).receipt_handle(&**handle).build().ok()
    };
    let entries = handles.iter().enumerate().filter_map(entry).collect();
    match client.delete_message_batch().queue_url(&*url).set_entries(Some(entries)).send().await {
        Ok(answer) => answers(handles.len(), answer.successful.iter().map(|entry| entry.id.as_str()), &answer.failed, &what),
        Err(error) => vec![Err(trouble::doing(&what, &place, &error)); handles.len()],
    }
}

async fn change((client, url, what, place): With, changes: Vec<(Arc<str>, i32)>) -> Vec<Answer> {
    let entry = |(number, (handle, seconds)): (usize, &(Arc<str>, i32))| {
        let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(number.to_string());
        entry.receipt_handle(&**handle).visibility_timeout(*seconds).build().ok()
    };
    let entries = changes.iter().enumerate().filter_map(entry).collect();
    match client.change_message_visibility_batch().queue_url(&*url).set_entries(Some(entries)).send().await {
        Ok(answer) => answers(changes.len(), answer.successful.iter().map(|entry| entry.id.as_str()), &answer.failed, &what),
        Err(error) => vec![Err(trouble::doing(&what, &place, &error)); changes.len()],
    }
}
