//! TLS: who the endpoint is, and who we are.

use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use windlass::executors::http::HttpExecutor;
use windlass::outcome::Class;

use crate::runs::{failure_of, json_of, run};
use crate::wire::{Server, ok};

/// An authority of our own, a server's pair and a client's pair, as files.
fn issue(folder: &Path) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, key).unwrap();
    std::fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
    for name in ["localhost", "client"] {
        let key = KeyPair::generate().unwrap();
        let pair = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
        std::fs::write(folder.join(format!("{name}.pem")), pair.pem()).unwrap();
        std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

/// A server that lets in who has a certificate of the authority, or everybody.
async fn server(folder: &Path, closed: bool) -> Server {
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let builder = if closed {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(folder.join("ca.pem")).unwrap()).unwrap();
        builder.with_client_cert_verifier(WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build().unwrap())
    } else {
        builder.with_no_client_auth()
    };
    let certificate = CertificateDer::from_pem_file(folder.join("localhost.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(folder.join("localhost.key")).unwrap();
    let config = builder.with_single_cert(vec![certificate], key).unwrap();
    Server::over(|_, _| ok("\"in\""), Some(TlsAcceptor::from(Arc::new(config)))).await
}

fn executor(folder: &Path, host: &str, server: &Server, tls: &Value) -> Result<Arc<HttpExecutor>, String> {
    let block = json!({"url": format!("https://{host}:{}/", server.port), "tls": tls});
    HttpExecutor::new(&serde_json::from_value(block).unwrap(), folder)
}

#[tokio::test]
async fn an_endpoint_is_trusted_by_its_authority_and_its_name() {
    let folder = tempfile::tempdir().unwrap();
    issue(folder.path());
    let server = server(folder.path(), false).await;
    let ours = executor(folder.path(), "localhost", &server, &json!({"ca": "ca.pem"})).unwrap();
    assert_eq!(json_of(run(&ours, json!(1)).await), "in");
    for (host, tls) in [("localhost", json!({})), ("127.0.0.1", json!({"ca": "ca.pem"}))] {
        let failure = failure_of(run(&executor(folder.path(), host, &server, &tls).unwrap(), json!(1)).await);
        assert_eq!(failure.class, Class::Unavailable, "{}", failure.message);
        assert!(failure.message.contains("certificate") && failure.message.contains("tls.ca"), "{}", failure.message);
    }
    assert_eq!(server.seen().len(), 1, "nothing was sent to who is not trusted");
}

#[tokio::test]
async fn who_has_to_show_a_certificate_shows_it_and_without_one_nothing_is_unknown() {
    let folder = tempfile::tempdir().unwrap();
    issue(folder.path());
    let server = server(folder.path(), true).await;
    let tls = json!({"ca": "ca.pem", "certificate": "client.pem", "key": "file:client.key"});
    assert_eq!(json_of(run(&executor(folder.path(), "localhost", &server, &tls).unwrap(), json!(1)).await), "in");
    let bare = executor(folder.path(), "localhost", &server, &json!({"ca": "ca.pem"})).unwrap();
    let failure = failure_of(run(&bare, json!(1)).await);
    assert_eq!(failure.class, Class::Misconfigured, "{}", failure.message);
    assert!(failure.message.contains("tls.certificate"), "{}", failure.message);
}

#[tokio::test]
async fn certificates_that_cannot_be_used_are_named_with_their_key() {
    let folder = tempfile::tempdir().unwrap();
    issue(folder.path());
    let server = server(folder.path(), false).await;
    for (tls, part) in [
        (json!({"ca": "nowhere.pem"}), "tls.ca"),
        (json!({"ca": "client.key"}), "no certificate in PEM"),
        (json!({"certificate": "client.pem", "key": "file:nowhere.key"}), "tls.key"),
        (json!({"certificate": "client.pem", "key": "file:ca.pem"}), "not a pair"),
    ] {
        let why = executor(folder.path(), "localhost", &server, &tls).unwrap_err();
        assert!(why.contains(part), "{why}");
    }
}
