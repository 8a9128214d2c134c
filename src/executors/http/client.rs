//! The client of one executor: its connections, its certificates, its way through a proxy.

use std::fs;
use std::path::Path;
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Identity, Proxy, retry};

use super::config::{HttpConfig, Tls};

/// Idle connections are tested, so that a network that forgets them does not swallow a call.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Most servers close an idle connection after a minute: ours is gone before.
const IDLE: Duration = Duration::from_secs(50);

/// # Errors
/// The key whose file cannot be used, and why.
pub fn build(config: &HttpConfig, base: &Path) -> Result<Client, String> {
    let mut builder = Client::builder()
        .user_agent(concat!("windlass/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::none())
        // a retry is the engine's: it is counted, and waits without a slot
        .retry(retry::never())
        .no_proxy()
        .connect_timeout(config.connect_timeout.0)
        .tcp_keepalive(KEEP_ALIVE)
        .tcp_keepalive_interval(KEEP_ALIVE)
        .tcp_keepalive_retries(3)
        .pool_idle_timeout(IDLE);
    if let Some(proxy) = &config.proxy {
        builder = builder.proxy(Proxy::all(proxy).map_err(|error| format!("proxy: {error}"))?);
    }
    let Tls { ca, certificate, key } = &config.tls;
    if let Some(ca) = ca {
        let pem = read(base, ca, "tls.ca")?;
        let trusted = Certificate::from_pem_bundle(&pem).ok().filter(|trusted| !trusted.is_empty());
        let trusted = trusted.ok_or_else(|| format!("tls.ca: {} holds no certificate in PEM", ca.display()))?;
        builder = builder.tls_certs_only(trusted);
    }
    if let (Some(certificate), Some(key)) = (certificate, key) {
        let mut pem = key.read(base).map_err(|why| format!("tls.key: {why}"))?.into_bytes();
        pem.push(b'\n');
        pem.extend(read(base, certificate, "tls.certificate")?);
        let identity = Identity::from_pem(&pem).map_err(|_| "tls: certificate and key are not a pair in PEM".to_owned())?;
        builder = builder.identity(identity);
    }
    builder.build().map_err(|error| format!("tls: {}", super::call::innermost(&error)))
}

fn read(base: &Path, file: &Path, key: &str) -> Result<Vec<u8>, String> {
    let path = base.join(file);
    fs::read(&path).map_err(|error| format!("{key}: {}: {error}", path.display()))
}
