//! Requests: what an endpoint sees of a job.

use std::sync::Arc;

use serde_json::json;
use windlass::outcome::{Class, Interruption, Outcome};
use windlass::ports::{Context, Executor as _};

use crate::runs::{LONG, executor, failure_of, job, run};
use crate::wire::{Act, Server, ok};

#[tokio::test]
async fn a_job_is_its_data_and_headers_that_name_it() {
    let server = Server::start(|_, _| ok("null")).await;
    let executor = executor(json!({"url": server.url("/in?x=1"), "headers": {"X-Fixed": "a"}}));
    let mut job = job(&json!(null));
    job.data = windlass::job::Data::Json("{\"n\":  1.50}".into());
    job.traceparent = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into());
    let mut context = Context::new("job-1".into(), "suite".into(), LONG);
    context.attempt = 3;
    executor.execute(&job, &context).await;
    let seen = server.last();
    assert_eq!((seen.method.as_str(), seen.path.as_str(), &seen.body[..]), ("POST", "/in?x=1", &b"{\"n\":  1.50}"[..]));
    for (name, value) in [
        ("content-type", "application/json"),
        ("idempotency-key", "job-1"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("windlass-attempt", "3"),
        ("windlass-job-type", "suite.job"),
        ("x-fixed", "a"),
    ] {
        assert_eq!(seen.header(name), Some(value), "{name}");
    }
}

#[tokio::test]
async fn the_key_is_the_same_for_every_attempt_whatever_characters_the_id_has() {
    let server = Server::start(|_, _| ok("null")).await;
    let executor = executor(json!({"url": server.url("/"), "idempotency_header": "x-key"}));
    let mut job = job(&json!(1));
    job.id = "ü\n7".into();
    for _ in 0..2 {
        executor.execute(&job, &Context::new(job.id.clone(), "suite".into(), LONG)).await;
    }
    let keys: Vec<Option<String>> = server.seen().iter().map(|seen| seen.header("x-key").map(str::to_owned)).collect();
    assert_eq!(keys, [Some("%C3%BC%0A7".into()), Some("%C3%BC%0A7".into())]);
    assert_eq!(server.last().header("idempotency-key"), None);
}

#[tokio::test]
async fn connections_are_kept() {
    let server = Server::start(|_, _| ok("null")).await;
    let executor = executor(json!({"url": server.url("/")}));
    for _ in 0..20 {
        run(&executor, json!(1)).await;
    }
    assert_eq!((server.seen().len(), server.connections()), (20, 1));
}

#[tokio::test]
async fn templates_fill_address_headers_and_body_and_cannot_be_broken_out_of() {
    let server = Server::start(|_, _| ok("null")).await;
    let block = json!({
        "url": format!("{}{{{{ data.id }}}}?t={{{{ job.tenant }}}}", server.url("/orders/")),
        "method": "PUT",
        "headers": {"X-Order": "{{ job.id }}/{{ data.id }}"},
        "body": "{\"name\": {{ data.name }}, \"attempt\": {{ job.attempt }}}",
    });
    let executor = executor(block);
    run(&executor, json!({"id": "7/8", "name": "\", \"admin\": true"})).await;
    let seen = server.last();
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("PUT", "/orders/7%2F8?t=default"));
    assert_eq!(seen.header("x-order"), Some("job-1/7/8"));
    assert_eq!(seen.json(), json!({"name": "\", \"admin\": true", "attempt": 1}));

    let failure = failure_of(run(&executor, json!({"id": "a\r\nx: y", "name": 1})).await);
    assert!(failure.class == Class::Rejected && failure.message.starts_with("headers.x-order"), "{failure:?}");
    let failure = failure_of(run(&executor, json!({"id": "a"})).await);
    assert!(failure.class == Class::Rejected && failure.message.contains("data.name"), "{failure:?}");
    assert_eq!(server.seen().len(), 1, "what cannot be made is not sent");
}

#[tokio::test]
async fn an_address_that_is_none_is_shown_without_its_query() {
    let executor = executor(json!({"url": "{{ data | safe }}"}));
    for address in ["ftp://example.org/a?key=hunter2", "http://[a?key=hunter2", "http://[a#key=hunter2"] {
        let failure = failure_of(run(&executor, json!(address)).await);
        assert!(failure.class == Class::Rejected && failure.message.starts_with("url: "), "{failure:?}");
        assert!(!failure.message.contains("hunter2"), "{failure:?}");
    }
}

