//! An endpoint that does what the fixtures of the other kinds do.

use axum::Router;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use serde_json::{Value, json};

/// Its address; it ends with the test.
pub fn start() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/", post(act)).layer(DefaultBodyLimit::disable());
    let serve = async move { axum::serve(tokio::net::TcpListener::from_std(listener).unwrap(), router).await };
    tokio::spawn(serve);
    format!("http://{address}/")
}

async fn act(body: Bytes) -> Response {
    let deed: Value = serde_json::from_slice(&body).unwrap();
    let value = &deed["value"];
    let json = |text: String| ([(header::CONTENT_TYPE, "application/json")], text).into_response();
    match deed["do"].as_str().unwrap() {
        "echo" => json(value.to_string()),
        "bytes" => serde_json::from_value::<Vec<u8>>(value.clone()).unwrap().into_response(),
        "text" => json(json!("x".repeat(value.as_u64().unwrap().try_into().unwrap())).to_string()),
        "fail" => {
            let failed = json!({
                "class": value["failure_class"], "message": value["message"], "retry_after_ms": value["after_ms"],
            });
            (StatusCode::INTERNAL_SERVER_ERROR, json!({"failed": failed}).to_string()).into_response()
        }
        "sleep" => std::future::pending().await,
        deed => panic!("no such deed: {deed}"),
    }
}
