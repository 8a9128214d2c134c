//! Answers: late, twice, never, cut, endless, packed, and what each is taken for.

use std::io::Write as _;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use windlass::outcome::{Class, Outcome};

use crate::runs::{LONG, SHORT, executor, failure_of, json_of, run, run_for};
use crate::wire::{Act, Server, answer, ok};

#[tokio::test]
async fn a_call_that_was_sent_and_has_no_answer_is_of_unknown_outcome() {
    let never = Server::start(|_, _| Act::Nothing).await;
    let failure = failure_of(run_for(&executor(json!({"url": never.url("/")})), json!(1), SHORT).await);
    assert_eq!(failure.class, Class::UnknownOutcome);
    assert!(failure.message.contains("500ms"), "{}", failure.message);
    assert_eq!(never.seen().len(), 1, "nobody repeats the call behind our back");
}

#[tokio::test]
async fn a_connection_that_is_cut_after_the_work_was_done_is_of_unknown_outcome_and_not_repeated() {
    let cut = Server::start(|_, _| Act::SayAndEnd(Vec::new())).await;
    let executor = executor(json!({"url": cut.url("/")}));
    for seen in 1..=3 {
        let failure = failure_of(run(&executor, json!(1)).await);
        assert_eq!(failure.class, Class::UnknownOutcome, "{}", failure.message);
        assert_eq!(cut.seen().len(), seen);
    }
    let get = json!({"url": cut.url("/"), "method": "GET", "body": "", "headers": {"content-type": "text/plain"}});
    assert_eq!(failure_of(run(&self::executor(get), json!(1)).await).class, Class::UnknownOutcome, "an empty body is sent too");
}

#[tokio::test]
async fn a_connection_that_ends_after_many_calls_is_of_unknown_outcome_too() {
    // the second call finds the connection of the first one, and the server closes it on its request
    let cut = Server::start(|_, before| if before == 0 { ok("1") } else { Act::SayAndEnd(Vec::new()) }).await;
    let executor = executor(json!({"url": cut.url("/")}));
    run(&executor, json!(1)).await;
    assert_eq!(failure_of(run(&executor, json!(1)).await).class, Class::UnknownOutcome);
    assert_eq!((cut.seen().len(), cut.connections()), (2, 1));
}

#[tokio::test]
async fn an_answer_that_is_cut_or_never_ends_is_of_unknown_outcome_where_it_began_well() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"half\":";
    let half = Server::start(move |_, _| Act::SayAndEnd(head.into())).await;
    let failure = failure_of(run(&executor(json!({"url": half.url("/")})), json!(1)).await);
    assert_eq!(failure.class, Class::UnknownOutcome);
    assert!(failure.message.contains("within the answer"), "{}", failure.message);

    let stuck = Server::start(move |_, _| Act::SayForEver(head.into(), Vec::new())).await;
    let failure = failure_of(run_for(&executor(json!({"url": stuck.url("/")})), json!(1), SHORT).await);
    assert_eq!(failure.class, Class::UnknownOutcome);
    assert!(failure.message.contains("200 OK"), "{}", failure.message);
}

#[tokio::test]
async fn a_failure_whose_words_are_cut_or_never_end_keeps_the_class_of_its_status() {
    let head = |status: u16| format!("HTTP/1.1 {status} No\r\ncontent-length: 100\r\n\r\nbecause ");
    for (status, class) in [(422, Class::Rejected), (503, Class::Unavailable), (500, Class::Failed)] {
        let cut = Server::start(move |_, _| Act::SayAndEnd(head(status).into())).await;
        let failure = failure_of(run(&executor(json!({"url": cut.url("/")})), json!(1)).await);
        assert_eq!(failure.class, class);
        assert!(failure.message.ends_with(": because"), "{}", failure.message);
        let stuck = Server::start(move |_, _| Act::SayForEver(head(status).into(), Vec::new())).await;
        let failure = failure_of(run_for(&executor(json!({"url": stuck.url("/")})), json!(1), SHORT).await);
        assert_eq!(failure.class, class);
    }
}

