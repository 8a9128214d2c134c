use super::*;

#[tokio::test]
async fn a_dead_letter_is_shown_with_its_untouched_message_and_replayed() {
    let bench = Bench::new();
    bench.bury(&["a"]).await;
    let (_, shown) = bench.get("/dead-letters/a").await;
    assert_eq!((&shown["failure"]["reason"], &shown["message"]["body"]), (&json!("aborted"), &json!(r#"{"id":"a","type":"x"}"#)));
    let (status, _) = bench.post("/dead-letters/a/replay", "").await;
    assert_eq!(status, StatusCode::OK);
    let (_, shown) = bench.get("/jobs/a").await;
    assert_eq!((&shown["state"], &shown["life"]["replay"]), (&json!("waiting"), &json!(1)));
    assert_eq!(bench.get("/dead-letters/a").await.0, StatusCode::CONFLICT);
}

#[tokio::test]
async fn a_dead_letter_is_discarded_by_somebody() {
    let bench = Bench::new();
    bench.bury(&["a"]).await;
    let (status, _) = bench.post("/dead-letters/a/discard", r#"{"by": "ann"}"#).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(bench.get("/jobs/a").await.1["state"], "discarded");
    assert_eq!(bench.dead().await, Vec::<String>::new());
}

#[tokio::test]
async fn many_are_replayed_in_steps_that_a_caller_can_stop() {
    let bench = Bench::new();
    bench.bury(&["a", "b", "c", "d", "e"]).await;
    let (_, dry) = bench.post("/dead-letters/replay", r#"{"reason": "aborted", "dry_run": true}"#).await;
    assert_eq!((&dry["count"], &dry["ids"]), (&json!(5), &json!(["a", "b", "c", "d", "e"])));
    assert_eq!(bench.dead().await.len(), 5);
    let (_, first) = bench.post("/dead-letters/replay", r#"{"reason": "aborted", "limit": 2}"#).await;
    assert_eq!((&first["count"], &first["more"]), (&json!(2), &json!(true)));
    assert_eq!(bench.dead().await, ["c", "d", "e"]);
    let rest = json!({ "reason": "aborted", "next": first["next"] });
    let (_, rest) = bench.post("/dead-letters/replay", rest.to_string()).await;
    assert_eq!((&rest["count"], &rest["more"]), (&json!(3), &json!(false)));
    assert_eq!(bench.dead().await, Vec::<String>::new());
}

#[tokio::test]
async fn what_dies_again_during_a_replay_is_not_replayed_for_ever() {
    let bench = Bench::new();
    bench.bury(&["a", "b", "c"]).await;
    let (_, first) = bench.post("/dead-letters/replay", r#"{"all": true, "limit": 1}"#).await;
    assert_eq!(first["ids"], json!(["a"]));
    tokio::time::sleep(std::time::Duration::from_millis(2)).await; // times are told apart by milliseconds
    bench.post("/jobs/a/cancel", "").await;
    let (_, rest) = bench.post("/dead-letters/replay", json!({ "all": true, "next": first["next"] }).to_string()).await;
    assert_eq!((&rest["ids"], &rest["skipped"], &rest["more"]), (&json!(["b", "c"]), &json!(1), &json!(false)));
    assert_eq!(bench.dead().await, ["a"]);
}

#[tokio::test]
async fn an_order_over_everything_must_say_so() {
    let bench = Bench::new();
    bench.bury(&["a"]).await;
    for order in ["", "{}", r#"{"dry_run": true}"#, r#"{"limit": 5}"#] {
        let (status, answer) = bench.post("/dead-letters/discard", order).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{order}: {answer}");
    }
    let (status, answer) = bench.post("/dead-letters/discard", r#"{"all": true}"#).await;
    assert_eq!((status, &answer["count"]), (StatusCode::OK, &json!(1)));
}

#[tokio::test]
async fn dead_letters_are_counted_in_groups_with_a_sample() {
    let bench = Bench::new();
    bench.bury(&["a", "b"]).await;
    bench.post("/jobs", r#"{"id": "c", "type": "other"}"#).await;
    bench.post("/jobs/c/cancel", "").await;
    let (_, by_type) = bench.get("/dead-letters/groups?by=type").await;
    let counts: Vec<_> = by_type["groups"].as_array().unwrap().iter().map(|group| (&group["value"], &group["count"])).collect();
    assert_eq!(counts, [(&json!("other"), &json!(1)), (&json!("x"), &json!(2))]);
    let (_, by_message) = bench.get("/dead-letters/groups?by=message&type=x").await;
    assert_eq!(by_message["groups"][0]["sample"]["id"], "b", "the newest");
    assert_eq!(bench.get("/dead-letters/groups?by=colour").await.0, StatusCode::BAD_REQUEST);
}
