use std::time::Duration;

use async_trait::async_trait;

use super::*;
use crate::clock::Clock;
use crate::engine::breaker::Phase;
use crate::state::Held;
use crate::state::memory::MemoryState;
use crate::telemetry::Telemetry;

fn set(guards: &Guards, settings: Option<Settings>) {
    let telemetry = Telemetry::install().unwrap();
    let make = |name: &str, settings| Guard::new(name, settings, Clock::System, telemetry.guard(name));
    guards.set([("a/b".into(), settings), ("other".into(), settings)], make);
}

fn hold(by: &str) -> Hold {
    Hold { by: by.into(), since: "2026-01-02T03:04:05Z".parse().unwrap() }
}

fn state(guards: &Guards) -> (Option<Phase>, Option<Arc<str>>) {
    let report = guards.get("a/b").unwrap().report();
    (report.state, report.held_by)
}

const OPEN: (Option<Phase>, Option<&str>) = (Some(Phase::Open), Some("ann"));

fn is(guards: &Guards, expected: (Option<Phase>, Option<&str>)) {
    let (phase, by) = state(guards);
    assert_eq!((phase, by.as_deref()), expected);
}

#[tokio::test]
async fn what_is_held_open_is_so_after_a_restart_until_it_is_closed() {
    let store: Arc<dyn StateStore> = Arc::new(MemoryState::new(Clock::System));
    let guards = Guards::remembering(store.clone()).await.unwrap();
    set(&guards, Some(Settings::default()));
    let report = guards.turn("a/b", "ann", Some(hold("ann"))).await.unwrap();
    assert_eq!((report.state, report.remembered), (Some(Phase::Open), Some(true)));
    let again = Guards::remembering(store.clone()).await.unwrap();
    set(&again, Some(Settings::default()));
    is(&again, OPEN);
    assert_eq!(again.get("a/b").unwrap().report().since, hold("ann").since, "since when it was held, not since the restart");
    assert_eq!(again.get("other").unwrap().report().state, Some(Phase::Closed));
    assert_eq!(again.turn("a/b", "bob", None).await.unwrap().remembered, None);
    let last = Guards::remembering(store).await.unwrap();
    set(&last, Some(Settings::default()));
    is(&last, (Some(Phase::Closed), None));
}

#[tokio::test]
async fn a_reload_that_changes_a_breaker_lets_go_of_nothing() {
    let guards = Guards::default();
    set(&guards, Some(Settings::default()));
    let report = guards.turn("a/b", "ann", Some(hold("ann"))).await.unwrap();
    assert_eq!(report.remembered, Some(false), "there is no store");
    set(&guards, Some(Settings { jobs: 9, ..Settings::default() }));
    is(&guards, OPEN);
    // switched off and on again
    set(&guards, None);
    is(&guards, (None, None));
    let refused = guards.turn("a/b", "ann", None).await.unwrap_err();
    assert!(matches!(refused, NotTurned::Off(_)), "{refused}");
    set(&guards, Some(Settings::default()));
    is(&guards, OPEN);
    guards.turn("a/b", "ann", None).await.unwrap();
    set(&guards, Some(Settings { jobs: 8, ..Settings::default() }));
    is(&guards, (Some(Phase::Closed), None));
}

/// A store that is down.
struct Down;

#[async_trait]
impl StateStore for Down {
    async fn read(&self, _: &[Arc<str>]) -> Result<Vec<Option<Held>>, StateError> {
        Err(StateError("cut off".into()))
    }

    async fn change(&self, _: Vec<Change>) -> Result<bool, StateError> {
        Err(StateError("cut off".into()))
    }

    async fn scan(&self, _: &str, _: Option<&str>, _: usize) -> Result<Vec<(Arc<str>, Held)>, StateError> {
        Ok(Vec::new())
    }
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_cannot_be_remembered_holds_all_the_same_and_says_so() {
    let guards = Guards::remembering(Arc::new(Down)).await.unwrap();
    set(&guards, Some(Settings::default()));
    let said = guards.turn("a/b", "ann", Some(hold("ann"))).await.unwrap_err().to_string();
    assert!(said.starts_with("the breaker of a/b is held open until this worker ends") && said.contains("cut off"), "{said}");
    is(&guards, OPEN);
    tokio::time::advance(Duration::from_secs(3600)).await;
    is(&guards, OPEN);
}
