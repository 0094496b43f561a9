//! A caller of a host: its control API and its functions, over HTTP.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use modelet_types::Digest;
use reqwest::{Body, Method, RequestBuilder};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};

use super::Answer;

/// An HTTP client that trusts these authorities and no other.
pub fn trusting(roots: RootCertStore) -> reqwest::ClientBuilder {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has what TLS 1.2 and 1.3 need")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // Before the host closes a connection that lies idle, which a request could meet.
    let builder = reqwest::Client::builder().no_proxy().pool_idle_timeout(Duration::from_secs(5));
    builder.tls_backend_preconfigured(config)
}

/// A client of one host, with one key or none.
#[derive(Clone)]
pub struct Api {
    http: reqwest::Client,
    base: String,
    key: Option<String>,
}

impl Api {
    /// With the key in `file`, if it is there.
    pub fn new(address: impl std::fmt::Display, file: &Path) -> Self {
        let http = trusting(RootCertStore::empty()).build().expect("the client has no settings to fail on");
        // A host that asks for none has made none.
        let key = std::fs::read_to_string(file).ok().map(|key| key.trim().to_owned());
        Self { http, base: format!("http://{address}"), key }
    }

    /// The same host, asked with another key, or with none.
    #[must_use]
    pub fn with_key(&self, key: Option<&str>) -> Self {
        Self { key: key.map(str::to_owned), ..self.clone() }
    }

    /// The same client, over HTTP/2 and connections of its own.
    pub fn over_http2(&self) -> Self {
        let http = trusting(RootCertStore::empty()).http2_prior_knowledge().build();
        Self { http: http.expect("the client has no settings to fail on"), ..self.clone() }
    }

    /// The key, for clients of others.
    pub fn key(&self) -> &str {
        self.key.as_deref().expect("this client has a key")
    }

    pub fn base(&self) -> &str {
        &self.base
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    /// Sends a request and reads the answer, if there is one.
    pub async fn try_send(request: RequestBuilder) -> reqwest::Result<Answer> {
        Answer::read(request.send().await?).await
    }

    pub async fn send(&self, method: Method, path: &str, body: impl Into<Body>) -> Answer {
        Self::try_send(self.request(method, path).body(body)).await.expect("the host answers")
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, "").await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        Self::try_send(self.request(Method::POST, path).json(body)).await.expect("the host answers")
    }

    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        Self::try_send(self.request(Method::PUT, path).json(body)).await.expect("the host answers")
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, "").await
    }

    /// Posts to a function. `path` begins with `/`.
    pub async fn call(&self, function: &str, path: &str, body: impl Into<Body>) -> Answer {
        self.send(Method::POST, &format!("/f/default/{function}{path}"), body).await
    }

    /// As [`Self::call`], where there may be no answer.
    pub async fn call_fallibly(
        &self,
        function: &str,
        path: &str,
        body: impl Into<Body>,
    ) -> reqwest::Result<Answer> {
        let path = format!("/f/default/{function}{path}");
        Self::try_send(self.request(Method::POST, &path).body(body)).await
    }

    /// As [`Self::get`], where there may be no answer.
    pub async fn get_fallibly(&self, path: &str) -> reqwest::Result<Answer> {
        Self::try_send(self.request(Method::GET, path)).await
    }

    /// Uploads an artifact and gives the digest that names it.
    pub async fn upload(&self, bytes: Vec<u8>) -> String {
        let digest = Digest::of(&bytes).to_string();
        let path = format!("/api/v1/artifacts/{digest}");
        // Not what is there already: that is answered before all is sent, and the answer may be lost.
        if self.get(&path).await.status != 200 {
            self.send(Method::PUT, &path, bytes).await.expect(201);
        }
        digest
    }

    /// Asks for a revision, which the host may refuse.
    pub async fn revise(&self, function: &str, spec: &Value) -> Answer {
        self.post(&format!("/api/v1/functions/{function}/revisions"), spec).await
    }

    /// Deploys and activates a revision, and gives its number.
    pub async fn deploy(&self, function: &str, spec: &Value) -> u64 {
        let revision = self.revise(function, spec).await.expect(201).json();
        assert_eq!(revision["active"], true, "{revision}");
        revision["revision"].as_u64().expect("a revision has a number")
    }

    /// Uploads a component and deploys it with nothing else.
    pub async fn deploy_component(&self, function: &str, component: Vec<u8>) -> u64 {
        let component = self.upload(component).await;
        self.deploy(function, &json!({ "component": component })).await
    }

    pub async fn logs(&self, function: &str) -> Vec<Value> {
        let answer = self.get(&format!("/api/v1/functions/{function}/logs?tail=10000")).await.expect(200);
        answer.text().lines().map(|line| serde_json::from_str(line).expect("a log line is JSON")).collect()
    }

    /// Waits until the function's log has a line with all of these texts, and gives it.
    pub async fn log_line(&self, function: &str, texts: &[&str]) -> Value {
        let has_all = |line: &Value| {
            let message = line["message"].as_str().expect("a log line has a message");
            texts.iter().all(|text| message.contains(text))
        };
        let waiting = super::until_or_late(async || self.logs(function).await.into_iter().find(has_all));
        match waiting.await {
            Some(line) => line,
            None => panic!("no log line with {texts:?} in {:#?}", self.logs(function).await),
        }
    }

    /// The backends that this host has, by the names that a manifest gives them.
    ///
    /// # Panics
    /// If one is missing that could be there: rten is built in, and the library of ONNX Runtime is
    /// where `examples/fetch.py` puts it.
    pub async fn backends(&self) -> Vec<&'static str> {
        let about = self.get("/api/v1/host").await.expect(200).json();
        let is_available = |name: &str| {
            let backends = about["backends"].as_array().expect("the host lists its backends");
            backends.iter().any(|backend| backend["name"] == name && backend["available"] == true)
        };
        let mut expected = vec!["rten"];
        if super::artifact::onnxruntime().is_some() {
            expected.push("onnxruntime");
        }
        assert!(expected.iter().all(|name| is_available(name)), "{about}");
        expected
    }

    /// The layers of a function's only active revision.
    pub async fn layers(&self, function: &str) -> Value {
        let state = self.get(&format!("/api/v1/functions/{function}/state")).await.expect(200).json();
        assert_eq!(state["revisions"].as_array().map(Vec::len), Some(1), "{state}");
        state["revisions"][0].clone()
    }

    /// The sum of a metric's series whose labels contain `labels`; 0 if there is none.
    pub async fn metric(&self, name: &str, labels: &str) -> f64 {
        let answer = self.get("/metrics").await.expect(200);
        let value = |line: &str| {
            let rest = line.strip_prefix(name)?;
            let (found, value) = match rest.strip_prefix('{') {
                Some(rest) => rest.split_once("} ")?,
                None => ("", rest.strip_prefix(' ')?),
            };
            found.contains(labels).then(|| value.parse::<f64>().expect("a sample is a number"))
        };
        answer.text().lines().filter_map(value).sum()
    }
}
