use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::ports::{Facets, Strand};

const NORMAL: Lane = Lane(5);

fn sorted(tenant: &str, kind: &str, key: Option<&str>) -> Sorted {
    Sorted::new(7, &Facets { tenant: tenant.into(), kind: kind.into(), key: key.map(Into::into) })
}

fn place(lane: Lane, sequence: i64) -> Place {
    Place::new(1, lane, sequence)
}

/// Takes the next job and answers its sequence.
fn take(backlog: &mut Backlog) -> Option<i64> {
    let head = backlog.head()?;
    backlog.pop(head);
    Some(head.place.sequence())
}

fn take_all(backlog: &mut Backlog) -> Vec<i64> {
    std::iter::from_fn(|| take(backlog)).collect()
}

#[test]
fn ten_jobs_of_one_tenant_are_found_behind_a_hundred_thousand_of_another() {
    let mut backlog = Backlog::default();
    for sequence in 1..=100_000 {
        backlog.insert(sorted("large", "t", None), place(NORMAL, sequence));
    }
    for sequence in 100_001..=100_010 {
        backlog.insert(sorted("small", "t", None), place(NORMAL, sequence));
    }
    let first: Vec<i64> = (0..20).filter_map(|_| take(&mut backlog)).collect();
    assert_eq!(first.iter().filter(|sequence| **sequence > 100_000).count(), 10, "{first:?}");
    assert_eq!(take_all(&mut backlog).len(), 99_990);
}

#[test]
fn within_a_tenant_priorities_go_first_and_types_take_turns() {
    let mut backlog = Backlog::default();
    for (sequence, kind, lane) in [(1, "a", 5), (2, "a", 5), (3, "a", 5), (4, "b", 5), (5, "b", 5), (6, "c", 0), (7, "a", 9)] {
        backlog.insert(sorted("t", kind, None), place(Lane(lane), sequence));
    }
    assert_eq!(take_all(&mut backlog), [6, 1, 4, 2, 5, 3, 7]);
}

#[test]
fn a_shut_stream_is_passed_over_and_goes_on_where_it_stood() {
    let mut backlog = Backlog::default();
    backlog.shut(sorted("t", "a", None));
    for (sequence, kind) in [(1, "a"), (2, "a"), (3, "b")] {
        backlog.insert(sorted("t", kind, None), place(NORMAL, sequence));
    }
    assert_eq!(take_all(&mut backlog), [3]);
    assert_eq!(backlog.oldest(), Some(place(NORMAL, 1)));
    backlog.insert(sorted("t", "a", None), place(NORMAL, 4));
    backlog.open(sorted("t", "a", None));
    assert_eq!(take_all(&mut backlog), [1, 2, 4]);
}

#[test]
fn jobs_of_a_shut_key_are_passed_over_and_come_in_order_once_it_is_open() {
    let mut backlog = Backlog::default();
    let key = |key| sorted("t", "a", Some(key));
    for (sequence, name) in [(1, "x"), (2, "y"), (3, "x"), (4, "x"), (5, "y")] {
        backlog.insert(key(name), place(NORMAL, sequence));
    }
    backlog.shut(key("x"));
    assert_eq!(take_all(&mut backlog), [2, 5]);
    assert_eq!(backlog.oldest(), Some(place(NORMAL, 1)));
    backlog.insert(key("x"), place(NORMAL, 6));
    backlog.insert(key("y"), place(NORMAL, 7));
    backlog.open(key("x"));
    assert_eq!(take(&mut backlog), Some(1));
    backlog.insert(key("x"), place(NORMAL, 1)); // given back
    backlog.shut(key("x"));
    assert_eq!(take(&mut backlog), Some(7));
    backlog.open(key("x"));
    assert_eq!(take_all(&mut backlog), [1, 3, 4, 6]);
    assert_eq!(backlog.len(), 0);
}