#[tokio::test]
async fn endless_answers_and_heads_are_left_at_their_limits() {
    let chunk = || format!("1000\r\n{}\r\n", "x".repeat(0x1000)).into_bytes();
    let endless =
        Server::start(move |_, _| Act::SayForEver(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".into(), chunk()))
            .await;
    let failure = failure_of(run(&executor(json!({"url": endless.url("/"), "output": "64KiB"})), json!(1)).await);
    assert_eq!(failure.class, Class::Rejected);
    assert!(failure.message.contains("64KiB"), "{}", failure.message);

    let heads = Server::start(|_, _| Act::SayForEver(b"HTTP/1.1 200 OK\r\n".into(), b"x: y\r\n".into())).await;
    let failure = failure_of(run(&executor(json!({"url": heads.url("/")})), json!(1)).await);
    assert_eq!(failure.class, Class::UnknownOutcome, "{}", failure.message);

    let slow = Server::start(|_, _| Act::SayForEver(b"HTTP/1.1 200 OK\r\nx: ".into(), Vec::new())).await;
    let failure = failure_of(run_for(&executor(json!({"url": slow.url("/")})), json!(1), SHORT).await);
    assert_eq!(failure.class, Class::UnknownOutcome);
}

#[tokio::test]
async fn a_packed_answer_is_unpacked_and_its_size_is_that_of_what_comes_out() {
    let pack = |bytes: &[u8]| {
        let mut packer = GzEncoder::new(Vec::new(), Compression::default());
        packer.write_all(bytes).unwrap();
        answer(200, &[("content-encoding", "gzip"), ("content-type", "application/json")], packer.finish().unwrap())
    };
    let server = Server::start(move |seen, _| {
        Act::Say(if seen.path == "/bomb" { pack(&vec![b'0'; 50 << 20]) } else { pack(b"{\"packed\":true}") })
    })
    .await;
    assert_eq!(json_of(run(&executor(json!({"url": server.url("/")})), json!(1)).await), json!({"packed": true}));
    assert!(server.last().header("accept-encoding").unwrap().contains("gzip"));
    let failure = failure_of(run(&executor(json!({"url": server.url("/bomb")})), json!(1)).await);
    assert_eq!(failure.class, Class::Rejected);
    assert!(failure.message.contains("1MiB"), "{}", failure.message);
}

#[tokio::test]
async fn a_second_answer_to_one_call_is_nobodys() {
    let twice = Server::start(|seen, _| {
        if seen.path == "/twice" {
            return Act::Say([answer(200, &[], "\"first\""), answer(200, &[], "\"second\"")].concat());
        }
        ok("\"its own\"")
    })
    .await;
    let executor = executor(json!({"url": format!("{}{{{{ data }}}}", twice.url("/"))}));
    for _ in 0..10 {
        assert_eq!(json_of(run(&executor, json!("twice")).await), "first");
        assert_eq!(json_of(run(&executor, json!("once")).await), "its own");
    }
}

#[tokio::test]
async fn a_late_answer_is_an_answer_as_long_as_there_is_time() {
    let late =
        Server::start(|_, _| Act::SayForEver(b"HTTP/1.1 200 OK\r\ncontent-length: 20000\r\n\r\n".into(), vec![b'7'; 1])).await;
    let outcome = run(&executor(json!({"url": late.url("/")})), json!(1)).await;
    assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
}

#[tokio::test]
async fn statuses_have_their_classes_and_the_config_may_say_otherwise() {
    let server = Server::start(|seen, _| {
        let status: u16 = seen.path[1..].parse().unwrap();
        let more: &[(&str, &str)] = if status == 429 || status == 503 { &[("retry-after", "7")] } else { &[] };
        Act::Say(answer(status, more, "{\"error\": \"why it is so\"}"))
    })
    .await;
    let block = json!({
        "url": format!("{}{{{{ data }}}}", server.url("/")),
        "statuses": {"409": "success", "4xx": "failed", "418": "rejected"},
    });
    let executor = executor(block);
    for (status, class, wait) in [
        (429, Class::Failed, Some(7)),
        (503, Class::Throttled, Some(7)),
        (502, Class::Unavailable, None),
        (500, Class::Failed, None),
        (418, Class::Rejected, None),
        (404, Class::Failed, None),
    ] {
        let failure = failure_of(run(&executor, json!(status)).await);
        assert_eq!((failure.class, failure.retry_after), (class, wait.map(Duration::from_secs)), "{status}");
        assert!(failure.message.contains("why it is so") && failure.message.contains(&status.to_string()), "{}", failure.message);
    }
    assert_eq!(json_of(run(&executor, json!(409)).await)["error"], "why it is so");
}

#[tokio::test]
async fn an_answer_that_is_not_what_it_says_or_that_the_rule_refuses_is_a_failure() {
    let server = Server::start(|seen, _| match seen.path.as_str() {
        "/lie" => Act::Say(answer(200, &[("content-type", "application/json")], "<html>welcome</html>")),
        "/no" => ok("{\"ok\": false, \"why\": \"sold out\"}"),
        "/odd" => ok("{\"status\": \"fine\"}"),
        _ => ok("{\"ok\": true}"),
    })
    .await;
    let executor = executor(json!({"url": format!("{}{{{{ data }}}}", server.url("/")), "success": "result.ok"}));
    for (path, part) in [("lie", "welcome"), ("no", "sold out"), ("odd", "no key")] {
        let failure = failure_of(run(&executor, json!(path)).await);
        assert_eq!(failure.class, Class::Failed);
        assert!(failure.message.contains(part), "{}", failure.message);
    }
    assert_eq!(json_of(run(&executor, json!("yes")).await), json!({"ok": true}));
}

#[tokio::test]
async fn where_nobody_listens_or_no_name_is_known_the_target_is_unavailable_and_nothing_was_sent() {
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    for (url, part) in
        [(format!("http://127.0.0.1:{gone}/"), "refused"), ("http://no-such-host.invalid/".to_owned(), "no-such-host.invalid")]
    {
        let failure = failure_of(run_for(&executor(json!({"url": url})), json!(1), LONG).await);
        assert_eq!(failure.class, Class::Unavailable, "{}", failure.message);
        assert!(failure.message.contains(part), "{}", failure.message);
    }
}

#[tokio::test]
async fn a_redirect_is_followed_only_as_often_as_allowed_and_never_elsewhere() {
    let elsewhere = Server::start(|_, _| ok("\"stolen\"")).await;
    let there = elsewhere.url("/");
    let server = Server::start(move |seen, _| match seen.path.as_str() {
        "/moved" => Act::Say(answer(307, &[("location", "/here?key=hunter2#key=hunter2")], "")),
        "/found" => Act::Say(answer(302, &[("location", "/here")], "")),
        "/away" => Act::Say(answer(308, &[("location", &there)], "")),
        "/loop" => Act::Say(answer(307, &[("location", "/loop")], "")),
        _ => ok(&String::from_utf8_lossy(&seen.body)),
    })
    .await;
    let moved = |path: &str, redirects: u32| executor(json!({"url": server.url(path), "redirects": redirects}));
    assert_eq!(json_of(run(&moved("/moved", 1), json!({"a": 1})).await), json!({"a": 1}));
    for (path, redirects) in [("/moved", 0), ("/found", 3), ("/away", 3), ("/loop", 3)] {
        let failure = failure_of(run(&moved(path, redirects), json!(1)).await);
        assert_eq!(failure.class, Class::Misconfigured, "{path}");
        assert!(failure.message.contains("sends us to") && !failure.message.contains("hunter2"), "{}", failure.message);
    }
    assert_eq!(elsewhere.seen().len(), 0);
    assert_eq!(server.seen().iter().filter(|seen| seen.path == "/loop").count(), 4);
}
