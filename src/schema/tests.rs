use cloudevents::{AttributesReader as _, Data as EventData};
use jiff::Timestamp;
use jsonschema::Validator;
use serde_json::json;

use super::*;
use crate::job::decode::{Decoding, Received, decode};
use crate::job::failure::{Death, FailureDocument};
use crate::job::life::{Parked, Run};
use crate::job::{Job, Life, Message, Origin, event};
use crate::outcome::{Class, OtherReason, Output, Reason};

fn validator(name: &str) -> Validator {
    jsonschema::options().should_validate_formats(true).build(&schema(name).unwrap()).unwrap()
}

#[track_caller]
fn accepts(name: &str, bytes: &[u8]) {
    let value: Value = serde_json::from_slice(bytes).unwrap();
    let errors: Vec<String> =
        validator(name).iter_errors(&value).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert_eq!(errors, [""; 0], "{value:#}");
}

/// Refuses what is left of a good document once `key` is replaced; nothing means removed.
#[track_caller]
fn refuses(name: &str, good: &[u8], pointer: &str, wrong: Option<Value>) {
    let mut value: Value = serde_json::from_slice(good).unwrap();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = value.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    match &wrong {
        Some(wrong) => drop(parent.insert(key.to_owned(), wrong.clone())),
        None => drop(parent.remove(key).unwrap()),
    }
    assert!(!validator(name).is_valid(&value), "{pointer} as {wrong:?} was accepted");
}

fn job() -> Job {
    let received = Received { origin: Origin::default(), published: None, now: Timestamp::now() };
    let body = r#"{"id":"j","type":"image.resize","tenant":"acme","key":"k","data":{"n":1}}"#;
    decode(&Message::of(body), &Decoding::Envelope, &received).unwrap()
}

fn full_life() -> Life {
    let now = Timestamp::now();
    let mut life = Life {
        v: 1,
        id: Some("j".into()),
        generation: 3,
        replay: 1,
        attempt: 2,
        crashes: 1,
        suspect: true,
        due: Some(now),
        first_seen: Some(now),
        origin: Some(Origin { queue: "jobs".into(), partition: Some(1), offset: Some(2), id: Some("x".into()) }),
        park: Some(Parked { reason: Class::NoRoute, since: now, count: 1, round: None }),
        ..Life::default()
    };
    for class in Class::ALL {
        life.note(Run { at: now, class, took: 12, worker: "w".into() }, "it failed");
    }
    life
}

fn document(reason: Reason, message: &str) -> FailureDocument {
    let death = Death { reason, class: Class::Failed, message, log_tail: "last words".into(), now: Timestamp::now() };
    let mut document = FailureDocument::new(&"j".into(), &full_life(), death);
    document.kind = Some("image.resize".into());
    document.route = Some("image.*".into());
    document.trace_id = Some("0af7651916cd43dd8448eb211c80319c".into());
    document
}

#[test]
fn every_schema_is_one_by_the_meta_schema() {
    for name in NAMES {
        let schema = schema(name).unwrap();
        assert!(jsonschema::meta::is_valid(&schema), "{name}");
        assert_eq!(schema["$id"], format!("urn:windlass:schema:{name}:1"));
    }
    assert!(schema("jobs").unwrap_err().contains("job, result, batch, failure, life"));
}

#[test]
fn the_schema_of_jobs_and_the_decoder_agree() {
    let jobs = validator("job");
    let received = Received { origin: Origin::default(), published: None, now: Timestamp::now() };
    let good = [
        r#"{"type":"t"}"#,
        r#"{"v":1,"id":"a","type":"t.x","version":"2","data":{"n":1},"key":"k","tenant":"acme","priority":9,"delay":"30s",
            "deadline":"1h30m","batch":{"id":"b","size":3,"member":"m"},"colour":"red"}"#,
        r#"{"type":"t","data_base64":"AAEC","not_before":"2026-11-21T08:00:00Z","deadline":"2026-11-21T08:00:00+01:00"}"#,
        r#"{"type":"t","id":null,"priority":null,"delay":null,"batch":null,"data":null}"#,
    ];
    let bad = [
        r#"{"id":"a"}"#,
        r#"{"type":""}"#,
        r#"{"type":7}"#,
        r#"{"type":"t","id":""}"#,
        r#"{"type":"t","priority":10}"#,
        r#"{"type":"t","priority":"high"}"#,
        r#"{"type":"t","delay":"soon"}"#,
        r#"{"type":"t","delay":30}"#,
        r#"{"type":"t","not_before":"tomorrow"}"#,
        r#"{"type":"t","deadline":"never"}"#,
        r#"{"type":"t","batch":{"size":3}}"#,
        r#"{"type":"t","batch":{"id":""}}"#,
        r#"{"type":"t","batch":{"id":"b","size":0}}"#,
        r#"{"type":"t","batch":{"id":"b","member":""}}"#,
        r#"{"type":"t","data":1,"data_base64":"AA=="}"#,
        r#"{"type":"t","data_base64":"%"}"#,
        r#"["t"]"#,
    ];
    for (bodies, accepted) in [(&good[..], true), (&bad[..], false)] {
        for body in bodies {
            let decoded = decode(&Message::of(body.to_string()), &Decoding::Envelope, &received);
            assert_eq!(decoded.is_ok(), accepted, "the decoder on {body}: {decoded:?}");
            assert_eq!(jobs.is_valid(&serde_json::from_str(body).unwrap()), accepted, "the schema on {body}");
        }
    }
}

