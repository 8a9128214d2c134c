mod crowd;
mod older;

use std::collections::HashSet;

use super::*;
use crate::units::Rate;

fn rules() -> Rules {
    let none = Limit::default();
    Rules { route: "r".into(), weight: 1, ordered: false, limit: none, per_tenant: none, per_key: none, guard: None }
}

fn facts(tenant: &str, kind: &str, key: Option<&str>, rules: &Arc<Rules>) -> Facts {
    let key = key.map(Into::into);
    Facts {
        queue: "q".into(),
        tenant: tenant.into(),
        kind: kind.into(),
        priority: 4,
        key,
        suspect: false,
        older: false,
        leaves: false,
        rules: rules.clone(),
    }
}

fn turns<T>() -> Turns<T> {
    Turns::new(std::collections::HashMap::new(), 1000)
}

fn per_second(count: u32) -> Limit {
    Limit { rate: Some(Rate { count, per: Duration::from_secs(1) }), concurrency: None }
}

fn at_once(most: u32) -> Limit {
    Limit { rate: None, concurrency: Some(most) }
}

/// The next jobs, each run for `took`, one after another.
fn run<T>(turns: &mut Turns<T>, count: usize, now: &mut Instant, took: Duration) -> Vec<T> {
    let mut ran = Vec::new();
    while ran.len() < count {
        let Some((ticket, item)) = turns.next(None, *now) else { break };
        *now += took;
        turns.ended(&ticket, *now);
        ran.push(item);
    }
    ran
}

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_tenant_with_ten_jobs_is_done_within_twenty_turns_of_a_flood() {
    let (mut turns, rules, mut now) = (turns(), Arc::new(rules()), Instant::now());
    for _ in 0..10_000 {
        turns.add(facts("flood", "t", None, &rules), "flood", now);
    }
    run(&mut turns, 500, &mut now, MS);
    for _ in 0..10 {
        turns.add(facts("small", "t", None, &rules), "small", now);
    }
    let next = run(&mut turns, 21, &mut now, MS);
    assert_eq!(next.iter().filter(|tenant| **tenant == "small").count(), 10, "{next:?}");
}

#[test]
fn types_of_a_tenant_share_by_weight_and_higher_priorities_go_first() {
    let (mut turns, mut now) = (turns(), Instant::now());
    let light = Arc::new(rules());
    let heavy = Arc::new(Rules { route: "heavy".into(), weight: 3, ..rules() });
    for _ in 0..400 {
        turns.add(facts("a", "light", None, &light), "light", now);
        turns.add(facts("a", "heavy", None, &heavy), "heavy", now);
    }
    turns.add(Facts { priority: 9, ..facts("a", "light", None, &light) }, "urgent", now);
    let ran = run(&mut turns, 401, &mut now, MS);
    assert_eq!(ran[0], "urgent");
    let heavy = ran.iter().filter(|kind| **kind == "heavy").count();
    assert!((298..=302).contains(&heavy), "{heavy}");
}

#[test]
fn a_key_runs_one_job_at_a_time_in_order_while_others_go_on() {
    let (mut turns, now) = (turns(), Instant::now());
    let rules = Arc::new(Rules { ordered: true, ..rules() });
    for (key, number) in [("x", 1), ("x", 2), ("y", 3), ("x", 4)] {
        turns.add(Facts { priority: number, ..facts("a", "t", Some(key), &rules) }, number, now);
    }
    let (first, _) = turns.next(None, now).filter(|(_, number)| *number == 3).unwrap();
    let (second, _) = turns.next(None, now).filter(|(_, number)| *number == 1).unwrap();
    assert!(turns.next(None, now).is_none());
    assert_eq!(turns.iter().filter(|(_, why)| *why == Wait::KeyBusy).count(), 2);
    turns.ended(&first, now);
    assert!(turns.next(None, now).is_none());
    turns.ended(&second, now);
    assert_eq!(turns.next(None, now).unwrap().1, 2, "before a later one of a higher priority");
}

