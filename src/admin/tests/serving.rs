use std::os::unix::fs::PermissionsExt as _;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::admin::{bind_socket, bind_tcp, connect, serve_socket, serve_tcp};

const REQUEST: &[u8] = b"GET /queues HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

async fn answer(mut stream: UnixStream) -> String {
    stream.write_all(REQUEST).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn the_socket_is_for_its_owner_and_its_file_goes_with_the_server() {
    let (bench, stop) = (Bench::new(), CancellationToken::new());
    let path = bench._folder.path().join("windlass.db.sock");
    let serving = tokio::spawn(serve_socket(bind_socket(&path).unwrap(), bench.router.clone(), stop.clone()));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(answer(connect(&path).await.unwrap()).await.starts_with("HTTP/1.1 200"));
    stop.cancel();
    serving.await.unwrap();
    assert!(!path.exists());
}

#[tokio::test]
async fn the_socket_of_a_dead_worker_is_replaced() {
    let (bench, stop) = (Bench::new(), CancellationToken::new());
    let path = bench._folder.path().join("windlass.db.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(connect(&path).await.is_err(), "nobody listens");
    let serving = tokio::spawn(serve_socket(bind_socket(&path).unwrap(), bench.router.clone(), stop.clone()));
    assert!(answer(connect(&path).await.unwrap()).await.starts_with("HTTP/1.1 200"));
    stop.cancel();
    serving.await.unwrap();
}

#[tokio::test]
async fn a_path_too_long_for_an_address_works_all_the_same() {
    let (bench, stop) = (Bench::new(), CancellationToken::new());
    let folder = bench._folder.path().join("a".repeat(90)).join("b".repeat(90));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(format!("{}.db.sock", "c".repeat(120)));
    let serving = tokio::spawn(serve_socket(bind_socket(&path).unwrap(), bench.router.clone(), stop.clone()));
    assert!(answer(connect(&path).await.unwrap()).await.starts_with("HTTP/1.1 200"));
    stop.cancel();
    serving.await.unwrap();
}

#[tokio::test]
async fn without_a_token_only_loopback_is_listened_on() {
    let open = "0.0.0.0:0".parse().unwrap();
    let error = bind_tcp(open, &Access::Loopback).await.unwrap_err().to_string();
    assert!(error.contains("api.token"), "{error}");
    bind_tcp(open, &Access::token("secret")).await.unwrap();
    bind_tcp("127.0.0.1:0".parse().unwrap(), &Access::Loopback).await.unwrap();
}

#[tokio::test]
async fn a_stop_ends_the_waiting_of_idle_connections() {
    let (bench, stop) = (Bench::new(), CancellationToken::new());
    let listener = bind_tcp("127.0.0.1:0".parse().unwrap(), &Access::Loopback).await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(serve_tcp(listener, bench.router.clone(), stop.clone()));
    let mut idle = TcpStream::connect(address).await.unwrap();
    idle.write_all(b"GET /queues HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut first = [0; 12];
    idle.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    stop.cancel();
    serving.await.unwrap();
    assert!(TcpStream::connect(address).await.is_err(), "the port is free again");
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_never_ends_its_head_is_sent_away() {
    let listener = bind_tcp("127.0.0.1:0".parse().unwrap(), &Access::Loopback).await.unwrap();
    let address = listener.local_addr().unwrap();
    let nothing = router(Arc::new(Desk::new(Vec::new(), Vec::new(), 1024)), Access::Loopback);
    tokio::spawn(serve_tcp(listener, nothing, CancellationToken::new()));
    let mut slow = TcpStream::connect(address).await.unwrap();
    slow.write_all(b"GET /queues HT").await.unwrap();
    let mut rest = Vec::new();
    slow.read_to_end(&mut rest).await.unwrap();
    assert!(!rest.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn a_caller_who_sends_far_too_much_reads_why_it_was_refused() {
    let (bench, stop) = (Bench::new(), CancellationToken::new());
    let listener = bind_tcp("127.0.0.1:0".parse().unwrap(), &Access::Loopback).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve_tcp(listener, bench.router.clone(), stop));
    let length = 64 << 20;
    let head = format!("POST /jobs HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
    let mut caller = TcpStream::connect(address).await.unwrap();
    caller.write_all(head.as_bytes()).await.unwrap();
    caller.write_all(&vec![b' '; length]).await.unwrap();
    let mut text = String::new();
    caller.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 413") && text.contains("worker.body_limit"), "{text}");
}
