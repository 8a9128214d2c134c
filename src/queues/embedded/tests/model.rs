//! Random operations against a model that a page can hold: what must be there is there, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::ports::{Acted, Action, Admin, State};

#[derive(Clone, Debug)]
enum Step {
    Submit { id: u8, priority: u8, delayed: bool },
    Take,
    Complete,
    GiveBack,
    Retry,
    Park,
    ParkBeside,
    TakeBeside,
    Bury,
    Replay { id: u8 },
    Cancel { id: u8, discard: bool },
    RunNow { id: u8 },
    PassTime,
    Reopen,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let id = 0u8..12;
    prop_oneof![
        5 => (id.clone(), 0u8..10, any::<bool>()).prop_map(|(id, priority, delayed)| Step::Submit { id, priority, delayed }),
        5 => Just(Step::Take),
        3 => Just(Step::Complete),
        2 => Just(Step::GiveBack),
        2 => Just(Step::Retry),
        1 => Just(Step::Park),
        3 => Just(Step::ParkBeside),
        2 => Just(Step::TakeBeside),
        2 => Just(Step::Bury),
        2 => id.clone().prop_map(|id| Step::Replay { id }),
        2 => (id.clone(), any::<bool>()).prop_map(|(id, discard)| Step::Cancel { id, discard }),
        1 => id.prop_map(|id| Step::RunNow { id }),
        1 => Just(Step::PassTime),
        1 => Just(Step::Reopen),
        1 => Just(Step::Crash),
    ]
}

/// What must be true of each job, and who holds what.
#[derive(Default)]
struct Model {
    jobs: BTreeMap<String, State>,
    /// In the place beside the queue, in nobody's hands or in somebody's.
    beside: BTreeSet<String>,
    held: Vec<Delivery>,
}

impl Model {
    fn set(&mut self, id: &str, state: State) {
        if !matches!(state, State::Running | State::Parked) {
            self.beside.remove(id);
        }
        self.jobs.insert(id.to_owned(), state);
    }

    fn in_state(&self, state: State) -> BTreeSet<&str> {
        self.jobs.iter().filter(|(_, is)| **is == state).map(|(id, _)| &**id).collect()
    }

    /// Nobody holds anything any more.
    fn void_leases(&mut self) {
        self.held.clear();
        for (id, state) in self.jobs.iter_mut().filter(|(_, state)| **state == State::Running) {
            *state = if self.beside.contains(id) { State::Parked } else { State::Waiting };
        }
    }
}

async fn submit(bench: &Bench, model: &mut Model, id: &str, (priority, delayed): (u8, bool)) {
    let due = delayed.then(|| crate::clock::after(bench.now(), Duration::from_secs(60)));
    let answer = bench.submit_job("orders", NewJob { priority, due, ..job(id) }).await;
    assert_eq!(answer.existing, model.jobs.contains_key(id));
    if !answer.existing {
        model.set(id, if delayed { State::Delayed } else { State::Waiting });
    }
}

async fn take_all(source: &mut Box<dyn Source>, model: &mut Model) {
    let waiting = model.in_state(State::Waiting).into_iter().map(str::to_owned).collect();
    take_these(source, model, waiting).await;
}

/// All that stand in the place beside the queue.
async fn take_beside(source: &mut Box<dyn Source>, model: &mut Model) {
    let parked = model.in_state(State::Parked);
    let parked = parked.into_iter().filter(|id| model.beside.contains(*id)).map(str::to_owned).collect();
    take_these(source, model, parked).await;
}

async fn take_these(source: &mut Box<dyn Source>, model: &mut Model, wanted: BTreeSet<String>) {
    let mut taken = Vec::new();
    while taken.len() < wanted.len() {
        let next = tokio::time::timeout(Duration::from_secs(20), source.next(room(3))).await;
        taken.extend(next.expect("some are missing").unwrap());
    }
    let ids: BTreeSet<String> = taken.iter().map(|delivery| id_of(delivery).to_owned()).collect();
    assert_eq!(ids, wanted);
    for delivery in taken {
        model.set(id_of(&delivery), State::Running);
        model.held.push(delivery);
    }
}

async fn transfer(model: &mut Model, copy: Transfer, state: State) {
    let Some(delivery) = model.held.pop() else { return };
    let id = id_of(&delivery).to_owned();
    assert_eq!(delivery.receipt.transfer(copy).await.ok().unwrap(), Settled::Done);
    model.beside.remove(&id);
    model.set(&id, state);
}

async fn park_beside(bench: &Bench, model: &mut Model) {
    let Some(id) = model.held.last().map(|delivery| id_of(delivery).to_owned()) else { return };
    let until = crate::clock::after(bench.now(), Duration::from_secs(60));
    transfer(model, Transfer::Park { place: "x".into(), until, life: Life::default() }, State::Parked).await;
    model.beside.insert(id);
}

