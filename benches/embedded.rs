//! The embedded queue beside a bare SQLite group-commit loop: whole jobs per second, every enqueue and every ack on disk.
//!
//! `cargo bench --bench embedded` runs both in turn, several rounds each, and prints medians;
//! `cargo bench --bench embedded -- backlog` runs the store alone, empty and with a million jobs waiting, and prints what
//! memory it took and how long the file took to open; `-- store`, `-- random` (ids) and `-- engine` run one round for a
//! profiler.
//! `WINDLASS_BENCH_DIR` names the disk, `WINDLASS_BENCH_ROUNDS` and `WINDLASS_BENCH_SECONDS` the effort.
#![expect(clippy::expect_used, reason = "a bench fails by panicking")]

#[path = "embedded/baseline.rs"]
mod baseline;
#[path = "embedded/engine.rs"]
mod engine;
#[path = "embedded/measure.rs"]
mod measure;
#[path = "embedded/store.rs"]
mod store;

use measure::{Load, Rate, median};
use store::Ids;

/// Jobs without key and tenant, without rules.
const PLAIN: engine::Shape = engine::Shape { rules: engine::free, more: |_| String::new() };

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let load = Load::from_environment();
    let asked = |name: &str| std::env::args().any(|argument| argument == name);
    if asked("backlog") {
        return [1, 1000].into_iter().for_each(|tenants| store::backlog(&load, 1_000_000, tenants));
    }
    if asked("engine") {
        return println!("{:.0} jobs/s", engine::run(&load, &PLAIN).jobs);
    }
    if asked("store") {
        return println!("{:.0} jobs/s", store::run(&load, Ids::Made).jobs);
    }
    if asked("random") {
        return println!("{:.0} jobs/s", store::run(&load, Ids::Random).jobs);
    }
    let rounds = measure::number("WINDLASS_BENCH_ROUNDS", 5);
    println!(
        "{} tasks in flight on each side, {} B bodies, {rounds} rounds of {} s in {}",
        load.tasks,
        load.body,
        load.length.as_secs(),
        load.directory.display()
    );
    let (mut bare, mut stored, mut random, mut run) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        bare.push(baseline::run(&load));
        stored.push(store::run(&load, Ids::Made));
        random.push(store::run(&load, Ids::Random));
        run.push(engine::run(&load, &PLAIN));
    }
    println!("{:<28}{:>12}{:>16}{:>10}", "", "jobs/s", "CPU µs/job", "ratio");
    let reference = median(&bare);
    for (name, rates) in [
        ("bare SQLite loop", &bare),
        ("store: sink, source, receipt", &stored),
        ("store: random ids", &random),
        ("engine: the whole path", &run),
    ] {
        let Rate { jobs, cpu } = median(rates);
        println!("{name:<28}{jobs:>12.0}{:>16.2}{:>10.2}", cpu.as_secs_f64() * 1e6, jobs / reference.jobs);
    }
    let each: Vec<String> = bare.iter().zip(&run).map(|(bare, run)| format!("{:.2}", run.jobs / bare.jobs)).collect();
    println!("ratios of the whole path by round: {}", each.join(" "));
}
