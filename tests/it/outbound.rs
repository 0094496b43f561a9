//! Requests that handlers make: to whom they get, and to whom not.

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::support::{Answer, TestHost, guest, self_signed};

/// A host whose handlers may reach this machine, if a rule of theirs allows it.
async fn host(outbound: Value) -> TestHost {
    TestHost::start_with(&json!({ "outbound": outbound })).await
}

fn this_machine() -> Value {
    json!({ "allowed_networks": ["127.0.0.0/8", "::1/128"] })
}

/// Deploys the handler that fetches, with the only rule `rule`.
async fn deploy(host: &TestHost, rule: &str, limits: Value) {
    let component = host.upload(guest("standard")).await;
    host.deploy("standard", &json!({ "component": component, "outbound": [rule], "limits": limits })).await;
}

async fn fetch(host: &TestHost, address: &str) -> Answer {
    host.call("standard", &format!("/fetch?{address}"), "").await
}

/// Checks that a fetch was refused, for `reason` as the handler sees it.
async fn refused(host: &TestHost, address: &str, reason: &str) {
    let answer = fetch(host, address).await.expect(502);
    assert!(answer.text().contains(reason), "{address}: {}", answer.text());
}

/// A server on this machine that answers everything with `length` bytes. Gives its port.
async fn server(length: usize, tls: Option<TlsAcceptor>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let tls = tls.clone();
            tokio::spawn(async move {
                let Some(tls) = tls else { return answer(stream, length).await };
                // A client that does not trust the certificate ends the handshake.
                if let Ok(stream) = tls.accept(stream).await {
                    answer(stream, length).await;
                }
            });
        }
    });
    port
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, length: usize) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        request.push(byte);
    }
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    // A client that is held to a limit leaves in the middle.
    let _ = stream.write_all(&[head.as_bytes(), &vec![b'x'; length]].concat()).await;
    let _ = stream.shutdown().await;
}

#[tokio::test]
async fn without_a_rule_nothing_is_reached() {
    let host = host(this_machine()).await;
    let port = server(5, None).await;
    deploy(&host, "https://example.com", json!({})).await;
    refused(&host, &format!("http://127.0.0.1:{port}/"), "HttpRequestDenied").await;
    host.log_line("standard", &["no rule of `outbound`", &format!("GET http://127.0.0.1:{port}")]).await;
}

#[tokio::test]
async fn a_rule_is_held_to_its_scheme_port_and_method() {
    let host = host(this_machine()).await;
    let port = server(5, None).await;
    deploy(&host, &format!("GET http://127.0.0.1:{port}"), json!({})).await;
    assert_eq!(fetch(&host, &format!("http://127.0.0.1:{port}/")).await.expect(200).text(), "xxxxx");
    refused(&host, &format!("https://127.0.0.1:{port}/"), "HttpRequestDenied").await;
    refused(&host, &format!("http://127.0.0.1:{}/", port ^ 1), "HttpRequestDenied").await;
    refused(&host, &format!("http://localhost:{port}/"), "HttpRequestDenied").await;
    deploy(&host, &format!("POST http://127.0.0.1:{port}"), json!({})).await;
    refused(&host, &format!("http://127.0.0.1:{port}/"), "HttpRequestDenied").await;
}

#[tokio::test]
async fn addresses_that_are_not_public_need_the_operator_as_well() {
    let port = server(5, None).await;
    let closed = host(json!({})).await;
    for host_name in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"] {
        deploy(&closed, &format!("http://{host_name}:{port}"), json!({})).await;
        refused(&closed, &format!("http://{host_name}:{port}/"), "DestinationIpProhibited").await;
    }
    closed.log_line("standard", &["a request to localhost", "failed"]).await;
    let open = host(this_machine()).await;
    deploy(&open, &format!("localhost:{port}"), json!({})).await;
    assert_eq!(fetch(&open, &format!("http://localhost:{port}/")).await.expect(200).text(), "xxxxx");
    let denied = json!({ "allowed_networks": ["127.0.0.0/8"], "denied_networks": ["127.0.0.1/32"] });
    let denied = host(denied).await;
    deploy(&denied, &format!("127.0.0.1:{port}"), json!({})).await;
    refused(&denied, &format!("http://127.0.0.1:{port}/"), "DestinationIpProhibited").await;
}

#[tokio::test]
async fn requests_and_bytes_are_limited() {
    let host = host(this_machine()).await;
    let port = server(100_000, None).await;
    let (rule, address) = (format!("127.0.0.1:{port}"), format!("http://127.0.0.1:{port}/"));
    deploy(&host, &rule, json!({ "outbound_requests": 0 })).await;
    refused(&host, &address, "ConnectionLimitReached").await;
    host.log_line("standard", &["limits.outbound_requests"]).await;
    deploy(&host, &rule, json!({ "outbound_bytes": 100_000 })).await;
    assert_eq!(fetch(&host, &address).await.expect(200).body.len(), 100_000);
    deploy(&host, &rule, json!({ "outbound_bytes": 99_999 })).await;
    let path = format!("/f/default/standard/fetch?{address}");
    let cut_off = host.request(reqwest::Method::POST, &path).send().await.unwrap();
    assert!(cut_off.bytes().await.is_err(), "a part must not look like the whole");
}

#[tokio::test]
async fn tls_trusts_the_authorities_that_the_operator_names() {
    let (certificate, acceptor) = self_signed();
    let port = server(5, Some(acceptor)).await;
    let (rule, address) = (format!("https://localhost:{port}"), format!("https://localhost:{port}/"));

    let strict = host(this_machine()).await;
    deploy(&strict, &rule, json!({})).await;
    refused(&strict, &address, "TlsProtocolError").await;
    strict.log_line("standard", &["TLS", "UnknownIssuer"]).await;

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, certificate).unwrap();
    let trusting = host(json!({ "allowed_networks": ["127.0.0.0/8", "::1/128"], "ca_file": file })).await;
    deploy(&trusting, &rule, json!({})).await;
    assert_eq!(fetch(&trusting, &address).await.expect(200).text(), "xxxxx");
}
