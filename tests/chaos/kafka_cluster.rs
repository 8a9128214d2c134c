//! Kafka itself is broken while workers are at it: brokers are killed, stopped and frozen, and topics changed under load.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;

use crate::fleet::{Worker, pause};
use crate::kafka::World;
use crate::server::server;

/// A server of this test's own, which it may break.
struct Private(PathBuf, tempfile::TempDir);

impl Private {
    fn start(nodes: &str) -> (Self, String) {
        let folder = tempfile::tempdir().unwrap();
        let private = Private(Path::new(env!("CARGO_MANIFEST_DIR")).join("servers/kafka"), folder);
        private.run(&["up"], &["--nodes", nodes]);
        let text = std::fs::read_to_string(private.1.path().join("env")).unwrap();
        let brokers = text.lines().find_map(|line| line.strip_prefix("KAFKA=")).unwrap().to_owned();
        (private, brokers)
    }

    fn run(&self, before: &[&str], after: &[&str]) {
        let done = Command::new(&self.0).args(before).arg(self.1.path()).args(after).status().unwrap();
        assert!(done.success(), "servers/kafka {before:?} {after:?}: {done}");
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        let _ = Command::new(&self.0).arg("down").arg(self.1.path()).status();
    }
}

#[test]
#[ignore = "needs Kafka: ./test brings it"]
fn a_kafka_that_is_stopped_killed_and_started_again_loses_nothing() {
    let (broker, address) = Private::start("1");
    let world = World::new(&address);
    let workers: Vec<Worker> = (0..2).map(|_| world.start()).collect();
    for (round, how) in ["kill", "stop"].into_iter().enumerate() {
        (0..200).for_each(|number| world.send_number(round * 1000 + number));
        pause(Duration::from_secs(1));
        broker.run(&[how], &[]);
        pause(Duration::from_secs(2));
        broker.run(&["start"], &[]);
    }
    (0..200).for_each(|number| world.send_number(5000 + number));
    let out = world.collect(world.confirmed().len());
    workers.into_iter().for_each(Worker::stop);
    world.settle_accounts(&out, 2);
}

#[test]
#[ignore = "needs Kafka: ./test brings it"]
fn of_three_kafkas_one_that_dies_or_stands_still_loses_nothing_nor_does_a_worker_that_does() {
    let (brokers, address) = Private::start("3");
    let world = World::new(&address);
    let workers: Vec<Worker> = (0..3).map(|_| world.start()).collect();
    let mut sent = 0;
    let mut send = |jobs: usize| {
        (sent..sent + jobs).for_each(|number| world.send_number(number));
        sent += jobs;
    };
    for (node, down, up) in [("1", "kill", "start"), ("2", "pause", "resume"), ("3", "kill", "start")] {
        send(150);
        brokers.run(&[down], &[node]);
        send(50); // to those that are left, or, as the leader is, later
        workers[0].signal(Signal::SIGSTOP); // past its session, of three seconds
        pause(Duration::from_secs(5));
        brokers.run(&[up], &[node]);
        workers[0].signal(Signal::SIGCONT);
        pause(Duration::from_secs(2));
    }
    send(100);
    let out = world.collect(world.confirmed().len());
    workers.into_iter().for_each(Worker::stop);
    world.settle_accounts(&out, 6);
}

#[test]
#[ignore = "needs Kafka: ./test brings it"]
fn a_topic_of_kafka_that_gets_more_partitions_under_load_loses_nothing() {
    let address = server("kafka");
    let world = World::new(&address);
    let workers: Vec<Worker> = (0..2).map(|_| world.start()).collect();
    let send = |numbers: std::ops::Range<usize>| {
        numbers.for_each(|number| assert!(world.send(&format!("work-{number}"), "work", Some(&format!("{number}")), 0)));
    };
    send(0..150);
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new().set("bootstrap.servers", &address).create().unwrap();
    let topics = [format!("{0}-jobs", world.prefix), format!("{0}-jobs.{0}.retry", world.prefix)];
    let more = topics.iter().map(|topic| NewPartitions::new(topic, 10)).collect::<Vec<_>>();
    let made = world.runtime.block_on(admin.create_partitions(&more, &AdminOptions::new())).unwrap();
    assert!(made.iter().all(Result::is_ok), "{made:?}");
    send(150..600);
    let out = world.collect(600);
    workers.into_iter().for_each(Worker::stop);
    world.settle_accounts(&out, 0);
}
