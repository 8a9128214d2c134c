use proptest::prelude::*;

use super::*;
use crate::job::Header;

fn received() -> Received {
    Received {
        origin: Origin { queue: "orders".into(), partition: Some(2), offset: Some(41), id: None },
        published: Some("2026-01-01T00:00:00Z".parse().unwrap()),
        now: "2026-01-01T00:00:10Z".parse().unwrap(),
    }
}

fn read(body: &str) -> Result<Job, String> {
    decode(&Message::of(body.to_owned()), &Decoding::Envelope, &received()).map_err(|malformed| malformed.0)
}

#[test]
fn windlass_json_is_read_whole() {
    let job = read(
        r#"{"v":1,"id":"a","type":"t.x","version":"2","data":{"n": 1},"key":"k","tenant":"acme","priority":9,
            "delay":"30s","deadline":"10m","batch":{"id":"b","size":3},"colour":"red"}"#,
    )
    .unwrap();
    assert_eq!((&*job.id, &*job.kind, job.priority, &*job.tenant), ("a", "t.x", 9, "acme"));
    assert_eq!(job.data, Data::Json(Bytes::from_static(b"{\"n\": 1}")));
    assert_eq!(job.not_before.unwrap().to_string(), "2026-01-01T00:00:30Z");
    assert_eq!(job.deadline.unwrap().to_string(), "2026-01-01T00:10:00Z");
    assert_eq!(job.batch.unwrap().size, Some(3));
    assert_eq!((&*job.extensions[0].0, &*job.extensions[0].1), ("colour", &b"\"red\""[..]));
}

#[test]
fn a_job_without_an_id_is_named_after_its_place() {
    assert_eq!(&*read(r#"{"type":"t"}"#).unwrap().id, "orders/2/41");
}

#[test]
fn a_structured_cloud_event_is_a_job() {
    let job = read(r#"{"specversion":"1.0","id":"e1","source":"/x","type":"t","partitionkey":"k","notbefore":"2027-01-01T00:00:00Z","batchid":"b","data":[1]}"#).unwrap();
    assert_eq!((&*job.id, job.key.as_deref()), ("e1", Some("k")));
    assert_eq!(job.not_before.unwrap().to_string(), "2027-01-01T00:00:00Z");
    assert_eq!(&*job.batch.unwrap().id, "b");
    assert!(read(r#"{"specversion":"0.3","id":"e1","type":"t"}"#).unwrap_err().contains("specversion"));
}

#[test]
fn a_binary_cloud_event_is_a_job() {
    let mut message = Message::of("not json");
    for (name, value) in [("ce_specversion", "1.0"), ("ce_id", "e2"), ("ce_type", "t"), ("ce_priority", "7")] {
        message.headers.push(Header::new(name, value));
    }
    let job = decode(&message, &Decoding::Envelope, &received()).unwrap();
    assert_eq!((&*job.id, job.priority), ("e2", 7));
    assert_eq!(job.data, Data::Binary(Bytes::from_static(b"not json")));
}

#[test]
fn a_raw_body_takes_its_type_from_the_rule() {
    let message = Message::of(r#"{"event":{"kind":"shipped"}}"#);
    let rule = Decoding::Raw(RawType::Pointer("/event/kind".into()));
    assert_eq!(&*decode(&message, &rule, &received()).unwrap().kind, "shipped");
    let rule = Decoding::Raw(RawType::Pointer("/nothing".into()));
    assert!(decode(&message, &rule, &received()).unwrap_err().0.contains("/nothing"));
}

#[test]
fn every_wrong_key_is_named_with_the_fix() {
    for (body, named) in [
        (r#"{"id":"a"}"#, "type: missing"),
        (r#"{"type":7}"#, "type: invalid type"),
        (r#"{"type":"t","priority":10}"#, "priority: 10"),
        (r#"{"type":"t","priority":"high"}"#, "priority: invalid type"),
        (r#"{"type":"t","delay":"soon"}"#, "delay: \"soon\""),
        (r#"{"type":"t","not_before":"tomorrow"}"#, "not_before: \"tomorrow\""),
        (r#"{"type":"t","deadline":"never"}"#, "deadline: \"never\""),
        (r#"{"type":"t","id":""}"#, "id: empty"),
        (r#"{"type":"t","data":1,"data_base64":"AA=="}"#, "data and data_base64"),
        (r#"{"type":"t","data_base64":"%"}"#, "data_base64:"),
        (r#"{"type":"t"} trailing"#, "not JSON"),
        (r#"["t"]"#, "a JSON object"),
        ("", "not JSON"),
    ] {
        let error = read(body).unwrap_err();
        assert!(error.contains(named), "{body}: {error}");
    }
    let long = format!(r#"{{"type":"t","id":"{}"}}"#, "x".repeat(301));
    assert!(read(&long).unwrap_err().contains("301 bytes"));
    assert!(decode(&Message::of(vec![b'{', 0xff]), &Decoding::Envelope, &received()).unwrap_err().0.contains("UTF-8"));
}

#[test]
fn an_unreadable_life_is_malformed_and_not_forgotten() {
    let mut message = Message::of(r#"{"type":"t"}"#);
    message.set_header(JOB_HEADER, "{broken");
    assert!(decode(&message, &Decoding::Envelope, &received()).unwrap_err().0.contains(JOB_HEADER));
}

#[test]
fn data_nested_a_hundred_thousand_deep_is_carried_as_bytes() {
    let body = format!(r#"{{"type":"t","data":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(read(&body).unwrap().data.bytes().len(), 200_000);
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        drop(decode(&Message::of(body), &Decoding::Envelope, &received()));
    }

    #[test]
    fn what_was_submitted_is_what_is_decoded(id in "[a-z0-9]{1,40}", kind in "[a-z]{1,8}(\\.[a-z]{1,8}){0,2}", text in ".{0,80}", priority in 0u8..10) {
        let body = serde_json::json!({"id": id, "type": kind, "data": text, "priority": priority}).to_string();
        let job = read(&body).unwrap();
        prop_assert_eq!(&*job.id, id.as_str());
        prop_assert_eq!(&*job.kind, kind.as_str());
        prop_assert_eq!(job.priority, priority);
        let back: String = serde_json::from_slice(job.data.bytes()).unwrap();
        prop_assert_eq!(back, text);
    }
}

#[test]
fn what_a_retry_or_an_operator_said_of_the_due_time_wins_over_the_producer() {
    let mut message = Message::of(r#"{"id":"a","type":"t","not_before":"2100-01-01T00:00:00Z"}"#);
    message.set_header(JOB_HEADER, r#"{"v":1,"due":"2026-01-01T00:00:05Z"}"#);
    let job = decode(&message, &Decoding::Envelope, &received()).unwrap();
    assert_eq!(job.due(), Some("2026-01-01T00:00:05Z".parse().unwrap()));
}

#[test]
fn a_job_without_an_id_is_named_after_the_place_where_it_was_first_seen_and_keeps_that_name_elsewhere() {
    let at = |queue: &str, offset| Received {
        origin: Origin { queue: queue.into(), partition: Some(3), offset: Some(offset), id: None },
        published: None,
        now: Timestamp::UNIX_EPOCH,
    };
    let mut message = Message::of(r#"{"type":"t"}"#);
    let first = decode(&message, &Decoding::Envelope, &at("orders", 7)).unwrap();
    message.set_header(JOB_HEADER, first.life.to_json());
    let copy = decode(&message, &Decoding::Envelope, &at("orders.windlass.retry", 1)).unwrap();
    assert_eq!((&*first.id, &*copy.id), ("orders/3/7", "orders/3/7"));
}
