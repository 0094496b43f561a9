//! The function over plain HTTP, as any client calls it.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::FUNCTION;
use super::host::DemoHost;

/// What the function says about one image.
#[derive(Debug, Deserialize)]
pub struct Reading {
    /// The digit.
    pub digit: u8,
    /// Its probability.
    pub confidence: f64,
}

#[derive(Deserialize)]
struct Batch {
    digits: Vec<Reading>,
}

/// An answer and what it cost.
pub struct Timed<T> {
    /// The answer.
    pub value: T,
    /// From the request to the whole answer, as the caller sees it.
    pub took: Duration,
    /// What waking the function took of that, if it was asleep.
    pub wake: Option<Duration>,
}

/// Asks about one image.
pub fn one(host: &DemoHost, pixels: &[u8]) -> anyhow::Result<Timed<Reading>> {
    post(host, &json!({ "pixels": pixels }))
}

/// Asks about several images in one call.
pub fn several(host: &DemoHost, images: &[&[u8]]) -> anyhow::Result<Timed<Vec<Reading>>> {
    let Timed { value, took, wake } = post::<Batch>(host, &json!({ "images": images }))?;
    Ok(Timed { value: value.digits, took, wake })
}

/// Asks the host which layers of the function are warm.
pub fn state(host: &DemoHost) -> anyhow::Result<Value> {
    let url = format!("{}/api/v1/functions/{FUNCTION}/state", host.url());
    let mut response = ureq::get(&url)
        .header("authorization", host.authorization())
        .call()
        .with_context(|| format!("GET {url}"))?;
    response.body_mut().read_json().with_context(|| format!("GET {url}"))
}

fn post<T: DeserializeOwned>(host: &DemoHost, body: &Value) -> anyhow::Result<Timed<T>> {
    let url = format!("{}/f/default/{FUNCTION}", host.url());
    let start = Instant::now();
    let response = ureq::post(&url).header("authorization", host.authorization()).send_json(body);
    let mut response = response.with_context(|| format!("POST {url}"))?;
    let wake = response.headers().get("modelet-wake-us").and_then(|value| value.to_str().ok()?.parse().ok());
    let value = response.body_mut().read_json().with_context(|| format!("POST {url}"))?;
    Ok(Timed { value, took: start.elapsed(), wake: wake.map(Duration::from_micros) })
}