#[test]
fn a_held_head_keeps_its_key_waiting_and_runs_again_before_the_others() {
    let (mut turns, now) = (turns(), Instant::now());
    let rules = Arc::new(Rules { ordered: true, ..rules() });
    turns.add(facts("a", "t", Some("x"), &rules), 1, now);
    turns.add(facts("a", "t", Some("x"), &rules), 2, now);
    let (ticket, item) = turns.next(None, now).unwrap();
    let due = now + Duration::from_secs(60);
    turns.hold(ticket, item, due, now);
    assert!(turns.next(None, due - MS).is_none());
    assert_eq!(turns.wakes_at(), Some(due));
    let (ticket, item) = turns.next(None, due).unwrap();
    assert_eq!(item, 1);
    turns.ended(&ticket, due);
    assert_eq!(turns.next(None, due).unwrap().1, 2);
}

#[test]
fn a_route_under_a_limit_leaves_slots_to_the_others() {
    let (mut turns, now) = (turns(), Instant::now());
    let slow = Arc::new(Rules { limit: at_once(2), ..rules() });
    let rated = Arc::new(Rules { route: "rated".into(), limit: per_second(1), ..rules() });
    let free = Arc::new(Rules { route: "free".into(), ..rules() });
    for number in 0..5 {
        turns.add(facts("a", "slow", None, &slow), ("slow", number), now);
        turns.add(facts("a", "rated", None, &rated), ("rated", number), now);
        turns.add(facts("a", "free", None, &free), ("free", number), now);
    }
    let mut started: Vec<_> = std::iter::from_fn(|| turns.next(None, now)).collect();
    let count = |started: &[(Ticket, (&str, i32))], kind| started.iter().filter(|(_, (known, _))| *known == kind).count();
    assert_eq!(["slow", "rated", "free"].map(|kind| count(&started, kind)), [2, 1, 5]);
    let whys: Vec<Wait> = turns.iter().map(|(_, why)| why).collect();
    assert_eq!(whys.iter().filter(|why| **why == Wait::Concurrency).count(), 3);
    assert_eq!(whys.iter().filter(|why| **why == Wait::Rate).count(), 4);
    let ended = started.iter().position(|(_, (kind, _))| *kind == "slow").unwrap();
    let (ticket, _) = started.remove(ended);
    turns.ended(&ticket, now);
    assert_eq!(turns.next(None, now).unwrap().1, ("slow", 2));
    assert_eq!(turns.next(None, now + Duration::from_secs(1)).unwrap().1, ("rated", 1));
}

#[test]
fn a_stream_that_was_woken_for_a_job_that_is_taken_away_wakes_the_next() {
    let (mut turns, now) = (turns(), Instant::now());
    let rules = Arc::new(Rules { limit: at_once(1), ..rules() });
    for kind in ["x", "y", "z"] {
        turns.add(facts("a", kind, None, &rules), kind, now);
    }
    let (ticket, first) = turns.next(None, now).unwrap();
    assert!(turns.next(None, now).is_none());
    turns.ended(&ticket, now); // wakes the one that found the limit first
    let woken = turns.iter().find(|(_, why)| *why == Wait::NoSlot).map(|(item, _)| *item).unwrap();
    turns.take_where(|item| *item == woken, now).unwrap();
    let last = turns.next(None, now).unwrap().1;
    assert!(last != first && last != woken);
}

#[test]
fn limits_of_a_tenant_and_of_a_key_bind_only_them() {
    let (mut turns, now) = (turns(), Instant::now());
    let rules = Arc::new(Rules { per_tenant: at_once(2), per_key: per_second(1), ..rules() });
    for (tenant, key) in [("a", "x"), ("a", "x"), ("a", "y"), ("a", "z"), ("b", "q")] {
        turns.add(facts(tenant, "t", Some(key), &rules), (tenant, key), now);
    }
    let started: Vec<_> = std::iter::from_fn(|| turns.next(None, now)).collect();
    let items: HashSet<_> = started.iter().map(|(_, item)| *item).collect();
    assert_eq!(items, HashSet::from([("a", "x"), ("a", "y"), ("b", "q")]));
    started.iter().for_each(|(ticket, _)| turns.ended(ticket, now));
    assert_eq!(turns.next(None, now).unwrap().1, ("a", "z"));
    assert!(turns.next(None, now).is_none());
    assert_eq!(turns.next(None, now + Duration::from_secs(1)).unwrap().1, ("a", "x"));
}