#[test]
fn a_job_that_was_given_back_stands_where_it_stood() {
    let mut backlog = Backlog::default();
    for sequence in 1..=5 {
        backlog.insert(sorted("t", "a", None), place(NORMAL, sequence));
    }
    assert_eq!([take(&mut backlog), take(&mut backlog)], [Some(1), Some(2)]);
    backlog.insert(sorted("t", "a", None), place(NORMAL, 2));
    backlog.insert(sorted("t", "a", None), place(NORMAL, 1));
    assert_eq!(take_all(&mut backlog), [1, 2, 3, 4, 5]);
}

#[test]
fn tenants_that_come_and_go_leave_nothing_behind() {
    let mut backlog = Backlog::default();
    for number in 0..100_000 {
        let job = sorted(&number.to_string(), "t", Some("k"));
        backlog.insert(job, place(NORMAL, number));
        backlog.shut(job);
        assert_eq!(take(&mut backlog), None);
        backlog.open(job);
        assert_eq!(take(&mut backlog), Some(number));
    }
    assert!(backlog.streams.len() <= IDLE && backlog.tenants.len() <= IDLE, "{}", backlog.streams.len());
    assert!(backlog.turns.is_empty() && backlog.idle.len() <= IDLE);
}

#[test]
fn what_is_beyond_the_bound_is_refused_by_jobs_and_by_streams() {
    let mut backlog = Backlog::default();
    for number in 0..MOST as i64 / (STREAM as i64 + 1) {
        backlog.insert(sorted(&number.to_string(), "t", None), place(NORMAL, number + 1));
    }
    assert!(backlog.has_room());
    for number in 0..=(STREAM as i64 + 1) {
        backlog.insert(sorted("one", "t", None), place(NORMAL, MOST as i64 + number));
    }
    assert!(!backlog.has_room());
}

#[test]
fn the_next_jobs_are_named_in_turns_and_begin_with_the_very_next() {
    let mut backlog = Backlog::default();
    for sequence in 1..=1000 {
        backlog.insert(sorted("large", "t", None), place(NORMAL, sequence));
    }
    backlog.insert(sorted("small", "t", Some("x")), place(NORMAL, 2001));
    backlog.insert(sorted("small", "t", Some("y")), place(NORMAL, 2002));
    backlog.shut(sorted("small", "t", Some("x")));
    let sequences = |heads: Vec<Head>| -> Vec<i64> { heads.iter().map(|head| head.place.sequence()).collect() };
    assert_eq!(sequences(backlog.next(4, |_| false)), [1, 2, 2002]);
    take(&mut backlog);
    assert_eq!(backlog.head().map(|head| head.place.sequence()), Some(2002));
    assert_eq!(sequences(backlog.next(4, |place| place.sequence() == 2)), [2002, 3]);
    backlog.open(sorted("small", "t", Some("x")));
    assert_eq!(backlog.head().map(|head| head.place.sequence()), Some(2001));
    assert_eq!(sequences(backlog.next(1, |_| false)), [2001], "the head first, though its key was shut");
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Insert { tenant: u8, kind: u8, key: u8, lane: u8 },
    Take,
    GiveBack,
    Shut { tenant: u8, kind: u8, key: u8 },
    Open { tenant: u8, kind: u8, key: u8 },
    OpenAll,
}

fn step() -> impl Strategy<Value = Step> {
    let strand = (0u8..3, 0u8..2, 0u8..3);
    prop_oneof![
        8 => (0u8..3, 0u8..2, 0u8..3, 4u8..6)
            .prop_map(|(tenant, kind, key, lane)| Step::Insert { tenant, kind, key, lane }),
        8 => Just(Step::Take),
        2 => Just(Step::GiveBack),
        3 => strand.clone().prop_map(|(tenant, kind, key)| Step::Shut { tenant, kind, key }),
        3 => strand.prop_map(|(tenant, kind, key)| Step::Open { tenant, kind, key }),
        1 => Just(Step::OpenAll),
    ]
}

