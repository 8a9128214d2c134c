#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use windlass::job::Message;
use windlass::ports::Outgoing;
use windlass::queues::embedded::{EmbeddedConfig, Store, StoreOptions};

use crate::workshop::Workshop;

/// How a job ends, and words that say why.
enum End {
    Completed,
    Dead(&'static str, &'static str),
}
use End::{Completed, Dead};

/// A plugin that stays, which misbehaves as its jobs say, and programs for one job each.
fn config() -> String {
    let plugin = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/executors/stays.py");
    format!(
        r#"
api: {{ listen: 127.0.0.1:0 }}
telemetry: {{ listen: 127.0.0.1:0 }}
executors:
  plugin: {{ command: {{ run: [python3, {plugin}], persistent: true, workers: 2 }} }}
  cat: {{ command: {{ run: [cat] }} }}
  noise: {{ command: {{ run: [sh, -c, "head -c 99 /dev/zero | tr '\\0' '\\377'"] }} }}
  mute: {{ command: {{ run: [sh, -c, "exec >&- 2>&-"] }} }}
routes:
  - {{ type: plugin, run: plugin, timeout: 2s, crashes: 2, retry: {{ attempts: 1, base: 10ms }} }}
  - {{ type: echo, run: cat }}
  - {{ type: noise, run: noise }}
  - {{ type: mute, run: mute }}
"#
    )
}

/// Bodies that came past the API.
fn bodies() -> Vec<(&'static str, Vec<u8>, End)> {
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    vec![
        ("no-utf-8", b"{\"type\": \"echo\", \"data\": \"\xff\xfe\"}".to_vec(), Dead("malformed", "UTF-8")),
        ("no-text", vec![0xff; 40], Dead("malformed", "not UTF-8 from byte 0")),
        ("yaml", b"type: echo".to_vec(), Dead("malformed", "not JSON")),
        ("half", b"{\"type\": \"echo\"".to_vec(), Dead("malformed", "not JSON")),
        ("empty", Vec::new(), Dead("malformed", "not JSON")),
        ("no-object", b"[1, 2]".to_vec(), Dead("malformed", "object")),
        ("no-type", b"{\"data\": 1}".to_vec(), Dead("malformed", "type: missing")),
        ("type-of-type", b"{\"type\": 7}".to_vec(), Dead("malformed", "type: ")),
        ("type-of-priority", b"{\"type\": \"echo\", \"priority\": \"high\"}".to_vec(), Dead("malformed", "priority: ")),
        ("type-of-key", b"{\"type\": \"echo\", \"key\": {}}".to_vec(), Dead("malformed", "key: ")),
        ("deep-body", deep(100_000).into_bytes(), Dead("malformed", "object")),
        ("deep-data", format!("{{\"type\": \"echo\", \"data\": {}}}", deep(100_000)).into_bytes(), Completed),
        (
            "vast",
            format!("{{\"type\": \"echo\", \"data\": \"{}\"}}", "x".repeat(64 << 20)).into_bytes(),
            Dead("rejected", "worker.body_limit"),
        ),
        ("noise", b"{\"type\": \"noise\"}".to_vec(), Completed),
        ("mute", b"{\"type\": \"mute\"}".to_vec(), Completed),
    ]
}

/// What plugins do to the protocol; each is in the process before or after a job that is in order.
fn deeds() -> Vec<(&'static str, End)> {
    vec![
        ("garbage", Dead("poison", "no frame")),
        ("no json", Dead("poison", "no response")),
        ("close", Dead("poison", "descriptor 4")),
        ("another", Dead("poison", "which it was not running")),
        ("hello again", Dead("poison", "hello twice")),
        ("silence", Dead("timeout", "2s")),
        ("twice", Completed),
        ("print", Completed),
        ("daemon", Completed),
        ("background", Completed),
    ]
}

/// Puts every job of the table into the queue, and answers how each has to end.
async fn fill(workshop: &Workshop) -> Vec<(String, Vec<u8>, End)> {
    let mut jobs: Vec<_> = bodies().into_iter().map(|(id, body, end)| (id.to_owned(), body, end)).collect();
    for (deed, end) in deeds() {
        let body = |deed: &str| json!({"type": "plugin", "data": {"do": deed, "value": 1}}).to_string().into_bytes();
        jobs.push((deed.replace(' ', "-"), body(deed), end));
        jobs.push((format!("after-{}", deed.replace(' ', "-")), body("echo"), Completed));
    }
    let config = EmbeddedConfig { path: workshop.path().join("windlass.db"), ..EmbeddedConfig::default() };
    let store = Store::open(StoreOptions::from(&config)).unwrap();
    let sink = store.queue("jobs", "jobs").sink();
    for (id, body, _) in &jobs {
        for _ in 0..if body.len() < 100 { 2 } else { 1 } {
            // each small one twice: an id that is known changes nothing
            let outgoing = Outgoing { message: Message::of(body.clone()), id: Some(id.as_str().into()), ..Outgoing::default() };
            sink.send(outgoing).await.unwrap();
        }
    }
    store.close().await;
    jobs
}

fn standing(workshop: &Workshop) -> Value {
    workshop.run(&["queues", "list", "--json"]).documents().into_iter().find(|queue| queue["queue"] == "jobs").unwrap()
}

#[tokio::test]
async fn nonsense_ends_as_documented_beside_jobs_that_are_in_order_and_nothing_is_lost() {
    let mut workshop = Workshop::new();
    workshop.write("windlass.yaml", &config());
    let jobs = fill(&workshop).await;
    workshop.start_worker();
    let start = Instant::now();
    let left = |queue: &Value| ["waiting", "delayed", "parked", "running"].iter().any(|state| queue[*state] != 0);
    while left(&standing(&workshop)) {
        assert!(start.elapsed() < Duration::from_secs(60), "{}", standing(&workshop));
    }
    let queue = standing(&workshop);
    let completed = jobs.iter().filter(|(.., end)| matches!(end, Completed)).count();
    let wrong: Vec<String> = jobs.iter().filter_map(|(id, body, end)| misses(&workshop, id, body, end)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!((&queue["completed"], &queue["dead"]), (&json!(completed), &json!(jobs.len() - completed)));
    assert!(workshop.run(&["audit"]).done().ends_with("nothing was lost\n"));
    workshop.stop_worker();
    assert!(workshop.run(&["audit"]).done().ends_with("nothing was lost\n"));
}

/// What is not as the table says.
fn misses(workshop: &Workshop, id: &str, body: &[u8], end: &End) -> Option<String> {
    let shown = workshop.run(&["jobs", "show", id]).done(); // as text: a result may be nested deeper than JSON is read here
    match end {
        Completed if shown.contains("completed") => None,
        Completed => Some(format!("{id}: {shown}")),
        Dead(reason, words) => {
            let ran = workshop.run(&["dead-letters", "show", id, "--json"]);
            if ran.code != 0 {
                return Some(format!("{id} is no dead letter: {shown}"));
            }
            let letter = &ran.documents()[0];
            let failure = &letter["failure"];
            let told = failure["message"].as_str().unwrap().contains(words);
            let kept = match (letter["message"]["body"].as_str(), letter["message"]["body_base64"].as_str()) {
                (Some(text), _) => text.as_bytes() == body,
                (_, coded) => STANDARD.decode(coded.unwrap_or_default()).is_ok_and(|kept| kept == body),
            };
            (failure["reason"] != *reason || !told || !kept).then(|| format!("{id}: kept {kept}, {failure}"))
        }
    }
}
