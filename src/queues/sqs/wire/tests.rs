use aws_sdk_sqs::types::MessageSystemAttributeName as System;

use super::*;

fn received(written: Written) -> Received {
    let mut message = Received::builder().message_id("server-1").receipt_handle("h").body(written.body);
    message = message.set_message_attributes(Some(written.attributes));
    if let Some(group) = written.group {
        message = message.attributes(System::MessageGroupId, group);
    }
    message.attributes(System::ApproximateReceiveCount, "3").attributes(System::SentTimestamp, "1764322222123").build()
}

fn there_and_back(message: &Message, fifo: bool) -> Message {
    let outgoing = Outgoing { message: message.clone(), ..Outgoing::default() };
    let written = write(&outgoing, None, fifo).unwrap();
    assert!(written.attributes.len() <= MOST, "{} attributes", written.attributes.len());
    read(received(written), fifo).unwrap().message
}

#[test]
fn bodies_keys_and_headers_come_back_to_the_byte() {
    let bodies: [&[u8]; 5] = [b"", b"-", b"{\"a\":1}", b"\x00\x01", b"\xff\xfe"];
    let keys: [Option<&[u8]>; 5] = [None, Some(b"k"), Some(b""), Some(b"\xfe"), Some("clé with spaces".as_bytes())];
    let headers = |count: usize| (0..count).map(|number| Header::new(&format!("h{number}"), "v")).collect::<Vec<_>>();
    let odd = vec![Header::new("a", &b"\x80"[..]), Header::new("a", "twice"), Header::new("", ""), Header::new("AWS.x", "y")];
    for body in bodies {
        for key in keys {
            for headers in [headers(0), headers(7), headers(30), odd.clone()] {
                let message = Message { body: Bytes::copy_from_slice(body), key: key.map(Bytes::copy_from_slice), headers };
                for fifo in [false, true] {
                    assert_eq!(there_and_back(&message, fifo), message);
                }
            }
        }
    }
}

#[test]
fn a_producer_keeps_seven_attributes_beside_those_of_a_job_that_is_retried() {
    let mut message = Message { key: Some("k".into()), ..Message::of(&b"\x00"[..]) };
    message.headers = (0..7).map(|number| Header::new(&format!("h{number}"), "v")).collect();
    message.set_header(JOB_HEADER, "{}");
    let written = write(&Outgoing { message, id: Some("a".into()), ..Outgoing::default() }, None, false).unwrap();
    assert!((0..7).all(|number| written.attributes.contains_key(&format!("h{number}"))), "{:?}", written.attributes.keys());
    assert_eq!(written.attributes.len(), 9);
}

#[test]
fn attributes_that_are_no_strings_stay_what_they_are() {
    let value = |kind: &str| MessageAttributeValue::builder().data_type(kind);
    let theirs = HashMap::from([
        ("n".to_owned(), value("Number").string_value("1.50").build().unwrap()),
        ("b".to_owned(), value("Binary.png").binary_value(Blob::new([0xff])).build().unwrap()),
        ("s".to_owned(), value("String").string_value("x").build().unwrap()),
    ]);
    let first = Received::builder().message_id("m").receipt_handle("h").body("b").set_message_attributes(Some(theirs.clone()));
    let message = read(first.build(), false).unwrap().message;
    assert_eq!(message.header("b").unwrap()[..], [0xff]);
    let again = write(&Outgoing { message, ..Outgoing::default() }, None, false).unwrap();
    assert_eq!(again.attributes, theirs);
}

#[test]
fn the_limit_is_a_mebibyte_and_not_a_byte_more_headers_included() {
    let of = |bytes: usize, headers: Vec<Header>| Outgoing {
        message: Message { headers, ..Message::of("x".repeat(bytes)) },
        ..Outgoing::default()
    };
    let header = || vec![Header::new("name", "value")]; // 4 + 6 (String) + 5
    for (outgoing, fits) in [
        (of(LARGEST, vec![]), true),
        (of(LARGEST + 1, vec![]), false),
        (of(LARGEST - 15, header()), true),
        (of(LARGEST - 14, header()), false),
    ] {
        for fifo in [false, true] {
            match write(&outgoing, None, fifo) {
                Ok(written) => assert!(fits && written.size == LARGEST),
                Err(QueueError::Refused(why)) => assert!(!fits && why.contains("SQS takes 1048576"), "{why}"),
                Err(error) => panic!("{error}"),
            }
        }
    }
}

#[test]
fn a_message_group_of_a_producer_goes_on_and_one_of_a_tenant_is_nobodys() {
    let came = |body: &str| {
        let group = Received::builder().attributes(System::MessageGroupId, "acme");
        read(group.message_id("m").receipt_handle("h").body(body).build(), false).unwrap().message
    };
    let (theirs, ours) = (came("{}"), came(r#"{"tenant":"acme"}"#));
    assert_eq!((theirs.header(GROUP).map(|group| &group[..]), ours.header(GROUP)), (Some(&b"acme"[..]), None));
    for message in [theirs, ours] {
        let written = write(&Outgoing { message, ..Outgoing::default() }, None, false).unwrap();
        assert_eq!((written.group.as_deref(), written.attributes.len()), (Some("acme"), 0));
    }
}

#[test]
fn what_is_known_of_a_delivery_is_told() {
    let due = Timestamp::from_millisecond(1_764_322_999_000).unwrap();
    let outgoing = Outgoing { message: Message::of("b"), id: Some("id-1".into()), ..Outgoing::default() };
    let came = read(received(write(&outgoing, Some(due), false).unwrap()), false).unwrap();
    assert_eq!((&*came.id, &*came.message_id, came.deliveries), ("id-1", "server-1", 2));
    assert!(came.due.unwrap() >= due && came.published.unwrap().as_millisecond() == 1_764_322_222_123);
    let plain = read(received(write(&Outgoing { message: Message::of("b"), ..Outgoing::default() }, None, true).unwrap()), true);
    assert_eq!(&*plain.unwrap().id, "server-1");
}

#[test]
fn a_copy_is_deduplicated_by_its_origin_and_generation_and_what_has_no_name_by_nothing() {
    let life = |generation| {
        let mut message = Message::of("b");
        let life = serde_json::json!({ "generation": generation, "origin": { "queue": "q", "id": "m" } });
        message.set_header(JOB_HEADER, life.to_string());
        Outgoing { message, ..Outgoing::default() }
    };
    let id = |outgoing: &Outgoing| write(outgoing, None, true).unwrap().deduplication.unwrap();
    assert_eq!((id(&life(1)), id(&life(2))), ("q/m:0:1".into(), "q/m:0:2".into()));
    let dead = |document: &str| {
        let mut message = Message::of("b");
        message.set_header(FAILURE_HEADER, document.to_owned());
        Outgoing { message, id: Some("job with spaces".into()), ..Outgoing::default() }
    };
    assert_eq!(id(&dead("{}")), id(&dead("{}")));
    assert_ne!(id(&dead("{}")), id(&dead("{\"replay\":1}")));
    let nameless = Outgoing { message: Message::of("b"), ..Outgoing::default() };
    assert_ne!(id(&nameless), id(&nameless));
    assert_eq!(id(&Outgoing { id: Some("e:0:completed".into()), ..nameless }), "e:0:completed");
}
