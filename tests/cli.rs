//! The program as its users run it: every help page, every answer, without a worker and with one.

#[path = "cli/help.rs"]
mod help;
#[path = "cli/letters.rs"]
mod letters;
#[path = "cli/looking.rs"]
mod looking;
#[path = "cli/plugins.rs"]
mod plugins;
#[path = "cli/submitting.rs"]
mod submitting;
#[path = "cli/worker.rs"]
mod worker;
#[path = "cli/workshop.rs"]
mod workshop;
