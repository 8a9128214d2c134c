//! The least that a durable queue on SQLite can do: insert, lease in memory, delete; one writer, one commit for all.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use rusqlite::Connection;
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::measure::{Counter, Load, Rate, runtime};

enum Operation {
    Insert(Vec<u8>, oneshot::Sender<()>),
    Delete(i64, oneshot::Sender<()>),
}

/// Jobs that were committed and wait for a consumer.
struct Ready {
    jobs: Mutex<VecDeque<(i64, Vec<u8>)>>,
    count: Semaphore,
}

pub fn run(load: &Load) -> Rate {
    let scratch = load.scratch();
    let connection = Connection::open(scratch.path().join("bare.db")).expect("a new file");
    let prepare = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 4000;
         PRAGMA cache_size = -65536; CREATE TABLE jobs(id INTEGER PRIMARY KEY, body BLOB NOT NULL);";
    connection.execute_batch(prepare).expect("an empty file");
    let ready = Arc::new(Ready { jobs: Mutex::default(), count: Semaphore::new(0) });
    let counter = Counter::new(load);
    let (operations, taken) = mpsc::channel(2048);
    let writer = std::thread::spawn({
        let ready = ready.clone();
        move || write(&connection, taken, &ready)
    });
    let rate = runtime().block_on(async {
        for _ in 0..load.tasks {
            tokio::spawn(produce(operations.clone(), load.body, counter.clone()));
            tokio::spawn(consume(operations.clone(), ready.clone(), counter.clone()));
        }
        drop(operations);
        counter.measure(load.length).await
    });
    writer.join().expect("the writer ends with the round");
    rate
}

async fn produce(operations: mpsc::Sender<Operation>, body: usize, counter: Arc<Counter>) {
    while !counter.is_over() {
        counter.next().await;
        let (reply, done) = oneshot::channel();
        if operations.send(Operation::Insert(vec![b'x'; body], reply)).await.is_err() || done.await.is_err() {
            return;
        }
    }
}

async fn consume(operations: mpsc::Sender<Operation>, ready: Arc<Ready>, counter: Arc<Counter>) {
    while let Ok(permit) = ready.count.acquire().await {
        permit.forget();
        let next = ready.jobs.lock().expect("nobody panics").pop_front();
        let Some((id, body)) = next else { continue };
        drop(body);
        let (reply, done) = oneshot::channel();
        if operations.send(Operation::Delete(id, reply)).await.is_err() || done.await.is_err() {
            return;
        }
        counter.finished();
    }
}

fn write(connection: &Connection, mut operations: mpsc::Receiver<Operation>, ready: &Ready) {
    let mut begin = connection.prepare("BEGIN IMMEDIATE").expect("SQL");
    let mut commit = connection.prepare("COMMIT").expect("SQL");
    let mut insert = connection.prepare("INSERT INTO jobs(id, body) VALUES(?, ?)").expect("SQL");
    let mut delete = connection.prepare("DELETE FROM jobs WHERE id = ?").expect("SQL");
    let (mut next, mut taken) = (0, Vec::with_capacity(2048));
    while operations.blocking_recv_many(&mut taken, 2048) > 0 {
        begin.execute([]).expect("room on the disk");
        for operation in &taken {
            match operation {
                Operation::Insert(body, _) => {
                    next += 1;
                    insert.execute((next, body)).expect("room on the disk");
                }
                Operation::Delete(id, _) => {
                    delete.execute([id]).expect("room on the disk");
                }
            }
        }
        commit.execute([]).expect("room on the disk");
        answer(taken.drain(..), next, ready);
    }
}

/// Leases what was inserted and answers everybody.
fn answer(taken: impl Iterator<Item = Operation>, last: i64, ready: &Ready) {
    let (mut bodies, mut replies) = (Vec::new(), Vec::new());
    for operation in taken {
        match operation {
            Operation::Insert(body, reply) => {
                bodies.push(body);
                replies.push(reply);
            }
            Operation::Delete(_, reply) => replies.push(reply),
        }
    }
    let (count, first) = (bodies.len(), last - bodies.len() as i64 + 1);
    ready.jobs.lock().expect("nobody panics").extend((first..).zip(bodies));
    ready.count.add_permits(count);
    for reply in replies {
        let _gave_up = reply.send(());
    }
}
