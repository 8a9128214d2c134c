//! What every state store must do, seen through its port.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use windlass::clock::{Clock, after};
use windlass::queues::embedded::config::EmbeddedConfig;
use windlass::queues::embedded::{Store, StoreOptions};
use windlass::state::memory::MemoryState;
use windlass::state::{Change, LARGEST_VALUE, StateStore, When};

/// One store of a kind, with nothing in it.
pub struct Kept {
    store: Arc<dyn StateStore>,
    _directory: Option<tempfile::TempDir>,
}

/// One that is elsewhere.
impl From<Arc<dyn StateStore>> for Kept {
    fn from(store: Arc<dyn StateStore>) -> Self {
        Kept { store, _directory: None }
    }
}

pub fn memory() -> Kept {
    Kept { store: Arc::new(MemoryState::new(Clock::System)), _directory: None }
}

pub fn embedded() -> Kept {
    let directory = tempfile::tempdir().unwrap();
    let config = EmbeddedConfig { path: directory.path().join("windlass.db"), ..EmbeddedConfig::default() };
    Kept { store: Store::open(StoreOptions::from(&config)).unwrap(), _directory: Some(directory) }
}

fn key(text: &str) -> Arc<str> {
    text.into()
}

async fn keys(store: &Arc<dyn StateStore>, prefix: &str, after: Option<&str>, limit: usize) -> Vec<String> {
    let found = store.scan(prefix, after, limit).await.unwrap();
    found.into_iter().map(|(key, _)| key.to_string()).collect()
}

pub async fn a_value_is_kept_as_it_was_put_and_gone_when_removed(Kept { store, .. }: &Kept) {
    let a = key("a");
    assert_eq!(store.get(&a).await.unwrap(), None);
    assert!(store.change(vec![Change::put(&a, When::Always, &b"\x00\xff"[..])]).await.unwrap());
    let held = store.get(&a).await.unwrap().unwrap();
    assert_eq!((&*held.value, held.expires), (&b"\x00\xff"[..], None));
    assert!(store.change(vec![Change::remove(&a, When::Always)]).await.unwrap());
    assert_eq!(store.read(&[a.clone(), a]).await.unwrap(), [None, None]);
}

pub async fn a_change_is_made_only_while_its_condition_holds(Kept { store, .. }: &Kept) {
    let a = key("a");
    assert!(store.change(vec![Change::put(&a, When::Absent, "1")]).await.unwrap());
    assert!(!store.change(vec![Change::put(&a, When::Absent, "2")]).await.unwrap());
    let first = store.get(&a).await.unwrap().unwrap();
    assert!(store.change(vec![Change::put(&a, When::unchanged(Some(&first)), "3")]).await.unwrap());
    assert!(!store.change(vec![Change::put(&a, When::unchanged(Some(&first)), "4")]).await.unwrap());
    assert!(!store.change(vec![Change::remove(&a, When::Version(first.version))]).await.unwrap());
    assert_eq!(&*store.get(&a).await.unwrap().unwrap().value, b"3");
}

pub async fn a_key_that_came_back_is_another_version(Kept { store, .. }: &Kept) {
    let a = key("a");
    store.change(vec![Change::put(&a, When::Always, "1")]).await.unwrap();
    let first = store.get(&a).await.unwrap().unwrap();
    store.change(vec![Change::remove(&a, When::Always)]).await.unwrap();
    store.change(vec![Change::put(&a, When::Always, "1")]).await.unwrap();
    assert!(!store.change(vec![Change::remove(&a, When::Version(first.version))]).await.unwrap());
}

pub async fn changes_are_made_all_or_none(Kept { store, .. }: &Kept) {
    let (a, b) = (key("a"), key("b"));
    store.change(vec![Change::put(&b, When::Absent, "1")]).await.unwrap();
    let both = vec![Change::put(&a, When::Absent, "1"), Change::put(&b, When::Absent, "2")];
    assert!(!store.change(both).await.unwrap());
    assert_eq!(store.get(&a).await.unwrap(), None);
}

pub async fn of_many_who_change_at_once_each_is_counted_once(Kept { store, .. }: &Kept) {
    let add = async || {
        loop {
            let a = key("a");
            let held = store.get(&a).await.unwrap();
            let count: u32 = held.as_ref().map_or(0, |held| std::str::from_utf8(&held.value).unwrap().parse().unwrap());
            let put = Change::put(&a, When::unchanged(held.as_ref()), (count + 1).to_string());
            if store.change(vec![put]).await.unwrap() {
                return;
            }
        }
    };
    futures_util::future::join_all((0..16).map(|_| add())).await;
    assert_eq!(&*store.get(&key("a")).await.unwrap().unwrap().value, b"16");
}

pub async fn an_expired_value_is_absent(Kept { store, .. }: &Kept) {
    let (past, future) = (key("k/past"), key("k/future"));
    let now = Timestamp::now();
    let puts = vec![
        Change::put(&past, When::Absent, "1").until(after(now, Duration::from_millis(1))),
        Change::put(&future, When::Absent, "1").for_the_next(Duration::from_secs(60), now),
    ];
    assert!(store.change(puts).await.unwrap());
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(store.get(&past).await.unwrap(), None);
    assert_eq!(keys(store, "k/", None, 9).await, ["k/future"]);
    let expires = store.get(&future).await.unwrap().unwrap().expires.unwrap();
    assert_eq!(expires.as_second(), after(now, Duration::from_secs(60)).as_second());
    assert!(store.change(vec![Change::put(&past, When::Absent, "2")]).await.unwrap());
    assert_eq!(store.get(&past).await.unwrap().unwrap().expires, None);
}

pub async fn a_scan_goes_through_a_prefix_in_pages(Kept { store, .. }: &Kept) {
    let all = ["a", "b/", "b/1", "b/2", "b/é", "b0", "c"];
    let puts = all.iter().map(|name| Change::put(&key(name), When::Absent, "")).collect();
    assert!(store.change(puts).await.unwrap());
    assert_eq!(keys(store, "b/", None, 3).await, ["b/", "b/1", "b/2"]);
    assert_eq!(keys(store, "b/", Some("b/2"), 3).await, ["b/é"]);
    assert_eq!(keys(store, "b/", Some("b/é"), 3).await, [""; 0]);
    assert_eq!(keys(store, "", None, 99).await, all);
}

pub async fn what_is_too_large_is_refused_with_a_sentence(Kept { store, .. }: &Kept) {
    let refused = store.change(vec![Change::put(&key("a"), When::Always, vec![0; LARGEST_VALUE + 1])]).await.unwrap_err();
    assert!(refused.to_string().contains("1048576"), "{refused}");
    assert!(store.change(vec![Change::remove(&key(&"k".repeat(5000)), When::Always)]).await.is_err());
}
