//! Workers are killed, frozen and robbed of their disk while a ledger outside the product knows what was promised.
//!
//! `WINDLASS_CHAOS=long` runs the full measure (200 kills over 20,000 jobs each), otherwise a short form;
//! `WINDLASS` names another binary than the one just built.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "chaos/batches.rs"]
mod batches;
#[path = "chaos/beyond.rs"]
mod beyond;
#[path = "chaos/broken.rs"]
mod broken;
#[path = "chaos/fleet.rs"]
mod fleet;
#[cfg(feature = "kafka")]
#[path = "chaos/kafka.rs"]
mod kafka;
#[cfg(feature = "kafka")]
#[path = "chaos/kafka_beyond.rs"]
mod kafka_beyond;
#[cfg(feature = "kafka")]
#[path = "chaos/kafka_cluster.rs"]
mod kafka_cluster;
#[path = "chaos/ledger.rs"]
mod ledger;
#[cfg(feature = "kafka")]
#[path = "support/server.rs"]
mod server;
#[path = "chaos/world.rs"]
mod world;

use std::time::Duration;

use fleet::Death;
use world::World;

/// Every place at which a worker can be made to die, beside random times.
const STOP_POINTS: [&str; 6] = ["before_commit", "committed", "synced", "replied", "published", "settling"];

struct Measure {
    kills: usize,
    jobs: usize,
}

fn measure() -> Measure {
    match std::env::var("WINDLASS_CHAOS").as_deref() {
        Ok("long") => Measure { kills: 200, jobs: 20_000 },
        _ => Measure { kills: 12, jobs: 1200 },
    }
}

/// The death of the nth worker: in turns at a random time, and at each stop point after a random number of passes.
fn death(number: usize, points: &[&'static str], dice: &mut fastrand::Rng) -> Death {
    match number % (points.len() + 3) {
        point if point < points.len() => Death::At { point: points[point], pass: dice.u32(1..40) },
        _ => Death::After(Duration::from_millis(dice.u64(150..900))),
    }
}

fn seed() -> u64 {
    let seed = std::env::var("WINDLASS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("run again with WINDLASS_SEED={seed}");
    seed
}

fn kill_and_check(mut world: World) {
    let measure = measure();
    let mut dice = fastrand::Rng::with_seed(seed());
    let producer = world.produce_over(measure.jobs, measure.kills, dice.u64(..));
    let mut stopped_at = std::collections::BTreeSet::new();
    for number in 0..measure.kills {
        let death = death(number, &STOP_POINTS, &mut dice);
        if world.live_and_die(&death)
            && let Death::At { point, .. } = death
        {
            stopped_at.insert(point);
        }
    }
    // a binary that is named from outside may have been built without them
    if std::env::var_os("WINDLASS").is_none() {
        let wanted = if measure.kills > 100 { STOP_POINTS.len() } else { 1 };
        assert!(stopped_at.len() >= wanted, "only these stop points were reached: {stopped_at:?}");
    }
    world.drain(producer);
    world.settle_accounts(measure.kills);
}

#[test]
fn kill_9_of_the_worker_loses_nothing() {
    kill_and_check(World::new("kill-9"));
}

#[test]
fn an_outage_over_many_deaths_of_the_worker_charges_nobody_and_loses_nothing() {
    let mut world = World::new("outage");
    let measure = measure();
    let mut dice = fastrand::Rng::with_seed(seed());
    let producer = world.produce_over(measure.jobs, measure.kills, dice.u64(..));
    world.target_is(true);
    for number in 0..measure.kills {
        if number == measure.kills * 2 / 3 {
            world.target_is(false);
        }
        // long enough for a probe now and then
        let death = if number % 3 == 0 {
            Death::After(Duration::from_millis(dice.u64(1000..2500)))
        } else {
            death(number, &STOP_POINTS, &mut dice)
        };
        world.live_and_die(&death);
    }
    world.drain(producer);
    // Jobs fail once at most by themselves. Beyond that, a death is charged to the one job that ran alone when it came, if
    // there was one; a run while the target was down is charged to nobody, and there were thousands of them.
    let charged: u64 = world.completed().into_values().map(|attempt| attempt.saturating_sub(2)).sum();
    assert!(charged <= measure.kills as u64, "{charged} runs were charged in {} deaths", measure.kills);
    world.settle_accounts(measure.kills);
}

#[test]
fn a_machine_that_loses_its_power_loses_nothing_that_was_confirmed() {
    kill_and_check(World::forgetful("power"));
}

#[test]
fn the_one_job_that_kills_its_worker_ends_as_poison_and_no_innocent_is_charged() {
    let mut world = World::new("poison");
    let innocents = 500;
    let producer = world.produce_with_poison(innocents);
    let deaths = world.live_until_drained(producer);
    assert!((3..=12).contains(&deaths), "{deaths} workers died");
    let dead = world.dead_letters();
    assert_eq!(dead.len(), 1, "{dead:?}");
    assert_eq!((dead[0].0.as_str(), dead[0].1.reason.as_str(), dead[0].1.crashes), ("poison", "poison", 3));
    let completed = world.completed();
    assert_eq!(completed.len(), innocents);
    assert!(completed.values().all(|attempt| *attempt == 1), "an innocent was charged: {completed:?}");
}

#[test]
fn a_worker_that_is_frozen_past_its_leases_settles_nothing_twice() {
    let mut world = World::new("frozen");
    let producer = world.produce(400, 7);
    let worker = world.start(None);
    for _ in 0..3 {
        world.freeze(&worker, Duration::from_secs(3));
    }
    world.drain_with(worker, producer);
    world.settle_accounts(3);
}
