//! What operators may rely on of the dead letters of every kind that shows them, whether it lets them be browsed or only peeked at.

use std::sync::Arc;

use jiff::Timestamp;
use windlass::job::decode::life_of;
use windlass::job::failure::Death;
use windlass::job::{FailureDocument, Header, Life, Message};
use windlass::outcome::{Class, Reason};
use windlass::ports::{Acted, Action, Cursor, Filter, Outgoing, Queue, State};

use crate::cases::{ack, nothing_more, one, source_of};
use crate::kinds::Kind;

fn job(id: &str) -> Message {
    let body = format!(r#"{{"id":"{id}","type":"mail.send","data":"of {id}"}}"#);
    Message { key: Some("k".into()), headers: vec![Header::new("x", &b"\xff"[..])], ..Message::of(body) }
}

/// The job's message as a dead letter.
fn letter(id: &str, class: Class) -> Message {
    let life = Life { attempt: 20, crashes: 1, generation: 20, ..Life::default() };
    let death =
        Death { reason: Reason::Class(class), class, message: "it broke", log_tail: String::new(), now: Timestamp::now() };
    let mut message = job(id);
    message.set_header("windlass-failure", FailureDocument::new(&id.into(), &life, death).to_json());
    message
}

async fn bury(queue: &Arc<dyn Queue>, id: &str, class: Class) {
    let outgoing = Outgoing { message: letter(id, class), id: Some(id.into()), ..Outgoing::default() };
    queue.dead_letters().send(outgoing).await.unwrap();
}

/// All pages of a listing, in their order.
async fn list(kind: &Kind, queue: &Arc<dyn Queue>, filter: &str, limit: usize) -> Vec<String> {
    let filter = Filter { state: Some(State::Dead), ..serde_json::from_str(filter).unwrap() };
    let (admin, mut ids, mut after) = (kind.desk(queue), Vec::new(), None);
    loop {
        let page = admin.browse(&filter, &Cursor { after, limit }).await.unwrap();
        assert!(page.entries.len() <= limit);
        ids.extend(page.entries.iter().map(|entry| entry.id.to_string()));
        after = page.next;
        if after.is_none() {
            return ids;
        }
    }
}

pub async fn dead_letters_are_looked_at_25_times_in_their_order_and_stay_as_they_are(kind: Kind) {
    let queue = kind.queue("q");
    let ids: Vec<String> = (0..30).map(|number| format!("job-{number:02}")).collect();
    for id in &ids {
        bury(&queue, id, Class::Failed).await;
    }
    for look in 1..=25 {
        assert_eq!(list(&kind, &queue, "{}", look).await, ids, "look {look}");
    }
    let entry = kind.desk(&queue).find(None, "job-17").await.unwrap().expect("it is there");
    let (mut message, failure) = (entry.message.unwrap(), entry.failure.unwrap());
    assert!(message.header("windlass-failure").is_some());
    message.remove_header("windlass-failure");
    assert_eq!((message, failure.attempts, failure.crashes), (job("job-17"), 20, 1));
    assert_eq!(list(&kind, &queue, r#"{"class":"rejected"}"#, 5).await, [""; 0]);
    let stats = kind.desk(&queue).stats().await.unwrap();
    assert_eq!(stats.iter().map(|stats| stats.dead).sum::<u64>(), 30);
}

pub async fn a_replayed_dead_letter_is_run_again_once_and_is_none_any_more(kind: Kind) {
    let queue = kind.queue("q");
    for (id, class) in [("a", Class::Failed), ("b", Class::Rejected), ("c", Class::Failed)] {
        bury(&queue, id, class).await;
    }
    assert_eq!(list(&kind, &queue, r#"{"reason":"rejected"}"#, 5).await, ["b"]);
    let admin = kind.desk(&queue);
    assert_eq!(admin.act("q", "b", &Action::Replay).await.unwrap(), Acted::Done);
    assert_ne!(admin.act("q", "b", &Action::Replay).await.unwrap(), Acted::Done, "it is none any more");
    let mut source = source_of(&queue).await;
    let again = one(&mut source).await;
    let life = life_of(&again.message).unwrap();
    assert_eq!((life.attempt, life.crashes, life.replay), (0, 0, 1));
    let mut message = again.message.clone();
    message.remove_header("windlass-job");
    assert_eq!(message, job("b"));
    ack(again).await;
    nothing_more(&mut source).await;
    assert_eq!(list(&kind, &queue, "{}", 1).await, ["a", "c"]);
}

pub async fn a_discarded_dead_letter_is_not_seen_again(kind: Kind) {
    let queue = kind.queue("q");
    for id in ["a", "b"] {
        bury(&queue, id, Class::Failed).await;
    }
    let admin = kind.desk(&queue);
    assert_eq!(admin.act("q", "a", &Action::Discard { by: "ann".into() }).await.unwrap(), Acted::Done);
    assert_ne!(admin.act("q", "a", &Action::Replay).await.unwrap(), Acted::Done, "it is gone");
    assert_eq!(admin.act("q", "unknown", &Action::Replay).await.unwrap(), Acted::NotFound);
    assert_eq!(list(&kind, &queue, "{}", 10).await, ["b"]);
    nothing_more(&mut source_of(&queue).await).await;
}
