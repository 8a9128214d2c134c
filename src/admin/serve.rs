//! The API on TCP and on a Unix socket: bounded connections, bounded heads, slow callers sent away, a graceful end.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::serve::Listener;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::fs::{Mode, OFlags};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::util::ServiceExt as _;

use super::{Access, desk::LONGEST_WAIT};

/// Connections at once; more wait in the backlog of the listener.
const CONNECTIONS: usize = 256;
/// For the head of a request, and for the silence between two.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// The largest head, in bytes.
const LARGEST_HEAD: usize = 32 * 1024;
/// After this a connection ends with the request it serves, so that nobody holds a place for ever.
const LIFETIME: Duration = Duration::from_secs(600);
/// What requests may still take after the stop.
const LINGER: Duration = Duration::from_secs(5);
/// The longest path that fits a socket address on Linux.
const LONGEST_ADDRESS: usize = 107;

/// Why the API cannot be offered.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("api.listen: {0} can be reached from other machines: name a secret in api.token, or listen on 127.0.0.1")]
    Unguarded(SocketAddr),
    #[error("api.listen: cannot listen on {0}: {1}")]
    Address(SocketAddr, io::Error),
    #[error("cannot listen on the socket {path}: {error}", path = .0.display(), error = .1)]
    Socket(PathBuf, io::Error),
}

/// Listens on TCP; without a token only on loopback.
///
/// # Errors
/// When the address is taken, or open to others without a token.
pub async fn bind_tcp(address: SocketAddr, access: &Access) -> Result<TcpListener, BindError> {
    if !matches!(access, Access::Token(_)) && !address.ip().is_loopback() {
        return Err(BindError::Unguarded(address));
    }
    TcpListener::bind(address).await.map_err(|error| BindError::Address(address, error))
}

/// A Unix socket with its file, which goes when this is dropped.
pub struct Socket {
    listener: UnixListener,
    _file: SocketFile,
}

struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Listens on a Unix socket that only its owner may use (mode 0600). A file left by a dead worker is replaced, so the
/// caller must own what the socket stands for.
///
/// # Errors
/// When the folder cannot be written.
pub fn bind_socket(path: &Path) -> Result<Socket, BindError> {
    let bind = || {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // made under a short name and renamed when its mode is right: no moment in which others may connect
        let young = folder.join(format!(".windlass-{}.sock", std::process::id()));
        let _ = std::fs::remove_file(&young);
        let folder = rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let short = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()));
        let listener = UnixListener::bind(short.join(young.file_name().unwrap_or_default()))?;
        std::fs::set_permissions(&young, std::fs::Permissions::from_mode(0o600))?;
        std::fs::rename(&young, path)?;
        Ok(Socket { listener, _file: SocketFile(path.to_owned()) })
    };
    bind().map_err(|error| BindError::Socket(path.to_owned(), error))
}

/// Connects to the socket at `path`. One whose path is too long for an address is reached by the name that `/proc` has
/// for it.
///
/// # Errors
/// When nobody listens there.
pub async fn connect(path: &Path) -> io::Result<UnixStream> {
    if path.as_os_str().len() <= LONGEST_ADDRESS {
        return UnixStream::connect(path).await;
    }
    let file = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    UnixStream::connect(format!("/proc/self/fd/{}", file.as_raw_fd())).await
}

/// Serves until `stop`, then lets running requests end for a moment.
pub async fn serve_tcp(listener: TcpListener, router: Router, stop: CancellationToken) {
    serve(listener, router, stop).await;
}

/// As [`serve_tcp`]; the socket's file is gone afterwards.
pub async fn serve_socket(socket: Socket, router: Router, stop: CancellationToken) {
    let Socket { listener, _file } = socket;
    serve(listener, router, stop).await;
}

async fn serve(mut listener: impl Listener, router: Router, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let connections = TaskTracker::new();
    loop {
        let accept = async {
            let place = places.clone().acquire_owned().await;
            (place, listener.accept().await.0)
        };
        let Some((Ok(place), stream)) = stop.run_until_cancelled(accept).await else { break };
        connections.spawn(connection(stream, router.clone(), stop.clone(), place));
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// Serves one connection up to [`LIFETIME`] or the stop; the request that runs then may still end.
async fn connection<S>(stream: S, router: Router, stop: CancellationToken, _place: OwnedSemaphorePermit)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = TowerToHyperService::new(router.map_request(|request: Request<Incoming>| request.map(Body::new)));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(LARGEST_HEAD);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        _ = connection.as_mut() => return, // what a caller breaks is the caller's to see
        () = stop.cancelled() => {}
        () = tokio::time::sleep(LIFETIME) => {}
    }
    connection.as_mut().graceful_shutdown();
    let linger = async {
        tokio::select! {
            () = stop.cancelled() => tokio::time::sleep(LINGER).await,
            () = tokio::time::sleep(LONGEST_WAIT + LINGER) => {}
        }
    };
    tokio::select! {
        _ = connection => {}
        () = linger => {}
    }
}
