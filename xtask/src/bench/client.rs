//! One client that keeps its connection, for calls that are timed or checked one by one.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use ureq::Agent;
use ureq::http::Response;

/// Longer than any call takes, on a machine that is very busy.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Calls one after another, on one connection.
pub struct Client(Agent);

/// An answer with status 200, and what it cost.
pub struct Timed {
    /// The answer.
    pub value: Value,
    /// From the request's first byte to the answer's last.
    pub took: Duration,
    /// What the host says that waking took of that; `None` if the function was awake.
    pub wake: Option<Duration>,
}

impl Client {
    pub fn new() -> Self {
        let config = Agent::config_builder().timeout_global(Some(TIMEOUT)).http_status_as_error(false);
        Self(config.build().into())
    }

    /// Gets a JSON answer.
    ///
    /// # Errors
    /// If there is none, or its status is not 200.
    pub fn get(&self, url: &str) -> anyhow::Result<Value> {
        let mut response = self.0.get(url).call().with_context(|| format!("GET {url}"))?;
        let text = text_of(&mut response).with_context(|| format!("GET {url}"))?;
        serde_json::from_str(&text).with_context(|| format!("GET {url}"))
    }

    /// Posts JSON, and says how long the answer took.
    ///
    /// # Errors
    /// If there is no answer, or its status is not 200.
    pub fn post(&self, url: &str, body: &[u8]) -> anyhow::Result<Timed> {
        let request = self.0.post(url).content_type("application/json");
        let began = Instant::now();
        let mut response = request.send(body).with_context(|| format!("POST {url}"))?;
        let text = text_of(&mut response).with_context(|| format!("POST {url}"))?;
        let took = began.elapsed();
        let wake = response.headers().get("modelet-wake-us").and_then(|us| us.to_str().ok()?.parse().ok());
        let value = serde_json::from_str(&text).with_context(|| format!("POST {url}"))?;
        Ok(Timed { value, took, wake: wake.map(Duration::from_micros) })
    }
}

fn text_of(response: &mut Response<ureq::Body>) -> anyhow::Result<String> {
    let text = response.body_mut().read_to_string()?;
    ensure!(response.status() == 200, "answered {}: {text}", response.status());
    Ok(text)
}
