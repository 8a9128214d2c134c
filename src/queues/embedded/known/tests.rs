use proptest::prelude::*;

use super::super::place::{EndKind, Lane, Place};
use super::*;

fn connection() -> Connection {
    let connection = Connection::open_in_memory().unwrap();
    connection.execute_batch(super::super::schema::KNOWN).unwrap();
    connection
}

fn standing_at(sequence: i64) -> Entry {
    Entry { standing: Standing::At(Place::new(1, Lane(5), sequence)).to_column(), at: 100 }
}

fn ended(number: i64, at: i64) -> Entry {
    Entry { standing: Standing::Ended(EndKind::Completed, number).to_column(), at }
}

fn digest(number: i64) -> u128 {
    super::super::ledger::digest(7, &number.to_string())
}

fn commit(known: &mut Known, connection: &Connection) {
    known.write(connection).unwrap();
    known.committed();
    if known.is_full() {
        let segment = known.write_segment(connection).unwrap();
        known.settle(segment);
    }
}

#[test]
fn what_was_set_last_holds_in_memory_in_segments_and_after_a_restart() {
    let connection = connection();
    let mut known = Known::read(&connection, 64 * 16).unwrap();
    for number in 0..1000 {
        known.set(digest(number), standing_at(number));
        commit(&mut known, &connection);
    }
    for number in 0..500 {
        known.set(digest(number), ended(number, 200));
        commit(&mut known, &connection);
    }
    assert!(known.segments.len() > 10);
    for known in [known, Known::read(&connection, 64 * 16).unwrap()] {
        for number in 0..1000 {
            let expected = if number < 500 { ended(number, 200) } else { standing_at(number) };
            assert_eq!(known.get(&connection, digest(number)).unwrap(), Some(expected), "{number}");
        }
        assert_eq!(known.get(&connection, digest(1000)).unwrap(), None);
    }
}

#[test]
fn a_rolled_back_transaction_leaves_no_trace() {
    let connection = connection();
    let mut known = Known::read(&connection, 1 << 20).unwrap();
    known.set(digest(1), standing_at(1));
    commit(&mut known, &connection);
    known.set(digest(1), ended(1, 5));
    known.set(digest(1), standing_at(9));
    known.set(digest(2), standing_at(2));
    known.rolled_back();
    commit(&mut known, &connection);
    assert_eq!(known.get(&connection, digest(1)).unwrap(), Some(standing_at(1)));
    assert_eq!(known.get(&connection, digest(2)).unwrap(), None);
    assert_eq!(Known::read(&connection, 1 << 20).unwrap().fresh.len(), 1);
}

#[test]
fn a_dropped_segment_takes_ended_ids_with_it_and_leaves_live_ones() {
    let connection = connection();
    let mut known = Known::read(&connection, 4 * 16).unwrap();
    for number in 0..3 {
        known.set(digest(number), standing_at(number));
    }
    known.set(digest(3), ended(3, 150));
    commit(&mut known, &connection);
    known.set(digest(0), ended(4, 160)); // supersedes an entry of the first segment
    commit(&mut known, &connection);
    assert!(known.is_crowded(0, 1, 2), "two ended ids are known, one is wanted");
    let evicted = known.drop_oldest(&connection, 150, 100).unwrap();
    commit(&mut known, &connection);
    known.dropped();
    assert_eq!(evicted, 1);
    assert_eq!(known.get(&connection, digest(0)).unwrap(), Some(ended(4, 160)));
    for number in 1..3 {
        assert_eq!(known.get(&connection, digest(number)).unwrap(), Some(standing_at(number)));
    }
    assert_eq!(known.get(&connection, digest(3)).unwrap(), None);
}

#[test]
fn an_end_is_not_forgotten_before_the_entry_that_says_where_its_job_stood() {
    let connection = connection();
    let mut known = Known::read(&connection, 4 * 16).unwrap();
    for number in 0..4 {
        known.set(digest(number), standing_at(number));
    }
    commit(&mut known, &connection);
    for number in 0..4 {
        known.set(digest(number), ended(number, 150));
    }
    commit(&mut known, &connection);
    while known.is_crowded(0, 0, 0) {
        known.drop_oldest(&connection, 0, 100).unwrap();
        commit(&mut known, &connection);
        known.dropped();
    }
    assert!((0..4).all(|number| known.get(&connection, digest(number)).unwrap().is_none()));
}

#[test]
fn a_segment_goes_when_it_is_old_or_most_of_it_is_superseded() {
    let connection = connection();
    let mut known = Known::read(&connection, 4 * 16).unwrap();
    for round in 0..40 {
        for number in 0..4 {
            known.set(digest(number), standing_at(round * 4 + number));
        }
        commit(&mut known, &connection);
    }
    assert!(known.is_crowded(100, 64, 4), "forty entries for each id");
    assert!(!known.is_crowded(100, 1000, 4));
    assert!(known.is_crowded(101, 1000, 4), "all of it is old");
}

#[test]
fn most_unknown_ids_are_known_to_be_unknown_without_a_read() {
    let entries: Vec<(u128, Entry)> = {
        let mut entries: Vec<_> = (0..20_000).map(|number| (digest(number), standing_at(number))).collect();
        entries.sort_unstable_by_key(|(digest, _)| *digest);
        entries
    };
    let segment = Segment::write(&connection(), 1, &entries).unwrap();
    assert!(entries.iter().all(|(digest, _)| segment.may_hold(*digest)));
    let mistaken = (20_000..120_000).filter(|number| segment.may_hold(digest(*number))).count();
    assert!(mistaken < 1500, "{mistaken} of 100000");
}

proptest! {
    #[test]
    fn a_map_of_all_that_was_set_gives_the_same_answers(sets in proptest::collection::vec((0i64..40, 1i64..1000), 1..200)) {
        let connection = connection();
        let mut known = Known::read(&connection, 4 * 16).unwrap();
        let mut model = HashMap::new();
        for (id, sequence) in sets {
            known.set(digest(id), standing_at(sequence));
            model.insert(id, standing_at(sequence));
            commit(&mut known, &connection);
        }
        let known = Known::read(&connection, 4 * 16).unwrap();
        for id in 0..40 {
            prop_assert_eq!(known.get(&connection, digest(id)).unwrap(), model.get(&id).copied());
        }
    }
}
