//! The log beside the file, which is folded into it while commits go on.

use super::*;
use crate::queues::embedded::fold::LARGEST;
use crate::queues::embedded::schema::PAGE_SIZE;

/// What one commit may add to a log that is as large as it may be.
const SLACK: u64 = 2 << 20;

impl Bench {
    /// Of the write-ahead log, in bytes: as large as it ever was.
    fn log_size(&self) -> u64 {
        let mut path = self.options.path.clone().into_os_string();
        path.push("-wal");
        std::fs::metadata(path).unwrap().len()
    }

    /// Commits so many jobs of 64 KiB, one after another.
    async fn fill(&self, name: &str, count: usize) {
        for number in 0..count {
            let id = format!("{name}-{number}");
            self.submit_job("orders", NewJob { message: Message::of(vec![b'x'; 64 << 10]), ..job(&id) }).await;
        }
    }

    fn most(&self) -> u64 {
        u64::from(LARGEST) * u64::from(PAGE_SIZE) + SLACK
    }
}

#[tokio::test]
async fn the_log_stays_small_while_commits_go_on_and_nothing_in_it_is_lost() {
    let mut bench = Bench::new();
    bench.fill("a", 400).await;
    assert!(bench.log_size() < bench.most(), "{} bytes", bench.log_size());
    bench.crash().await.unwrap();
    bench.fill("b", 100).await;
    bench.balances().await;
    let waiting: u64 = bench.store.stats().await.unwrap().iter().map(|stats| stats.waiting).sum();
    assert_eq!(waiting, 500);
}

#[tokio::test]
async fn a_log_that_somebody_reads_for_long_is_folded_when_he_is_done() {
    let bench = Bench::new();
    bench.fill("a", 10).await;
    let reader = rusqlite::Connection::open(&bench.options.path).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM jobs;").unwrap();
    bench.fill("b", 100).await;
    let grown = bench.log_size();
    assert!(grown > bench.most(), "what is read stays in the log, and commits go on");
    reader.execute_batch("COMMIT;").unwrap();
    bench.fill("c", 200).await;
    assert!(bench.log_size() < grown + bench.most(), "{grown}, then {}", bench.log_size());
    bench.balances().await;
}
