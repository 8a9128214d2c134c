//! Who we are: secrets in headers, and tokens that are fetched once, kept, and renewed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use windlass::outcome::Class;
use windlass::ports::{Context, Executor as _};

use crate::runs::{LONG, SHORT, executor, failure_of, job, json_of, run, run_for};
use crate::wire::{Act, Seen, Server, answer, ok};

fn secret() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("key"), "hunter2\n").unwrap();
    let reference = format!("file:{}", folder.path().join("key").display());
    (folder, reference)
}

#[tokio::test]
async fn a_secret_goes_where_it_is_named_and_is_shown_to_nobody() {
    let (_folder, key) = secret();
    let server = Server::start(|_, _| ok("1")).await;
    for (auth, name, value) in [
        (json!({"bearer": key}), "authorization", "Bearer hunter2"),
        (json!({"basic": {"username": "u", "password": key}}), "authorization", "Basic dTpodW50ZXIy"),
        (json!({"header": {"name": "X-Api-Key", "value": key}}), "x-api-key", "hunter2"),
    ] {
        let executor = executor(json!({"url": server.url("/"), "auth": auth, "headers": {"x-other": key}}));
        let context = Context::new("job-1".into(), "suite".into(), LONG).watched();
        executor.execute(&job(&json!(1)), &context).await;
        assert_eq!((server.last().header(name), server.last().header("x-other")), (Some(value), Some("hunter2")));
        let shown = format!("{executor:?} {:?}", context.traces());
        assert!(shown.contains("(secret)") && !shown.contains("hunter2") && !shown.contains("dTpodW50ZXIy"), "{shown}");
    }
}

#[tokio::test]
async fn refused_credentials_are_a_matter_of_the_config() {
    let server = Server::start(|seen, _| Act::Say(answer(seen.path[1..].parse().unwrap(), &[], "no entry"))).await;
    for status in [401, 403] {
        let failure = failure_of(run(&executor(json!({"url": server.url(&format!("/{status}"))})), json!(1)).await);
        assert_eq!(failure.class, Class::Misconfigured);
        assert!(failure.message.contains("auth") && failure.message.contains("no entry"), "{}", failure.message);
    }
}

/// An endpoint whose tokens are numbered; those up to `ended` are no longer taken.
async fn guarded(ended: Arc<AtomicUsize>) -> Server {
    let given = AtomicUsize::new(0);
    Server::start(move |seen: &Seen, _| {
        if seen.path == "/token" {
            let number = given.fetch_add(1, Ordering::Relaxed) + 1;
            return ok(&json!({"access_token": number.to_string(), "token_type": "Bearer", "expires_in": 3600}).to_string());
        }
        let number: usize = seen.header("authorization").unwrap().strip_prefix("Bearer ").unwrap().parse().unwrap();
        if number > ended.load(Ordering::Relaxed) { ok("1") } else { Act::Say(answer(401, &[], "an old token")) }
    })
    .await
}

fn oauth2(server: &Server, more: &Value) -> Value {
    let (folder, key) = secret();
    let _kept_for_the_process = folder.keep();
    let mut oauth2 = json!({"token_url": server.url("/token"), "client_id": "i d", "client_secret": key});
    oauth2.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"url": server.url("/"), "auth": {"oauth2": oauth2}})
}

#[tokio::test]
async fn one_token_serves_many_jobs_at_once_and_is_fetched_once() {
    let server = guarded(Arc::default()).await;
    let executor = executor(oauth2(&server, &json!({"scope": "a b", "audience": "x"})));
    let runs = (0..20).map(|_| run(&executor, json!(1)));
    for outcome in futures_util::future::join_all(runs).await {
        assert_eq!(json_of(outcome), 1);
    }
    let asked: Vec<Seen> = server.seen().into_iter().filter(|seen| seen.path == "/token").collect();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].body, b"grant_type=client_credentials&scope=a%20b&audience=x");
    assert_eq!(asked[0].header("authorization"), Some("Basic aSUyMGQ6aHVudGVyMg=="));
}

#[tokio::test]
async fn a_token_that_has_ended_early_is_replaced_within_the_run_and_only_once() {
    let ended = Arc::new(AtomicUsize::new(0));
    let server = guarded(ended.clone()).await;
    let executor = executor(oauth2(&server, &json!({"credentials_in": "body"})));
    run(&executor, json!(1)).await;
    ended.store(1, Ordering::Relaxed);
    assert_eq!(json_of(run(&executor, json!(1)).await), 1);
    ended.store(usize::MAX, Ordering::Relaxed);
    let before = server.seen().len();
    assert_eq!(failure_of(run(&executor, json!(1)).await).class, Class::Misconfigured);
    assert_eq!(server.seen().len() - before, 3, "the call, a token, the call");
    assert!(String::from_utf8_lossy(&server.seen()[0].body).ends_with("&client_id=i%20d&client_secret=hunter2"));
}

#[tokio::test]
async fn without_a_token_nothing_is_sent_and_the_class_says_whose_fault_that_is() {
    for (status, body, class, part) in [
        (401, r#"{"error": "invalid_client", "error_description": "unknown client"}"#, Class::Misconfigured, "unknown client"),
        (503, "", Class::Unavailable, "503"),
        (429, "", Class::Throttled, "429"),
        (200, "{}", Class::Misconfigured, "no access_token"),
    ] {
        let server = Server::start(move |_, _| Act::Say(answer(status, &[], body))).await;
        let executor = executor(oauth2(&server, &json!({})));
        let failure = failure_of(run(&executor, json!(1)).await);
        assert_eq!(failure.class, class, "{}", failure.message);
        assert!(failure.message.contains(part) && !failure.message.contains("hunter2"), "{}", failure.message);
        assert!(server.seen().iter().all(|seen| seen.path == "/token"));
        assert!(executor.warm().await.is_err(), "said at the start too");
    }
}

#[tokio::test]
async fn a_run_whose_time_is_over_is_judged_by_what_hung_and_not_by_the_call_before_its_new_token() {
    let hang_at = |hanging: usize| async move {
        let server = Server::start(move |seen, before| match seen.path.as_str() {
            _ if before == hanging => Act::Nothing,
            "/token" => ok(&json!({"access_token": before.to_string()}).to_string()),
            _ => Act::Say(answer(401, &[], "an old token")),
        })
        .await;
        let failure = failure_of(run_for(&executor(oauth2(&server, &json!({}))), json!(1), SHORT * 4).await);
        assert_eq!(server.seen().len(), hanging + 1, "{}", failure.message);
        failure.class
    };
    let (token, call, new_token, second_call) = futures_util::join!(hang_at(0), hang_at(1), hang_at(2), hang_at(3));
    assert_eq!((token, new_token), (Class::Unavailable, Class::Unavailable), "nothing was sent for which there was no token");
    assert_eq!((call, second_call), (Class::UnknownOutcome, Class::UnknownOutcome));
}

#[tokio::test]
async fn an_endless_answer_instead_of_a_token_is_left_at_its_limit() {
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000)).into_bytes();
    let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let server = Server::start(move |_, _| Act::SayForEver(head.to_vec(), chunk.clone())).await;
    let failure = failure_of(run_for(&executor(oauth2(&server, &json!({}))), json!(1), SHORT * 20).await);
    assert_eq!(failure.class, Class::Misconfigured, "{}", failure.message);
    assert!(failure.message.contains("megabyte"), "{}", failure.message);
}
