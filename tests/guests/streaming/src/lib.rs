//! A well-behaved handler whose bodies are streams, and whose requests can be held open.
//!
//! It is a component only: built for the machine itself, the crate is empty.
#![cfg(target_family = "wasm")]

use modelet_sdk::{BodyStream, Problem, Query, Request, Response, call, config, log};
use serde::Deserialize;

#[derive(Deserialize)]
struct Lines {
    lines: u32,
}

#[modelet_sdk::handler]
async fn route(request: Request) -> Result<Response, Problem> {
    match request.path() {
        "/echo" => call(echo, request).await,
        "/count" => call(count, request).await,
        "/last" => call(last, request).await,
        "/config" => call(configured, request).await,
        "/log" => call(logged, request).await,
        path => Err(Problem::not_found(format!("there is nothing at {path}"))),
    }
}

/// Every chunk as it comes.
async fn echo(mut body: BodyStream) -> Response {
    Response::stream(async move |answer| {
        while let Some(chunk) = body.next().await {
            answer.write(chunk).await?;
        }
        Ok::<_, Problem>(())
    })
}

async fn count(Query(lines): Query<Lines>) -> Response {
    Response::stream(async move |answer| {
        for number in 0..lines.lines {
            answer.write(format!("{number}\n")).await?;
        }
        Ok::<_, Problem>(())
    })
}

/// Answers when the whole body is there, with its length: a caller that holds the body back holds
/// the invocation open.
async fn last(mut body: BodyStream) -> String {
    log::info!("waiting for the body");
    let mut bytes = 0;
    while let Some(chunk) = body.next().await {
        bytes += chunk.len();
    }
    format!("{bytes} bytes")
}

async fn configured() -> String {
    config::get("greeting").unwrap_or_else(|| "not set".into())
}

async fn logged(line: String) -> String {
    log::warn!("{line}");
    println!("to standard output: {line}");
    eprintln!("to standard error: {line}");
    line
}
