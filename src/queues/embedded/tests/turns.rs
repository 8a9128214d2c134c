//! The whole backlog in turns, and what its taker has enough of.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::FutureExt as _;
use proptest::prelude::*;

use super::*;
use crate::ports::Strand;

fn job_of(id: &str, tenant: &str, key: Option<&str>, size: usize) -> NewJob {
    let key = key.map_or_else(String::new, |key| format!(r#""key":"{key}","#));
    let body = format!(r#"{{"id":"{id}","tenant":"{tenant}",{key}"type":"test","data":"{}"}}"#, "x".repeat(size));
    NewJob { message: Message::of(body), ..job(id) }
}

fn stream(tenant: &str) -> Strand {
    Strand::Stream { tenant: tenant.into(), kind: "test".into() }
}

fn key(tenant: &str, key: &str) -> Strand {
    Strand::Key { tenant: tenant.into(), kind: "test".into(), key: key.into() }
}

async fn submit_many(bench: &Bench, tenant: &str, count: usize) {
    for start in (0..count).step_by(5000) {
        let numbers = start..count.min(start + 5000);
        let jobs = numbers.map(|number| job_of(&format!("{tenant}-{number:06}"), tenant, None, 0)).collect();
        bench.store.submit("orders", jobs).await.unwrap();
    }
}

fn of_tenant(deliveries: &[Delivery], tenant: &str) -> Vec<String> {
    let ids = deliveries.iter().map(|delivery| id_of(delivery).to_owned());
    ids.filter(|id| id.starts_with(&format!("{tenant}-"))).collect()
}

#[tokio::test]
async fn ten_jobs_of_one_tenant_come_with_the_first_turns_behind_two_hundred_thousand_of_another() {
    let mut bench = Bench::new();
    let mut source = bench.source("orders").await;
    submit_many(&bench, "large", 200_000).await;
    submit_many(&bench, "small", 10).await;
    let mut taken = Vec::new();
    while taken.len() < 32 {
        taken.extend(source.next(room(8)).await.unwrap());
    }
    assert_eq!(of_tenant(&taken, "small").len(), 10);
    drop(taken);
    drop(source);
    bench.reopen().await;

    let mut source = bench.source("orders").await;
    let mut large = source.next(room(100)).await.unwrap();
    assert!(of_tenant(&large, "small").is_empty(), "deliveries start before the whole backlog was looked at");
    source.shut(&stream("large"));
    let mut small = Vec::new();
    while small.len() < 10 {
        small.extend(source.next(room(100)).await.unwrap());
    }
    assert_eq!(of_tenant(&small, "small").len(), 10, "and nothing of the large tenant before them");
    source.open(&stream("large"));
    while large.len() < 10_000 {
        large.extend(source.next(room(1000)).await.unwrap());
    }
    assert!(of_tenant(&large, "large").is_sorted());
}

#[tokio::test]
async fn jobs_of_a_shut_key_wait_and_come_in_order_also_those_that_were_given_back() {
    let bench = Bench::new();
    let mut source = bench.source("orders").await;
    for (id, of) in [("1", "x"), ("2", "x"), ("3", "y"), ("4", "x")] {
        bench.submit_job("orders", job_of(id, "t", Some(of), 0)).await;
    }
    let first = take(&mut source).await;
    source.shut(&key("t", "x"));
    assert_eq!(finish(&mut source).await, "3");
    assert!(source.next(room(10)).now_or_never().is_none());
    drop(first);
    assert!(source.next(room(10)).now_or_never().is_none(), "it is of a shut key");
    source.open(&key("t", "x"));
    for id in ["1", "2", "4"] {
        assert_eq!(finish(&mut source).await, id);
    }
}

#[tokio::test]
async fn a_new_source_has_shut_nothing() {
    let bench = Bench::new();
    bench.submit_job("orders", job_of("a", "t", Some("x"), 0)).await;
    let mut source = bench.source("orders").await;
    source.shut(&stream("t"));
    source.shut(&key("t", "x"));
    assert!(source.next(room(1)).now_or_never().is_none());
    drop(source);
    assert_eq!(finish(&mut bench.source("orders").await).await, "a");
}

#[tokio::test]
async fn a_window_full_of_jobs_of_shut_streams_holds_nobody_up() {
    let bench = Bench::new();
    let mut source = bench.source("orders").await;
    let tenants = ["a", "b", "c", "d", "e", "f"];
    for tenant in tenants {
        for number in 0..5 {
            bench.submit_job("orders", job_of(&format!("{tenant}-{number}"), tenant, None, 700_000)).await;
        }
    }
    for tenant in tenants {
        source.shut(&stream(tenant));
    }
    for tenant in tenants.iter().rev() {
        source.open(&stream(tenant));
        for number in 0..5 {
            assert_eq!(finish(&mut source).await, format!("{tenant}-{number}"));
        }
    }
    bench.balances().await;
}

#[derive(Clone, Debug)]
enum Step {
    Submit { tenant: u8, key: u8, large: bool },
    Take { most: usize },
    Complete,
    GiveBack,
    Retry,
    Discard { number: u16 },
    Shut { tenant: u8, key: u8 },
    Open { tenant: u8, key: u8 },
    Reopen,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0u8..3, 0u8..3, any::<bool>()).prop_map(|(tenant, key, large)| Step::Submit { tenant, key, large }),
        6 => (1usize..6).prop_map(|most| Step::Take { most }),
        3 => Just(Step::Complete),
        2 => Just(Step::GiveBack),
        2 => Just(Step::Retry),
        1 => any::<u16>().prop_map(|number| Step::Discard { number }),
        3 => (0u8..3, 0u8..3).prop_map(|(tenant, key)| Step::Shut { tenant, key }),
        2 => (0u8..3, 0u8..3).prop_map(|(tenant, key)| Step::Open { tenant, key }),
        1 => Just(Step::Reopen),
        1 => Just(Step::Crash),
    ]
}

/// Key 0 is none; a strand with key 0 is the stream.
type Strands = BTreeSet<(u8, u8)>;

fn strand((tenant, of): (u8, u8)) -> Strand {
    if of == 0 { stream(&tenant.to_string()) } else { key(&tenant.to_string(), &of.to_string()) }
}

/// What waits, by the order in which it came to wait.
#[derive(Default)]
struct Model {
    submitted: usize,
    order: usize,
    waiting: BTreeMap<usize, (String, u8, u8)>,
    held: Vec<(usize, (String, u8, u8), Delivery)>,
    shut: Strands,
}

impl Model {
    fn arrive(&mut self, job: (String, u8, u8)) {
        self.order += 1;
        self.waiting.insert(self.order, job);
    }

    fn open(&self) -> Vec<usize> {
        let is_open = |tenant: u8, key: u8| !self.shut.contains(&(tenant, 0)) && !self.shut.contains(&(tenant, key));
        self.waiting.iter().filter(|(_, (_, tenant, key))| is_open(*tenant, *key)).map(|(order, _)| *order).collect()
    }

    /// Checks a delivery: it waited, was open, and was the first of its stream that was.
    fn delivered(&mut self, delivery: Delivery) {
        let id = id_of(&delivery).to_owned();
        let open = self.open();
        let order = open.iter().copied().find(|order| self.waiting[order].0 == id);
        let order = order.unwrap_or_else(|| panic!("{id} does not wait, or is shut"));
        let job = self.waiting[&order].clone();
        let first = open.iter().find(|order| self.waiting[order].1 == job.1);
        assert_eq!(first, Some(&order), "{id} is not the first of its stream");
        self.waiting.remove(&order);
        self.held.push((order, job, delivery));
    }

    fn void_leases(&mut self) {
        for (order, job, _) in self.held.drain(..) {
            self.waiting.insert(order, job);
        }
    }
}

async fn take_some(source: &mut Box<dyn Source>, model: &mut Model, most: usize) {
    if model.open().is_empty() {
        assert!(source.next(room(1)).now_or_never().is_none());
        return;
    }
    for delivery in source.next(room(most)).await.unwrap() {
        model.delivered(delivery);
    }
}

async fn retry(model: &mut Model, bench: &Bench) {
    let Some((_, job, delivery)) = model.held.pop() else { return };
    let now = Transfer::Later { at: bench.now(), life: Life::default() };
    assert_eq!(delivery.receipt.transfer(now).await.ok().unwrap(), Settled::Done);
    model.arrive(job);
}

async fn discard(model: &mut Model, bench: &Bench, number: u16) {
    let Some(order) = model.waiting.keys().nth(usize::from(number) % model.waiting.len().max(1)).copied() else { return };
    let (id, ..) = model.waiting.remove(&order).unwrap();
    let action = crate::ports::Action::Cancel { by: "ann".into(), discard: true };
    assert_eq!(bench.store.act("orders", &id, &action).await.unwrap(), crate::ports::Acted::Done);
}

async fn run(steps: Vec<Step>) {
    let mut bench = Bench::new();
    let mut source = bench.source("orders").await;
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Submit { tenant, key, large } => {
                model.submitted += 1;
                let id = format!("job-{}", model.submitted);
                let of = (key > 0).then(|| key.to_string());
                let size = if large { 600_000 } else { 0 };
                bench.submit_job("orders", job_of(&id, &tenant.to_string(), of.as_deref(), size)).await;
                model.arrive((id, tenant, key));
            }
            Step::Take { most } => take_some(&mut source, &mut model, most).await,
            Step::Complete => {
                if let Some((.., delivery)) = model.held.pop() {
                    assert_eq!(ack(delivery).await, Settled::Done);
                }
            }
            Step::GiveBack => model.void_leases(),
            Step::Retry => retry(&mut model, &bench).await,
            Step::Discard { number } => discard(&mut model, &bench, number).await,
            Step::Shut { tenant, key } => {
                model.shut.insert((tenant, key));
                source.shut(&strand((tenant, key)));
            }
            Step::Open { tenant, key } => {
                model.shut.remove(&(tenant, key));
                source.open(&strand((tenant, key)));
            }
            Step::Reopen | Step::Crash => {
                drop(source);
                if matches!(step, Step::Crash) {
                    bench.crash().await.unwrap()
                } else {
                    bench.reopen().await
                }
                model.void_leases();
                model.shut.clear();
                source = bench.source("orders").await;
            }
        }
    }
    std::mem::take(&mut model.shut).into_iter().for_each(|shut| source.open(&strand(shut)));
    while !model.waiting.is_empty() {
        take_some(&mut source, &mut model, 100).await;
    }
    bench.balances().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn every_job_comes_once_in_order_and_only_while_it_is_open(steps in proptest::collection::vec(step(), 1..80)) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run(steps));
    }
}
