//! Requests that handlers make: to whom they get, and to whom not.

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::support::{Answer, TestHost, digits, guest, self_signed};

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

/// Deploys the handler that asks through the SDK.
async fn deploy_granted(host: &TestHost, rules: &[&str]) {
    let component = host.upload(guest("granted")).await;
    host.deploy("granted", &json!({ "component": component, "outbound": rules })).await;
}

async fn ask(host: &TestHost, url: &str, body: &str) -> Answer {
    host.call("granted", "/ask", format!("{url}\n{body}")).await
}

#[tokio::test]
async fn a_handler_of_the_sdk_asks_other_functions() {
    let host = TestHost::start().await;
    deploy_granted(&host, &["POST http://digits.modelet.internal", "http://standard.modelet.internal"]).await;
    deploy(&host, "https://nowhere.example", json!({})).await;
    host.deploy_digits("digits", &json!({})).await;
    for case in digits().iter().take(3) {
        let answer = ask(&host, "http://digits.modelet.internal/", &case.request()).await;
        assert_eq!(case.mistake(&answer), None);
        assert_eq!(answer.header("x-content-type"), "application/json");
    }
    // What they say of a mistake is passed on.
    let refused = ask(&host, "http://digits.modelet.internal/", "{}").await;
    refused.problem(422, "invalid_input", Some("pixels"));
    // More than one piece of a stream, both ways.
    let large: String = (0..300_000).map(|n| char::from(b'a' + (n % 26) as u8)).collect();
    let echoed = ask(&host, "http://standard.modelet.internal/echo?a=b#c", &large).await.expect(200);
    assert!(echoed.text() == large, "{} bytes came back", echoed.body.len());

    let unreachable = ask(&host, "http://standard.modelet.internal/fetch?https://nowhere.example/", "").await;
    unreachable.problem(502, "request_failed", None);
    for (url, status, code, says) in [
        ("http://other.modelet.internal/", 500, "handler_error", "`outbound`"),
        ("digits.modelet.internal", 422, "invalid_input", "absolute"),
        ("http://a b/", 422, "invalid_input", "host"),
    ] {
        let problem = ask(&host, url, "").await.problem(status, code, None);
        assert!(problem["detail"].as_str().unwrap().contains(says), "{url}: {problem}");
    }
}

#[tokio::test]
async fn requests_that_are_waited_for_together_are_sent_together() {
    let host = host(this_machine()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    deploy_granted(&host, &[&format!("http://127.0.0.1:{port}")]).await;
    // Nobody is answered before all three have asked.
    let everybody = std::sync::Arc::new(tokio::sync::Barrier::new(3));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let everybody = everybody.clone();
            tokio::spawn(async move {
                everybody.wait().await;
                answer(stream, 2).await;
            });
        }
    });
    let urls = format!("http://127.0.0.1:{port}/\n").repeat(3);
    let answers = host.call("granted", "/ask-all", urls).await.expect(200);
    assert_eq!(answers.body.len(), 6, "{}", answers.text());
}
