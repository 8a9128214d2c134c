use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use axum::routing::post;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use windlass_client::{Client, Error, NewJob};

/// Long enough for two tries.
const BRIEFLY: Duration = Duration::from_millis(300);

fn client(address: SocketAddr) -> Client {
    Client::new(&format!("http://{address}")).unwrap_or_else(|error| panic!("{error}"))
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap_or_else(|error| panic!("{error}"))
}

/// A server without room for the first `refused` requests, and the bodies it saw.
async fn full_for(refused: usize) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let (seen, count) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
    let bodies = seen.clone();
    let submit = move |body: String| {
        bodies.lock().unwrap_or_else(|error| panic!("{error}")).push(body);
        let refuse = count.fetch_add(1, Ordering::SeqCst) < refused;
        async move {
            if refuse {
                let refusal = r#"{"error": {"message": "disk full"}}"#;
                return (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "0")], refusal).into_response();
            }
            let taken = r#"{"jobs": [{"id": "a", "queue": "jobs", "existing": false}]}"#;
            (StatusCode::CREATED, taken).into_response()
        }
    };
    let listener = listener().await;
    let address = listener.local_addr().unwrap_or_else(|error| panic!("{error}"));
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/jobs", post(submit))).await });
    (address, seen)
}

#[tokio::test]
async fn a_worker_without_room_is_asked_again_under_the_same_id() {
    let (address, seen) = full_for(2).await;
    client(address).submit(&NewJob::new("x")).await.unwrap();
    let seen = seen.lock().unwrap().clone();
    assert_eq!(seen.len(), 3);
    assert!(seen[0].contains("\"id\":"), "{seen:?}");
    assert!(seen.iter().all(|body| *body == seen[0]), "{seen:?}");
}

#[tokio::test]
async fn a_worker_that_stays_without_room_has_not_accepted() {
    let (address, _) = full_for(usize::MAX).await;
    let error = client(address).patience(BRIEFLY).submit(&NewJob::new("x")).await.unwrap_err();
    assert!(matches!(&error, Error::NotAccepted(why) if why == "disk full"), "{error:?}");
}

#[tokio::test]
async fn where_nobody_listens_nothing_is_accepted() {
    let address = listener().await.local_addr().unwrap();
    let error = client(address).patience(BRIEFLY).submit(&NewJob::new("x")).await.unwrap_err();
    assert!(matches!(error, Error::NotAccepted(_)), "{error:?}");
    let error = client(address).patience(BRIEFLY).job("a").await.unwrap_err();
    assert!(matches!(error, Error::Unreachable(_)), "{error:?}");
}

#[tokio::test]
async fn a_connection_that_dies_after_the_request_leaves_it_unknown() {
    let listener = listener().await;
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let read = stream.read(&mut [0; 4096]).await;
            drop(read); // whatever came, the worker dies now
        }
    });
    let error = client(address).patience(BRIEFLY).submit(&NewJob::new("x")).await.unwrap_err();
    assert!(matches!(error, Error::Unknown(_)), "{error:?}");
}
