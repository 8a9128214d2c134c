//! A server that speaks HTTP/1.1 byte by byte, so that it can break it, and keeps what it was sent.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;

/// One request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// What the server does with a request.
pub enum Act {
    /// These bytes, then it waits for the next request.
    Say(Vec<u8>),
    /// These bytes, then the connection ends.
    SayAndEnd(Vec<u8>),
    /// These bytes, then these again and again, for as long as somebody reads.
    SayForEver(Vec<u8>, Vec<u8>),
    /// Nothing, and the connection stays.
    Nothing,
}

type Rule = Box<dyn Fn(&Seen, usize) -> Act + Send + Sync>;

#[derive(Default)]
struct Kept {
    seen: Mutex<Vec<Seen>>,
    connections: AtomicUsize,
}

pub struct Server {
    pub port: u16,
    kept: Arc<Kept>,
}

impl Server {
    /// `rule` is asked for each request, with the number of those before it.
    pub async fn start(rule: impl Fn(&Seen, usize) -> Act + Send + Sync + 'static) -> Self {
        Server::over(rule, None).await
    }

    /// The same behind TLS.
    pub async fn over(
        rule: impl Fn(&Seen, usize) -> Act + Send + Sync + 'static,
        tls: Option<tokio_rustls::TlsAcceptor>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (kept, rule): (Arc<Kept>, Arc<Rule>) = (Arc::default(), Arc::new(Box::new(rule)));
        let own = kept.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                own.connections.fetch_add(1, Ordering::Relaxed);
                let (own, rule, tls) = (own.clone(), rule.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, &own, &rule).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, &own, &rule).await;
                            }
                        }
                    }
                });
            }
        });
        Server { port, kept }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.kept.seen.lock().unwrap().clone()
    }

    pub fn last(&self) -> Seen {
        self.seen().pop().unwrap()
    }

    pub fn connections(&self) -> usize {
        self.kept.connections.load(Ordering::Relaxed)
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, kept: &Kept, rule: &Rule) {
    let mut stream = BufReader::new(stream);
    while let Some(seen) = request(&mut stream).await {
        let before = {
            let mut all = kept.seen.lock().unwrap();
            all.push(seen.clone());
            all.len() - 1
        };
        match rule(&seen, before) {
            Act::Say(bytes) => {
                if stream.write_all(&bytes).await.is_err() || stream.flush().await.is_err() {
                    return;
                }
            }
            Act::SayAndEnd(bytes) => {
                let _gone = (stream.write_all(&bytes).await, stream.shutdown().await);
                return;
            }
            Act::SayForEver(first, again) => {
                let mut next = first;
                while stream.write_all(&next).await.is_ok() && stream.flush().await.is_ok() {
                    next.clone_from(&again);
                    tokio::task::yield_now().await;
                }
                return;
            }
            Act::Nothing => {
                let mut rest = Vec::new();
                let _until_the_client_goes = stream.read_to_end(&mut rest).await;
                return;
            }
        }
    }
}

/// Reads one request, strictly: a length that is told once, a host, no folding.
async fn request(stream: &mut (impl AsyncBufReadExt + Unpin)) -> Option<Seen> {
    let first = line(stream).await?;
    let mut words = first.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    assert_eq!(words.next(), Some("HTTP/1.1"), "{first}");
    let mut headers = Vec::new();
    loop {
        let text = line(stream).await?;
        if text.is_empty() {
            break;
        }
        let (name, value) = text.split_once(": ").unwrap_or_else(|| panic!("no header: {text:?}"));
        headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let all = |name: &str| headers.iter().filter(|(key, _)| key == name).map(|(_, value)| value.clone()).collect::<Vec<_>>();
    assert_eq!(all("host").len(), 1, "{headers:?}");
    assert_eq!(all("transfer-encoding").len(), 0, "a length is known: {headers:?}");
    let lengths = all("content-length");
    assert!(lengths.len() <= 1, "{headers:?}");
    let length = lengths.first().map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Seen { method, path, headers, body })
}

async fn line(stream: &mut (impl AsyncBufReadExt + Unpin)) -> Option<String> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
    Some(line.strip_suffix("\r\n").expect("a line ends with CR LF").to_owned())
}

/// A whole answer.
pub fn answer(status: u16, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut text = format!("HTTP/1.1 {status} Said\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    [text.as_bytes(), b"\r\n", body].concat()
}

pub fn ok(body: &str) -> Act {
    Act::Say(answer(200, &[("content-type", "application/json")], body))
}
