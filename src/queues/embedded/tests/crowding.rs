//! More than the writer can take at once.

use std::sync::atomic::AtomicUsize;

use tokio::sync::oneshot;

use super::*;
use crate::queues::embedded::inbox::CAPACITY;
use crate::queues::embedded::operation::{Arrival, Operation};
use crate::queues::embedded::writer::MOST_BULKY;

/// Just enough to have a commit of its own.
const JOBS: usize = 101;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn huge_submits_fill_the_line_and_their_callers_wait() {
    let bench = Bench::new();
    let submits = 6 * CAPACITY;
    let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let callers = (0..submits).map(|number| {
        let (shared, inside, most) = (bench.store.shared.clone(), inside.clone(), most.clone());
        tokio::spawn(async move {
            let queue = shared.registry.named("orders");
            let arrivals = (0..JOBS).map(|job_number| Arrival::new(&queue, job(&format!("{number}-{job_number}")))).collect();
            let (reply, answer) = oneshot::channel();
            assert!(shared.inbox.put(Operation::Submit { queue, arrivals, reply }).await.is_ok());
            most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            let submitted = answer.await.unwrap().unwrap();
            inside.fetch_sub(1, Ordering::SeqCst);
            submitted.len()
        })
    });
    let submitted: usize = futures_util::future::join_all(callers).await.into_iter().map(Result::unwrap).sum();
    assert_eq!(submitted, submits * JOBS);
    // a full line that was taken, one that has filled behind it, and those that were left when it was taken; and answers
    // that nobody has heard yet, since the machine is busy
    let bound = 2 * CAPACITY + MOST_BULKY + CAPACITY;
    let most = most.load(Ordering::SeqCst);
    assert!(most > CAPACITY, "{most} at most: the line never filled");
    assert!(most <= bound, "{most} huge submits were let in at once, {bound} at most are to be");
    bench.balances().await;
}
