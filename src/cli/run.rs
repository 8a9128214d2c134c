//! `windlass run`: a worker until it is told to stop.

use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use super::Failure;
use super::screen::Screen;
use crate::app::{App, StartError};
use crate::config::Loaded;
use crate::units::spell_duration;

/// Runs the pools of a config until SIGTERM or SIGINT; a second one abandons what still runs. SIGHUP reloads the config.
///
/// # Errors
/// Why the worker cannot start, or cannot go on.
pub async fn run(loaded: &Loaded, screen: &mut Screen) -> Result<(), Failure> {
    let [mut terminate, mut interrupt, mut hangup] =
        [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal).map(|signal| signal.ok());
    let (Some(terminate), Some(interrupt), Some(hangup)) = (&mut terminate, &mut interrupt, &mut hangup) else {
        return Err(Failure::failed("cannot listen to signals"));
    };
    let app = App::start(loaded).await.map_err(|error| failure(&error))?;
    announce(loaded, &app, screen);
    let shared = app.shared.clone();
    let broken = loop {
        tokio::select! {
            _ = terminate.recv() => break None,
            _ = interrupt.recv() => break None,
            why = app.broken() => {
                shared.abandon.cancel(); // nothing that runs can be settled any more
                break Some(why);
            }
            _ = hangup.recv() => drop(app.reloader.reload().await), // it has told the log
        }
    };
    let running = shared.running.len();
    tell(screen, &json!({ "event": "stopping", "running": running, "grace": spell_duration(loaded.config.worker.grace.0) }));
    tracing::info!("stopping: {running} jobs run; they have {} to end", spell_duration(loaded.config.worker.grace.0));
    let stop = app.stop();
    tokio::pin!(stop);
    let queues = loop {
        tokio::select! {
            queues = &mut stop => break queues,
            _ = terminate.recv() => shared.abandon.cancel(),
            _ = interrupt.recv() => shared.abandon.cancel(),
        }
    };
    tell(screen, &json!({ "event": "stopped", "in_time": !shared.abandon.is_cancelled(), "queues": queues }));
    tracing::info!("stopped");
    broken.map_or(Ok(()), |why| Err(Failure::unavailable(why)))
}

/// A store that is held by another process or cannot be written may be free again later.
fn failure(error: &StartError) -> Failure {
    match error {
        StartError::Queue { .. } | StartError::Owned { .. } | StartError::State(_) => Failure::unavailable(error.to_string()),
        StartError::Executor { .. } | StartError::Other(_) => Failure::failed(error.to_string()),
    }
}

/// A document for whoever asked for JSON; one who has gone away is no reason to stop.
fn tell(screen: &mut Screen, event: &Value) {
    if screen.json {
        drop(screen.document(event).and_then(|()| screen.flush()));
    }
}

fn announce(loaded: &Loaded, app: &App, screen: &mut Screen) {
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
    let (worker, version) = (&app.shared.worker, env!("CARGO_PKG_VERSION"));
    let (pid, api, telemetry) = (std::process::id(), app.api, app.probes);
    let ready = json!({ "event": "ready", "worker": worker, "version": version, "pid": pid, "api": api, "telemetry": telemetry });
    tell(screen, &ready);
    tracing::info!(worker = %app.shared.worker, "windlass {} is ready", env!("CARGO_PKG_VERSION"));
}
