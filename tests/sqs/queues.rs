//! Delays in hops, limits, the redrive policies of others, marks, places, and what FIFO queues do: on each server.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_sdk_sqs::types::{MessageAttributeValue, QueueAttributeName};
use futures_util::FutureExt as _;
use jiff::Timestamp;
use tokio::sync::mpsc;
use windlass::clock::{Clock, after};
use windlass::engine::budget::Budget;
use windlass::engine::turns::Rules;
use windlass::engine::{Engine, Shared};
use windlass::job::{Header, Life, Message};
use windlass::outcome::{Class, Failure};
use windlass::ports::{Found, Order, Outgoing, Queue, Settled};
use windlass::queues::sqs::config::{SqsConfig, Topology};
use windlass::retry::{Backoff, Jitter, Policy};

use crate::support;
use crate::world::{LONG, World, ack, message, nothing_more, one, open, source_of, within};

/// Every case against both servers, in modules named after them.
macro_rules! on_each_server {
    ($($case:ident),* $(,)?) => {
        mod elasticmq {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[ignore = "needs ElasticMQ: ./test brings it"]
            async fn $case() { super::$case(crate::world::World::at(&crate::server::server("elasticmq"))).await; })*
        }
        mod localstack {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[ignore = "needs LocalStack: ./test brings it"]
            async fn $case() { super::$case(crate::world::World::at(&crate::server::server("localstack"))).await; })*
        }
    };
}

on_each_server![
    a_job_of_three_leases_is_held_by_one_worker,
    a_message_that_comes_before_its_time_is_sent_on_and_one_that_is_near_it_waits,
    a_message_of_a_mebibyte_with_its_headers_passes_and_a_byte_more_is_refused,
    a_redrive_policy_of_others_takes_no_job_that_is_retried_more_often_than_it_allows,
    a_redrive_policy_that_takes_jobs_away_is_told_with_the_fix,
    a_mark_is_seen_by_the_next_worker_and_gone_once_the_job_is_settled,
    what_another_worker_parked_for_too_long_comes_home,
    a_copy_that_is_sent_twice_into_a_fifo_queue_is_held_once,
    the_jobs_of_a_fifo_key_run_in_order_through_retries_while_others_pass,
    a_delayed_copy_in_a_fifo_queue_comes_when_it_is_due,
    the_parts_of_a_queue_are_looked_for_and_made,
];

async fn count(world: &World, name: &str, which: QueueAttributeName) -> usize {
    let request = world.client().get_queue_attributes().queue_url(world.url(name).await).attribute_names(which.clone());
    request.send().await.unwrap().attributes.unwrap()[&which].parse().unwrap()
}

async fn a_job_of_three_leases_is_held_by_one_worker(world: World) {
    let (queue, other) = (world.queue("q"), world.queue("q"));
    queue.sink().send(message("a")).await.unwrap();
    let mut source = source_of(&queue).await;
    let held = within(&mut source, LONG, Duration::from_secs(2)).await;
    let mut others = source_of(&other).await;
    let taken = tokio::time::timeout(Duration::from_millis(6500), others.next(crate::world::ROOM)).await;
    assert!(taken.is_err(), "another worker got it");
    held.receipt.extend(Duration::from_secs(2)).await.unwrap();
    assert_eq!(ack(held).await, Settled::Done);
}

async fn a_message_that_comes_before_its_time_is_sent_on_and_one_that_is_near_it_waits(world: World) {
    let queue = world.queue("q");
    queue.create(Some(&[])).await.unwrap();
    // as a hop of fifteen minutes leaves them: one is due in an hour, one in a moment
    for seconds in [3600, 1] {
        let meta = format!(r#"{{"id":"x","due":{}}}"#, after(Timestamp::now(), Duration::from_secs(seconds)).as_millisecond());
        let meta = MessageAttributeValue::builder().data_type("String").string_value(meta).build().unwrap();
        let request = world.client().send_message().queue_url(world.url("q").await).message_body(seconds.to_string());
        request.message_attributes("windlass-meta", meta).send().await.unwrap();
    }
    let mut source = source_of(&queue).await;
    assert_eq!(one(&mut source).await.message, Message::of("1"));
    let on_its_way = async {
        while count(&world, "q", QueueAttributeName::ApproximateNumberOfMessagesDelayed).await < 1 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), on_its_way).await.expect("it was not sent on");
}

async fn a_message_of_a_mebibyte_with_its_headers_passes_and_a_byte_more_is_refused(world: World) {
    let queue = world.queue("q");
    let of = |bytes: usize| Outgoing {
        message: Message { headers: vec![Header::new("name", "value")], ..Message::of("x".repeat(bytes)) },
        ..Outgoing::default()
    };
    queue.sink().send(of((1 << 20) - 15)).await.unwrap();
    let refused = queue.sink().send(of((1 << 20) - 14)).await.unwrap_err();
    assert!(refused.to_string().contains("1048577 bytes with its headers; SQS takes 1048576"), "{refused}");
    assert_eq!(one(&mut source_of(&queue).await).await.message, of((1 << 20) - 15).message);
}

