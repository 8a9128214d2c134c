//! The one thread that is the parent of every process: it starts them, and ends what came to us from runs that are over.
//!
//! The kernel's "kill me when my parent dies" means the thread that called `clone`, so this one lives as long as the
//! worker. It does the sweeping too, so that no process is half started while it looks for strangers.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal};
use tokio::sync::oneshot;

use super::spawn::Plan;
use super::{Child, adopted, evidence, spawn};

/// How soon the thread looks for what ended runs have left behind.
const SWEEP: Duration = Duration::from_secs(1);
/// How soon it looks in any case: a process that stays may leave zombies to us.
const IDLE_SWEEP: Duration = Duration::from_secs(30);

static NEXT_TOKEN: AtomicU64 = AtomicU64::new(1);
/// A run has ended since the last sweep, or that one found something.
static UNSWEPT: AtomicBool = AtomicBool::new(false);
/// The processes whose runs are not over. Keyed by token: a process number may be given out again.
static LIVING: LazyLock<Mutex<HashMap<u64, Pid>>> = LazyLock::new(Mutex::default);
static ORDERS: LazyLock<Result<Sender<Order>, String>> = LazyLock::new(|| {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).map_err(|error| error.to_string())?;
    spawn::await_children().map_err(|error| error.to_string())?;
    let (orders, inbox) = channel();
    let thread = std::thread::Builder::new().name("windlass-parent".into());
    thread.spawn(move || live(&inbox)).map_err(|error| error.to_string())?;
    Ok(orders)
});

enum Order {
    Start { plan: Plan, token: u64, reply: oneshot::Sender<io::Result<Child>> },
    Sweep { reply: Option<oneshot::Sender<()>> },
}

/// Starts what `plan` makes of the token that names the new process.
pub async fn start(plan: impl FnOnce(u64) -> io::Result<Plan>) -> io::Result<Child> {
    let token = NEXT_TOKEN.fetch_add(1, Ordering::Relaxed);
    let (reply, answer) = oneshot::channel();
    send(Order::Start { plan: plan(token)?, token, reply })?;
    answer.await.map_err(|_| stopped())?
}

/// Ends what runs that are over have left behind, and returns when it is gone.
pub async fn sweep() {
    let (reply, answer) = oneshot::channel();
    if send(Order::Sweep { reply: Some(reply) }).is_ok() {
        let _swept = answer.await;
    }
}

/// The process was reaped: its run is over.
pub fn reaped(token: u64) {
    living().remove(&token);
    UNSWEPT.store(true, Ordering::Relaxed);
}

/// The process was killed by an owner who does not wait for it: from now on it is one of the strangers.
pub fn abandoned(token: u64) {
    living().remove(&token);
    let _sent = send(Order::Sweep { reply: None });
}

/// The processes whose runs are not over.
pub fn living() -> MutexGuard<'static, HashMap<u64, Pid>> {
    LIVING.lock().unwrap_or_else(PoisonError::into_inner)
}

fn send(order: Order) -> io::Result<()> {
    let orders = ORDERS.as_ref().map_err(|error| io::Error::other(error.clone()))?;
    orders.send(order).map_err(|_| stopped())
}

fn stopped() -> io::Error {
    io::Error::other("the thread that starts processes has ended")
}

fn live(inbox: &Receiver<Order>) {
    let mut swept = Instant::now();
    loop {
        match inbox.recv_timeout(SWEEP) {
            Ok(Order::Start { plan, token, reply }) => {
                let _unwanted = reply.send(start_one(&plan, token));
            }
            Ok(Order::Sweep { reply }) => {
                adopted::sweep();
                reply.map(|reply| reply.send(()));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let due = if UNSWEPT.load(Ordering::Relaxed) { SWEEP } else { IDLE_SWEEP };
        if swept.elapsed() >= due {
            UNSWEPT.store(false, Ordering::Relaxed);
            if adopted::sweep() {
                UNSWEPT.store(true, Ordering::Relaxed);
            }
            swept = Instant::now();
        }
    }
}

fn start_one(plan: &Plan, token: u64) -> io::Result<Child> {
    let out_of_memory_kills = evidence::out_of_memory_kills();
    let pid = plan.spawn()?;
    living().insert(token, pid);
    match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
        Ok(handle) => Ok(Child { pid, handle, token, out_of_memory_kills, reaped: false }),
        Err(error) => {
            let _gone = rustix::process::kill_process_group(pid, Signal::KILL);
            abandoned(token);
            Err(error.into())
        }
    }
}
