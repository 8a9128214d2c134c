//! `windlass run`: a worker until it is told to stop.

use tokio::signal::unix::{SignalKind, signal};

use crate::app::App;
use crate::config::Loaded;
use crate::units::spell_duration;

/// Runs the pools of a config until SIGTERM or SIGINT; a second one abandons what still runs.
///
/// # Errors
/// Why the worker cannot start.
pub async fn run(loaded: &Loaded) -> Result<(), String> {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        return Err("cannot listen to signals".into());
    };
    let app = App::start(loaded).await.map_err(|error| error.to_string())?;
    announce(loaded, &app);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
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

fn announce(loaded: &Loaded, app: &App) {
    let config = &loaded.config;
    for (name, pool) in &config.pools {
        tracing::info!("pool {name} takes jobs from {} with {} slots", pool.from.join(", "), pool.slots);
    }
    if let Some(address) = config.api.listen {
        tracing::info!("jobs and administration: http://{address}");
    }
    if let Some(address) = config.telemetry.listen {
        tracing::info!("metrics, health, ready: http://{address}/metrics");
    }
    tracing::info!(worker = %app.shared.worker, "windlass {} is ready", env!("CARGO_PKG_VERSION"));
}
