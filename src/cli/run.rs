//! `windlass run`: a worker until it is told to stop.

use tokio::signal::unix::{SignalKind, signal};

use super::Failure;
use crate::app::{App, StartError};
use crate::config::Loaded;
use crate::units::spell_duration;

/// Runs the pools of a config until SIGTERM or SIGINT; a second one abandons what still runs. SIGHUP reloads the config.
///
/// # Errors
/// Why the worker cannot start.
pub async fn run(loaded: &Loaded) -> Result<(), Failure> {
    let [mut terminate, mut interrupt, mut hangup] =
        [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal).map(|signal| signal.ok());
    let (Some(terminate), Some(interrupt), Some(hangup)) = (&mut terminate, &mut interrupt, &mut hangup) else {
        return Err(Failure::failed("cannot listen to signals"));
    };
    let app = App::start(loaded).await.map_err(|error| failure(&error))?;
    announce(loaded, &app);
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => drop(app.reloader.reload().await), // it has told the log
        }
    }
    let shared = app.shared.clone();
    tracing::info!(
        "stopping: {} jobs run; they have {} to end",
        shared.running.len(),
        spell_duration(loaded.config.worker.grace.0)
    );
    let stop = app.stop();
    tokio::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            _ = terminate.recv() => shared.abandon.cancel(),
            _ = interrupt.recv() => shared.abandon.cancel(),
        }
    }
    tracing::info!("stopped");
    Ok(())
}

/// A store that is held by another process or cannot be written may be free again later.
fn failure(error: &StartError) -> Failure {
    match error {
        StartError::Queue { .. } | StartError::Owned { .. } | StartError::State(_) => Failure::unavailable(error.to_string()),
        StartError::Executor { .. } | StartError::Other(_) => Failure::failed(error.to_string()),
    }
}

fn announce(loaded: &Loaded, app: &App) {
    let config = &loaded.config;
    for (name, pool) in &config.pools {
        tracing::info!("pool {name} takes jobs from {} with {} slots", pool.from.join(", "), pool.slots);
    }
    if let Some(address) = app.api {
        tracing::info!("jobs and administration: http://{address}");
    }
    if let Some(address) = app.probes {
        tracing::info!("metrics, health, ready: http://{address}/metrics");
    }
    tracing::info!(worker = %app.shared.worker, "windlass {} is ready", env!("CARGO_PKG_VERSION"));
}
