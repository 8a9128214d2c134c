//! Calls that are made together: ten entries and a mebibyte at most go in one request, and each entry is answered by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinSet;

use crate::ports::QueueError;

/// The most entries of one request.
pub(super) const MOST: usize = 10;
/// The most bytes of one request: bodies and attributes of all its entries.
pub(super) const MOST_BYTES: usize = 1 << 20;
/// While others are on their way, the entries of the next request are waited for so long.
const LINGER: Duration = Duration::from_millis(5);
/// Requests on their way at once.
const TOGETHER: usize = 16;

pub(super) type Answer = Result<(), QueueError>;
type Call<T> = Arc<dyn Fn(Vec<T>) -> BoxFuture<'static, Vec<Answer>> + Send + Sync>;

struct Entry<T> {
    what: T,
    bytes: usize,
    reply: oneshot::Sender<Answer>,
}

/// Gathers entries; `call` answers one request, each entry in its turn.
pub(super) struct Batcher<T> {
    entries: mpsc::UnboundedSender<Entry<T>>,
    waiting: Arc<Waiting>,
}

/// How many entries have no answer yet.
#[derive(Default)]
struct Waiting {
    count: AtomicUsize,
    none: Notify,
}

impl<T: Send + 'static> Batcher<T> {
    /// Runs on the runtime that it is made in.
    pub fn new(call: impl Fn(Vec<T>) -> BoxFuture<'static, Vec<Answer>> + Send + Sync + 'static) -> Self {
        let (entries, coming) = mpsc::unbounded_channel();
        tokio::spawn(run(coming, Arc::new(call)));
        Batcher { entries, waiting: Arc::default() }
    }

    /// Resolves when the server has answered for this entry.
    ///
    /// # Errors
    /// What it said; [`QueueError::Unavailable`] when it said nothing.
    pub async fn send(&self, what: T, bytes: usize) -> Answer {
        self.start(what, bytes).await.unwrap_or_else(|_| Err(QueueError::Unavailable("the process is ending".into())))
    }

    /// Has it sent, whether or not somebody waits for the answer.
    pub fn start(&self, what: T, bytes: usize) -> impl Future<Output = Result<Answer, oneshot::error::RecvError>> + use<T> {
        let (reply, answer) = oneshot::channel();
        let waiting = self.waiting.clone();
        waiting.count.fetch_add(1, Ordering::SeqCst);
        let _ends_with_an_error = self.entries.send(Entry { what, bytes, reply });
        let (done, wait) = oneshot::channel();
        tokio::spawn(async move {
            let answer = answer.await;
            if waiting.count.fetch_sub(1, Ordering::SeqCst) == 1 {
                waiting.none.notify_waiters();
            }
            if let Ok(answer) = answer {
                let _nobody_waits = done.send(answer);
            }
        });
        wait
    }

    /// Waits until every entry has its answer.
    pub async fn idle(&self) {
        loop {
            let none = self.waiting.none.notified();
            if self.waiting.count.load(Ordering::SeqCst) == 0 {
                return;
            }
            none.await;
        }
    }
}

async fn run<T: Send + 'static>(mut coming: mpsc::UnboundedReceiver<Entry<T>>, call: Call<T>) {
    let (mut flying, mut left) = (JoinSet::new(), None);
    loop {
        let first = match left.take() {
            Some(entry) => entry,
            None => match coming.recv().await {
                Some(entry) => entry,
                None => break,
            },
        };
        let mut bytes = first.bytes;
        let mut batch = vec![first];
        let linger = tokio::time::sleep(LINGER);
        tokio::pin!(linger);
        while batch.len() < MOST {
            while flying.try_join_next().is_some() {}
            let next = match coming.try_recv() {
                Ok(entry) => entry,
                Err(_) if flying.is_empty() => break,
                Err(_) => tokio::select! {
                    Some(entry) = coming.recv() => entry,
                    () = &mut linger => break,
                },
            };
            bytes += next.bytes;
            if bytes > MOST_BYTES {
                left = Some(next);
                break;
            }
            batch.push(next);
        }
        while flying.len() >= TOGETHER {
            flying.join_next().await;
        }
        flying.spawn(answer(batch, call.clone()));
    }
    while flying.join_next().await.is_some() {}
}

async fn answer<T>(batch: Vec<Entry<T>>, call: Call<T>) {
    let (whats, replies): (Vec<T>, Vec<_>) = batch.into_iter().map(|entry| (entry.what, entry.reply)).unzip();
    let mut answers = call(whats).await.into_iter();
    for reply in replies {
        let silent = || Err(QueueError::Unavailable("the server has not answered for this message".into()));
        let _nobody_waits = reply.send(answers.next().unwrap_or_else(silent));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures_util::FutureExt as _;

    use super::*;

    type Seen = Arc<Mutex<Vec<Vec<u32>>>>;

    /// Refuses what is odd; notes what came together.
    fn batcher() -> (Batcher<u32>, Seen) {
        let seen = Seen::default();
        let note = seen.clone();
        let call = move |entries: Vec<u32>| {
            note.lock().unwrap().push(entries.clone());
            let answer =
                |number: u32| if number.is_multiple_of(2) { Ok(()) } else { Err(QueueError::Refused(number.to_string())) };
            async move {
                tokio::time::sleep(Duration::from_millis(1)).await;
                entries.into_iter().map(answer).collect()
            }
            .boxed()
        };
        (Batcher::new(call), seen)
    }

    #[tokio::test(start_paused = true)]
    async fn entries_go_ten_together_and_each_has_its_own_answer() {
        let (batcher, seen) = batcher();
        let answers = futures_util::future::join_all((0..25).map(|number| batcher.send(number, 1))).await;
        for (number, answer) in (0u32..).zip(answers) {
            match answer {
                Ok(()) => assert!(number.is_multiple_of(2)),
                Err(error) => assert_eq!(error.to_string(), number.to_string()),
            }
        }
        let sizes: Vec<usize> = seen.lock().unwrap().iter().map(Vec::len).collect();
        assert_eq!(sizes, [10, 10, 5]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_never_holds_more_than_a_mebibyte() {
        let (batcher, seen) = batcher();
        futures_util::future::join_all([MOST_BYTES / 2, MOST_BYTES / 2, 1, MOST_BYTES].map(|bytes| batcher.send(0, bytes))).await;
        let sizes: Vec<usize> = seen.lock().unwrap().iter().map(Vec::len).collect();
        assert_eq!(sizes, [2, 1, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_entry_that_the_server_forgets_is_not_taken_for_done() {
        let batcher = Batcher::new(|_: Vec<u32>| async { vec![Ok(())] }.boxed());
        let (one, other) = tokio::join!(batcher.send(0, 1), batcher.send(1, 1));
        assert!(one.is_ok() && matches!(other, Err(QueueError::Unavailable(_))));
        batcher.idle().await;
    }
}
