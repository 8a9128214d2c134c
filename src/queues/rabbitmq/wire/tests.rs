use super::*;
use lapin::message::Delivery;
use lapin::types::FieldArray;

fn delivered(properties: BasicProperties, body: &[u8]) -> Delivery {
    let mut delivery = Delivery::mock(1, "exchange".into(), "the.key".into(), false, body.to_vec());
    delivery.properties = properties;
    delivery
}

fn again(came: &Came) -> BasicProperties {
    write(&Outgoing { message: came.message.clone(), id: came.id.clone(), ..Outgoing::default() }, None, None).unwrap()
}

fn table(pairs: &[(&str, AMQPValue)]) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in pairs {
        table.insert((*name).into(), value.clone());
    }
    table
}

#[test]
fn headers_of_any_type_and_properties_come_out_as_they_came_in() {
    let headers = table(&[
        ("text", AMQPValue::LongString("é".into())),
        ("bytes", AMQPValue::LongString(lapin::types::LongString::from(&b"\xff\x00"[..]))),
        ("number", AMQPValue::LongInt(-7)),
        ("truth", AMQPValue::Boolean(true)),
        ("nothing", AMQPValue::Void),
        ("list", AMQPValue::FieldArray(FieldArray::from(vec![AMQPValue::ShortUInt(1), AMQPValue::Double(0.5)]))),
        ("table", AMQPValue::FieldTable(table(&[("inner", AMQPValue::Timestamp(5))]))),
    ]);
    let properties = BasicProperties::default()
        .with_headers(headers.clone())
        .with_content_type("application/json".into())
        .with_correlation_id("c".into())
        .with_reply_to("answers".into())
        .with_type("image.resize".into())
        .with_app_id("shop".into())
        .with_message_id("m".into())
        .with_priority(7);
    let came = read(delivered(properties, b"{}"), None);
    assert_eq!(came.message.header("number").unwrap(), "-7");
    assert_eq!(came.message.header("amqp-type").unwrap(), "image.resize");
    let sent = again(&came);
    assert_eq!(sent.headers().as_ref(), Some(&headers));
    assert_eq!(sent.content_type().as_ref().unwrap().as_str(), "application/json");
    assert_eq!(sent.correlation_id().as_ref().unwrap().as_str(), "c");
    assert_eq!(sent.reply_to().as_ref().unwrap().as_str(), "answers");
    assert_eq!(sent.kind().as_ref().unwrap().as_str(), "image.resize");
    assert_eq!(sent.app_id().as_ref().unwrap().as_str(), "shop");
    assert_eq!(sent.message_id().as_ref().unwrap().as_str(), "m");
    assert_eq!((*sent.priority(), *sent.delivery_mode()), (Some(7), Some(2)));
}

#[test]
fn a_changed_header_is_sent_as_it_is_now() {
    let mut came = read(delivered(BasicProperties::default().with_headers(table(&[("n", AMQPValue::LongInt(1))])), b""), None);
    came.message.set_header("n", "2");
    let sent = again(&came);
    assert_eq!(sent.headers().as_ref().unwrap().inner()["n"], AMQPValue::LongString("2".into()));
}

#[test]
fn what_brokers_noted_on_the_way_is_not_sent_again() {
    let death = AMQPValue::FieldArray(FieldArray::default());
    let noted = ["x-death", "x-first-death-queue", "x-last-death-reason", "x-delivery-count", "x-acquired-count"];
    let pairs: Vec<_> = noted.iter().map(|name| (*name, death.clone())).chain([("x-mine", death.clone())]).collect();
    let came = read(delivered(BasicProperties::default().with_headers(table(&pairs)), b""), None);
    let sent = again(&came);
    let names: Vec<&str> = sent.headers().as_ref().unwrap().inner().keys().map(ShortString::as_str).collect();
    assert_eq!(names, ["x-mine"]);
    // nor when it came over another kind of queue
    let message = Message { headers: vec![Header::new("x-death", "[]")], ..Message::default() };
    let sent = write(&Outgoing { message, ..Outgoing::default() }, None, None).unwrap();
    assert!(sent.headers().as_ref().unwrap().inner().is_empty());
}

#[test]
fn a_time_to_live_and_a_user_do_not_act_again_on_a_copy() {
    let properties = BasicProperties::default().with_expiration("60000".into()).with_user_id("guest".into());
    let came = read(delivered(properties, b""), None);
    assert_eq!(came.message.header("amqp-expiration").unwrap(), "60000");
    let sent = again(&came);
    assert_eq!((sent.expiration(), sent.user_id()), (&None, &None));
}

#[test]
fn repeated_and_nameless_headers_and_binary_keys_survive() {
    let message = Message {
        body: "b".into(),
        key: Some(b"k\xfe"[..].into()),
        headers: vec![Header::new("a", &b"\x80"[..]), Header::new("a", "2"), Header::new("", ""), Header::new(JOB_HEADER, "{}")],
    };
    let sent = write(&Outgoing { message: message.clone(), ..Outgoing::default() }, None, None).unwrap();
    assert!(sent.headers().as_ref().unwrap().contains_key(JOB_HEADER), "it is read by others");
    assert_eq!(read(delivered(sent, b"b"), None).message, message);
}

#[test]
fn the_key_stands_where_it_was_said() {
    let headers = BasicProperties::default().with_headers(table(&[("customer", AMQPValue::LongString("7".into()))]));
    let key = |key: Option<Key>| read(delivered(headers.clone(), b""), key.as_ref()).message.key;
    assert_eq!(key(None), None);
    assert_eq!(key(Some(Key::RoutingKey)).unwrap(), "the.key");
    assert_eq!(key(Some(Key::Header("customer".into()))).unwrap(), "7");
    // a copy comes by another routing key, and keeps the first
    let came = read(delivered(headers.clone(), b""), Some(&Key::RoutingKey));
    let sent = write(&Outgoing { message: came.message, ..Outgoing::default() }, None, Some(&Key::RoutingKey)).unwrap();
    let mut copy = delivered(sent, b"");
    copy.routing_key = "the.queue".into();
    assert_eq!(read(copy, Some(&Key::RoutingKey)).message.key.unwrap(), "the.key");
}

#[test]
fn headers_that_no_frame_holds_are_refused_with_a_sentence() {
    let message = Message { headers: vec![Header::new("a", vec![0; 200 << 10])], ..Message::default() };
    let refused = write(&Outgoing { message, ..Outgoing::default() }, None, None).unwrap_err();
    assert!(matches!(&refused, QueueError::Refused(why) if why.contains("122880")), "{refused}");
}
