use proptest::prelude::*;

use super::*;
use crate::job::decode::{Decoding, Received, decode};
use crate::job::{Message, Origin};
use crate::outcome::{Interruption, Output};

fn job() -> Job {
    let received = Received { origin: Origin::default(), published: None, now: now() };
    decode(&Message::of(r#"{"id":"a","type":"t"}"#), &Decoding::Envelope, &received).unwrap()
}

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn moment() -> Moment {
    Moment { now: now(), jitter: 0.5, took: Duration::from_millis(5), worker: "w".into() }
}

fn fail(class: Class, job: &Job, policy: &Policy) -> Verdict {
    decide(Failure::new(class, "why").into(), job, policy, &moment())
}

fn reason(verdict: &Verdict) -> &str {
    match verdict {
        Verdict::DeadLetter { reason, .. } => reason.as_str(),
        other => panic!("not a dead letter: {other:?}"),
    }
}

#[test]
fn the_last_counted_attempt_is_a_dead_letter_with_its_class_as_the_reason() {
    let policy = Policy { attempts: 3, ..Policy::default() };
    let mut job = job();
    for attempt in 1..3 {
        let Verdict::Retry { life, .. } = fail(Class::Failed, &job, &policy) else { panic!("no retry after {attempt}") };
        assert_eq!(life.attempt, attempt);
        job.life = life;
    }
    assert_eq!(reason(&fail(Class::Failed, &job, &policy)), "failed");
}

#[test]
fn crashes_are_counted_apart_and_end_as_poison() {
    let policy = Policy::default();
    let mut job = job();
    for crash in 1..3 {
        let Verdict::Retry { life, .. } = fail(Class::Crashed, &job, &policy) else { panic!("no retry") };
        assert_eq!((life.crashes, life.attempt), (crash, 0));
        job.life = life;
    }
    assert_eq!(reason(&fail(Class::Crashed, &job, &policy)), "poison");
}

#[test]
fn a_crash_in_a_shared_host_charges_nobody_and_asks_for_a_run_alone() {
    let failure = Failure { shared_host: true, ..Failure::new(Class::Crashed, "signal 9") };
    let Verdict::Retry { life, at } = decide(failure.into(), &job(), &Policy::default(), &moment()) else { panic!("no retry") };
    assert_eq!((life.crashes, life.attempt, life.alone, at), (0, 0, true, now()));
}

#[test]
fn an_outage_spends_no_attempt_until_its_limit() {
    let policy = Policy::default();
    for class in [Class::Throttled, Class::Unavailable, Class::Misconfigured] {
        let mut job = job();
        let Verdict::Park { life, at, .. } = fail(class, &job, &policy) else { panic!("not parked") };
        assert_eq!(life.attempt, 0);
        assert!(at > now());
        job.life = life;
        let late = Moment { now: now() + Duration::from_secs(25 * 3600), ..moment() };
        let verdict = decide(Failure::new(class, "why").into(), &job, &policy, &late);
        assert_eq!(reason(&verdict), class.as_str());
    }
}

#[test]
fn an_unknown_type_is_parked_then_dead_lettered_as_no_route() {
    let mut job = job();
    let Verdict::Park { life, .. } = fail(Class::NoRoute, &job, &Policy::default()) else { panic!("not parked") };
    job.life = life;
    let late = Moment { now: now() + Duration::from_secs(15 * 60), ..moment() };
    let verdict = decide(Failure::new(Class::NoRoute, "no route").into(), &job, &Policy::default(), &late);
    assert_eq!(reason(&verdict), "no_route");
}

#[test]
fn a_wish_of_the_plugin_wins_over_the_back_off() {
    let wish = Failure::new(Class::Failed, "later").after(Duration::from_secs(77));
    let Verdict::Retry { at, .. } = decide(wish.into(), &job(), &Policy::default(), &moment()) else { panic!("no retry") };
    assert_eq!(between(now(), at), Duration::from_secs(77));
}

#[test]
fn a_retry_that_would_miss_the_deadline_is_a_dead_letter_now() {
    let mut job = job();
    job.deadline = Some(now() + Duration::from_millis(10));
    assert_eq!(reason(&fail(Class::Failed, &job, &Policy::default())), "expired");
}

#[test]
fn retry_for_counts_from_the_first_failure() {
    let policy = Policy { retry_for: Some(Duration::from_secs(60)), ..Policy::default() };
    let mut job = job();
    let Verdict::Retry { life, .. } = fail(Class::Failed, &job, &policy) else { panic!("no retry") };
    job.life = life;
    let late = Moment { now: now() + Duration::from_secs(61), ..moment() };
    assert_eq!(reason(&decide(Failure::new(Class::Failed, "why").into(), &job, &policy, &late)), "failed");
}

#[test]
fn a_class_can_have_its_own_attempts_and_back_off() {
    let mut policy = Policy::default();
    policy.classes.insert(Class::Timeout, Override { attempts: Some(1), backoff: None });
    assert_eq!(reason(&fail(Class::Timeout, &job(), &policy)), "timeout");
    assert!(matches!(fail(Class::Failed, &job(), &policy), Verdict::Retry { .. }));
}

#[test]
fn rejected_aborted_and_configured_unknown_outcomes_are_dead_at_once() {
    let policy = Policy { unknown_outcome: OnUnknown::DeadLetter, ..Policy::default() };
    for class in [Class::Rejected, Class::Aborted, Class::UnknownOutcome] {
        assert_eq!(reason(&fail(class, &job(), &policy)), class.as_str());
    }
}

#[test]
fn an_interruption_is_no_attempt() {
    let verdict = decide(Outcome::Interrupted(Interruption::Stopping), &job(), &Policy::default(), &moment());
    assert!(matches!(verdict, Verdict::GiveBack(Interruption::Stopping)));
    assert!(matches!(decide(Outcome::Done(Output::Nothing), &job(), &Policy::default(), &moment()), Verdict::Complete(_)));
}

proptest! {
    #[test]
    fn a_delay_never_exceeds_its_cap(failures in 1u32..10_000, jitter in 0.0f64..1.0, base in 1u64..100, factor in 1.0f64..10.0, cap in 1u64..10_000) {
        let backoff = Backoff { base: Duration::from_secs(base), factor, cap: Duration::from_secs(cap), jitter: Jitter::Full };
        prop_assert!(backoff.delay(failures, jitter) <= Duration::from_secs(cap));
    }

    #[test]
    fn every_failure_ends_in_a_dead_letter_after_finitely_many_runs(class in prop::sample::select(Class::ALL.to_vec()), jitter in 0.0f64..1.0) {
        let policy = Policy::default();
        let mut job = job();
        let mut time = now();
        for _ in 0..5000 {
            let moment = Moment { now: time, jitter, ..moment() };
            match decide(Failure::new(class, "why").into(), &job, &policy, &moment) {
                Verdict::Retry { at, life } | Verdict::Park { at, life, .. } => {
                    prop_assert!(at >= time);
                    time = at;
                    job.life = life;
                }
                Verdict::DeadLetter { .. } => return Ok(()),
                other => prop_assert!(false, "{:?}", other),
            }
        }
        prop_assert!(false, "{} never ends", class);
    }
}

#[test]
fn a_job_that_kills_its_worker_more_often_than_not_is_poison_and_one_that_happened_to_be_there_is_not() {
    // true where the worker died while the job ran alone in it
    let ends_as_poison = |deaths: &[bool]| {
        let mut job = job();
        deaths.iter().any(|died| {
            if !died {
                job.life = survived(&job.life, &Failure::new(Class::Unavailable, "down").into());
                return false;
            }
            match fail(Class::Crashed, &job, &Policy::default()) {
                Verdict::Retry { life, .. } => job.life = life,
                dead => return reason(&dead) == "poison",
            }
            false
        })
    };
    assert!(ends_as_poison(&[true, true, true]));
    assert!(ends_as_poison(&[true, true, false, true, true]));
    assert!(!ends_as_poison(&[true, false].repeat(100)));
    assert!(!ends_as_poison(&[true, true, false, false].repeat(100)));
}

#[test]
fn only_a_run_that_came_to_an_end_of_its_own_speaks_for_a_job() {
    let life = Life { suspect: true, crashes: 2, ..Life::default() };
    let crashes = |outcome: Outcome| {
        let life = survived(&life, &outcome);
        assert!(!life.suspect);
        life.crashes
    };
    assert_eq!(crashes(Outcome::Done(Output::Json("1".into()))), 1);
    assert_eq!(crashes(Failure::new(Class::Timeout, "too long").into()), 1);
    assert_eq!(crashes(Failure::new(Class::Crashed, "SIGSEGV").into()), 2);
    assert_eq!(crashes(Outcome::Interrupted(Interruption::Stopping)), 2);
}
