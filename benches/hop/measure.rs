//! Rounds of several variants in turn: the median rate of each, and the processor time of one job.

use std::time::Instant;

use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::TimeVal;

/// One way to do the same thing.
pub struct Variant<'a> {
    name: &'a str,
    run: Box<dyn FnMut(u64) + 'a>,
    rates: Vec<f64>,
    costs: Vec<f64>,
}

impl<'a> Variant<'a> {
    pub fn new(name: &'a str, run: impl FnMut(u64) + 'a) -> Self {
        Variant { name, run: Box::new(run), rates: Vec::new(), costs: Vec::new() }
    }

    fn round(&mut self, jobs: u64) {
        let (before, began) = (processor_seconds(), Instant::now());
        (self.run)(jobs);
        let jobs = jobs as f64;
        self.rates.push(jobs / began.elapsed().as_secs_f64());
        self.costs.push((processor_seconds() - before) / jobs * 1e6);
    }
}

/// Runs the variants in turn and prints their medians; the first one is what the others are compared to.
pub fn measure(rounds: usize, jobs: u64, variants: &mut [Variant<'_>]) {
    for variant in &mut *variants {
        (variant.run)(jobs / 4);
    }
    for _ in 0..rounds {
        for variant in &mut *variants {
            variant.round(jobs);
        }
    }
    let base = median(&mut variants[0].rates);
    for variant in variants {
        let (rate, cost) = (median(&mut variant.rates), median(&mut variant.costs));
        println!("  {:<12} {rate:>9.0} jobs/s  {cost:>7.1} µs of processor per job  {:>5.2} of bare", variant.name, rate / base);
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Of this process, of the children it has reaped, and of those that live.
fn processor_seconds() -> f64 {
    let seconds = |time: TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    let spent = |usage: Usage| seconds(usage.user_time()) + seconds(usage.system_time());
    let own: f64 = [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN].into_iter().map(|who| spent(getrusage(who).unwrap())).sum();
    own + living_children()
}

/// The first number of `schedstat` is the time on a processor, in nanoseconds.
fn living_children() -> f64 {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let lists = threads.filter_map(|thread| std::fs::read_to_string(thread.unwrap().path().join("children")).ok());
    let children: Vec<String> = lists.flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect();
    let spent = |pid: &String| -> Option<f64> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).ok()?;
        text.split_whitespace().next()?.parse().ok()
    };
    children.iter().filter_map(spent).sum::<f64>() / 1e9
}
