//! Functions that really run, on the server that `servers/ministack` brings; the filter of `./test` is the server's name.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_lambda::Client;
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::{FunctionCode, Runtime};
use serde_json::json;
use windlass::aws::{Account, load};
use windlass::executors::lambda::LambdaExecutor;
use windlass::outcome::{Class, Outcome};
use windlass::ports::Executor as _;

use crate::runs::{executor, failure_of, json_of, run};

const HANDLER: &str = "
import time

class NoSuchOrder(Exception):
    pass

def handle(event, context):
    if event.get('fail'):
        raise NoSuchOrder(event['fail'])
    if event.get('sleep'):
        time.sleep(event['sleep'])
    return {'double': event['n'] * 2, 'version': context.function_version}
";

fn endpoint() -> String {
    std::env::var("WINDLASS_TEST_MINISTACK").expect("WINDLASS_TEST_MINISTACK names the server: ./dev up ministack")
}

async fn client() -> Client {
    let endpoint = endpoint();
    let account = Account {
        region: Some("eu-west-1"),
        credentials: Some(Credentials::new("test", "test", None, None, "test")),
        endpoint: Some(&endpoint),
        ..Account::default()
    };
    Client::new(&load(account, Duration::from_secs(10)).await.unwrap())
}

fn zip(code: &str) -> Blob {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("code.py"), code).unwrap();
    let script = "import zipfile; zipfile.ZipFile('code.zip', 'w').write('code.py')";
    assert!(Command::new("python3").args(["-c", script]).current_dir(folder.path()).status().unwrap().success());
    Blob::new(std::fs::read(folder.path().join("code.zip")).unwrap())
}

/// A new function that may run for so many seconds, and an executor that calls it.
async fn function(name: &str, seconds: i32) -> (Client, Arc<LambdaExecutor>) {
    let name = format!("{name}-{}", uuid::Uuid::now_v7());
    let client = client().await;
    let create = client.create_function().function_name(&name).runtime(Runtime::Python313).handler("code.handle");
    let create = create.role("arn:aws:iam::000000000000:role/any").timeout(seconds).memory_size(256);
    create.code(FunctionCode::builder().zip_file(zip(HANDLER)).build()).send().await.unwrap();
    (client, executor(&endpoint(), &json!({"function": name})))
}

fn name(executor: &LambdaExecutor) -> String {
    executor.function().to_owned()
}

#[tokio::test]
#[ignore = "needs servers/ministack"]
async fn on_ministack_a_function_runs_and_what_it_raises_is_told() {
    let (_, executor) = function("double", 10).await;
    executor.warm().await.unwrap();
    assert_eq!(json_of(run(&executor, json!({"n": 21})).await)["double"], 42);
    // this server has one name for all that is raised; the contract's own is tested beside
    let failure = failure_of(run(&executor, json!({"fail": "order 7"})).await);
    assert_eq!(failure.class, Class::Failed);
    assert!(failure.message.contains("order 7"), "{}", failure.message);
}

#[tokio::test]
#[ignore = "needs servers/ministack"]
async fn on_ministack_a_function_that_runs_out_of_its_time_is_a_timeout() {
    let (_, executor) = function("slow", 1).await;
    let failure = failure_of(run(&executor, json!({"n": 1, "sleep": 30})).await);
    assert_eq!(failure.class, Class::Timeout, "{}", failure.message);
}

#[tokio::test]
#[ignore = "needs servers/ministack"]
async fn on_ministack_a_function_without_room_throttles() {
    let (client, executor) = function("full", 10).await;
    client.put_function_concurrency().function_name(name(&executor)).reserved_concurrent_executions(0).send().await.unwrap();
    assert_eq!(failure_of(run(&executor, json!({"n": 1})).await).class, Class::Throttled);
    client.put_function_concurrency().function_name(name(&executor)).reserved_concurrent_executions(5).send().await.unwrap();
    assert_eq!(json_of(run(&executor, json!({"n": 1})).await)["double"], 2);
}

#[tokio::test]
#[ignore = "needs servers/ministack"]
async fn on_ministack_an_alias_is_called_and_a_missing_one_is_a_matter_of_the_config() {
    let (client, latest) = function("aliased", 10).await;
    let function = name(&latest);
    let version = client.publish_version().function_name(&function).send().await.unwrap().version.unwrap();
    client.create_alias().function_name(&function).name("live").function_version(&version).send().await.unwrap();
    let live = executor(&endpoint(), &json!({"function": function, "qualifier": "live"}));
    assert_eq!(json_of(run(&live, json!({"n": 1})).await)["version"], version.as_str());
    assert!(live.examine().await.unwrap()[0].contains("python3.13, 256 MB, at most 10s"));
    let nobody = executor(&endpoint(), &json!({"function": function, "qualifier": "nobody"}));
    assert_eq!(failure_of(run(&nobody, json!({"n": 1})).await).class, Class::Misconfigured);
    let missing = executor(&endpoint(), &json!({"function": "no-such-function"}));
    assert_eq!(failure_of(run(&missing, json!({"n": 1})).await).class, Class::Misconfigured);
    assert_eq!(missing.examine().await.unwrap_err().class, Class::Misconfigured);
}

#[tokio::test]
#[ignore = "needs servers/ministack"]
async fn on_ministack_no_job_is_given_up_while_its_function_is_changed_and_deleted() {
    let (client, executor) = function("moving", 10).await;
    let jobs = async {
        let mut ended = Vec::new();
        for n in 0..40 {
            ended.push(run(&executor, json!({"n": n})).await);
        }
        ended
    };
    let changes = async {
        for _ in 0..3 {
            let change = client.update_function_code().function_name(name(&executor));
            change.zip_file(zip(HANDLER)).send().await.unwrap();
        }
        client.delete_function().function_name(name(&executor)).send().await.unwrap();
    };
    let (ended, ()) = tokio::join!(jobs, changes);
    for outcome in ended {
        match outcome {
            Outcome::Done(_) => {}
            // this server may end a run that it was asked for a moment before: such a job is run again
            other => assert_ne!(failure_of(other).class, Class::Rejected, "a dead letter for somebody's deployment"),
        }
    }
    assert_eq!(failure_of(run(&executor, json!({"n": 1})).await).class, Class::Misconfigured);
}
