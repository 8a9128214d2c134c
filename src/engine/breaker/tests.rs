use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A breaker at its defaults, and the runs that ended in it.
struct Bench {
    breaker: Breaker,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        Bench { breaker: Breaker::new(Settings::default()), now: Instant::now() }
    }

    fn run(&mut self, sign: Sign) -> Option<Change> {
        let start = self.breaker.start(self.now).unwrap();
        self.breaker.ended(&start, sign, self.now)
    }

    fn open(&mut self) {
        for job in 0..5 {
            self.run(Sign::Dead(job));
        }
        assert_eq!(self.breaker.phase(self.now), Phase::Open);
    }
}

#[test]
fn five_distinct_jobs_that_are_half_of_all_runs_open_it_and_four_do_not() {
    let mut bench = Bench::new();
    for _ in 0..5 {
        bench.run(Sign::Alive);
    }
    for job in 0..4 {
        assert_eq!(bench.run(Sign::Dead(job)), None);
    }
    assert_eq!(bench.run(Sign::Dead(4)), Some(Change::Opened(Seen { failing: 5, all: 10 })));
    assert_eq!(bench.breaker.start(bench.now), Err(Refused::Shut));
}

#[test]
fn failures_below_the_ratio_leave_it_closed_however_many() {
    let mut bench = Bench::new();
    for job in 0..1000 {
        assert_eq!(bench.run(Sign::Alive), None);
        assert_eq!(bench.run(Sign::Alive), None);
        assert_eq!(bench.run(Sign::Dead(job)), None);
    }
}

#[test]
fn failures_further_apart_than_the_window_leave_it_closed() {
    let mut bench = Bench::new();
    for job in 0..100 {
        assert_eq!(bench.run(Sign::Dead(job)), None);
        bench.now += 8 * SECOND;
    }
}

#[test]
fn one_job_that_fails_for_ever_never_opens_it() {
    let mut bench = Bench::new();
    for _ in 0..10_000 {
        assert_eq!(bench.run(Sign::Dead(7)), None);
    }
}

#[test]
fn probes_wait_five_seconds_doubling_to_a_minute() {
    let mut bench = Bench::new();
    bench.open();
    for wait in [5, 10, 20, 40, 60, 60] {
        bench.now += wait * SECOND - SECOND / 1000;
        assert_eq!(bench.breaker.start(bench.now), Err(Refused::Shut));
        bench.now += SECOND / 1000;
        assert_eq!(bench.breaker.phase(bench.now), Phase::HalfOpen);
        let probe = bench.breaker.start(bench.now).unwrap();
        assert!(probe.probe);
        assert_eq!(bench.breaker.start(bench.now), Err(Refused::Shut), "one probe at a time");
        assert!(matches!(bench.breaker.ended(&probe, Sign::Dead(1), bench.now), Some(Change::StaysOpen(_))));
    }
}

#[test]
fn a_probe_that_passes_closes_it_and_the_number_at_once_doubles_by_rounds() {
    let mut bench = Bench::new();
    bench.open();
    bench.now += 5 * SECOND;
    assert_eq!(bench.run(Sign::Alive), Some(Change::Closed));
    for allowed in [2, 4, 8, 16] {
        let starts: Vec<Start> = std::iter::from_fn(|| bench.breaker.start(bench.now).ok()).collect();
        assert_eq!(starts.len(), allowed);
        for start in &starts {
            assert_eq!(bench.breaker.ended(start, Sign::Alive, bench.now), None);
        }
    }
}

#[test]
fn the_ramp_ends_where_nobody_wants_more_at_once() {
    let mut bench = Bench::new();
    bench.open();
    bench.now += 5 * SECOND;
    for _ in 0..3 {
        bench.run(Sign::Alive);
    }
    assert_eq!(bench.breaker.allowed(), None);
}

#[test]
fn an_interrupted_probe_lets_the_next_one_start_at_once() {
    let mut bench = Bench::new();
    bench.open();
    bench.now += 5 * SECOND;
    assert_eq!(bench.run(Sign::None), None);
    assert_eq!(bench.run(Sign::Alive), Some(Change::Closed));
}

