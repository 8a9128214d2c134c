//! The program as its users run it: every help page, every answer, without a worker and with one.

#[path = "cli/after.rs"]
mod after;
#[path = "cli/batches.rs"]
mod batches;
#[path = "cli/breakers.rs"]
mod breakers;
#[path = "cli/demo.rs"]
mod demo;
#[path = "cli/disk.rs"]
mod disk;
#[path = "cli/executors.rs"]
mod executors;
#[path = "cli/filters.rs"]
mod filters;
#[path = "cli/help.rs"]
mod help;
#[path = "cli/input.rs"]
mod input;
#[path = "cli/letters.rs"]
mod letters;
#[path = "cli/looking.rs"]
mod looking;
#[path = "cli/nonsense.rs"]
mod nonsense;
#[path = "cli/plugins.rs"]
mod plugins;
#[path = "cli/probes.rs"]
mod probes;
#[path = "cli/reloading.rs"]
mod reloading;
#[path = "cli/schedules.rs"]
mod schedules;
#[path = "cli/sent.rs"]
mod sent;
#[path = "cli/starving.rs"]
mod starving;
#[path = "cli/submitting.rs"]
mod submitting;
#[path = "cli/waits.rs"]
mod waits;
#[path = "cli/worker.rs"]
mod worker;
#[path = "cli/workshop.rs"]
mod workshop;
