//! What no server for tests imitates: limits, reports, throttles, and answers that never come.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use windlass::outcome::{Class, Outcome};
use windlass::ports::Executor as _;

use crate::runs::{LONG, context, executor, failure_of, json_of, run, run_in};
use crate::wire::{Act, Seen, Server, answer, ok};

const INVOKE: &str = "/2015-03-31/functions/double/invocations";

fn said(headers: &[(&str, &str)], body: &str) -> Act {
    Act::Say(answer(200, headers, body))
}

/// An error as the service words it.
fn error(status: u16, code: &str, more: &[(&str, &str)]) -> Act {
    let headers: Vec<(&str, &str)> = [("x-amzn-errortype", code)].into_iter().chain(more.iter().copied()).collect();
    Act::Say(answer(status, &headers, json!({"message": "why it is so", "Type": "User"}).to_string()))
}

fn log(text: &str) -> String {
    STANDARD.encode(text)
}

#[tokio::test]
async fn a_call_waits_for_its_answer_and_carries_the_jobs_id() {
    let server = Server::start(|seen, _| said(&[], &String::from_utf8_lossy(&seen.body))).await;
    let executor = executor(&server.url(""), &json!({"qualifier": "live"}));
    let mut context = context(LONG);
    context.attempt = 3;
    assert_eq!(json_of(run_in(&executor, json!({"n": 21}), &context).await), json!({"n": 21}));
    let seen = server.last();
    assert_eq!(seen.json(), json!({"n": 21}));
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("POST", format!("{INVOKE}?Qualifier=live").as_str()));
    assert_eq!((seen.header("x-amz-invocation-type"), seen.header("x-amz-log-type")), (Some("RequestResponse"), Some("Tail")));
    let told = STANDARD.decode(seen.header("x-amz-client-context").unwrap()).unwrap();
    let told: Value = serde_json::from_slice(&told).unwrap();
    assert_eq!((&told["custom"]["windlass-job-id"], &told["custom"]["windlass-attempt"]), (&json!("job-1"), &json!("3")));
    let signed = seen.header("authorization").unwrap();
    assert!(signed.starts_with("AWS4-HMAC-SHA256 Credential=test/") && signed.contains("/eu-west-1/lambda/"), "{signed}");
}

#[tokio::test]
async fn a_functions_own_error_is_a_failure_with_its_words_its_stack_and_its_log() {
    let raised = json!({"errorType": "ValueError", "errorMessage": "no such order", "stackTrace": ["  File \"a.py\", line 7\n    boom()\n"]});
    let tail = log("START RequestId: a Version: 1\nlooking for it\nEND RequestId: a\n");
    let server = Server::start(move |_, _| {
        said(&[("x-amz-function-error", "Unhandled"), ("x-amz-log-result", &tail)], &raised.to_string())
    })
    .await;
    let context = context(LONG);
    let failure = failure_of(run_in(&executor(&server.url(""), &json!({})), json!(1), &context).await);
    assert_eq!((failure.class, failure.message.as_str()), (Class::Failed, "double: ValueError: no such order"));
    assert_eq!(context.log_tail(), "looking for it\n  File \"a.py\", line 7\n    boom()\n");
    let named = executor(&server.url(""), &json!({"errors": {"ValueError": "rejected"}}));
    assert_eq!(failure_of(run(&named, json!(1)).await).class, Class::Rejected);
}

#[tokio::test]
async fn what_lambda_itself_ends_has_its_class() {
    for (kind, message, class) in [
        ("Sandbox.Timedout", "RequestId: a Error: Task timed out after 3.00 seconds", Class::Timeout),
        ("", "2026-11-28T10:00:00Z a Task timed out after 3.00 seconds", Class::Timeout),
        ("Function.ResponseSizeTooLarge", "Response payload size exceeded", Class::Rejected),
        ("Runtime.ExitError", "Runtime exited with error: signal: killed", Class::Failed),
    ] {
        let body = json!({"errorType": kind, "errorMessage": message}).to_string();
        let server = Server::start(move |_, _| said(&[("x-amz-function-error", "Unhandled")], &body)).await;
        let failure = failure_of(run(&executor(&server.url(""), &json!({})), json!(1)).await);
        assert_eq!(failure.class, class, "{message}");
        assert!(failure.message.contains(message), "{}", failure.message);
    }
}

#[tokio::test]
async fn what_the_service_refuses_has_its_class_and_is_asked_once() {
    for (status, code, class, wait) in [
        (429, "TooManyRequestsException", Class::Throttled, Some(7)),
        (404, "ResourceNotFoundException", Class::Misconfigured, None),
        (403, "AccessDeniedException", Class::Misconfigured, None),
        (403, "ExpiredTokenException", Class::Misconfigured, None),
        (413, "RequestTooLargeException", Class::Rejected, None),
        (400, "InvalidRequestContentException", Class::Rejected, None),
        (409, "ResourceConflictException", Class::Unavailable, None),
        (502, "EC2UnexpectedException", Class::Unavailable, None),
        (500, "ServiceException", Class::Unavailable, None),
    ] {
        let server =
            Server::start(move |_, _| error(status, code, if wait.is_some() { &[("retry-after", "7")] } else { &[] })).await;
        let failure = failure_of(run(&executor(&server.url(""), &json!({})), json!(1)).await);
        assert_eq!((failure.class, failure.retry_after), (class, wait.map(Duration::from_secs)), "{code}");
        assert!(failure.message.contains(code) && failure.message.contains("why it is so"), "{}", failure.message);
        assert_eq!(server.seen().len(), 1, "{code}: nobody repeats the call behind our back");
    }
}

