//! What every queue must do, seen through its ports.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use windlass::clock::{after, between};
use windlass::job::decode::facets::sort;
use windlass::job::{Decoding, Header, Life, Message};
use windlass::ports::{Delivery, End, Ending, Order, Outgoing, Queue, QueueError, Room, Settled, Source, Transfer};

use crate::kinds::Kind;

const LEASE: Duration = Duration::from_secs(30);
pub const ROOM: Room = Room { jobs: 100, bytes: 1 << 20, lease: LEASE };

pub fn ending() -> Ending {
    Ending { end: End::Completed, event: None, at: Timestamp::now() }
}

pub async fn send(queue: &Arc<dyn Queue>, body: &str) {
    send_with(queue, Outgoing { message: Message::of(body.to_owned()), ..Outgoing::default() }).await;
}

async fn send_with(queue: &Arc<dyn Queue>, outgoing: Outgoing) {
    queue.sink().send(outgoing).await.unwrap();
}

pub async fn source_of(queue: &Arc<dyn Queue>) -> Box<dyn Source> {
    queue.source(sort(&Decoding::Envelope)).await.unwrap()
}

pub async fn one(source: &mut Box<dyn Source>) -> Delivery {
    let room = Room { jobs: 1, ..ROOM };
    let mut deliveries = tokio::time::timeout(Duration::from_secs(20), source.next(room)).await.expect("nothing came").unwrap();
    assert_eq!(deliveries.len(), 1);
    deliveries.remove(0)
}

pub async fn nothing_more(source: &mut Box<dyn Source>) {
    let more = tokio::time::timeout(Duration::from_millis(300), source.next(ROOM)).await;
    assert!(more.is_err(), "{} more came", more.unwrap().map_or(0, |more| more.len()));
}

pub async fn ack(delivery: Delivery) -> Settled {
    delivery.receipt.ack(ending()).await.map_err(|unsettled| unsettled.error).unwrap()
}

pub async fn what_is_sent_is_delivered_to_the_byte(kind: Kind) {
    let queue = kind.queue("q");
    let message = Message {
        body: b"\x00\xff not JSON"[..].into(),
        key: Some(b"k\xfe"[..].into()),
        headers: vec![Header::new("a", &b"\x80"[..]), Header::new("a", "twice"), Header::new("", "")],
    };
    send_with(&queue, Outgoing { message: message.clone(), id: Some("id-1".into()), ..Outgoing::default() }).await;
    let delivery = one(&mut source_of(&queue).await).await;
    assert_eq!(delivery.message, message);
    let id = queue.capabilities().carries_ids.then_some("id-1");
    assert_eq!((&*delivery.origin.queue, delivery.origin.id.as_deref(), delivery.unsettled), (&*kind.address("q"), id, 0));
}

pub async fn an_acknowledged_message_is_never_seen_again(kind: Kind) {
    let queue = kind.queue("q");
    send(&queue, "a").await;
    let mut source = source_of(&queue).await;
    assert_eq!(ack(one(&mut source).await).await, Settled::Done);
    nothing_more(&mut source).await;
}

pub async fn a_dropped_receipt_gives_the_message_back_uncounted(kind: Kind) {
    let queue = kind.queue("q");
    send(&queue, "first").await;
    send(&queue, "second").await;
    let mut source = source_of(&queue).await;
    let first = one(&mut source).await.message;
    assert!(first.body == "first" || !kind.in_turn);
    for _ in 0..4 {
        let delivery = one(&mut source).await;
        assert_eq!((&delivery.message.body, delivery.unsettled), (&first.body, 0));
    }
}

pub async fn messages_given_back_keep_their_turn_in_whatever_order_they_come_back(kind: Kind) {
    let queue = kind.queue("q");
    for body in ["a", "b", "c", "d"] {
        send(&queue, body).await;
    }
    let mut source = source_of(&queue).await;
    let mut first = kind.in_turn.then(|| ["a", "b", "c"].map(str::to_owned).to_vec());
    for order in [[0, 0, 0], [2, 1, 0], [1, 1, 0]] {
        let mut held = vec![one(&mut source).await, one(&mut source).await, one(&mut source).await];
        let body = |delivery: &Delivery| String::from_utf8_lossy(&delivery.message.body).into_owned();
        let bodies: Vec<String> = held.iter().map(body).collect();
        assert_eq!(&bodies, first.get_or_insert_with(|| bodies.clone()));
        for next in order {
            drop(held.remove(next));
        }
    }
}

