//! What happens while a read is under way.

use std::sync::Arc;

use super::super::waiting::Stored;
use super::*;
use crate::job::Message;

fn place(sequence: i64) -> Place {
    Place::new(1, Lane(5), sequence)
}

fn job(sequence: i64) -> Waiting {
    let message = Message::of("{}");
    let stored = Stored { id: "a".into(), digest: 0, priority: 4, sorted: Some(Sorted::default()), message };
    Waiting { place: place(sequence), home: 1, submitted: 0, unsettled: 0, job: Arc::new(stored) }
}

/// Open, with jobs up to `last` in the file alone.
fn ready(last: i64) -> Ready {
    let mut tails = [Place::NONE; Lane::READY];
    tails[5] = place(last);
    let mut ready = Ready::default();
    ready.open(tails);
    ready
}

fn scan(ready: &mut Ready) -> Scan {
    match ready.read() {
        Some(Read::Scan(scan)) => scan,
        Some(Read::Load(heads)) => panic!("it would load {heads:?}"),
        None => panic!("it would read nothing"),
    }
}

fn take(ready: &mut Ready) -> Vec<i64> {
    let mut taken = Vec::new();
    ready.take(&Room { jobs: 100, bytes: 1 << 20, lease: std::time::Duration::ZERO }, &mut taken);
    taken.iter().map(|job| job.place.sequence()).collect()
}

#[test]
fn a_job_that_goes_while_the_scan_still_sees_it_is_not_handed_out() {
    for act_first in [false, true] {
        let mut ready = ready(3);
        let mut under_way = (!act_first).then(|| scan(&mut ready));
        assert_eq!(ready.withdraw(place(2), || false), Withdrawn::Held);
        let part = *under_way.get_or_insert_with(|| scan(&mut ready));
        if act_first {
            ready.scanned(part, vec![job(1), job(2), job(3)], true);
            assert_eq!(take(&mut ready), [1, 3]);
            ready.confirm(place(2));
        } else {
            ready.confirm(place(2));
            ready.scanned(part, vec![job(1), job(2), job(3)], true);
            assert_eq!(take(&mut ready), [1, 3]);
        }
        assert!(ready.read().is_none() && ready.gone.is_empty() && ready.acting.is_empty());
        assert_eq!((ready.backlog.len(), ready.bodies.len()), (0, 0));
    }
}

#[test]
fn a_job_that_goes_before_the_scan_sees_it_leaves_nothing_behind() {
    let mut ready = ready(3);
    ready.withdraw(place(2), || false);
    ready.confirm(place(2));
    let part = scan(&mut ready);
    ready.scanned(part, vec![job(1), job(3)], true);
    assert!(ready.gone.is_empty());
    assert_eq!(take(&mut ready), [1, 3]);
}

#[test]
fn a_job_that_goes_while_its_message_is_loaded_is_not_handed_out_and_one_that_stays_is() {
    for confirmed in [true, false] {
        let mut ready = ready(2);
        let part = scan(&mut ready);
        ready.scanned(part, vec![job(1), job(2)], true);
        ready.bodies = Bodies::default(); // as where the window is full
        assert!(take(&mut ready).is_empty());
        let Some(Read::Load(heads)) = ready.read() else { panic!("nothing is loaded") };
        ready.withdraw(place(1), || false);
        if confirmed {
            ready.confirm(place(1));
        }
        ready.loaded(&heads, vec![job(1), job(2)]);
        if !confirmed {
            assert_eq!(take(&mut ready), [2]);
            ready.undo(place(1));
        }
        assert_eq!(take(&mut ready), if confirmed { [2] } else { [1] });
        assert!(ready.gone.is_empty() && ready.acting.is_empty());
        assert_eq!((ready.backlog.len(), ready.bodies.len()), (0, 0));
    }
}

#[test]
fn a_job_that_comes_while_older_ones_are_unread_is_read_after_them() {
    let mut ready = ready(2);
    ready.arrive(job(3));
    let part = scan(&mut ready);
    assert_eq!((part.after, part.tail), (Place::NONE, place(3)));
    ready.scanned(part, vec![job(1)], false);
    ready.arrive(job(4));
    assert_eq!(take(&mut ready), [1]);
    let part = scan(&mut ready);
    ready.scanned(part, vec![job(2), job(3), job(4)], true);
    ready.arrive(job(5));
    assert_eq!(take(&mut ready), [2, 3, 4, 5]);
    assert!(ready.read().is_none());
}

#[test]
fn jobs_that_come_while_a_scan_is_under_way_need_no_other() {
    let mut ready = ready(2);
    let part = scan(&mut ready);
    for number in 3..6 {
        ready.arrive(job(number));
    }
    ready.withdraw(place(4), || false);
    ready.confirm(place(4));
    ready.scanned(part, vec![job(1), job(2)], true);
    assert_eq!(take(&mut ready), [1, 2, 3, 5]);
    ready.arrive(job(6));
    assert_eq!(take(&mut ready), [6]);
    assert!(ready.read().is_none() && ready.gone.is_empty());
}

#[test]
fn jobs_that_come_behind_an_unread_one_are_read_after_it() {
    let mut ready = ready(1);
    let part = scan(&mut ready);
    ready.arrive(job(2));
    ready.arrive_unread(place(3));
    ready.arrive(job(4));
    ready.scanned(part, vec![job(1)], true);
    assert_eq!(take(&mut ready), [1]);
    let part = scan(&mut ready);
    assert_eq!((part.after, part.tail), (place(1), place(4)));
    ready.scanned(part, vec![job(2), job(3), job(4)], true);
    assert_eq!(take(&mut ready), [2, 3, 4]);
    assert!(ready.read().is_none());
}

#[test]
fn a_job_that_was_given_back_while_an_operator_acts_on_it_waits_for_the_commit() {
    for confirmed in [true, false] {
        let mut ready = ready(1);
        let part = scan(&mut ready);
        ready.scanned(part, vec![job(1)], true);
        assert_eq!(take(&mut ready), [1]);
        ready.withdraw(place(1), || false); // its lease has ended, and it is on its way back
        ready.give_back(job(1));
        assert!(take(&mut ready).is_empty());
        if confirmed {
            ready.confirm(place(1));
        } else {
            ready.undo(place(1));
        }
        assert_eq!(take(&mut ready).len(), usize::from(!confirmed));
        assert!(ready.gone.is_empty() && ready.acting.is_empty() && ready.bodies.len() == 0);
    }
}
