//! A disk that fails to sync: nothing after that can be relied on, so the worker says so and ends.

use std::time::Duration;

use super::fleet::pause;
use super::world::World;

const JOBS: usize = 3000;

#[test]
fn a_disk_that_fails_to_sync_ends_the_worker_with_a_sentence_and_loses_nothing_that_was_confirmed() {
    let mut world = World::forgetful("broken");
    let producer = world.produce(JOBS, 11);
    let mut worker = world.start(None);
    while world.confirmed.ids().len() < JOBS / 10 {
        pause(Duration::from_millis(5));
    }
    let mark = world.database().with_file_name("broken");
    std::fs::write(&mark, "").unwrap();
    assert!(worker.dies_within(Duration::from_secs(20)), "the worker goes on though its disk is broken");
    let log = std::fs::read_to_string(world.directory.join("worker.log")).unwrap();
    assert_eq!(worker.exit_code(), Some(5), "{log}");
    assert!(log.contains("cannot be synced to its disk: Input/output error"), "{log}");
    assert!(world.confirmed.ids().len() < JOBS, "it came too late to show anything");
    std::fs::remove_file(mark).unwrap();
    world.lose_power();
    world.drain(producer);
    world.settle_accounts(1);
}