#[tokio::test]
async fn a_call_without_an_answer_is_of_unknown_outcome_and_not_repeated() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"half\":";
    let cut = Server::start(|_, _| Act::SayAndEnd(Vec::new())).await;
    let half = Server::start(move |_, _| Act::SayAndEnd(head.into())).await;
    let never = Server::start(|_, _| Act::Nothing).await;
    let stuck = Server::start(move |_, _| Act::SayForEver(head.into(), Vec::new())).await;
    let short = Duration::from_millis(500);
    for (server, time) in [(cut, LONG), (half, LONG), (never, short), (stuck, short)] {
        let outcome = run_in(&executor(&server.url(""), &json!({})), json!(1), &context(time)).await;
        let failure = failure_of(outcome);
        assert_eq!(failure.class, Class::UnknownOutcome, "{}", failure.message);
        assert_eq!(server.seen().len(), 1);
    }
}

#[tokio::test]
async fn connections_are_kept() {
    let server = Server::start(|_, _| ok("1")).await;
    let executor = executor(&server.url(""), &json!({}));
    for _ in 0..5 {
        run(&executor, json!(1)).await;
    }
    assert_eq!((server.seen().len(), server.connections()), (5, 1));
}

#[tokio::test]
async fn where_nobody_listens_nothing_was_called() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for endpoint in [format!("http://{gone}"), "http://no-such-host.invalid".to_owned()] {
        let failure = failure_of(run(&executor(&endpoint, &json!({})), json!(1)).await);
        assert_eq!(failure.class, Class::Unavailable, "{}", failure.message);
    }
}

#[tokio::test]
async fn an_event_of_six_mebibytes_is_sent_and_one_byte_more_is_rejected_before_the_call() {
    let server = Server::start(|_, _| ok("1")).await;
    let executor = executor(&server.url(""), &json!({}));
    let most = 6 * 1024 * 1024 - 2; // and two quotes
    assert_eq!(json_of(run(&executor, json!("x".repeat(most))).await), 1);
    let failure = failure_of(run(&executor, json!("x".repeat(most + 1))).await);
    assert_eq!(failure.class, Class::Rejected);
    assert!(failure.message.contains("6291457 bytes"), "{}", failure.message);
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn what_a_call_cost_is_read_from_its_report() {
    let tail = log(
        "REPORT RequestId: a\tDuration: 12.34 ms\tBilled Duration: 13 ms\tMemory Size: 128 MB\tMax Memory Used: 45 MB\tInit Duration: 90.00 ms\t\n",
    );
    let server = Server::start(move |_, _| said(&[("x-amz-log-result", &tail)], "1")).await;
    let context = context(LONG);
    run_in(&executor(&server.url(""), &json!({})), json!(1), &context).await;
    let usage = context.usage().unwrap();
    assert_eq!((usage.billed, usage.memory), (Duration::from_millis(13), Some(45 << 20)));
    assert_eq!(usage.cold_start, Some(Duration::from_millis(90)));
    assert_eq!(context.log_tail(), "");
}

#[tokio::test]
async fn an_answer_that_the_rule_refuses_is_a_failure() {
    let server = Server::start(|seen, _| said(&[], &String::from_utf8_lossy(&seen.body))).await;
    let executor = executor(&server.url(""), &json!({"success": "result.statusCode == 200"}));
    assert!(matches!(run(&executor, json!({"statusCode": 200})).await, Outcome::Done(_)));
    for answer in [json!({"statusCode": 500, "body": "sold out"}), json!({"body": "sold out"})] {
        let failure = failure_of(run(&executor, answer).await);
        assert_eq!(failure.class, Class::Failed);
        assert!(failure.message.contains("sold out"), "{}", failure.message);
    }
}

#[tokio::test]
async fn a_function_is_asked_for_its_limits_and_whether_it_may_be_called() {
    let answers = |seen: &Seen| match (seen.method.as_str(), seen.header("x-amz-invocation-type")) {
        ("GET", _) => said(&[], r#"{"Timeout": 30, "MemorySize": 512, "State": "Active", "Runtime": "python3.13"}"#),
        (_, Some("DryRun")) => Act::Say(answer(204, &[], "")),
        other => panic!("no job is run: {other:?}"),
    };
    let server = Server::start(move |seen, _| answers(seen)).await;
    let found = executor(&server.url(""), &json!({})).examine().await.unwrap();
    assert_eq!(found, ["function double: Active, python3.13, 512 MB, at most 30s", "it may be called"]);
    let closed = Server::start(|_, _| error(403, "AccessDeniedException", &[])).await;
    let executor = executor(&closed.url(""), &json!({}));
    assert_eq!(executor.examine().await.unwrap_err().class, Class::Misconfigured);
    executor.warm().await.expect("who may call a function need not be allowed to ask about it");
    let missing = Server::start(|_, _| error(404, "ResourceNotFoundException", &[])).await;
    let why = crate::runs::executor(&missing.url(""), &json!({})).warm().await.unwrap_err();
    assert!(why.contains("function, qualifier and region"), "{why}");
}
