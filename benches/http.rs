//! What a job costs that is a call to an endpoint, beside a bare loop of the same client at the same concurrency.
//!
//! `cargo bench --bench http`: rounds of both in turn, and the median of each; 1 KiB there and back over kept connections. The
//! endpoint is a process of its own whose processor time is in both figures: the difference is Windlass. Then waves of a
//! thousand calls that take a second each, in one worker.
#![expect(clippy::unwrap_used, reason = "a bench fails by panicking")]

#[path = "hop/measure.rs"]
mod measure;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use serde_json::json;
use windlass::executors::http::HttpExecutor;
use windlass::job::decode::{Decoding, Received, decode};
use windlass::job::{Job, Message, Origin};
use windlass::outcome::Outcome;
use windlass::ports::{Context, Executor as _};

use measure::{Variant, measure};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 9;
const CALLS: u64 = 20_000;
const AT_ONCE: usize = 32;
const WAVE: usize = 1000;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    if std::env::args().any(|argument| argument == "serve") {
        return runtime.block_on(serve());
    }
    let mut endpoint = Command::new(std::env::current_exe().unwrap()).arg("serve").stdout(Stdio::piped()).spawn().unwrap();
    let mut address = String::new();
    BufReader::new(endpoint.stdout.take().unwrap()).read_line(&mut address).unwrap();
    let address = address.trim().to_owned();
    println!("calls of 1 KiB, {AT_ONCE} at once");
    let (quick, client) = (executor(&format!("{address}/echo")), reqwest::Client::builder().no_proxy().build().unwrap());
    measure(
        ROUNDS,
        CALLS,
        &mut [
            Variant::new("bare client", |jobs| runtime.block_on(bare(&client, &format!("{address}/echo"), jobs))),
            Variant::new("windlass", |jobs| runtime.block_on(execute(&quick, jobs, AT_ONCE))),
        ],
    );
    let slow = executor(&format!("{address}/slow"));
    let before = most_memory();
    for wave in 1..=3 {
        let start = Instant::now();
        runtime.block_on(execute(&slow, WAVE as u64, WAVE));
        println!("wave {wave}: {WAVE} calls of a second each, done after {:.2} s", start.elapsed().as_secs_f64());
    }
    println!("memory at most: {} KiB more than before the waves", most_memory() - before);
    endpoint.kill().unwrap();
    endpoint.wait().unwrap();
}

async fn serve() {
    let slow = |body: Bytes| async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        body
    };
    let router = Router::new().route("/echo", post(|body: Bytes| async { body })).route("/slow", post(slow));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("http://{}", listener.local_addr().unwrap());
    axum::serve(listener, router).await.unwrap();
}

fn executor(url: &str) -> Arc<HttpExecutor> {
    HttpExecutor::new(&serde_json::from_value(json!({"url": url})).unwrap(), Path::new("/")).unwrap()
}

async fn bare(client: &reqwest::Client, url: &str, calls: u64) {
    let lanes = (0..AT_ONCE).map(|_| {
        let (client, url, body) = (client.clone(), url.to_owned(), job().data.bytes().clone());
        tokio::spawn(async move {
            for _ in 0..calls / AT_ONCE as u64 {
                let answer =
                    client.post(&url).header("content-type", "application/json").body(body.clone()).send().await.unwrap();
                assert_eq!(answer.bytes().await.unwrap().len(), body.len());
            }
        })
    });
    for lane in lanes.collect::<Vec<_>>() {
        lane.await.unwrap();
    }
}

async fn execute(executor: &Arc<HttpExecutor>, jobs: u64, at_once: usize) {
    let lanes = (0..at_once).map(|_| {
        let executor = executor.clone();
        tokio::spawn(async move {
            let job = job();
            for _ in 0..jobs / at_once as u64 {
                let context = Context::new(job.id.clone(), "bench".into(), Duration::from_secs(300));
                let outcome = executor.execute(&job, &context).await;
                assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
            }
        })
    });
    for lane in lanes.collect::<Vec<_>>() {
        lane.await.unwrap();
    }
}

fn job() -> Job {
    let message = Message::of(json!({"id": "job-1", "type": "bench.call", "data": "x".repeat(1022)}).to_string());
    let received = Received { origin: Origin::default(), published: None, now: jiff::Timestamp::now() };
    decode(&message, &Decoding::Envelope, &received).unwrap()
}

/// `VmHWM` of this process, in KiB.
fn most_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
