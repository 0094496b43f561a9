//! TLS: the same host behind a certificate, which is renewed without a restart.

use std::path::Path;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use serde_json::json;

use crate::support::{TestHost, trusting, until};

/// Writes a certificate for `localhost` that signs itself, and gives it as what a client may trust.
fn certify(folder: &Path) -> RootCertStore {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(folder.join("key.pem"), signing_key.serialize_pem()).unwrap();
    std::fs::write(folder.join("certificate.pem"), cert.pem()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(cert.der().to_vec())).unwrap();
    roots
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let first = certify(folder.path());
    let file = |name: &str| folder.path().join(name);
    let tls = json!({ "certificate": file("certificate.pem"), "key": file("key.pem") });
    let host = TestHost::start_with(&json!({ "tls": tls })).await;
    let port = host.base().rsplit(':').next().unwrap();
    let url = format!("https://localhost:{port}/api/v1/identity");
    // A client of its own for each request: one that is known to the host is not shown the certificate again.
    let ask = async |roots: &RootCertStore| {
        let client = trusting(roots.clone()).build().unwrap();
        client.get(&url).bearer_auth(host.key()).send().await
    };
    let answer = ask(&first).await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.version()), (200, reqwest::Version::HTTP_2));
    assert!(host.get_fallibly("/healthz").await.is_err(), "without TLS there is nothing");

    let second = certify(folder.path());
    until("the new certificate", async || ask(&second).await.ok().map(drop)).await;
    assert!(ask(&first).await.is_err(), "the old one is gone");
}

#[tokio::test]
async fn a_host_does_not_start_with_what_is_no_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let config = json!({
        "data_dir": folder.path().join("data"),
        "listen": "127.0.0.1:0",
        "tls": { "certificate": folder.path().join("none.pem"), "key": folder.path().join("none.pem") },
    });
    let error = modelet_server::Host::start(serde_json::from_value(config).unwrap()).await.err().unwrap();
    assert!(error.to_string().contains("none.pem"), "{error}");
    let config = json!({ "tls": { "certificate": "certificate.pem" } });
    let config: modelet_server::Config = serde_json::from_value(config).unwrap();
    assert_eq!(config.check().unwrap_err().key, "tls.key");
}
