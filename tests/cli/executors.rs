use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use crate::workshop::Workshop;

/// Answers each connection once, with what `answer` makes of the request's first line.
#[expect(clippy::unwrap_used, reason = "a test helper: what fails here fails the test")]
fn endpoint(answer: fn(&str) -> &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, mut text) = (stream.unwrap(), Vec::new());
            // what is sent here fits one segment, and ends with a brace or with its head
            while !text.ends_with(if text.starts_with(b"POST") { &b"}"[..] } else { b"\r\n\r\n" }) {
                let mut part = [0; 4096];
                let read = stream.read(&mut part).unwrap();
                text.extend_from_slice(&part[..read]);
            }
            let said = answer(String::from_utf8_lossy(&text).lines().next().unwrap());
            let _gone = stream.write_all(said.as_bytes());
        }
    });
    port
}

fn workshop(port: u16) -> Workshop {
    let workshop = Workshop::new();
    let config = format!(
        "executors:\n  hook: {{ http: {{ url: \"http://127.0.0.1:{port}/hook?key=hunter2\", auth: {{ bearer: \"file:token\" }} }} }}\n  \
         copy: {{ command: {{ run: [cat] }} }}\nroutes:\n  - {{ type: a, run: hook }}\n  - {{ type: b, run: hook }}\n"
    );
    workshop.write("windlass.yaml", &config);
    workshop.write("token", "s3cret\n");
    workshop
}

#[test]
fn executors_are_listed_with_their_targets_and_routes() {
    let workshop = workshop(1);
    let said = workshop.run(&["executors", "list"]).done();
    assert!(said.contains("POST http://127.0.0.1:1/hook") && said.contains("a, b") && !said.contains("hunter2"), "{said}");
    let documents = workshop.run(&["executors", "list", "--json"]).documents();
    assert_eq!((&documents[0]["executor"], &documents[0]["target"]), (&"copy".into(), &"cat".into()));
}

#[test]
fn a_call_is_tried_out_with_what_was_sent_what_came_back_and_what_it_means() {
    let port = endpoint(|_| "HTTP/1.1 429 Slow\r\nretry-after: 7\r\ncontent-length: 4\r\nconnection: close\r\n\r\nwait");
    let workshop = workshop(port);
    let ran = workshop.run(&["executors", "test", "hook", "--data", "{\"n\": 1}"]);
    for part in [
        "> POST http://127.0.0.1",
        "> authorization: (secret)",
        "> {\"n\":1}",
        "< 429",
        "< retry-after: 7",
        "throttled after",
        "7s",
    ] {
        assert!(ran.out.contains(part), "{part}: {ran:?}");
    }
    assert!(!ran.out.contains("s3cret") && !ran.out.contains("hunter2"), "{ran:?}");
    ran.failed(1);
    let ran = workshop.run(&["executors", "test", "hook", "--data", "{\"n\": 1}", "--json"]);
    let document: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(
        (&document["class"], &document["retry_after_ms"], &document["ok"]),
        (&"throttled".into(), &7000.into(), &false.into())
    );
    assert!(document["exchange"][1].as_str().unwrap().contains("wait"));
    assert_eq!(workshop.run(&["executors", "test", "copy", "--data", "7", "--json"]).documents()[0]["output"], 7);
    assert!(workshop.run(&["executors", "test", "hok"]).failed(3).contains("copy, hook"));
    assert!(workshop.run(&["executors", "test", "hook", "--data", "{n}"]).failed(2).contains("--data is not JSON"));
    assert!(workshop.run(&["plugin", "test", "--executor", "hook"]).failed(2).contains("windlass executors test hook"));
}

#[test]
fn targets_are_asked_whether_they_are_there() {
    let port = endpoint(|first| {
        assert!(first.starts_with("OPTIONS /hook"), "no job is run: {first}");
        "HTTP/1.1 405 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    });
    let there = workshop(port);
    let said = there.run(&["executors", "check"]).done();
    assert!(said.contains("answers OPTIONS with 405") && said.contains("nobody to ask"), "{said}");
    let gone = workshop(1);
    let ran = gone.run(&["executors", "check", "hook"]);
    assert!(ran.out.contains("FAILED") && ran.out.contains("unavailable: no connection to 127.0.0.1:1"), "{ran:?}");
    assert_eq!(ran.code, 5);
    gone.remove("token");
    let ran = gone.run(&["executors", "check", "hook"]);
    assert!(ran.out.contains("auth.bearer: file:token"), "{ran:?}");
}