/// The queue with a policy of its owner's.
async fn redriven(world: &World, name: &str, most: u32) -> Arc<dyn Queue> {
    let ending = if name.ends_with(".fifo") { ".fifo" } else { "" };
    let theirs = format!("theirs{ending}");
    for name in [name, &theirs] {
        world.queue(name).create(None).await.unwrap();
    }
    let request = world.client().get_queue_attributes().queue_url(world.url(&theirs).await);
    let found = request.attribute_names(QueueAttributeName::QueueArn).send().await.unwrap().attributes.unwrap();
    let arn = &found[&QueueAttributeName::QueueArn];
    let policy = format!(r#"{{"deadLetterTargetArn":"{arn}","maxReceiveCount":"{most}"}}"#);
    let request = world.client().set_queue_attributes().queue_url(world.url(name).await);
    request.attributes(QueueAttributeName::RedrivePolicy, policy).send().await.unwrap();
    world.queue(name)
}

async fn a_redrive_policy_of_others_takes_no_job_that_is_retried_more_often_than_it_allows(world: World) {
    let queue = redriven(&world, "q", 3).await;
    queue.sink().send(message(r#"{"id":"a","type":"t"}"#)).await.unwrap();
    let mut dead = source_of(&world.queue("q-dead")).await;
    let run = support::executor(|_, _| async { Failure::new(Class::Failed, "again").into() }.boxed());
    let engine = start(queue, support::route("t", run, policy(6)));
    let letter = one(&mut dead).await;
    let failure: serde_json::Value = serde_json::from_slice(letter.message.header("windlass-failure").unwrap()).unwrap();
    assert_eq!((&failure["attempts"], &failure["id"]), (&6.into(), &"a".into()));
    engine.stop(Duration::from_secs(5)).await;
    assert_eq!(count(&world, "theirs", QueueAttributeName::ApproximateNumberOfMessages).await, 0);
}

async fn a_redrive_policy_that_takes_jobs_away_is_told_with_the_fix(world: World) {
    let parts = redriven(&world, "q", 1).await.parts(None).await.unwrap();
    let Found::Differs(why) = &parts[0].found else { panic!("{parts:?}") };
    assert!(why.contains("a maxReceiveCount of 1") && why.contains("raise it to 10 or more"), "{why}");
    let fifo = redriven(&world, "q.fifo", 5).await;
    assert_eq!(fifo.capabilities().order, Order::Key, "nobody has looked");
    let parts = fifo.parts(None).await.unwrap();
    assert!(parts[0].what.ends_with("with a redrive policy of its own after 5 deliveries"), "{parts:?}");
    assert_eq!(fifo.capabilities().order, Order::Worker, "what is moved away is passed by those behind it");
}

async fn a_mark_is_seen_by_the_next_worker_and_gone_once_the_job_is_settled(world: World) {
    let (queue, other) = (world.queue("q"), world.queue("q"));
    queue.create(Some(&[])).await.unwrap();
    queue.sink().send(message(r#"{"type":"t"}"#)).await.unwrap();
    let mut source = source_of(&queue).await;
    let marked = one(&mut source).await;
    marked.receipt.mark(&Life { suspect: true, attempt: 2, ..Life::default() }).await.unwrap();
    drop(source);
    drop(marked); // goes back to the server as it would after a death, if sooner
    let mut source = source_of(&other).await;
    let life = |delivery: &windlass::ports::Delivery| {
        delivery.message.header("windlass-job").map(|json| serde_json::from_slice::<Life>(json).unwrap())
    };
    let again = one(&mut source).await;
    assert!(life(&again).is_some_and(|life| life.suspect && life.attempt == 2));
    assert!(again.unsettled >= 1);
    // the run was lived through: what lies before it is held against the job no more
    again.receipt.mark(&Life { attempt: 3, ..Life::default() }).await.unwrap();
    let tags = async || world.client().list_queue_tags().queue_url(world.url("q-dead").await).send().await.unwrap().tags;
    assert_eq!(tags().await.unwrap_or_default().len(), 1);
    assert_eq!(ack(again).await, Settled::Done);
    assert_eq!(tags().await.unwrap_or_default().len(), 0);
}

async fn what_another_worker_parked_for_too_long_comes_home(world: World) {
    let (gone, here) = (world.queue("q"), world.queue("q"));
    gone.create(Some(&["shut".into()])).await.unwrap();
    for (body, wait) in [("soon", 2), ("later", 3600)] {
        let due = Some(after(Timestamp::now(), Duration::from_secs(wait)));
        gone.parked("shut").sink().send(Outgoing { due, ..message(body) }).await.unwrap();
    }
    drop(gone);
    assert_eq!(here.places().await.unwrap(), ["shut".into()]);
    let mut source = source_of(&here).await;
    let home = one(&mut source).await;
    assert_eq!(home.message.body, "soon");
    assert_eq!(ack(home).await, Settled::Done);
    nothing_more(&mut source).await;
    assert_eq!(one(&mut source_of(&here.parked("shut")).await).await.message.body, "later");
}

async fn a_copy_that_is_sent_twice_into_a_fifo_queue_is_held_once(world: World) {
    let queue = world.queue("q.fifo");
    let copy = |generation: u32| {
        let mut copy = message("a");
        let life = serde_json::json!({ "v": 1, "generation": generation, "origin": { "queue": "q.fifo", "id": "m" } });
        copy.message.set_header("windlass-job", life.to_string());
        copy
    };
    for generation in [1, 1, 2] {
        queue.sink().send(copy(generation)).await.unwrap();
    }
    let mut source = source_of(&queue).await;
    for _ in 0..2 {
        assert_eq!(ack(one(&mut source).await).await, Settled::Done);
    }
    nothing_more(&mut source).await;
}

fn policy(attempts: u32) -> Policy {
    let backoff = Backoff { base: Duration::from_millis(20), factor: 2.0, cap: Duration::from_millis(200), jitter: Jitter::None };
    Policy { backoff, attempts, ..Policy::default() }
}

fn start(queue: Arc<dyn Queue>, route: Arc<windlass::engine::routes::Route>) -> Engine {
    let shared = Arc::new(Shared::new("test", Clock::System, Budget::new(64 << 20)));
    let pool = support::pool(&shared, &[queue], 16, vec![route]);
    Engine::start(shared, &[Arc::new(pool)])
}

async fn the_jobs_of_a_fifo_key_run_in_order_through_retries_while_others_pass(world: World) {
    let queue = world.queue("q.fifo");
    for number in 0..60 {
        let key = format!("k{}", number % 4);
        let body = format!(r#"{{"id":"{number}","type":"t","key":"{key}","data":{number}}}"#);
        let message = Message { key: Some(key.into()), ..Message::of(body) };
        queue.sink().send(Outgoing { message, ..Outgoing::default() }).await.unwrap();
    }
    let (done, mut came) = mpsc::unbounded_channel();
    let runs = Arc::new(AtomicUsize::new(0));
    let run = support::executor(move |job, _| {
        let number: usize = job.id.parse().unwrap();
        runs.fetch_add(1, Ordering::SeqCst);
        let fails = number.is_multiple_of(8) && job.life.attempt < 3;
        let done = done.clone();
        async move {
            if fails {
                return Failure::new(Class::Failed, "again").into();
            }
            done.send(number).unwrap();
            support::done()
        }
        .boxed()
    });
    let mut route = support::plain_route("t", run, policy(10));
    route.rules = Arc::new(Rules { ordered: true, ..support::rules("t") });
    let engine = start(queue, Arc::new(route));
    let mut seen = [const { Vec::new() }; 4];
    while seen.iter().map(Vec::len).sum::<usize>() < 60 {
        let number = tokio::time::timeout(Duration::from_secs(60), came.recv()).await.expect("some are missing").unwrap();
        seen[number % 4].push(number);
    }
    assert!(seen.iter().all(|key| key.is_sorted()), "{seen:?}");
    engine.stop(Duration::from_secs(5)).await;
}

async fn a_delayed_copy_in_a_fifo_queue_comes_when_it_is_due(world: World) {
    let queue = world.queue("q.fifo");
    let due = after(Timestamp::now(), Duration::from_secs(5));
    queue.sink().send(Outgoing { due: Some(due), ..message("later") }).await.unwrap();
    queue.sink().send(message("now")).await.unwrap();
    let mut source = source_of(&queue).await;
    let now = one(&mut source).await;
    assert_eq!(now.message.body, "now");
    ack(now).await;
    let later = one(&mut source).await;
    let came = Timestamp::now();
    assert!(came >= due, "due {due}, came {came}");
    assert_eq!((&later.message.body[..], later.unsettled), (&b"later"[..], 0));
}

async fn the_parts_of_a_queue_are_looked_for_and_made(world: World) {
    for name in ["q", "q.fifo"] {
        let config = SqsConfig { topology: Topology::Check, ..world.config(name) };
        let queue = open(&config);
        let told = source_of(&queue).await.next(crate::world::ROOM).await.err().expect("there is no queue");
        assert!(told.to_string().contains("\"windlass queues create\" makes it"), "{told}");
        let places = ["no-route".into()];
        let parts = queue.parts(Some(&places)).await.unwrap();
        assert!(parts.len() == 3 && parts.iter().all(|part| part.found == Found::Missing), "{parts:?}");
        for _ in 0..2 {
            queue.create(Some(&places)).await.unwrap();
        }
        let parts = queue.parts(Some(&places)).await.unwrap();
        assert!(parts.iter().all(|part| part.found == Found::AsWanted), "{parts:?}");
    }
}
