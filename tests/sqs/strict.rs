//! A stand-in that refuses what ElasticMQ and LocalStack forgive: handles whose lease is over, and single entries of a request.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::{Json, Router};
use serde_json::{Value, json};
use windlass::ports::{QueueError, Settled};

use crate::world::{World, ack, message, one, open, source_of, within};

/// How a request is answered, by its action: an answer, or the code and the words of an error.
type Script = Box<dyn Fn(&str, &Value) -> Result<Value, (&'static str, &'static str)> + Send + Sync>;

#[derive(Clone)]
struct StandIn {
    script: Arc<Script>,
    asked: Arc<Mutex<HashMap<String, usize>>>,
}

impl StandIn {
    async fn serve(
        script: impl Fn(&str, &Value) -> Result<Value, (&'static str, &'static str)> + Send + Sync + 'static,
    ) -> (World, Self) {
        let stand_in = StandIn { script: Arc::new(Box::new(script)), asked: Arc::default() };
        let router = Router::new().fallback(answer).with_state(stand_in.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let world = World::at(&format!("http://{}", listener.local_addr().unwrap()));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (world, stand_in)
    }
}

async fn answer(State(stand_in): State<StandIn>, headers: HeaderMap, body: Bytes) -> (StatusCode, Json<Value>) {
    let body: Value = serde_json::from_slice(&body).unwrap();
    let action = headers["x-amz-target"].to_str().unwrap().rsplit('.').next().unwrap().to_owned();
    *stand_in.asked.lock().unwrap().entry(action.clone()).or_default() += 1;
    match (stand_in.script)(&action, &body) {
        Ok(answer) => (StatusCode::OK, Json(answer)),
        Err((code, words)) => {
            (StatusCode::BAD_REQUEST, Json(json!({ "__type": format!("com.amazonaws.sqs#{code}"), "message": words })))
        }
    }
}

fn entries(body: &Value) -> Vec<Value> {
    body["Entries"].as_array().cloned().unwrap_or_default()
}

/// Answers every entry of a request; `failed` says which are refused, and how.
fn each(body: &Value, failed: impl Fn(&Value) -> Option<(&'static str, bool)>) -> Value {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for entry in entries(body) {
        match failed(&entry) {
            None => good.push(json!({ "Id": entry["Id"], "MessageId": "m", "MD5OfMessageBody": "" })),
            Some((code, ours)) => bad.push(json!({ "Id": entry["Id"], "Code": code, "SenderFault": ours, "Message": "because" })),
        }
    }
    json!({ "Successful": good, "Failed": bad })
}

fn received(number: usize) -> Value {
    let attributes = json!({ "ApproximateReceiveCount": "1", "SentTimestamp": "1764322222123" });
    json!({ "Messages": [{ "MessageId": format!("m-{number}"), "ReceiptHandle": format!("h-{number}"), "Body": "{\"type\":\"t\"}", "Attributes": attributes }] })
}

fn url() -> Value {
    json!({ "QueueUrl": "http://127.0.0.1/1/q" })
}

/// Delivers a message again and again, each time under another handle, and knows only the newest.
fn newest_handle_only() -> impl Fn(&str, &Value) -> Result<Value, (&'static str, &'static str)> + Send + Sync {
    let deliveries = Mutex::new(0);
    move |action, body| {
        let newest = format!("h-{}", *deliveries.lock().unwrap());
        let stale = |entry: &Value| (entry["ReceiptHandle"] != *newest).then_some(("ReceiptHandleIsInvalid", true));
        Ok(match action {
            "GetQueueUrl" => url(),
            "GetQueueAttributes" => json!({ "Attributes": {} }),
            "ListQueueTags" => json!({ "Tags": {} }),
            "ReceiveMessage" => {
                let mut deliveries = deliveries.lock().unwrap();
                *deliveries += 1;
                received(*deliveries)
            }
            "ChangeMessageVisibilityBatch" => each(body, |_| Some(("AWS.SimpleQueueService.MessageNotInflight", true))),
            "DeleteMessageBatch" => each(body, stale),
            other => panic!("{other}"),
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an account in the environment: ./test brings one with ElasticMQ"]
async fn a_lease_that_sqs_does_not_renew_is_lost_and_what_is_settled_too_late_changes_nothing() {
    let (world, stand_in) = StandIn::serve(newest_handle_only()).await;
    let mut source = source_of(&open(&world.config("q"))).await;
    let late = within(&mut source, Duration::from_secs(20), Duration::from_secs(2)).await;
    let lost = async {
        while !matches!(late.receipt.extend(Duration::from_secs(2)).await, Err(QueueError::LeaseLost)) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), lost).await.expect("it was not lost");
    assert_eq!(ack(late).await, Settled::Fenced);
    assert_eq!(
        stand_in.asked.lock().unwrap().get("DeleteMessageBatch"),
        None,
        "a stale handle may delete what another worker holds"
    );
    let newest = one(&mut source).await;
    assert_eq!(ack(newest).await, Settled::Done);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an account in the environment: ./test brings one with ElasticMQ"]
async fn a_handle_that_sqs_does_not_know_any_more_settles_nothing() {
    let (world, _) = StandIn::serve(newest_handle_only()).await;
    let mut source = source_of(&open(&world.config("q"))).await;
    let (stale, newest) = (one(&mut source).await, one(&mut source).await);
    assert_eq!((ack(stale).await, ack(newest).await), (Settled::Fenced, Settled::Done));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an account in the environment: ./test brings one with ElasticMQ"]
async fn each_entry_of_a_request_to_sqs_has_its_own_end() {
    let (world, stand_in) = StandIn::serve(|action, body| match action {
        "GetQueueUrl" => Ok(url()),
        _ => Ok(each(body, |entry| match entry["MessageBody"].as_str().unwrap() {
            "bad" => Some(("InvalidMessageContents", true)),
            "busy" => Some(("InternalError", false)),
            _ => None,
        })),
    })
    .await;
    let sink = open(&world.config("q")).sink();
    let bodies = ["good", "bad", "busy"].map(|body| [body; 10]).concat();
    sink.send(message("first")).await.unwrap();
    let answers = futures_util::future::join_all(bodies.iter().map(|body| sink.send(message(body)))).await;
    for (body, answer) in bodies.iter().zip(answers) {
        match (*body, answer) {
            ("good", Ok(())) => {}
            ("bad", Err(QueueError::Refused(why))) => assert!(why.contains("InvalidMessageContents: because"), "{why}"),
            ("busy", Err(QueueError::Unavailable(why))) => assert!(why.contains("InternalError: because"), "{why}"),
            (body, answer) => panic!("{body}: {answer:?}"),
        }
    }
    let requests = stand_in.asked.lock().unwrap()["SendMessageBatch"];
    assert!(requests <= 8, "{requests} requests for 31 messages");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an account in the environment: ./test brings one with ElasticMQ"]
async fn what_sqs_refuses_is_told_with_the_fix() {
    for (code, words) in [
        ("InvalidClientTokenId", "the credentials are refused: because; look at \"profile\", \"role\" and the AWS_* variables"),
        ("AccessDeniedException", "a permission is missing: because; add it to the policy"),
        ("QueueDoesNotExist", "\"windlass queues create\" makes it"),
        ("SomethingElse", "SomethingElse: because"),
    ] {
        let (world, _) = StandIn::serve(move |_, _| Err((code, "because"))).await;
        let queue = open(&windlass::queues::sqs::config::SqsConfig { topology: Default::default(), ..world.config("q") });
        let taking = source_of(&queue).await.next(crate::world::ROOM).await.err().expect("it cannot work");
        let sending = queue.sink().send(message("a")).await.expect_err("it cannot work");
        for told in [taking.to_string(), sending.to_string()] {
            assert!(told.contains(words), "{told}");
        }
    }
    let queue = open(&World::at("http://127.0.0.1:1").config("q"));
    let told = queue.sink().send(message("a")).await.expect_err("nobody is there").to_string();
    assert!(told.contains("it cannot be reached"), "{told}");
}
