use super::*;

#[test]
fn hundreds_of_thousands_of_tenants_that_come_once_leave_no_more_behind_than_a_thousand() {
    let (mut turns, mut now) = (turns(), Instant::now());
    let rules = Arc::new(Rules { per_tenant: per_second(10), per_key: per_second(10), ..rules() });
    let mut most = 0;
    for number in 0..200_000 {
        let name = number.to_string();
        turns.add(facts(&name, "t", Some(&name), &rules), number, now);
        assert_eq!(run(&mut turns, 1, &mut now, MS), [number], "it has its turn at once");
        let kept = [turns.entries.len(), turns.streams.len(), turns.tenants.len(), turns.gates.len(), turns.lanes.len()];
        most = most.max(kept.into_iter().max().unwrap_or_default());
    }
    // a rate of 10 in a second is remembered for a tenth of one, in which a hundred of them come
    assert!(most <= 1000, "{most} at once");
}

#[test]
fn a_small_queue_beside_a_flood_in_another_is_served_in_turns() {
    let (mut turns, rules, mut now) = (turns(), Arc::new(rules()), Instant::now());
    for queue in std::iter::repeat_n("large", 1000).chain(std::iter::repeat_n("small", 10)) {
        turns.add(Facts { queue: queue.into(), ..facts("a", "t", None, &rules) }, queue, now);
    }
    let next = run(&mut turns, 20, &mut now, MS);
    assert_eq!(next.iter().filter(|queue| **queue == "small").count(), 10, "{next:?}");
}
