//! What order, shares and limits cost, and what they reach.
//!
//! `cargo bench --bench policy` runs four parts, or those that are named: `overhead` (every policy on and none binding,
//! beside none, in turn), `keys` (100,000 keys in order by Zipf's law, beside what the hottest key allows), `fair` (a small
//! tenant alone, beside a flood and while it comes, in turn) and `parked` (what memory jobs take beside a shut executor).
//! `instructions`, which needs valgrind and runs only when it is named, compares as `overhead` does by instructions per job.
//! `WINDLASS_BENCH_DIR` names the disk, `WINDLASS_BENCH_ROUNDS` and `WINDLASS_BENCH_SECONDS` the effort.
#![expect(clippy::expect_used, reason = "a bench fails by panicking")]

#[path = "embedded/engine.rs"]
mod engine;
#[path = "policy/fair.rs"]
mod fair;
#[path = "policy/instructions.rs"]
mod instructions;
#[path = "policy/keys.rs"]
mod keys;
#[path = "embedded/measure.rs"]
mod measure;
#[path = "policy/parked.rs"]
mod parked;

use std::time::Duration;

use engine::Shape;
use measure::{Load, Rate, median};
use windlass::engine::limits::Limit;
use windlass::engine::turns::Rules;
use windlass::units::Rate as PerTime;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Every policy, none of which holds a job back: a hundred thousand keys, ten tenants.
fn bound() -> Rules {
    let rate = PerTime { count: 100_000_000, per: Duration::from_secs(1) };
    let wide = Limit { rate: Some(rate), concurrency: Some(1_000_000) };
    Rules {
        weight: 2,
        ordered: true,
        limit: wide,
        per_tenant: wide,
        per_key: Limit { concurrency: None, ..wide },
        ..engine::free()
    }
}

fn more(number: u64) -> String {
    format!(r#""key":"k{}","tenant":"t{}","#, number % 100_000, number % 10)
}

fn overhead(load: &Load, rounds: usize) {
    let (without, with) = (Shape { rules: engine::free, more }, Shape { rules: bound, more });
    let (mut spine, mut policies) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        spine.push(engine::run(load, &without));
        policies.push(engine::run(load, &with));
    }
    println!("{:<28}{:>12}{:>16}{:>10}", "overhead", "jobs/s", "CPU µs/job", "ratio");
    let reference = median(&spine);
    for (name, rates) in [("no policy", &spine), ("all policies, none binding", &policies)] {
        let Rate { jobs, cpu } = median(rates);
        println!("{name:<28}{jobs:>12.0}{:>16.2}{:>10.2}", cpu.as_secs_f64() * 1e6, jobs / reference.jobs);
    }
    let each: Vec<String> = spine.iter().zip(&policies).map(|(one, other)| format!("{:.2}", other.jobs / one.jobs)).collect();
    println!("ratios by round: {}", each.join(" "));
}

/// What `instructions` runs under valgrind: `count <queue> <free or bound> <jobs>`.
fn count(load: &Load, arguments: &[String]) {
    let [queue, rules, jobs] = arguments else { panic!("count needs a queue, rules and a number of jobs") };
    let rules = if rules == "bound" { bound() } else { engine::free() };
    instructions::count(load, queue, rules, more, jobs.parse().expect("a number of jobs"));
}

fn main() {
    let load = Load::from_environment();
    let rounds = measure::number("WINDLASS_BENCH_ROUNDS", 5);
    let named: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    match named.split_first() {
        Some((first, arguments)) if first == "count" => return count(&load, arguments),
        Some((first, _)) if first == "instructions" => return instructions::compare(rounds),
        _ => {}
    }
    let asked = |name: &str| named.is_empty() || named.iter().any(|argument| argument == name);
    if asked("overhead") {
        overhead(&load, rounds);
    }
    if asked("keys") {
        keys::run(&load);
    }
    if asked("fair") {
        fair::run(&load, rounds.min(3));
    }
    if asked("parked") {
        parked::run(&load);
    }
}
