use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::job::Batch;

fn job(data: &str) -> Job {
    Job {
        kind: "image.resize".into(),
        data: Data::Json(Bytes::copy_from_slice(data.as_bytes())),
        key: Some("k1".into()),
        tenant: "acme".into(),
        priority: 7,
        batch: Some(Batch { id: "b".into(), size: None, member: None }),
        ..Job::unreadable("j".into())
    }
}

fn compile(source: &str) -> Expression {
    Expression::compile(source, Scope::Job).unwrap_or_else(|wrong| panic!("{source}: {wrong:?}"))
}

fn holds(source: &str, data: &str) -> Result<bool, String> {
    compile(source).holds(Subject { job: &job(data), result: None })
}

fn wrong(source: &str) -> Wrong {
    Expression::compile(source, Scope::Job).err().unwrap_or_else(|| panic!("{source} was taken"))
}

#[test]
fn what_is_said_of_a_job_is_found_true_or_false() {
    let data = r#"{"size": 999, "big": 9223372036854775808, "share": 0.5, "tags": ["a", "b"], "a/b": {"~": 1}, "none": null}"#;
    for (source, expected) in [
        (r#"job.tenant != "test" && data.size < 1000"#, true),
        ("data.size < 999.5 && data.size == 999 && data.size >= 0u", true),
        ("data.share * 2.0 == 1.0", true),
        ("data.big > 5u", true),
        (r#"job.type.startsWith("image.") && job.priority == 7 && job.key == "k1""#, true),
        ("job.version == null && job.attempt == 1 && job.replay == 0", true),
        (r#"job.batch == "b" && job.id == "j""#, true),
        (r#""tenant" in job"#, true),
        (r#"job["tenant"] == "acme""#, true),
        ("has(data.colour)", false),
        ("has(data.size) && !has(data.colour)", true),
        ("data.none == null", true),
        (r#"data.at("/tags/1") == "b""#, true),
        (r#"data.at("/a~1b/~0") == 1"#, true),
        (r#"data.at("/tags/7") == null && data.at("/size/x") == null && data.at("") == data"#, true),
        (r#"data.tags.exists(tag, tag == "b")"#, true),
        (r#"data.tags.all(tag, tag == "b")"#, false),
        (r#"data.tags.filter(tag, tag != "a").size() == 1"#, true),
        (r#"data.tags[0].matches("^[a-c]$")"#, true),
        (r#""a" in data.tags ? data.size > 1 : false"#, true),
        ("string(data.size) + 's' == '999s'", true),
    ] {
        assert_eq!(holds(source, data), Ok(expected), "{source}");
    }
}

#[test]
fn what_has_no_answer_says_why() {
    for (source, data, words) in [
        ("data.size < 10", "{}", "no key \"size\""),
        ("data.size < 10", "[1]", ""),
        ("data.size < 10", r#"{"size": "large"}"#, ""),
        ("data.size", r#"{"size": 3}"#, "a number, neither true nor false"),
        ("data / 0 == 1", "1", "zero"),
        (r#"data.at("a") == 1"#, "{}", "starts with /"),
        (r#"data.matches("(")"#, "\"x\"", ""),
    ] {
        let why = holds(source, data).unwrap_err();
        assert!(why.contains(words) && !why.is_empty(), "{source}: {why}");
    }
    let binary = Job { data: Data::Binary(Bytes::from_static(b"\xff")), ..job("") };
    assert!(compile("data.size < 10").holds(Subject { job: &binary, result: None }).is_err());
    assert_eq!(compile("size(data) == 1").holds(Subject { job: &binary, result: None }), Ok(true));
}

#[test]
fn an_error_that_quotes_the_data_is_kept_short() {
    let data = format!("\"{}\"", "é".repeat(100_000));
    assert!(holds("data < 10", &data).unwrap_err().len() <= LONGEST_ERROR);
}

#[test]
fn what_is_wrong_with_an_expression_is_told_with_its_column() {
    for (source, column, words) in [
        ("", 1, "empty"),
        ("data.size <", 12, ""),
        ("job.tenant = 'a'", 12, ""),
        ("data.x == 1 && jbo.key == 'a'", 16, "no variable \"jbo\"; there are job and data"),
        ("data.x == 1 && job.colour == 'a'", 19, "no key \"colour\"; it has: id, type"),
        ("lower(job.type) == 'a'", 6, "no function \"lower\""),
        ("result == 1", 1, "no variable \"result\""),
        ("data.a.all(x, data.b.exists(y, x == y))", 28, "inside each other"),
        ("tag.x == 1 || data.tags.exists(tag, tag == 'a')", 1, "no variable \"tag\""),
    ] {
        let wrong = wrong(source);
        assert!(wrong.message.contains(words), "{source}: {wrong:?}");
        assert_eq!(wrong.column, column, "{source}: {wrong:?}");
    }
    assert!(Expression::compile("result.id", Scope::Result).is_ok());
}

#[test]
fn what_could_cost_without_bound_is_refused() {
    assert!(wrong(&format!("data.x == '{}'", "x".repeat(1000))).message.contains("at most 1000"));
    assert!(wrong(&format!("{}1{} == 1", "(".repeat(200), ")".repeat(200))).message.contains("brackets"));
    assert!(wrong(&vec!["1"; 300].join("+")).message.contains("operators"));
    let many = format!("[{}]", vec!["1"; 1001].join(","));
    assert!(holds("data.all(x, x == 1)", &many).unwrap_err().contains("at most 1000 elements"));
    assert_eq!(holds("size(data) == 1001", &many), Ok(true));
    let large = format!("[\"{}\"]", "x".repeat(70_000));
    assert!(holds("data.all(x, x != '')", &large).unwrap_err().contains("65536"));
}

#[test]
fn an_answer_becomes_text_where_there_is_one() {
    let text = |source: &str, data: &str| compile(source).text(Subject { job: &job(data), result: None });
    assert_eq!(text("data.a", r#"{"a": "x"}"#), Ok(Some("x".into())));
    assert_eq!(text("data.a + 1", r#"{"a": 41}"#), Ok(Some("42".into())));
    assert_eq!(text("job.tenant + '/' + string(data.a)", r#"{"a": 1.5}"#), Ok(Some("acme/1.5".into())));
    assert_eq!(text("data.a", r#"{"a": null}"#), Ok(None));
    assert!(text("data.a", r#"{"a": [1]}"#).unwrap_err().contains("a list"));
}

#[test]
fn a_result_is_seen_after_the_run() {
    let expression = Expression::compile("result.id + data.id", Scope::Result).unwrap();
    let output = Output::Json(Bytes::from_static(br#"{"id": "r"}"#));
    let job = job(r#"{"id": "d"}"#);
    assert_eq!(expression.text(Subject { job: &job, result: Some(&output) }), Ok(Some("rd".into())));
    assert!(expression.text(Subject { job: &job, result: None }).is_err());
}

proptest! {
    #[test]
    fn no_text_brings_the_compiler_down(source in "[ a-z0-9.()\\[\\]{}'\"=<>!&|?:,+*/%-]{0,80}") {
        if let Err(wrong) = Expression::compile(&source, Scope::Job) {
            prop_assert!(wrong.column >= 1 && !wrong.message.is_empty());
        }
    }

    #[test]
    fn no_data_brings_an_evaluation_down(data in "[\\[\\]{}\":,0-9a-z.-]{0,60}") {
        let _ = holds("data.a.b[0] == 1 || data.at('/a/0') == 2 || data.exists(x, x == data)", &data);
    }
}
