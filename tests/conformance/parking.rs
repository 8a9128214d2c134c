//! What every queue must do with parked messages: keep them in turn beside the queue, and take them back in time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use windlass::clock::after;
use windlass::job::{JOB_HEADER, Life, Message};
use windlass::ports::{Delivery, Outgoing, Queue, Room, Settled, Source, Transfer};

use crate::cases::{ROOM, ack, nothing_more, one, send, source_of};
use crate::kinds::Kind;

const HOUR: Duration = Duration::from_secs(3600);
const SOON: Duration = Duration::from_millis(300);
/// Long enough for two messages to be parked before it on any queue.
const LATER: Duration = Duration::from_secs(2);

/// Moves a delivery as the engine does: in one step where the queue can, else published and then acknowledged.
async fn park(queue: &Arc<dyn Queue>, delivery: Delivery, until: Timestamp) {
    let life = Life { generation: 1, ..Life::default() };
    if queue.capabilities().transfers {
        let settled = delivery.receipt.transfer(Transfer::Park { place: "shut".into(), until, life }).await;
        assert!(matches!(settled, Ok(Settled::Done)));
        return;
    }
    let mut message = delivery.message.clone();
    message.set_header(JOB_HEADER, life.to_json());
    queue.parked("shut").sink().send(Outgoing { message, due: Some(until), ..Outgoing::default() }).await.unwrap();
    assert_eq!(ack(delivery).await, Settled::Done);
}

async fn park_all(queue: &Arc<dyn Queue>, source: &mut Box<dyn Source>, bodies: &[&str], until: Timestamp) {
    for body in bodies {
        send(queue, body).await;
        let delivery = one(source).await;
        park(queue, delivery, until).await;
    }
}

fn body(delivery: &Delivery) -> String {
    String::from_utf8_lossy(&delivery.message.body).into_owned()
}

pub async fn parked_messages_wait_in_turn_whatever_their_priority(kind: Kind) {
    let queue = kind.queue("q");
    let mut source = source_of(&queue).await;
    for (text, priority) in [("low", 0), ("high", 9), ("middle", 4)] {
        let outgoing = Outgoing { message: Message::of(text), priority: Some(priority), ..Outgoing::default() };
        queue.sink().send(outgoing).await.unwrap();
        let delivery = one(&mut source).await;
        park(&queue, delivery, after(Timestamp::now(), HOUR)).await;
    }
    nothing_more(&mut source).await;
    assert_eq!(queue.places().await.unwrap(), ["shut".into()]);
    let mut parked = source_of(&queue.parked("shut")).await;
    for text in ["low", "high", "middle"] {
        let delivery = parked.next(Room { jobs: 1, ..ROOM }).await.unwrap().remove(0);
        assert_eq!(body(&delivery), text);
        assert!(delivery.message.header(JOB_HEADER).is_some(), "its life travels with it");
        assert_eq!(ack(delivery).await, Settled::Done);
    }
    nothing_more(&mut parked).await;
}

pub async fn what_is_parked_for_too_long_comes_back_into_its_queue(kind: Kind) {
    for taken_from in [false, true] {
        let queue = kind.queue(if taken_from { "q" } else { "r" });
        let mut source = source_of(&queue).await;
        let mut held = None;
        if taken_from {
            // the place is being taken from, and its first message is in somebody's hands
            park_all(&queue, &mut source, &["held"], after(Timestamp::now(), HOUR)).await;
            let mut parked = source_of(&queue.parked("shut")).await;
            held = Some((one(&mut parked).await, parked));
        }
        let until = after(Timestamp::now(), LATER);
        park_all(&queue, &mut source, &["a", "b"], until).await;
        let mut back = vec![one(&mut source).await];
        if back.len() < 2 {
            back.push(one(&mut source).await);
        }
        assert!(Timestamp::now() >= until);
        assert_eq!(back.iter().map(body).collect::<Vec<_>>(), ["a", "b"]);
        for delivery in back {
            assert_eq!(ack(delivery).await, Settled::Done);
        }
        if let Some((delivery, mut parked)) = held {
            nothing_more(&mut parked).await;
            assert_eq!(ack(delivery).await, Settled::Done);
        }
        nothing_more(&mut source).await;
    }
}

pub async fn a_parked_message_that_is_held_does_not_come_a_second_time(kind: Kind) {
    let queue = kind.queue("q");
    let mut source = source_of(&queue).await;
    park_all(&queue, &mut source, &["a"], after(Timestamp::now(), SOON)).await;
    let delivery = one(&mut source_of(&queue.parked("shut")).await).await;
    nothing_more(&mut source).await;
    nothing_more(&mut source).await;
    assert_eq!(ack(delivery).await, Settled::Done);
    nothing_more(&mut source).await;
}

pub async fn a_parked_message_given_back_keeps_its_turn(kind: Kind) {
    let queue = kind.queue("q");
    let mut source = source_of(&queue).await;
    park_all(&queue, &mut source, &["a", "b"], after(Timestamp::now(), HOUR)).await;
    let mut parked = source_of(&queue.parked("shut")).await;
    for _ in 0..3 {
        let delivery = parked.next(Room { jobs: 1, ..ROOM }).await.unwrap().remove(0);
        assert_eq!((body(&delivery), delivery.unsettled), ("a".into(), 0));
    }
    // parked anew it goes to the end
    let delivery = parked.next(Room { jobs: 1, ..ROOM }).await.unwrap().remove(0);
    park(&queue, delivery, after(Timestamp::now(), HOUR)).await;
    for text in ["b", "a"] {
        let delivery = parked.next(Room { jobs: 1, ..ROOM }).await.unwrap().remove(0);
        assert_eq!(body(&delivery), text);
        assert_eq!(ack(delivery).await, Settled::Done);
    }
}

pub async fn what_leaves_a_parked_place_goes_where_its_queue_would_send_it(kind: Kind) {
    let queue = kind.queue("q");
    let mut source = source_of(&queue).await;
    park_all(&queue, &mut source, &["later", "dead"], after(Timestamp::now(), HOUR)).await;
    let place = queue.parked("shut");
    let mut parked = source_of(&place).await;
    let (later, dead) = (one(&mut parked).await, one(&mut parked).await);
    let document = Bytes::from_static(br#"{"v":1,"id":"a","reason":"failed","class":"failed","message":"m","attempts":1,"crashes":0,"history":[],"last_failure":"2026-01-01T00:00:00Z","replay":0,"generation":1}"#);
    if queue.capabilities().transfers {
        let (at, life) = (Timestamp::now(), Life::default());
        assert!(matches!(later.receipt.transfer(Transfer::Later { at, life: life.clone() }).await, Ok(Settled::Done)));
        assert!(matches!(dead.receipt.transfer(Transfer::Dead { life, document, event: None }).await, Ok(Settled::Done)));
    } else {
        queue.sink().send(Outgoing { message: later.message.clone(), ..Outgoing::default() }).await.unwrap();
        place.dead_letters().send(Outgoing { message: dead.message.clone(), ..Outgoing::default() }).await.unwrap();
        ack(later).await;
        ack(dead).await;
    }
    let again = one(&mut source).await;
    assert_eq!((&*again.origin.queue, body(&again)), (&*kind.address("q"), "later".into()));
    let dead = one(&mut source_of(&kind.queue("q.dead")).await).await;
    assert_eq!(body(&dead), "dead");
    nothing_more(&mut parked).await;
}
