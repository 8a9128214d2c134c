//! What operators may rely on, of every kind that they reach: submit by id, listings, pause, cancel, replay, discard.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use windlass::clock::after;
use windlass::job::decode::life_of;
use windlass::job::failure::Death;
use windlass::job::{FailureDocument, Header, Life, Message};
use windlass::outcome::{Class, Reason};
use windlass::ports::{
    Acted, Action, Cursor, Delivery, End, Ending, Entry, Filter, NewJob, Outgoing, Queue, Settled, State, Transfer,
};

use crate::cases::{ack, ending, nothing_more, one, source_of};
use crate::kinds::Kind;

const HOUR: Duration = Duration::from_secs(3600);

fn job(id: &str) -> NewJob {
    let body = format!(r#"{{"id":"{id}","type":"mail.send","tenant":"acme","data":"of {id}"}}"#);
    let message = Message { key: Some("k".into()), headers: vec![Header::new("x", &b"\xff"[..])], ..Message::of(body) };
    NewJob { id: id.into(), message, due: None, priority: 4 }
}

fn delayed(id: &str) -> NewJob {
    NewJob { due: Some(after(Timestamp::now(), HOUR)), ..job(id) }
}

/// The ids that were new.
async fn submit(kind: &Kind, queue: &str, jobs: Vec<NewJob>) -> Vec<String> {
    let submitted = kind.admin().submit(queue, jobs).await.unwrap();
    submitted.iter().filter(|job| !job.existing).map(|job| job.id.to_string()).collect()
}

async fn act(kind: &Kind, id: &str, action: Action) -> Acted {
    kind.admin().act("q", id, &action).await.unwrap()
}

fn cancel(discard: bool) -> Action {
    Action::Cancel { by: "ann".into(), discard }
}

async fn find(kind: &Kind, id: &str) -> Option<Entry> {
    kind.admin().find(Some("q"), id).await.unwrap()
}

async fn state(kind: &Kind, id: &str) -> Option<State> {
    find(kind, id).await.map(|entry| entry.state)
}

/// All pages of a listing, in their order.
async fn list(kind: &Kind, filter: &Filter, limit: usize) -> Vec<String> {
    let (mut ids, mut after) = (Vec::new(), None);
    loop {
        let page = kind.admin().browse(filter, &Cursor { after, limit }).await.unwrap();
        assert!(page.entries.len() <= limit);
        ids.extend(page.entries.iter().map(|entry| entry.id.to_string()));
        after = page.next;
        if after.is_none() {
            return ids;
        }
    }
}

/// Ends a delivery in the dead letters as the engine does: in one step where the queue can, else published first.
async fn bury(queue: &Arc<dyn Queue>, delivery: Delivery, words: &str) {
    let id = delivery.origin.id.clone().unwrap();
    let life = Life { attempt: 20, crashes: 1, generation: 20, ..Life::default() };
    let death = Death {
        reason: Reason::Class(Class::Failed),
        class: Class::Failed,
        message: words,
        log_tail: String::new(),
        now: Timestamp::now(),
    };
    let document = Bytes::from(FailureDocument::new(&id, &life, death).to_json());
    if queue.capabilities().transfers {
        let settled = delivery.receipt.transfer(Transfer::Dead { life, document, event: None }).await;
        return assert!(matches!(settled, Ok(Settled::Done)));
    }
    let mut message = delivery.message.clone();
    message.set_header("windlass-failure", document);
    queue.dead_letters().send(Outgoing { message, id: Some(id), ..Outgoing::default() }).await.unwrap();
    let end = Ending { end: End::DeadLettered(Reason::Class(Class::Failed)), ..ending() };
    assert!(matches!(delivery.receipt.ack(end).await, Ok(Settled::Done)));
}

pub async fn a_job_is_there_once_however_often_it_is_submitted(kind: Kind) {
    assert_eq!(submit(&kind, "q", vec![job("a"), job("b")]).await, ["a", "b"]);
    let other = NewJob { message: Message::of("another body"), ..job("b") };
    assert_eq!(submit(&kind, "q", vec![other.clone(), job("c"), job("c")]).await, ["c"]);
    let mut source = source_of(&kind.queue("q")).await;
    for id in ["a", "b", "c"] {
        let delivery = one(&mut source).await;
        assert_eq!((delivery.origin.id.as_deref(), &delivery.message), (Some(id), &job(id).message));
        assert!(submit(&kind, "q", vec![job(id)]).await.is_empty(), "known while it runs");
        ack(delivery).await;
    }
    assert!(submit(&kind, "q", vec![job("a"), other]).await.is_empty(), "known after its end");
    nothing_more(&mut source).await;
    assert_eq!(submit(&kind, "other", vec![job("a")]).await, ["a"], "each queue knows its own");
}

pub async fn of_jobs_submitted_together_all_are_kept_or_none(kind: Kind) {
    let refused = kind.admin().submit("q", vec![job("a"), job(&"x".repeat(301))]).await.unwrap_err();
    assert!(refused.to_string().contains("300"), "{refused}");
    assert!(find(&kind, "a").await.is_none());
    nothing_more(&mut source_of(&kind.queue("q")).await).await;
}

pub async fn jobs_are_found_by_state_and_by_what_is_known_of_them(kind: Kind) {
    let queue = kind.queue("q");
    let mut source = source_of(&queue).await;
    submit(&kind, "q", vec![job("dead"), job("completed"), job("running")]).await;
    bury(&queue, one(&mut source).await, "it broke on tuesday").await;
    ack(one(&mut source).await).await;
    let running = one(&mut source).await;
    submit(&kind, "q", vec![job("waiting"), delayed("delayed"), delayed("discarded")]).await;
    assert_eq!(act(&kind, "discarded", cancel(true)).await, Acted::Done);
    submit(&kind, "other", vec![job("elsewhere")]).await;
    for (filter, expected) in [
        (r#"{"queue":"q","state":"dead"}"#, &["dead"][..]),
        (r#"{"state":"completed"}"#, &["completed"]),
        (r#"{"state":"running"}"#, &["running"]),
        (r#"{"queue":"q","state":"waiting"}"#, &["waiting"]),
        (r#"{"state":"delayed"}"#, &["delayed"]),
        (r#"{"state":"discarded"}"#, &["discarded"]),
        (r#"{"queue":"other"}"#, &["elsewhere"]),
        (r#"{"queue":"nowhere"}"#, &[]),
        (r#"{"reason":"failed","class":"failed"}"#, &["dead"]),
        (r#"{"text":"tuesday"}"#, &["dead"]),
        (r#"{"text":"of waiting","tenant":"acme"}"#, &["waiting"]),
        (r#"{"type":"mail.*","state":"delayed"}"#, &["delayed"]),
        (r#"{"type":"other"}"#, &[]),
        (r#"{"tenant":"globex"}"#, &[]),
    ] {
        assert_eq!(list(&kind, &serde_json::from_str(filter).unwrap(), 3).await, expected, "{filter}");
    }
    let stats = kind.admin().stats().await.unwrap();
    let of_queue = stats.iter().find(|stats| &*stats.queue == "q").unwrap();
    let known = [of_queue.delayed, of_queue.running, of_queue.completed, of_queue.discarded];
    assert_eq!((of_queue.waiting, of_queue.dead, known), (1, 1, [Some(1); 4]));
    assert_eq!(find(&kind, "waiting").await.unwrap().message, Some(job("waiting").message));
    drop(running);
}

pub async fn pages_follow_each_other_without_gap_or_repetition(kind: Kind) {
    let expected: Vec<String> = (0..23).map(|number| format!("{number:02}")).collect();
    for ids in expected.chunks(5) {
        submit(&kind, "q", ids.iter().map(|id| job(id)).collect()).await;
    }
    for limit in [1, 4, 23, 100] {
        assert_eq!(list(&kind, &Filter::default(), limit).await, expected, "oldest first");
    }
    let bad = kind.admin().browse(&Filter::default(), &Cursor { after: Some("?".into()), limit: 1 }).await;
    assert!(bad.unwrap_err().to_string().contains("cursor"));
    let mut source = source_of(&kind.queue("q")).await;
    for _ in 0..10 {
        ack(one(&mut source).await).await;
    }
    let all = list(&kind, &Filter::default(), 3).await;
    assert_eq!((all.len(), all.into_iter().collect::<BTreeSet<_>>().len()), (23, 23), "those that ended among them");
}

pub async fn a_paused_queue_hands_out_nothing_until_it_is_resumed(kind: Kind) {
    let mut source = source_of(&kind.queue("q")).await;
    kind.admin().pause("q", true).await.unwrap();
    submit(&kind, "q", vec![job("a")]).await;
    submit(&kind, "other", vec![job("b")]).await;
    nothing_more(&mut source).await;
    let paused = kind.admin().stats().await.unwrap().into_iter().filter(|stats| stats.paused).map(|stats| stats.queue);
    assert_eq!(paused.collect::<Vec<_>>(), ["q".into()]);
    ack(one(&mut source_of(&kind.queue("other")).await).await).await;
    kind.admin().pause("q", false).await.unwrap();
    assert_eq!(one(&mut source).await.origin.id.as_deref(), Some("a"));
}

pub async fn a_waiting_job_is_cancelled_into_the_dead_letters_or_for_good(kind: Kind) {
    submit(&kind, "q", vec![job("a"), job("b"), delayed("c")]).await;
    let mut source = source_of(&kind.queue("q")).await;
    assert_eq!(act(&kind, "a", cancel(false)).await, Acted::Done);
    assert_eq!(act(&kind, "b", cancel(true)).await, Acted::Done);
    assert_eq!(act(&kind, "c", cancel(false)).await, Acted::Done);
    for id in ["a", "c"] {
        let entry = find(&kind, id).await.unwrap();
        let failure = entry.failure.unwrap();
        assert_eq!(
            (entry.state, failure.reason, &*failure.message),
            (State::Dead, Reason::Class(Class::Aborted), "cancelled by ann")
        );
        let mut message = entry.message.unwrap();
        message.remove_header("windlass-failure");
        assert_eq!(message, job(id).message);
    }
    assert_eq!(state(&kind, "b").await, Some(State::Discarded));
    nothing_more(&mut source).await;
}

pub async fn what_runs_has_ended_or_is_unknown_is_not_cancelled(kind: Kind) {
    submit(&kind, "q", vec![job("a")]).await;
    let mut source = source_of(&kind.queue("q")).await;
    let running = one(&mut source).await;
    assert_eq!(act(&kind, "a", cancel(true)).await, Acted::NotNow(State::Running));
    assert_eq!(ack(running).await, Settled::Done);
    assert_eq!(act(&kind, "a", cancel(true)).await, Acted::NotNow(State::Completed));
    assert_eq!(act(&kind, "b", cancel(true)).await, Acted::NotFound);
}

pub async fn a_delayed_job_runs_now_when_asked(kind: Kind) {
    submit(&kind, "q", vec![delayed("a")]).await;
    let mut source = source_of(&kind.queue("q")).await;
    nothing_more(&mut source).await;
    assert_eq!(act(&kind, "a", Action::RunNow).await, Acted::Done);
    let delivery = one(&mut source).await;
    assert_eq!(act(&kind, "a", Action::RunNow).await, Acted::NotNow(State::Running));
    ack(delivery).await;
    nothing_more(&mut source).await;
}

pub async fn a_replayed_dead_letter_comes_again_as_it_was_with_a_new_life(kind: Kind) {
    let queue = kind.queue("q");
    submit(&kind, "q", vec![job("a")]).await;
    let mut source = source_of(&queue).await;
    bury(&queue, one(&mut source).await, "no").await;
    assert!(submit(&kind, "q", vec![job("a")]).await.is_empty(), "a dead letter's id is known");
    nothing_more(&mut source).await;
    assert_eq!(act(&kind, "a", Action::Replay).await, Acted::Done);
    let again = one(&mut source).await;
    let life = life_of(&again.message).unwrap();
    assert_eq!((life.attempt, life.crashes, life.replay), (0, 0, 1));
    let mut message = again.message.clone();
    message.remove_header("windlass-job");
    assert_eq!(message, job("a").message);
    assert_eq!(act(&kind, "a", Action::Replay).await, Acted::NotNow(State::Running));
    ack(again).await;
    assert_eq!(act(&kind, "a", Action::Replay).await, Acted::NotNow(State::Completed));
}

pub async fn a_discarded_dead_letter_is_gone_for_good(kind: Kind) {
    let queue = kind.queue("q");
    submit(&kind, "q", vec![job("a"), job("b")]).await;
    let mut source = source_of(&queue).await;
    bury(&queue, one(&mut source).await, "no").await;
    let discard = || Action::Discard { by: "ann".into() };
    assert_eq!(act(&kind, "a", discard()).await, Acted::Done);
    assert_eq!(act(&kind, "a", Action::Replay).await, Acted::NotNow(State::Discarded));
    assert_eq!(act(&kind, "b", discard()).await, Acted::NotNow(State::Waiting));
    assert_eq!(one(&mut source).await.origin.id.as_deref(), Some("b"));
    nothing_more(&mut source_of(&kind.queue("q.dead")).await).await;
}

pub async fn whoever_waits_for_the_end_of_a_job_is_told(kind: Kind) {
    submit(&kind, "q", vec![job("a"), job("b")]).await;
    let mut source = source_of(&kind.queue("q")).await;
    let (ended, _) = tokio::join!(kind.admin().ended("q", "a", HOUR), async { ack(one(&mut source).await).await });
    assert_eq!(ended.unwrap().unwrap().state, State::Completed);
    let cancel = cancel(false);
    let (ended, acted) = tokio::join!(kind.admin().ended("q", "b", HOUR), kind.admin().act("q", "b", &cancel));
    assert_eq!((ended.unwrap().unwrap().state, acted.unwrap()), (State::Dead, Acted::Done));
    assert!(kind.admin().ended("q", "unknown", HOUR).await.unwrap().is_none(), "nobody waits for what is not there");
}
