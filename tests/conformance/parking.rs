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

/// That these came, in this order where the kind has one.
fn came(kind: &Kind, mut came: Vec<String>, wanted: &[&str]) {
    let mut wanted = wanted.to_vec();
    if !kind.in_turn {
        came.sort();
        wanted.sort_unstable();
    }
    assert_eq!(came, wanted);
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
    let mut bodies = Vec::new();
    while bodies.len() < 3 {
        let delivery = parked.next(Room { jobs: 1, ..ROOM }).await.unwrap().remove(0);
        bodies.push(body(&delivery));
        assert!(delivery.message.header(JOB_HEADER).is_some(), "its life travels with it");
        assert_eq!(ack(delivery).await, Settled::Done);
    }
    came(&kind, bodies, &["low", "high", "middle"]);
    nothing_more(&mut parked).await;
}

pub async fn what_is_parked_for_too_long_comes_back_into_its_queue(kind: Kind) {
    for taken_from in [false, true] {
        let queue = kind.queue(if taken_from { "q" } else { "r" });
        let mut source = source_of(&queue).await;
        let mut held = None;
        send(&queue, "first").await; // a source of a broker may take its time to begin
        ack(one(&mut source).await).await;
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
        came(&kind, back.iter().map(body).collect(), &["a", "b"]);
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
    let first = body(&parked.next(Room { jobs: 1, ..ROOM }).await.unwrap()[0]);
    assert!(first == "a" || !kind.in_turn);
    for _ in 0..2 {
        let delivery = parked.next(Room { jobs: 1, ..ROOM }).await.unwrap().remove(0);
        assert_eq!((body(&delivery), delivery.unsettled), (first.clone(), 0));
    }
    // parked anew it goes to the end
    let delivery = parked.next(Room { jobs: 1, ..ROOM }).await.unwrap().remove(0);
    park(&queue, delivery, after(Timestamp::now(), HOUR)).await;
    let mut bodies = Vec::new();
    while bodies.len() < 2 {
        let delivery = parked.next(Room { jobs: 1, ..ROOM }).await.unwrap().remove(0);
        bodies.push(body(&delivery));
        assert_eq!(ack(delivery).await, Settled::Done);
    }
    came(&kind, bodies, &["b", "a"]);
}

pub async fn a_place_is_drained_when_nothing_is_left_of_it_but_what_somebody_holds(kind: Kind) {
    let queue = kind.queue("q");
    let place = queue.parked("shut");
    assert!(place.drained().await.unwrap(), "nothing was ever there");
    let mut source = source_of(&queue).await;
    park_all(&queue, &mut source, &["a", "b"], after(Timestamp::now(), HOUR)).await;
    assert!(!place.drained().await.unwrap());
    assert!(queue.parked("other").drained().await.unwrap(), "what lies elsewhere does not count");
    let mut parked = source_of(&place).await;
    let a = one(&mut parked).await;
    assert!(!place.drained().await.unwrap(), "b is left");
    let b = one(&mut parked).await;
    assert!(place.drained().await.unwrap());
    drop(b);
    assert!(!place.drained().await.unwrap(), "b was given back");
    let b = one(&mut parked).await;
    for delivery in [a, b] {
        assert_eq!(ack(delivery).await, Settled::Done);
    }
    assert!(place.drained().await.unwrap());
}

pub async fn what_leaves_a_parked_place_goes_where_its_queue_would_send_it(kind: Kind) {
    let queue = kind.queue("q");
    let mut source = source_of(&queue).await;
    park_all(&queue, &mut source, &["later", "dead"], after(Timestamp::now(), HOUR)).await;
    let place = queue.parked("shut");
    let mut parked = source_of(&place).await;
    let (mut later, mut dead) = (one(&mut parked).await, one(&mut parked).await);
    if !kind.in_turn && body(&later) == "dead" {
        (later, dead) = (dead, later);
    }
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
