use super::*;

#[tokio::test]
async fn a_submitted_job_is_confirmed_and_a_known_id_adds_nothing() {
    let bench = Bench::new();
    let (status, answer) = bench.post("/jobs", r#"{"id": "a", "type": "x"}"#).await;
    assert_eq!(status, StatusCode::CREATED);
    assert_eq!(answer, json!({ "jobs": [{ "id": "a", "queue": "jobs", "existing": false }] }));
    let (status, answer) = bench.post("/jobs", r#"{"id": "a", "type": "y"}"#).await;
    assert_eq!((status, &answer["jobs"][0]["existing"]), (StatusCode::CREATED, &json!(true)));
    assert_eq!(bench.get("/jobs/a").await.1["type"], "x");
}

#[tokio::test]
async fn a_job_without_an_id_gets_a_new_one_each_time() {
    let bench = Bench::new();
    let (_, one) = bench.post("/jobs", r#"{"type": "x"}"#).await;
    let (_, other) = bench.post("/jobs", r#"{"type": "x"}"#).await;
    let id = one["jobs"][0]["id"].as_str().unwrap();
    assert_eq!(uuid::Uuid::parse_str(id).unwrap().get_version_num(), 7);
    assert_ne!(one, other);
    assert_eq!(bench.get(&format!("/jobs/{id}")).await.1["id"], id);
}

#[tokio::test]
async fn lines_are_taken_all_or_none_and_the_bad_one_is_named() {
    let bench = Bench::new();
    let (status, answer) = bench.lines("{\"type\": \"x\"}\n\n{\"id\": \"b\"}\n").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(answer["error"]["line"], 3);
    assert!(sentence(&answer).starts_with("type:"), "{answer}");
    assert_eq!(bench.get("/jobs").await.1["entries"], json!([]));
    let (status, answer) = bench.lines("{\"id\": \"a\", \"type\": \"x\"}\r\n{\"id\": \"b\", \"type\": \"y\"}").await;
    assert_eq!(status, StatusCode::CREATED);
    assert_eq!(answer["jobs"].as_array().unwrap().len(), 2);
    assert_eq!(bench.lines("\n \n").await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_job_over_the_limit_is_refused_alone_and_among_lines() {
    let bench = Bench::new();
    let large = json!({ "type": "x", "data": "y".repeat(5000) }).to_string();
    assert_eq!(bench.post("/jobs", large.clone()).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    let (status, answer) = bench.lines(&format!("{{\"type\": \"x\"}}\n{large}\n")).await;
    assert_eq!((status, &answer["error"]["line"]), (StatusCode::PAYLOAD_TOO_LARGE, &json!(2)));
}

#[tokio::test]
async fn a_body_of_unknown_length_is_held_to_the_limit_too() {
    let bench = Bench::new();
    let chunks = (0..100).map(|_| Ok::<_, std::io::Error>("x".repeat(100)));
    let body = Body::from_stream(futures_util::stream::iter(chunks));
    assert_eq!(bench.post("/jobs", body).await.0, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn a_delay_counts_from_now_and_a_past_instant_is_now() {
    let bench = Bench::new();
    bench.post("/jobs", r#"{"id": "later", "type": "x", "delay": "1h"}"#).await;
    bench.post("/jobs", r#"{"id": "past", "type": "x", "not_before": "2001-01-01T00:00:00Z"}"#).await;
    assert_eq!(bench.get("/jobs/later").await.1["state"], "delayed");
    assert_eq!(bench.get("/jobs/past").await.1["state"], "waiting");
}

#[tokio::test]
async fn a_cloud_event_is_taken_structured_and_binary() {
    let bench = Bench::new();
    let structured = r#"{"specversion": "1.0", "id": "s", "source": "/t", "type": "x", "data": 1}"#;
    assert_eq!(bench.post("/jobs", structured).await.0, StatusCode::CREATED);
    let binary = Request::post("/jobs")
        .header("ce-specversion", "1.0")
        .header("ce-id", "b")
        .header("ce-source", "/t")
        .header("ce-type", "y")
        .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    let (status, answer) = bench.send(binary.body(Body::from("plain text")).unwrap()).await;
    assert_eq!((status, &answer["jobs"][0]["id"]), (StatusCode::CREATED, &json!("b")));
    let (_, shown) = bench.get("/jobs/b").await;
    assert_eq!(shown["message"]["body"], "plain text");
    let headers = shown["message"]["headers"].as_array().unwrap();
    assert!(headers.iter().any(|header| header["name"] == "traceparent"), "{shown}");
}

#[tokio::test]
async fn as_is_takes_any_bytes() {
    let bench = Bench::new();
    let (status, answer) = bench.post("/jobs?as_is=true", vec![0xff, 0x00]).await;
    assert_eq!(status, StatusCode::CREATED);
    let id = answer["jobs"][0]["id"].as_str().unwrap();
    assert_eq!(bench.get(&format!("/jobs/{id}")).await.1["message"]["body_base64"], "/wA=");
}

#[tokio::test]
async fn with_several_queues_a_job_must_name_its_own() {
    let bench = Bench::with(&["mail", "images"]);
    let (status, answer) = bench.post("/jobs", r#"{"type": "x"}"#).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(sentence(&answer).contains("mail, images"), "{answer}");
    let (_, answer) = bench.post("/jobs?queue=images", r#"{"type": "x"}"#).await;
    assert_eq!(answer["jobs"][0]["queue"], "images");
}