#[test]
fn sources_are_asked_for_others_while_one_stream_or_key_fills_the_window() {
    let mut turns = Turns::new(std::collections::HashMap::new(), 100);
    let (ordered, mut now) = (Arc::new(Rules { ordered: true, ..rules() }), Instant::now());
    for number in 0..60 {
        turns.add(facts("a", "t", Some("x"), &ordered), number, now);
    }
    let stream = ("q".into(), Strand::Stream { tenant: "a".into(), kind: "t".into() });
    let key = ("q".into(), Strand::Key { tenant: "a".into(), kind: "t".into(), key: "x".into() });
    assert_eq!(turns.strands(), [(key.clone(), true), (stream.clone(), true)]);
    run(&mut turns, 60, &mut now, MS);
    assert_eq!(turns.strands(), [(stream, false), (key, false)]);
}

#[test]
fn nothing_is_left_of_tenants_keys_and_limits_that_are_gone() {
    let (mut turns, mut now) = (turns(), Instant::now());
    let rules = Arc::new(Rules { per_tenant: per_second(10), per_key: per_second(10), ..rules() });
    for number in 0..5000 {
        turns.add(facts(&format!("t{number}"), &format!("k{number}"), Some(&number.to_string()), &rules), number, now);
        run(&mut turns, 1, &mut now, MS);
    }
    now += Duration::from_secs(10);
    assert!(turns.next(None, now).is_none());
    let left = [turns.entries.len(), turns.streams.len(), turns.tenants.len(), turns.gates.len(), turns.lanes.len()];
    assert_eq!((left, turns.by_key.len(), turns.gates_by_key.len(), turns.lanes_by_key.len()), ([0; 5], 0, 0, 0));
    assert_eq!(turns.wakes_at(), None);
}

#[test]
fn a_reload_changes_the_limits_of_what_waits_and_forgets_nothing_that_runs() {
    let (mut turns, now) = (turns(), Instant::now());
    let slow = Arc::new(Rules { limit: Limit { concurrency: Some(1), ..per_second(1) }, ..rules() });
    for number in 0..6 {
        turns.add(facts("a", "t", None, &slow), number, now);
    }
    let (first, _) = turns.next(None, now).unwrap();
    assert!(turns.next(None, now).is_none());
    let more = Arc::new(Rules { limit: at_once(3), ..rules() });
    for (item, _) in turns.clear(now) {
        turns.add(facts("a", "t", None, &more), item, now);
    }
    let running: Vec<_> = std::iter::from_fn(|| turns.next(None, now)).collect();
    assert_eq!(running.len(), 2, "beside the one that runs since before");
    turns.ended(&first, now);
    assert!(turns.next(None, now).is_some());
    let free = Arc::new(rules());
    for (item, _) in turns.clear(now) {
        turns.add(facts("a", "t", None, &free), item, now);
    }
    assert_eq!(std::iter::from_fn(|| turns.next(None, now)).count(), 2);
}

