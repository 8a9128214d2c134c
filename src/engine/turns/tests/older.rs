//! Jobs from beside a queue are older than those of the queue itself.

use super::*;

fn keyed(older: bool, leaves: bool) -> Facts {
    let rules = Arc::new(Rules { ordered: true, ..rules() });
    Facts { older, leaves, ..facts("a", "t", Some("k"), &rules) }
}

#[test]
fn an_older_job_goes_before_newer_ones_of_its_key_that_have_not_started() {
    let (mut turns, mut now) = (turns(), Instant::now());
    turns.add(keyed(false, false), "third", now);
    turns.add(keyed(false, false), "fourth", now);
    turns.add(keyed(true, false), "first", now);
    turns.add(keyed(true, false), "second", now);
    assert_eq!(run(&mut turns, 5, &mut now, MS), ["first", "second", "third", "fourth"]);
}

#[test]
fn a_job_that_leaves_waits_for_those_before_it_and_for_no_limit() {
    let now = Instant::now();
    let mut turns = turns();
    let rules = Arc::new(Rules { ordered: true, limit: at_once(1), ..rules() });
    let of = |key: &str, leaves| Facts { leaves, ..facts("a", "t", Some(key), &rules) };
    turns.add(of("k", false), "runs", now);
    turns.add(of("k", true), "leaves after it", now);
    turns.add(of("l", true), "leaves at once", now);
    let (running, _) = turns.next(None, now).filter(|(_, item)| *item == "runs").or_else(|| turns.next(None, now)).unwrap();
    let mut others = Vec::new();
    while let Some((ticket, item)) = turns.next(None, now) {
        turns.ended(&ticket, now);
        others.push(item);
    }
    assert!(!others.contains(&"leaves after it"), "{others:?}");
    turns.ended(&running, now);
    assert_eq!(turns.next(None, now).map(|(_, item)| item), Some("leaves after it"));
}