#[test]
fn what_started_before_it_opened_changes_nothing_afterwards() {
    let mut bench = Bench::new();
    let early: Vec<Start> = (0..10).map(|_| bench.breaker.start(bench.now).unwrap()).collect();
    bench.open();
    for (job, start) in (0..).zip(&early) {
        let sign = if job % 2 == 0 { Sign::Alive } else { Sign::Dead(job) };
        assert_eq!(bench.breaker.ended(start, sign, bench.now), None);
    }
    assert_eq!(bench.breaker.probe_at(), Some(bench.now + 5 * SECOND));
}

#[test]
fn an_outage_that_comes_back_within_the_ramp_goes_on_with_the_longer_wait() {
    let mut bench = Bench::new();
    bench.open();
    bench.now += 5 * SECOND;
    bench.run(Sign::Alive);
    bench.open();
    assert_eq!(bench.breaker.probe_at(), Some(bench.now + 10 * SECOND));
}

#[test]
fn an_operator_holds_it_open_past_every_probe_until_it_is_closed() {
    let mut bench = Bench::new();
    bench.breaker.hold();
    bench.now += 3600 * SECOND;
    assert_eq!(bench.breaker.start(bench.now), Err(Refused::Shut));
    bench.breaker.close();
    assert!(!bench.run(Sign::Alive).is_some_and(|change| change == Change::Closed));
    assert_eq!(bench.breaker.phase(bench.now), Phase::Closed);
}

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Start,
    End { which: prop::sample::Index, sign: Sign },
    Hold,
    Close,
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0u64..20_000).prop_map(Step::Wait),
        8 => Just(Step::Start),
        8 => (any::<prop::sample::Index>(), prop_oneof![
            2 => Just(Sign::Alive), 5 => (0u64..8).prop_map(Sign::Dead), 1 => Just(Sign::None)
        ]).prop_map(|(which, sign)| Step::End { which, sign }),
        1 => Just(Step::Hold),
        1 => Just(Step::Close),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_open_lets_nothing_through_and_half_open_one_at_a_time(
        steps in proptest::collection::vec(steps(), 1..300),
    ) {
        let mut bench = Bench::new();
        let mut running: Vec<Start> = Vec::new();
        for step in steps {
            match step {
                Step::Wait(millis) => bench.now += Duration::from_millis(millis),
                Step::Hold => bench.breaker.hold(),
                Step::Close => bench.breaker.close(),
                Step::Start => {
                    let (phase, room) = (bench.breaker.phase(bench.now), bench.breaker.has_room(bench.now));
                    let started = bench.breaker.start(bench.now);
                    prop_assert_eq!(started.is_ok(), room);
                    if let Ok(start) = started {
                        prop_assert!(phase != Phase::Open);
                        prop_assert_eq!(start.probe, phase == Phase::HalfOpen);
                        running.push(start);
                    }
                }
                Step::End { which, sign } => {
                    if !running.is_empty() {
                        let start = running.swap_remove(which.index(running.len()));
                        let before = bench.breaker.phase(bench.now);
                        let seen = bench.breaker.seen(bench.now);
                        let change = bench.breaker.ended(&start, sign, bench.now);
                        match change {
                            Some(Change::Opened(seen)) => {
                                prop_assert!(seen.failing >= 5 && seen.ratio() >= 0.5 && before == Phase::Closed);
                                prop_assert!(matches!(sign, Sign::Dead(_)));
                            }
                            Some(Change::StaysOpen(_) | Change::Closed) => prop_assert!(start.probe),
                            None if before == Phase::Closed && matches!(sign, Sign::Dead(_)) => {
                                // not enough evidence, or evidence of another term
                                prop_assert!(seen.failing <= 5 || seen.ratio() < 0.6 || start.term != bench.breaker.term);
                            }
                            None => {}
                        }
                    }
                }
            }
            let probes = running.iter().filter(|start| start.probe && start.term == bench.breaker.term).count();
            prop_assert!(probes <= 1);
            let current = running.iter().filter(|start| start.term == bench.breaker.term).count();
            prop_assert_eq!(current, bench.breaker.running);
            // a ramp that shrank may have more under way, but lets no more in
            prop_assert!(bench.breaker.allowed().is_none_or(|allowed| current < allowed) || !bench.breaker.has_room(bench.now));
        }
    }
}
