//! The custom platform specification 1.0, against a server written by its text.

use serde_json::{Value, json};
use windlass::outcome::Class;
use windlass::ports::Executor as _;

use crate::runs::{executor, failure_of, json_of, run};
use crate::wire::{Act, Seen, Server, answer};

fn said(status: u16, body: &Value) -> Act {
    Act::Say(answer(status, &[("content-type", "application/json")], body.to_string()))
}

/// Knows the function job0, which does what its data says.
fn platform(seen: &Seen) -> Act {
    let Some(call) = seen.path.strip_prefix("/api/functions/job0") else {
        return said(404, &json!({"error": "Function not found", "function_id": "job1"}));
    };
    match (seen.method.as_str(), call) {
        ("GET", "") => said(200, &json!({"function_id": "job0", "status": "deployed", "memory_mb": 512, "timeout_secs": 300})),
        ("GET", "/health") => said(200, &json!({"function_id": "job0", "status": "healthy", "total_invocations": 1523})),
        ("POST", "/warm") => said(200, &json!({"function_id": "job0", "status": "warm", "instances_warmed": 3})),
        ("POST", "/invoke") => invoked(&seen.json()),
        _ => said(405, &json!({"error": "no such call"})),
    }
}

fn invoked(request: &Value) -> Act {
    let numbers = request["args"].as_array().unwrap().iter().map(|number| u8::try_from(number.as_u64().unwrap()).unwrap());
    let args: Vec<u8> = numbers.collect();
    assert_eq!(request["job_id"], 0);
    let failed = |error: &str| json!({"job_id": 0, "result": [], "success": false, "error": error});
    match serde_json::from_slice::<Value>(&args).unwrap().as_str() {
        Some("lie") => said(200, &failed("crashed on row 7")),
        Some("slow") => said(500, &failed("Function timeout after 300s")),
        Some("code") => said(500, &json!({"error": "too long", "code": "TIMEOUT", "details": {}})),
        Some("bad") => said(400, &json!({"error": "bad args"})),
        Some("broken") => said(503, &json!({"error": "Binary crashed on startup"})),
        Some("mute") => said(200, &json!({"job_id": 0, "success": true})),
        Some("html") => Act::Say(answer(200, &[], "<html>")),
        _ => said(200, &json!({"job_id": 0, "result": args, "success": true, "execution_ms": 45, "memory_used_mb": 128})),
    }
}

#[tokio::test]
async fn bytes_go_there_and_come_back_by_every_form_of_the_address() {
    let server = Server::start(|seen, _| platform(seen)).await;
    for url in ["", "/", "/api/functions/job0", "/api/functions/job0/invoke"] {
        let executor = executor(json!({"url": server.url(url), "platform": {"function": "job0"}}));
        assert_eq!(json_of(run(&executor, json!({"n": [1, "ü"]})).await), json!({"n": [1, "ü"]}));
    }
}

#[tokio::test]
async fn what_says_that_it_failed_has_failed_whatever_the_status() {
    let server = Server::start(|seen, _| platform(seen)).await;
    let executor = executor(json!({"url": server.url(""), "platform": {"function": "job0"}}));
    for (deed, class, part) in [
        ("lie", Class::Failed, "crashed on row 7"),
        ("slow", Class::Timeout, "timeout after 300s"),
        ("code", Class::Timeout, "too long"),
        ("bad", Class::Rejected, "bad args"),
        ("broken", Class::Unavailable, "on startup"),
        ("mute", Class::Failed, "without a result"),
        ("html", Class::Failed, "no JSON"),
    ] {
        let failure = failure_of(run(&executor, json!(deed)).await);
        assert_eq!(failure.class, class, "{}", failure.message);
        assert!(failure.message.contains(part), "{}", failure.message);
    }
}

#[tokio::test]
async fn a_function_that_is_not_there_is_a_matter_of_the_config_and_told_at_the_start() {
    let server = Server::start(|seen, _| platform(seen)).await;
    let executor = executor(json!({"url": server.url(""), "platform": {"function": "job1"}}));
    assert_eq!(failure_of(run(&executor, json!(1)).await).class, Class::Misconfigured);
    assert!(executor.warm().await.unwrap_err().contains("no function \"job1\""));
    assert_eq!(executor.examine().await.unwrap_err().class, Class::Misconfigured);
}

#[tokio::test]
async fn a_function_is_described_and_warmed() {
    let server = Server::start(|seen, _| platform(seen)).await;
    let executor = executor(json!({"url": server.url(""), "platform": {"function": "job0"}}));
    executor.warm().await.unwrap();
    assert_eq!((server.last().method.as_str(), server.last().path.as_str()), ("POST", "/api/functions/job0/warm"));
    let found = executor.examine().await.unwrap();
    assert_eq!(found, ["function job0: deployed, 512 MB, 300 s", "health: healthy, 1523 invocations"]);
}