mod property {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Add { tenant: u8, kind: u8, key: u8, priority: u8 },
        Start,
        End(usize),
        Hold(usize, u64),
        Take(usize),
        Wait(u64),
        Clear,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            5 => (0..3u8, 0..3u8, 0..4u8, 0..10u8).prop_map(|(tenant, kind, key, priority)| Step::Add { tenant, kind, key, priority }),
            5 => Just(Step::Start),
            3 => any::<usize>().prop_map(Step::End),
            1 => (any::<usize>(), 0..3000u64).prop_map(|(which, wait)| Step::Hold(which, wait)),
            1 => any::<usize>().prop_map(Step::Take),
            2 => (0..700u64).prop_map(Step::Wait),
            1 => Just(Step::Clear),
        ]
    }

    fn kinds() -> [Arc<Rules>; 3] {
        [
            Arc::new(Rules { route: "ordered".into(), ordered: true, per_key: per_second(20), ..rules() }),
            Arc::new(Rules {
                route: "limited".into(),
                limit: at_once(3),
                per_tenant: at_once(2),
                per_key: at_once(1),
                ..rules()
            }),
            Arc::new(Rules {
                route: "rated".into(),
                limit: per_second(5),
                per_tenant: per_second(3),
                per_key: per_second(2),
                ..rules()
            }),
        ]
    }

    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Item {
        number: usize,
        kind: u8,
        tenant: u8,
        key: u8,
    }

    struct World {
        turns: Turns<Item>,
        kinds: [Arc<Rules>; 3],
        now: Instant,
        running: Vec<(Ticket, Item)>,
        added: usize,
        out: HashSet<usize>,
        /// The last job of each ordered key that has ended.
        last: HashMap<(u8, u8), usize>,
    }

    impl World {
        fn add(&mut self, item: Item, priority: u8) {
            let mut facts = facts(&item.tenant.to_string(), &item.kind.to_string(), None, &self.kinds[usize::from(item.kind)]);
            facts.key = (item.key > 0).then(|| item.key.to_string().into());
            self.turns.add(Facts { priority, ..facts }, item, self.now);
        }

        fn apply(&mut self, step: &Step) {
            match *step {
                Step::Add { tenant, kind, key, priority } => {
                    self.added += 1;
                    self.add(Item { number: self.added, kind, tenant, key }, priority);
                }
                Step::Start => {
                    if let Some((ticket, item)) = self.turns.next(None, self.now) {
                        self.started(&item);
                        self.running.push((ticket, item));
                    }
                }
                Step::End(which) if !self.running.is_empty() => {
                    let (ticket, item) = self.running.swap_remove(which % self.running.len());
                    self.turns.ended(&ticket, self.now);
                    self.gone(item);
                }
                Step::Hold(which, wait) if !self.running.is_empty() => {
                    let which = which % self.running.len();
                    if self.running[which].1.kind == 0 && self.running[which].1.key > 0 {
                        let (ticket, item) = self.running.swap_remove(which);
                        self.turns.hold(ticket, item, self.now + MS * u32::try_from(wait).unwrap(), self.now);
                    }
                }
                Step::Take(which) if self.added > 0 => {
                    let number = which % self.added + 1;
                    if let Some(item) = self.turns.take_where(|item| item.number == number, self.now) {
                        assert!(self.out.insert(item.number), "{item:?} twice");
                    }
                }
                Step::Wait(wait) => self.now += MS * u32::try_from(wait).unwrap(),
                Step::Clear => {
                    self.kinds = kinds(); // a reload
                    for (item, _) in self.turns.clear(self.now) {
                        self.add(item, 4);
                    }
                }
                _ => {}
            }
        }

        fn started(&self, item: &Item) {
            let alike = |same: &dyn Fn(&Item) -> bool| {
                self.running.iter().filter(|(_, other)| other.kind == item.kind && same(other)).count()
            };
            match item.kind {
                0 if item.key > 0 => {
                    assert_eq!(
                        alike(&|other| (other.tenant, other.key) == (item.tenant, item.key)),
                        0,
                        "two jobs of one key at once"
                    );
                    assert!(self.last.get(&(item.tenant, item.key)).is_none_or(|last| *last < item.number), "out of order");
                }
                1 => {
                    assert!(alike(&|_| true) < 3 && alike(&|other| other.tenant == item.tenant) < 2);
                    assert!(item.key == 0 || alike(&|other| (other.tenant, other.key) == (item.tenant, item.key)) == 0);
                }
                _ => {}
            }
        }

        fn gone(&mut self, item: Item) {
            assert!(self.out.insert(item.number), "{item:?} twice");
            if item.kind == 0 {
                self.last.insert((item.tenant, item.key), item.number);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn every_job_runs_once_in_order_and_within_its_limits(steps in proptest::collection::vec(step(), 1..200)) {
            let mut world = World {
                turns: turns(), kinds: kinds(), now: Instant::now(), running: Vec::new(), added: 0,
                out: HashSet::new(), last: HashMap::new(),
            };
            steps.iter().for_each(|step| world.apply(step));
            for _ in 0..20_000 {
                world.apply(&Step::End(0));
                world.apply(&Step::Start);
                if world.running.is_empty() {
                    let Some(at) = world.turns.wakes_at() else { break };
                    world.now = at.max(world.now);
                }
            }
            prop_assert_eq!(world.out.len(), world.added, "some never ran");
            prop_assert_eq!((world.turns.len(), world.turns.ready()), (0, 0));
            prop_assert_eq!((world.turns.streams.len(), world.turns.gates.len(), world.turns.lanes.len()), (0, 0, 0));
            prop_assert!(world.turns.strands().iter().all(|(_, shut)| !shut) || world.turns.strands.take().is_empty());
        }
    }
}