/// The same by looking at everything each time. Key 0 is none; a strand with key 0 is the stream.
#[derive(Default)]
struct Model {
    waiting: BTreeMap<i64, (u8, u8, u8, u8)>,
    taken: Vec<(i64, (u8, u8, u8, u8))>,
    shut: BTreeSet<(u8, u8, u8)>,
    /// Turns since each tenant that could take one did.
    passed: BTreeMap<u8, usize>,
}

impl Model {
    fn is_open(&self, (tenant, kind, key, _): (u8, u8, u8, u8)) -> bool {
        !self.shut.contains(&(tenant, kind, 0)) && (key == 0 || !self.shut.contains(&(tenant, kind, key)))
    }

    fn check_taken(&mut self, sequence: Option<i64>) {
        let open: Vec<_> = self.waiting.iter().filter(|(_, job)| self.is_open(**job)).map(|(at, job)| (*at, *job)).collect();
        let Some(sequence) = sequence else {
            self.passed.clear();
            return assert!(open.is_empty(), "nothing was taken of {open:?}");
        };
        let job = self.waiting.remove(&sequence).expect("each job is taken once");
        assert!(self.is_open(job), "{job:?} was shut");
        for (other, at) in open {
            let (tenant, kind, _, lane) = at;
            assert!(tenant != job.0 || lane >= job.3, "{at:?} goes before {job:?}");
            assert!((tenant, kind, lane) != (job.0, job.1, job.3) || other >= sequence, "{other} goes before {sequence}");
            self.passed.entry(tenant).or_default();
        }
        let tenants: BTreeSet<u8> = self.waiting.values().filter(|at| self.is_open(**at)).map(|at| at.0).collect();
        self.passed.retain(|tenant, _| tenants.contains(tenant));
        self.passed.values_mut().for_each(|passed| *passed += 1);
        self.passed.insert(job.0, 0);
        assert!(self.passed.values().all(|passed| *passed <= 3), "a tenant starves: {:?}", self.passed);
        self.taken.push((sequence, job));
    }
}

fn sorted_of((tenant, kind, key): (u8, u8, u8)) -> Sorted {
    let (tenant, kind): (std::sync::Arc<str>, std::sync::Arc<str>) = (tenant.to_string().into(), kind.to_string().into());
    let strand = match key {
        0 => Strand::Stream { tenant, kind },
        key => Strand::Key { tenant, kind, key: key.to_string().into() },
    };
    Sorted::of_strand(7, &strand)
}

proptest! {
    #[test]
    fn every_job_comes_once_in_order_in_turn_and_only_while_it_is_open(steps in proptest::collection::vec(step(), 1..150)) {
        let (mut backlog, mut model) = (Backlog::default(), Model::default());
        for (sequence, step) in (1i64..).zip(steps) {
            match step {
                Step::Insert { tenant, kind, key, lane } => {
                    backlog.insert(sorted_of((tenant, kind, key)), place(Lane(lane), sequence));
                    model.waiting.insert(sequence, (tenant, kind, key, lane));
                }
                Step::Take => model.check_taken(take(&mut backlog)),
                Step::GiveBack => {
                    if let Some((sequence, (tenant, kind, key, lane))) = model.taken.pop() {
                        backlog.insert(sorted_of((tenant, kind, key)), place(Lane(lane), sequence));
                        model.waiting.insert(sequence, (tenant, kind, key, lane));
                    }
                }
                Step::Shut { tenant, kind, key } => {
                    backlog.shut(sorted_of((tenant, kind, key)));
                    model.shut.insert((tenant, kind, key));
                }
                Step::Open { tenant, kind, key } => {
                    backlog.open(sorted_of((tenant, kind, key)));
                    model.shut.remove(&(tenant, kind, key));
                }
                Step::OpenAll => {
                    backlog.open_all();
                    model.shut.clear();
                }
            }
            prop_assert_eq!(backlog.len(), model.waiting.len());
            let oldest = backlog.oldest().map(Place::sequence);
            prop_assert_eq!(oldest, model.waiting.keys().next().copied());
        }
        backlog.open_all();
        model.shut.clear();
        while !model.waiting.is_empty() {
            model.check_taken(take(&mut backlog));
        }
    }
}
