//! `windlass demo`: a few hundred real jobs, their failures, their retries, their replay, and the proof that none is lost.

mod files;
mod story;
mod view;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::app::App;
use crate::config;
use crate::ports::{Action, Admin, Cursor, Entry, Filter, Outgoing, State};
use story::Summary;
use view::View;

/// How often the picture is drawn anew.
const FRAME: Duration = Duration::from_millis(100);
/// When the demo gives up: something is wrong with this machine.
const PATIENCE: Duration = Duration::from_secs(120);
const QUEUE: &str = "jobs";

/// Runs the demo in `directory`, or in a new temporary one.
///
/// # Errors
/// What went wrong, as a sentence; an unbalanced audit is one.
pub async fn run(directory: Option<PathBuf>, json: bool) -> Result<(), String> {
    let directory = directory.unwrap_or_else(|| std::env::temp_dir().join(format!("windlass-demo-{}", std::process::id())));
    files::unpack(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let loaded = config::load(Some(&directory.join("windlass.yaml"))).map_err(|refused| refused.to_string())?;
    let app = App::start(&loaded).await.map_err(|error| error.to_string())?;
    let store = app.systems.stores().next().cloned().ok_or("the demo's config has no store")?;
    let mut view = View::new(json);
    let told = tell(&app, store.clone(), &directory, &mut view).await;
    let audit = store.audit().await.map_err(|error| error.to_string());
    app.stop().await;
    told?;
    let audit = audit?;
    view.tell(&json!({ "event": "end", "directory": directory, "audit": audit }), || {
        format!("{}{}", story::audited(&audit), story::next_steps(&directory))
    });
    if audit.ok { Ok(()) } else { Err("the audit differs".into()) }
}

/// The demo itself: submit, watch, mend the fault, replay.
async fn tell(app: &App, store: Arc<dyn Admin>, directory: &Path, view: &mut View) -> Result<(), String> {
    let jobs = story::jobs(app.shared.clock.now())?;
    let count = jobs.len() as u64 + 1;
    let file = directory.join("windlass.db");
    view.tell(&json!({ "event": "start", "jobs": count, "file": file }), || format!("{count} jobs go into {}", file.display()));
    store.submit(QUEUE, jobs).await.map_err(|error| error.to_string())?;
    let queue = app.systems.get(QUEUE).map_err(|error| error.to_string())?.queue.clone();
    // as a foreign producer would: nobody has looked at these bytes
    let garbled = Outgoing { message: story::garbled(), id: Some("garbled".into()), ..Outgoing::default() };
    queue.sink().send(garbled).await.map_err(|error| error.to_string())?;
    watch(&*store, view, |done, dead| done + dead == count).await?;
    let dead = dead_letters(&*store).await?;
    let summary = Summary::of(&ended(&*store).await?, &dead);
    view.tell(&json!({ "event": "summary", "summary": summary }), || summary.to_string());
    std::fs::remove_file(directory.join("fault")).map_err(|error| error.to_string())?;
    let replayed = dead.iter().filter(|entry| entry.kind.is_some()).count();
    view.tell(&json!({ "event": "mended", "replayed": replayed, "discarded": dead.len() - replayed }), || {
        format!("The fault is mended; {replayed} dead letters are replayed, and the garbled\nmessage is discarded by hand.")
    });
    for entry in &dead {
        let malformed = entry.kind.is_none();
        let action = if malformed { Action::Discard { by: "demo".into() } } else { Action::Replay };
        store.act(&entry.queue, &entry.id, &action).await.map_err(|error| error.to_string())?;
    }
    watch(&*store, view, |done, dead| done == count - 1 && dead == 0).await
}

/// Draws until the counts of done jobs and dead letters are as wished.
async fn watch(store: &dyn Admin, view: &mut View, over: impl Fn(u64, u64) -> bool) -> Result<(), String> {
    let looking = async {
        let mut frame = tokio::time::interval(FRAME);
        loop {
            frame.tick().await;
            let mut stats = store.stats().await.map_err(|error| error.to_string())?;
            stats.retain(|queue| &*queue.queue == QUEUE); // which counts its dead letters too
            let done = stats.iter().filter_map(|queue| queue.completed).sum();
            let dead = stats.iter().map(|queue| queue.dead).sum();
            view.draw(&stats);
            if over(done, dead) {
                return Ok(());
            }
        }
    };
    let late = || Err(format!("not over after {} s: look at its folder with `windlass jobs list`", PATIENCE.as_secs()));
    tokio::time::timeout(PATIENCE, looking).await.unwrap_or_else(|_| late())
}

async fn dead_letters(store: &dyn Admin) -> Result<Vec<Entry>, String> {
    browse(store, State::Dead).await
}

async fn ended(store: &dyn Admin) -> Result<Vec<Entry>, String> {
    browse(store, State::Completed).await
}

async fn browse(store: &dyn Admin, state: State) -> Result<Vec<Entry>, String> {
    let filter = Filter { state: Some(state), ..Filter::default() };
    let (mut entries, mut cursor) = (Vec::new(), Cursor { after: None, limit: 500 });
    loop {
        let page = store.browse(&filter, &cursor).await.map_err(|error| error.to_string())?;
        entries.extend(page.entries);
        match page.next {
            Some(next) => cursor.after = Some(next),
            None => return Ok(entries),
        }
    }
}