async fn act(bench: &Bench, model: &mut Model, id: &str, action: Action) {
    let state = model.jobs.get(id).copied();
    let acted = bench.store.act("orders", id, &action).await.unwrap();
    let next = match (&action, state) {
        (_, None) => return assert_eq!(acted, Acted::NotFound),
        (Action::Cancel { discard, .. }, Some(State::Waiting | State::Delayed | State::Parked)) => {
            if *discard {
                State::Discarded
            } else {
                State::Dead
            }
        }
        (Action::RunNow, Some(State::Delayed | State::Parked)) | (Action::Replay, Some(State::Dead)) => State::Waiting,
        (_, Some(state)) => return assert_eq!(acted, Acted::NotNow(state)),
    };
    assert_eq!(acted, Acted::Done, "{action:?} {id} {state:?}");
    model.set(id, next);
}

async fn retry(bench: &Bench, model: &mut Model, parked: bool) {
    let at = crate::clock::after(bench.now(), Duration::from_secs(60));
    let park = parked.then(|| crate::job::life::Parked { reason: Class::Throttled, since: bench.now(), count: 1, round: None });
    let state = if parked { State::Parked } else { State::Delayed };
    transfer(model, Transfer::Later { at, life: Life { park, ..Life::default() } }, state).await;
}

async fn pass_time(bench: &Bench, source: &mut Box<dyn Source>, model: &mut Model) {
    bench.advance(Duration::from_secs(61)).await;
    for (id, state) in model.jobs.iter_mut().filter(|(_, state)| matches!(state, State::Delayed | State::Parked)) {
        *state = State::Waiting;
        model.beside.remove(id);
    }
    take_all(source, model).await;
}

async fn check(bench: &Bench, model: &Model) {
    bench.balances().await;
    for (id, state) in &model.jobs {
        let entry = bench.store.find(Some("orders"), id).await.unwrap();
        assert_eq!(entry.map(|entry| entry.state), Some(*state), "{id}");
    }
    let stats = bench.store.stats().await.unwrap();
    let count = |state| model.in_state(state).len() as u64;
    if let Some(orders) = stats.iter().find(|queue| &*queue.queue == "orders") {
        assert_eq!((orders.waiting, orders.delayed), (count(State::Waiting), Some(count(State::Delayed))));
        assert_eq!((orders.parked, orders.running), (count(State::Parked), Some(count(State::Running))));
        assert_eq!((orders.dead, orders.completed), (count(State::Dead), Some(count(State::Completed))));
        assert_eq!(orders.discarded, Some(count(State::Discarded)));
    }
}

async fn run(steps: Vec<Step>) {
    // ids are written in segments of four, and none of them is evicted
    let mut bench = Bench::with(|options| options.dedupe_rows = 64);
    let mut source = bench.source("orders").await;
    let mut beside = bench.source("orders.parked.x").await;
    let mut model = Model::default();
    for step in steps {
        let name = |id: u8| format!("job-{id}");
        match step {
            Step::Submit { id, priority, delayed } => submit(&bench, &mut model, &name(id), (priority, delayed)).await,
            Step::Take => take_all(&mut source, &mut model).await,
            Step::Complete => {
                if let Some(delivery) = model.held.pop() {
                    model.set(id_of(&delivery), State::Completed);
                    assert_eq!(ack(delivery).await, Settled::Done);
                }
            }
            Step::GiveBack => model.void_leases(),
            Step::Retry => retry(&bench, &mut model, false).await,
            Step::Park => retry(&bench, &mut model, true).await,
            Step::ParkBeside => park_beside(&bench, &mut model).await,
            Step::TakeBeside => take_beside(&mut beside, &mut model).await,
            Step::Bury => {
                let document = Bytes::from_static(b"{}");
                let dead = Transfer::Dead { life: Life::default(), document, event: None };
                transfer(&mut model, dead, State::Dead).await;
            }
            Step::Replay { id } => act(&bench, &mut model, &name(id), Action::Replay).await,
            Step::Cancel { id, discard } => {
                act(&bench, &mut model, &name(id), Action::Cancel { by: "ann".into(), discard }).await;
            }
            Step::RunNow { id } => act(&bench, &mut model, &name(id), Action::RunNow).await,
            Step::PassTime => pass_time(&bench, &mut source, &mut model).await,
            Step::Reopen | Step::Crash => {
                if matches!(step, Step::Crash) {
                    bench.crash().await.unwrap()
                } else {
                    bench.reopen().await
                }
                model.void_leases();
                source = bench.source("orders").await;
                beside = bench.source("orders.parked.x").await;
            }
        }
    }
    check(&bench, &model).await;
    take_all(&mut source, &mut model).await;
    take_beside(&mut beside, &mut model).await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_job_is_where_the_model_says(steps in proptest::collection::vec(step(), 1..60)) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run(steps));
    }
}
