//! Stops, kills, cut connections, alarms, a queue deleted under load: nothing that was confirmed is lost.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use windlass::ports::{QueueError, Settled};

use crate::server::{LONG, ROOM, Server, ack, message, one, sent, source_of};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "starts a server of RabbitMQ"]
async fn rabbitmq_may_stop_be_killed_and_cut_connections_and_nothing_confirmed_is_lost() {
    let server = Server::up();
    let queue = server.queue("q");
    sent(&queue, "first").await;
    let confirmed = Arc::new(Mutex::new(HashSet::from(["first".to_owned()])));
    let seen = Arc::new(Mutex::new(HashSet::new()));
    let (more, sending, taking) = (Arc::new(Notify::new()), queue.sink(), seen.clone());
    let ledger = confirmed.clone();
    let producer = tokio::spawn(async move {
        for number in 0.. {
            let body = number.to_string();
            match sending.send(message(&body)).await {
                Ok(()) => drop(ledger.lock().unwrap().insert(body)),
                Err(QueueError::Unavailable(_)) => {} // unknown: perhaps it is there
                Err(error) => panic!("{error}"),
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    let mut source = source_of(&queue).await;
    let told = more.clone();
    let consumer = tokio::spawn(async move {
        loop {
            match source.next(ROOM).await {
                Ok(deliveries) => {
                    for delivery in deliveries {
                        taking.lock().unwrap().insert(String::from_utf8_lossy(&delivery.message.body).into_owned());
                        ack(delivery).await;
                    }
                    told.notify_one();
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    });
    for commands in [&["stop", "start"][..], &["kill", "start"], &[], &["pause", "resume"]] {
        tokio::time::timeout(LONG, more.notified()).await.expect("nothing comes any more");
        match commands {
            [] => server.ctl(&["close_all_connections", "because"]),
            commands => commands.iter().for_each(|command| server.tell(command)),
        }
        let before = confirmed.lock().unwrap().len();
        let goes_on = async {
            while confirmed.lock().unwrap().len() < before + 20 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(LONG, goes_on).await.expect("nothing is confirmed any more");
    }
    producer.abort();
    let missing = || confirmed.lock().unwrap().difference(&seen.lock().unwrap()).count();
    let drained = async {
        while missing() > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    assert!(tokio::time::timeout(LONG, drained).await.is_ok(), "{} were confirmed and never came", missing());
    consumer.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "starts a server of RabbitMQ"]
async fn rabbitmq_out_of_memory_or_disk_is_told_as_a_wait_while_acknowledgements_pass() {
    let server = Server::up();
    let queue = server.queue("q");
    for (full, empty) in [
        (["set_vm_memory_high_watermark", "absolute", "1MB"], ["set_vm_memory_high_watermark", "absolute", "1GB"]),
        (["set_disk_free_limit", "1000000GB", ""], ["set_disk_free_limit", "50MB", ""]),
    ] {
        let plain = |arguments: [&'static str; 3]| arguments.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>();
        sent(&queue, "held").await;
        let mut source = source_of(&queue).await;
        let held = one(&mut source).await;
        server.ctl(&plain(full));
        let told = async {
            loop {
                // one on its way when the alarm goes off is confirmed later: nobody waits for it here
                match tokio::time::timeout(Duration::from_secs(1), queue.sink().send(message("more"))).await {
                    Ok(Err(QueueError::Unavailable(why))) => return why,
                    _ => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        };
        let why = tokio::time::timeout(LONG, told).await.expect("nobody says that the server takes nothing");
        assert!(why.contains("takes no messages until it has room again"), "{why}");
        assert_eq!(ack(held).await, Settled::Done);
        drop(source);
        server.ctl(&plain(empty));
        sent(&queue, "after").await;
        let mut source = source_of(&queue).await;
        loop {
            let delivery = one(&mut source).await;
            let body = delivery.message.body.clone();
            assert_ne!(body, "held", "its acknowledgement did not pass");
            ack(delivery).await;
            if body == "after" {
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "starts a server of RabbitMQ"]
async fn a_queue_of_rabbitmq_deleted_under_load_is_told_and_made_anew() {
    let server = Server::up();
    let queue = server.queue("q");
    sent(&queue, "a").await;
    let mut source = source_of(&queue).await;
    let _held = one(&mut source).await;
    server.ctl(&["delete_queue", "q"]);
    let gone = tokio::time::timeout(LONG, source.next(ROOM)).await.expect("nobody notices").err().expect("it is gone");
    assert!(gone.to_string().contains("\"q\" was deleted"), "{gone}");
    sent(&queue, "b").await;
    assert_eq!(one(&mut source).await.message.body, "b");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "starts a server of RabbitMQ"]
async fn what_rabbitmq_takes_back_after_its_consumer_timeout_is_settled_too_late_and_comes_again() {
    let server = Server::up();
    server.ctl(&[
        "eval",
        "application:set_env(rabbit, consumer_timeout, 1000), application:set_env(rabbit, channel_tick_interval, 500).",
    ]);
    let queue = server.queue("q");
    sent(&queue, "a").await;
    let mut source = source_of(&queue).await;
    let late = one(&mut source).await;
    let told = tokio::time::timeout(LONG, source.next(ROOM)).await.expect("the server keeps it").err().expect("an error");
    assert!(told.to_string().contains("consumer_timeout"), "{told}");
    assert!(matches!(late.receipt.extend(LONG).await, Err(QueueError::LeaseLost)));
    let again = one(&mut source).await;
    assert_eq!((&*again.message.body, again.unsettled), (&b"a"[..], 1));
    assert_eq!(ack(late).await, Settled::Fenced);
    assert_eq!(ack(again).await, Settled::Done);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "starts a server of RabbitMQ"]
async fn what_was_taken_from_rabbitmq_is_settled_after_its_source_is_gone_and_the_rest_goes_back_at_once() {
    let server = Server::up();
    let queue = server.queue("q");
    for body in ["held", "waits"] {
        sent(&queue, body).await;
    }
    let mut source = source_of(&queue).await;
    let held = one(&mut source).await;
    drop(source);
    let mut next = source_of(&queue).await;
    let waits = one(&mut next).await;
    assert_eq!(waits.message.body, "waits");
    assert_eq!(ack(held).await, Settled::Done);
    assert_eq!(ack(waits).await, Settled::Done);
    let more = tokio::time::timeout(Duration::from_millis(500), next.next(ROOM)).await;
    assert!(more.is_err(), "it came again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "starts a server of RabbitMQ"]
async fn large_messages_of_rabbitmq_are_taken_ahead_by_their_bytes_and_small_ones_by_their_number() {
    let server = Server::up();
    for (name, size, held, least, most) in [("large", 1 << 20, 40, 41, 57), ("small", 10, 100, 150, 1000)] {
        let queue = server.queue(name);
        let body = "x".repeat(size);
        for _ in 0..if size > 1000 { 90 } else { 600 } {
            sent(&queue, &body).await;
        }
        let mut source = source_of(&queue).await;
        let mut hands = Vec::new();
        while hands.len() < held {
            hands.push(one(&mut source).await);
        }
        let unacknowledged = async || {
            let list = server.ask(&["list_queues", "--no-table-headers", "name", "messages_unacknowledged"]);
            let count = list.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<usize>().ok());
            count.unwrap()
        };
        let settled = async {
            while unacknowledged().await < least {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            unacknowledged().await
        };
        let ahead = tokio::time::timeout(LONG, settled).await.expect("too few are taken ahead");
        assert!(ahead <= most, "{ahead} {name} messages are unacknowledged while {held} are held");
    }
}
