//! Who takes which partitions: as they move, by either protocol, by a name that outlasts restarts, and of further topics.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use windlass::job::Life;
use windlass::job::decode::life_of;
use windlass::ports::{Queue, QueueError, Settled, Source};
use windlass::queues::kafka::config::{KafkaConfig, Protocol};
use windlass::units::Span;

use crate::{ROOM, ack, body, config, open, send, source, take};

/// What a worker still holds of a partition that moved is fenced, and comes again there.
async fn moves(config: KafkaConfig) {
    let (one, other) = (open(&config), open(&config));
    one.create(Some(&[])).await.unwrap();
    send(&one, 0..40).await;
    let mut first = source(&one).await;
    let mut held = Vec::new();
    while held.len() < 40 {
        held.extend(take(&mut first, Duration::from_secs(20)).await);
    }
    // the life noted over one of each partition must be known wherever it comes again
    let mut noted: HashMap<i32, String> = HashMap::new();
    for delivery in &held {
        if let Entry::Vacant(free) = noted.entry(delivery.origin.partition.unwrap()) {
            delivery.receipt.mark(&Life { attempt: 7, ..Life::default() }).await.unwrap();
            free.insert(body(delivery));
        }
    }
    // of three, none may have all partitions of the topic for want of others
    let mut others = [source(&other).await, source(&open(&config)).await];
    let end = Instant::now() + Duration::from_secs(60);
    let (mut moved, mut before) = (Vec::new(), None);
    while before != Some(moved.len()) || moved.is_empty() {
        assert!(Instant::now() < end, "no partition moved");
        before = Some(moved.len());
        for other in &mut others {
            moved.extend(take(other, Duration::from_secs(2)).await);
        }
    }
    let members = one.admin().unwrap().stats().await.unwrap()[0].consumers;
    assert_eq!(
        members,
        (config.protocol == Protocol::Classic).then_some(3),
        "a cluster counts none that it shares out to itself"
    );
    let again: Vec<String> = moved.iter().map(body).collect();
    for delivery in &moved {
        let attempt = life_of(&delivery.message).unwrap().attempt;
        let expected = if noted[&delivery.origin.partition.unwrap()] == body(delivery) { 7 } else { 0 };
        assert_eq!(attempt, expected, "of {}", body(delivery));
    }
    let (mut done, mut fenced) = (Vec::new(), Vec::new());
    for delivery in held {
        let (body, extended) = (body(&delivery), delivery.receipt.extend(Duration::from_secs(1)).await);
        match ack(delivery).await {
            Settled::Done => done.push(body),
            Settled::Fenced => {
                assert!(matches!(extended, Err(QueueError::LeaseLost)));
                fenced.push(body);
            }
        }
    }
    let sorted = |mut list: Vec<String>| {
        list.sort();
        list
    };
    assert_eq!(done.len() + fenced.len(), 40);
    // one that moved a second time, from one of the others to the other, came to both and is fenced with the first of them
    let mut again = sorted(again);
    again.dedup();
    assert_eq!(sorted(fenced), again);
    let mut done = Vec::new();
    for delivery in moved {
        let body = body(&delivery);
        done.extend((ack(delivery).await == Settled::Done).then_some(body));
    }
    assert_eq!(sorted(done), again, "each is done by who has it now, and by nobody else");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: ./test brings it"]
async fn what_a_worker_still_holds_of_a_partition_that_moved_on_kafka_is_fenced_and_comes_again_there() {
    moves(config()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: ./test brings it"]
async fn the_same_holds_on_kafka_where_the_cluster_shares_out_the_partitions() {
    moves(KafkaConfig { protocol: Protocol::Consumer, ..config() }).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: ./test brings it"]
async fn a_worker_with_a_name_finds_its_partitions_on_kafka_as_they_were_and_nobody_gets_them_meanwhile() {
    let named = |name: &str, config: &KafkaConfig| KafkaConfig { instance: Some(name.into()), ..config.clone() };
    let config = KafkaConfig { session: Span(Duration::from_secs(30)), ..config() };
    let mut queues = ["a", "b", "c"].map(|name| open(&named(name, &config)));
    queues[0].create(Some(&[])).await.unwrap();
    let mut sources = Vec::new();
    for queue in &queues {
        sources.push(source(queue).await);
    }
    // of three, at least two have some of the topic; until it stays so
    let (mut before, mut round) = (partitions(&queues[0], &mut sources, 0).await, 1);
    loop {
        let now = partitions(&queues[0], &mut sources, round).await;
        if now == before && now.iter().filter(|some| !some.is_empty()).count() > 1 {
            break;
        }
        (before, round) = (now, round + 1);
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(round < 60, "one of them takes everything: {before:?}");
    }
    let away = before.iter().position(|some| !some.is_empty()).unwrap();
    drop(sources.remove(away));
    queues[away].close().await;
    send(&queues[(away + 1) % 3], 9000..9040).await;
    let (end, mut meanwhile) = (Instant::now() + Duration::from_secs(5), BTreeSet::new());
    while Instant::now() < end {
        for source in &mut sources {
            for delivery in take(source, Duration::from_millis(500)).await {
                meanwhile.insert(delivery.origin.partition.unwrap());
                ack(delivery).await;
            }
        }
    }
    assert!(
        meanwhile.is_disjoint(&before[away]),
        "what belongs to the one that is away went elsewhere: {meanwhile:?} {before:?}"
    );
    queues[away] = open(&named(["a", "b", "c"][away], &config));
    sources.insert(away, source(&queues[away]).await);
    assert_eq!(partitions(&queues[away], &mut sources, 100).await, before);
    // a second one by that name
    let twin = open(&named("a", &config));
    let (mut twins, one) = (source(&twin).await, &mut sources[0]);
    let told = tokio::time::timeout(Duration::from_secs(30), async {
        loop {
            tokio::select! {
                next = one.next(ROOM) => if let Err(error) = next { return error.to_string() },
                next = twins.next(ROOM) => if let Err(error) = next { return error.to_string() },
            }
        }
    });
    let told = told.await.unwrap();
    assert!(told.contains("kafka.instance"), "{told}");
}

/// Of 40 records, the partitions that each source takes; what was sent before comes too.
async fn partitions(queue: &Arc<dyn Queue>, sources: &mut [Box<dyn Source>], round: usize) -> Vec<BTreeSet<i32>> {
    let wanted: BTreeSet<String> = (round * 40..(round + 1) * 40).map(|number| number.to_string()).collect();
    send(queue, round * 40..(round + 1) * 40).await;
    let (mut taken, mut came) = (vec![BTreeSet::new(); sources.len()], BTreeSet::new());
    let end = Instant::now() + Duration::from_secs(60);
    while !came.is_superset(&wanted) {
        assert!(Instant::now() < end, "only {} came", came.len());
        for (source, taken) in sources.iter_mut().zip(&mut taken) {
            for delivery in take(source, Duration::from_millis(200)).await {
                came.insert(body(&delivery));
                if wanted.contains(&body(&delivery)) {
                    taken.insert(delivery.origin.partition.unwrap());
                }
                ack(delivery).await;
            }
        }
    }
    taken
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: ./test brings it"]
async fn further_topics_of_kafka_are_taken_from_and_their_dead_letters_are_not() {
    let home = config();
    let topic = home.topic.clone().unwrap();
    for protocol in [Protocol::Classic, Protocol::Consumer] {
        let group = format!("{}-{protocol:?}", home.group);
        let further =
            KafkaConfig { topic: Some(format!("{topic}-{protocol:?}")), group: format!("{group}-other"), ..home.clone() };
        let config = KafkaConfig { also: vec![format!("{topic}-{protocol:?}*")], group, protocol, ..home.clone() };
        let (queue, further) = (open(&config), open(&further));
        queue.create(Some(&[])).await.unwrap();
        further.create(Some(&[])).await.unwrap();
        send(&further, 0..10).await;
        let dead = windlass::job::Message::of("dead");
        let outgoing = windlass::ports::Outgoing { message: dead, ..Default::default() };
        further.dead_letters().send(outgoing).await.unwrap();
        let (mut source, mut came) = (source(&queue).await, BTreeSet::new());
        while came.len() < 10 {
            let deliveries = take(&mut source, Duration::from_secs(20)).await;
            assert!(!deliveries.is_empty(), "{protocol:?}: only {came:?} came");
            for delivery in deliveries {
                came.insert(body(&delivery));
                ack(delivery).await;
            }
        }
        assert!(!came.contains("dead") && take(&mut source, Duration::from_secs(1)).await.is_empty());
        assert_eq!(queue.admin().unwrap().stats().await.unwrap()[0].lag.iter().filter(|lag| lag.lag > 0).count(), 0);
        queue.close().await;
    }
    let wide = KafkaConfig { also: vec![format!("{topic}.*.dead")], ..home };
    let why = windlass::queues::kafka::open("q", &wide, std::path::Path::new("")).err().unwrap();
    assert!(why.starts_with("kafka.also") && why.contains("dead letters"), "{why}");
}
