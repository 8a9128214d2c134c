//! The stores opened by this very process, with the API over them: where no worker lives.

use std::path::Path;
use std::sync::Arc;

use axum::Router;

use super::{Missing, Target};
use crate::admin::{Access, router};
use crate::app::{StartError, Systems, schedules};
use crate::cli::Failure;
use crate::clock::Clock;
use crate::telemetry::Telemetry;

/// Stores that are this process's own until it closes them.
pub(super) struct Local {
    pub router: Router,
    systems: Systems,
}

/// Why the stores cannot be opened here.
pub(super) enum Closed {
    /// Another process has one of them open: a sentence that names it.
    Owned(String),
    Failure(Failure),
}

impl Local {
    pub fn open(target: &Target, missing: Missing) -> Result<Self, Closed> {
        look(target, missing).map_err(Closed::Failure)?;
        let mut systems = Systems::open(&target.config, &target.base, Clock::System).map_err(|error| match error {
            StartError::Owned { .. } => Closed::Owned(error.to_string()),
            error => Closed::Failure(Failure::unavailable(error.to_string())),
        })?;
        let failed = |why: String| Closed::Failure(Failure::failed(why));
        let telemetry = Telemetry::install().map_err(failed)?;
        systems.count_batches(&target.config, Clock::System, &telemetry);
        let schedules =
            schedules(&target.config, &systems, Clock::System, &telemetry).map_err(|error| failed(error.to_string()))?;
        let desk = systems.desk(&target.config, None).with_schedules(schedules);
        Ok(Local { router: router(Arc::new(desk), Access::Trusted), systems })
    }

    pub async fn close(self) {
        drop(self.router);
        self.systems.close().await;
    }
}

fn look(target: &Target, missing: Missing) -> Result<(), Failure> {
    let files = target.files();
    if files.is_empty() && target.elsewhere() {
        return Ok(());
    }
    let Some(first) = files.first() else {
        return Err(Failure::usage("the queues of this config live in the memory of a worker, and end with it")
            .fix("give a queue the kind embedded, such as \"jobs: { embedded: { path: windlass.db } }\""));
    };
    if missing == Missing::Refuse && !target.elsewhere() && !files.iter().any(|file| Path::exists(file)) {
        return Err(Failure::not_found(format!("there is no store {} yet", first.display()))
            .fix("submit a job, start a worker, or name another config or file with --config or --db"));
    }
    Ok(())
}