pub async fn the_jobs_of_a_key_come_in_the_order_that_the_queue_says_it_keeps(kind: Kind) {
    let queue = kind.queue("q");
    if queue.capabilities().order == Order::None {
        return;
    }
    for number in 0..60 {
        let body = format!(r#"{{"id":"{number}","type":"t","key":"k{}"}}"#, number % 3);
        let message = Message { body: body.into(), key: Some(format!("k{}", number % 3).into()), ..Message::default() };
        send_with(&queue, Outgoing { message, ..Outgoing::default() }).await;
    }
    let mut source = source_of(&queue).await;
    let (mut seen, mut given_back) = ([const { Vec::new() }; 3], HashSet::new());
    while seen.iter().map(Vec::len).sum::<usize>() < 60 {
        let delivery = one(&mut source).await;
        let job: serde_json::Value = serde_json::from_slice(&delivery.message.body).unwrap();
        let number: usize = job["id"].as_str().unwrap().parse().unwrap();
        if number.is_multiple_of(4) && given_back.insert(number) {
            continue;
        }
        ack(delivery).await;
        seen[number % 3].push(number);
    }
    for key in seen {
        assert!(key.is_sorted(), "{key:?}");
    }
}

pub async fn a_lease_that_is_not_renewed_is_lost_and_a_late_ack_changes_nothing(kind: Kind) {
    let queue = kind.queue("q");
    send(&queue, "a").await;
    let mut source = source_of(&queue).await;
    let room = Room { lease: Duration::from_millis(100), ..ROOM };
    let late = source.next(room).await.unwrap().remove(0);
    let next = one(&mut source).await;
    assert_eq!((&next.message.body[..], next.unsettled), (&b"a"[..], 1));
    assert!(matches!(late.receipt.extend(LEASE).await, Err(QueueError::LeaseLost)));
    assert_eq!(ack(late).await, Settled::Fenced);
    assert_eq!(ack(next).await, Settled::Done);
    nothing_more(&mut source).await;
}

pub async fn a_renewed_lease_lasts(kind: Kind) {
    let queue = kind.queue("q");
    send(&queue, "a").await;
    let mut source = source_of(&queue).await;
    let delivery = source.next(Room { lease: Duration::from_millis(400), ..ROOM }).await.unwrap().remove(0);
    for _ in 0..4 {
        nothing_more(&mut source).await;
        delivery.receipt.extend(Duration::from_millis(700)).await.unwrap();
    }
    assert_eq!(ack(delivery).await, Settled::Done);
}

pub async fn a_delayed_message_comes_within_a_second_of_its_time(kind: Kind) {
    let queue = kind.queue("q");
    let mut source = source_of(&queue).await;
    for warm in [true, false] {
        let due = after(Timestamp::now(), Duration::from_millis(1200));
        send_with(&queue, Outgoing { message: Message::of("later"), due: Some(due), ..Outgoing::default() }).await;
        send(&queue, "now").await;
        let now = one(&mut source).await;
        assert_eq!(&now.message.body[..], b"now");
        ack(now).await;
        let later = one(&mut source).await;
        let came = Timestamp::now();
        assert_eq!(&later.message.body[..], b"later");
        // whoever serves the delays of a broker may take its time to begin, once
        assert!(came >= due && (warm || between(due, came) < Duration::from_secs(1)), "due {due}, came {came}");
        ack(later).await;
    }
}

pub async fn higher_priorities_come_first_and_equal_ones_in_order(kind: Kind) {
    let queue = kind.queue("q");
    if !queue.capabilities().honours_priority {
        return;
    }
    for (body, priority) in [("4a", None), ("0", Some(0)), ("9a", Some(9)), ("4b", Some(4)), ("9b", Some(9))] {
        send_with(&queue, Outgoing { message: Message::of(body), priority, ..Outgoing::default() }).await;
    }
    let (mut source, mut deliveries) = (source_of(&queue).await, Vec::new());
    while deliveries.len() < 5 {
        deliveries.extend(source.next(ROOM).await.unwrap()); // may be fewer than wait
    }
    let bodies: Vec<_> = deliveries.iter().map(|delivery| String::from_utf8_lossy(&delivery.message.body)).collect();
    assert_eq!(bodies, ["9a", "9b", "4a", "4b", "0"]);
}

/// What one call yields once everything has come from the server; before, it may be fewer, and is given back.
async fn as_many_as_fit(source: &mut Box<dyn Source>, room: Room, most: usize) -> Vec<Delivery> {
    let all = async {
        loop {
            let deliveries = source.next(room).await.unwrap();
            assert!(deliveries.len() <= most, "{} came where {most} fit", deliveries.len());
            if deliveries.len() == most {
                return deliveries;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), all).await.expect("fewer came than fit")
}

pub async fn a_source_keeps_to_the_room_it_is_given(kind: Kind) {
    let queue = kind.queue("q");
    for _ in 0..10 {
        send(&queue, &"x".repeat(1000)).await;
    }
    let mut source = source_of(&queue).await;
    let _three = as_many_as_fit(&mut source, Room { jobs: 3, ..ROOM }, 3).await;
    let _four = as_many_as_fit(&mut source, Room { bytes: 4500, ..ROOM }, 4).await;
    assert_eq!(source.next(Room { bytes: 10, ..ROOM }).await.unwrap().len(), 1, "a first one that is larger comes alone");
}

pub async fn a_message_of_64_mebibytes_or_the_largest_there_may_be_stops_nobody(kind: Kind) {
    let queue = kind.queue("q");
    let vast = "x".repeat(queue.capabilities().max_message.min(64 << 20));
    for body in ["before", &vast, "after"] {
        send(&queue, body).await;
    }
    let mut source = source_of(&queue).await;
    let (mut wanted, mut came) = ([6, vast.len(), 5], Vec::new());
    while came.len() < 3 {
        let delivery = one(&mut source).await;
        came.push(delivery.message.body.len());
        ack(delivery).await;
    }
    if !kind.in_turn {
        wanted.sort_unstable();
        came.sort_unstable();
    }
    assert_eq!(came, wanted);
}

pub async fn a_call_that_is_dropped_takes_nothing(kind: Kind) {
    let queue = kind.queue("q");
    let mut source = source_of(&queue).await;
    for round in 0..50 {
        let waiting = tokio::time::timeout(Duration::from_micros(50 * round), source.next(ROOM));
        let (taken, ()) = tokio::join!(waiting, send(&queue, "a"));
        let before = taken.map_or(0, |deliveries| deliveries.unwrap().len());
        // whatever the call had was given back with its receipts
        assert!(before <= 1);
        assert_eq!(ack(one(&mut source).await).await, Settled::Done);
    }
    nothing_more(&mut source).await;
}

pub async fn a_start_mark_is_seen_by_the_next_delivery(kind: Kind) {
    let queue = kind.queue("q");
    send(&queue, r#"{"type":"t"}"#).await;
    let mut source = source_of(&queue).await;
    let delivery = one(&mut source).await;
    delivery.receipt.mark(&Life { suspect: true, attempt: 2, ..Life::default() }).await.unwrap();
    drop(delivery);
    let again = one(&mut source).await;
    let life: Life = serde_json::from_slice(again.message.header("windlass-job").unwrap()).unwrap();
    assert!(life.suspect && life.attempt == 2);
}

pub async fn thousands_in_flight_are_each_delivered_once(kind: Kind) {
    const COUNT: usize = 5000;
    let queue = kind.queue("q");
    let sink = queue.sink();
    let sends = (0..COUNT).map(|number| {
        let sink = sink.clone();
        tokio::spawn(async move {
            let message = Message::of(number.to_string());
            sink.send(Outgoing { message, id: Some(number.to_string().into()), ..Outgoing::default() }).await.unwrap();
        })
    });
    let sends: Vec<_> = sends.collect();
    let mut source = source_of(&queue).await;
    let mut seen = HashSet::new();
    while seen.len() < COUNT {
        let deliveries =
            tokio::time::timeout(Duration::from_secs(30), source.next(ROOM)).await.expect("some are missing").unwrap();
        for delivery in deliveries {
            assert!(seen.insert(delivery.message.body.clone()), "{:?} came twice", delivery.message.body);
            tokio::spawn(ack(delivery));
        }
    }
    for send in sends {
        send.await.unwrap();
    }
    nothing_more(&mut source).await;
}

pub async fn a_transfer_is_one_step(kind: Kind) {
    let queue = kind.queue("q");
    send(&queue, "a").await;
    let mut source = source_of(&queue).await;
    let life = Life { attempt: 1, ..Life::default() };
    let at = after(Timestamp::now(), Duration::from_millis(200));
    let settled = one(&mut source).await.receipt.transfer(Transfer::Later { at, life: life.clone() }).await;
    assert!(matches!(settled, Ok(Settled::Done)));
    let again = one(&mut source).await;
    assert!(Timestamp::now() >= at && again.message.header("windlass-job").is_some());
    let document = bytes::Bytes::from_static(br#"{"v":1,"id":"a","reason":"failed","class":"failed","message":"m","attempts":1,"crashes":0,"history":[],"last_failure":"2026-01-01T00:00:00Z","replay":0,"generation":1}"#);
    let settled = again.receipt.transfer(Transfer::Dead { life, document: document.clone(), event: None }).await;
    assert!(matches!(settled, Ok(Settled::Done)));
    nothing_more(&mut source).await;
    let dead = one(&mut source_of(&kind.queue("q.dead")).await).await;
    assert_eq!((&dead.message.body[..], dead.message.header("windlass-failure")), (&b"a"[..], Some(&document)));
}