#[test]
fn lives_are_as_their_schema_says() {
    accepts("life", &Life::default().to_json());
    let life = full_life().to_json();
    accepts("life", &life);
    refuses("life", &life, "/attempt", Some(json!(-1)));
    refuses("life", &life, "/due", Some(json!("soon")));
    refuses("life", &life, "/park/reason", Some(json!("tired")));
    refuses("life", &life, "/park/since", None);
    refuses("life", &life, "/history", Some(json!([{ "class": "failed" }])));
    refuses("life", &life, "/origin", Some(json!({ "partition": 1 })));
}

#[test]
fn failure_documents_are_as_their_schema_says() {
    let others = [OtherReason::Malformed, OtherReason::Poison, OtherReason::OrderHold, OtherReason::Foreign].map(Reason::Other);
    for reason in Class::ALL.map(Reason::Class).into_iter().chain(others) {
        accepts("failure", &document(reason, "it failed").to_json());
    }
    let long = document(Reason::POISON, &"x".repeat(50_000)).to_json();
    accepts("failure", &long);
    for (pointer, wrong) in [
        ("/reason", json!("bad luck")),
        ("/class", json!("poison")),
        ("/attempts", json!("two")),
        ("/message_digest", json!("abc")),
        ("/trace_id", json!("no")),
        ("/last_failure", json!("yesterday")),
    ] {
        refuses("failure", &long, pointer, Some(wrong));
    }
    for missing in ["/v", "/id", "/reason", "/message", "/history", "/last_failure"] {
        refuses("failure", &long, missing, None);
    }
}

#[test]
fn ends_of_jobs_are_as_their_schema_says_and_another_library_reads_them() {
    let now = Timestamp::now();
    let outputs = [Output::Nothing, Output::Json("[1]".into()), Output::Binary(vec![0, 255].into())];
    let completed = outputs.map(|output| event::completed(&job(), "default", &output, now));
    for message in &completed {
        accepts("result", &message.body);
        let read: cloudevents::Event = serde_json::from_slice(&message.body).unwrap();
        assert_eq!((read.id(), read.ty(), read.subject()), ("j:0:completed", "windlass.job.completed", Some("j")));
        assert_eq!(read.source().to_string(), "/windlass/default");
        assert_eq!(read.extension("jobtype").unwrap().to_string(), "image.resize");
    }
    let read = |message: &Message| serde_json::from_slice::<cloudevents::Event>(&message.body).unwrap();
    assert_eq!(read(&completed[1]).data(), Some(&EventData::Json(json!([1]))));
    assert_eq!(read(&completed[2]).data(), Some(&EventData::Binary(vec![0, 255])));
    let failed = event::failed(&job(), "default", &document(Reason::POISON, "it failed").to_json(), now);
    accepts("result", &failed.body);
    assert_eq!(read(&failed).ty(), "windlass.job.failed");
    refuses("result", &failed.body, "/data/reason", Some(json!("bad luck")));
    refuses("result", &failed.body, "/data", None);
    refuses("result", &failed.body, "/id", Some(json!("j:0:completed")));
    for missing in ["/specversion", "/source", "/time", "/subject", "/jobtype"] {
        refuses("result", &completed[0].body, missing, None);
    }
    refuses("result", &completed[0].body, "/attempt", Some(json!(0)));
    refuses("result", &completed[0].body, "/type", Some(json!("windlass.job.paused")));
}