#[tokio::test]
async fn a_body_that_is_no_json_once_it_is_filled_in_is_rejected_with_the_fix() {
    let server = Server::start(|_, _| ok("null")).await;
    let quoted = executor(json!({"url": server.url("/"), "body": "{\"name\": \"{{ data }}\"}"}));
    let failure = failure_of(run(&quoted, json!("a")).await);
    assert!(failure.class == Class::Rejected && failure.message.contains("their own quotes"), "{failure:?}");
    let xml = json!({"url": server.url("/"), "headers": {"content-type": "text/xml"}, "body": "<n>{{ data }}</n>"});
    run(&executor(xml), json!("a")).await;
    assert_eq!(server.last().body, b"<n>a</n>");
}

#[tokio::test]
async fn a_job_may_be_sent_as_an_event_in_both_modes_or_as_a_whole() {
    let server = Server::start(|_, _| ok("null")).await;
    let mut job = job(&json!({"n": 1}));
    job.id = "a \"b\" ü".into();
    for format in ["cloudevents", "cloudevents_binary", "windlass"] {
        let executor = executor(json!({"url": server.url("/"), "format": format}));
        executor.execute(&job, &Context::new("x".into(), "suite".into(), LONG)).await;
    }
    let seen = server.seen();
    let whole = seen[0].json();
    assert_eq!(seen[0].header("content-type"), Some("application/cloudevents+json"));
    assert_eq!((&whole["specversion"], &whole["id"], &whole["data"]), (&json!("1.0"), &json!("a \"b\" ü"), &json!({"n": 1})));
    assert_eq!((&whole["type"], &whole["partitionkey"]), (&json!("suite.job"), &json!("k")));
    assert_eq!((seen[1].header("ce-id"), seen[1].header("ce-specversion")), (Some("a%20%22b%22%20%C3%BC"), Some("1.0")));
    assert_eq!((seen[1].header("content-type"), seen[1].json()), (Some("application/json"), json!({"n": 1})));
    assert_eq!((&seen[2].json()["id"], &seen[2].json()["data"]), (&json!("a \"b\" ü"), &json!({"n": 1})));
}

#[tokio::test]
async fn a_get_carries_no_body_and_its_answer_is_the_output() {
    let server = Server::start(|_, _| ok("[1, 2]")).await;
    let block = json!({"url": server.url("/{{ data.id }}"), "method": "GET", "body": ""});
    let failure = failure_of(run(&executor(block), json!({"id": 7})).await);
    assert!(failure.message.contains("JSON"), "an empty body is said by its type: {}", failure.message);
    let block =
        json!({"url": server.url("/{{ data.id }}"), "method": "GET", "body": "", "headers": {"content-type": "text/plain"}});
    assert_eq!(crate::runs::json_of(run(&executor(block), json!({"id": 7})).await), json!([1, 2]));
    assert_eq!((server.last().path.as_str(), server.last().body.len()), ("/7", 0));
}

#[tokio::test]
async fn a_cancelled_job_ends_its_connection_and_the_executor_goes_on() {
    let server = Server::start(|seen, _| if seen.path == "/never" { Act::Nothing } else { ok("1") }).await;
    let executor = executor(json!({"url": format!("{}{{{{ data }}}}", server.url("/"))}));
    let context = Arc::new(Context::new("job-1".into(), "suite".into(), LONG));
    let running = tokio::spawn({
        let (executor, context) = (executor.clone(), context.clone());
        async move { executor.execute(&job(&json!("never")), &context).await }
    });
    while server.seen().is_empty() {
        tokio::task::yield_now().await;
    }
    context.cancel.cancel();
    assert!(matches!(running.await.unwrap(), Outcome::Interrupted(Interruption::Stopping)));
    assert_eq!(crate::runs::json_of(run(&executor, json!("now")).await), 1);
}

#[tokio::test]
async fn calls_go_through_a_proxy_where_one_is_named() {
    let proxy = Server::start(|_, _| ok("\"through\"")).await;
    let executor = executor(json!({"url": "http://example.invalid/a", "proxy": proxy.url("")}));
    assert_eq!(crate::runs::json_of(run(&executor, json!(1)).await), "through");
    assert_eq!(proxy.last().path, "http://example.invalid/a");
}
