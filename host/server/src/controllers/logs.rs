//! A function's log: the last lines, and those to come.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use modelet_observe::LogLine;
use modelet_store::StoreError;
use modelet_types::{FunctionName, Permission};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::caller::{Caller, Identification};
use crate::context::Context;
use crate::extract::{Path, Query};
use crate::problem::{ProblemBody, Result};

/// The most lines that are read back at once.
const MAX_TAIL: usize = 10_000;

/// How often it is looked whether a follower's key is still one.
const CHECK_EVERY: Duration = Duration::from_secs(5);

/// Which lines.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogParams {
    /// How many of the last lines; at most 10,000.
    #[serde(default = "default_tail")]
    #[param(maximum = 10_000)]
    tail: usize,
    /// Whether to go on with the lines to come.
    #[serde(default)]
    follow: bool,
}

const fn default_tail() -> usize {
    100
}

/// The log of a function, a line of JSON per line.
#[utoipa::path(get, path = "/api/v1/functions/{function}/logs", tag = "functions",
    params(("function" = inline(FunctionName), Path), LogParams),
    responses((status = 200, content_type = "application/x-ndjson"), (status = 404, body = ProblemBody)))]
pub(crate) async fn read(
    State(context): State<Context>,
    caller: Caller,
    Path(name): Path<String>,
    Query(params): Query<LogParams>,
    headers: HeaderMap,
) -> Result<Response> {
    let (identity, name) = caller.may_with(Permission::Read, &name)?;
    let tenant = identity.tenant.clone();
    if context.control.store().function(&tenant, &name).await?.is_none() {
        return Err(StoreError::NoFunction(name).into());
    }
    context.logs.flush().await.map_err(unreadable)?;
    let last = context.logs.tail(&tenant, &name, params.tail.min(MAX_TAIL)).await.map_err(unreadable)?;
    let after = last.last().map_or(0, |line| line.seq);
    let past = stream::iter(last.into_iter().map(|line| Ok(encode(&line))));
    let body = if params.follow {
        let mut stopping = context.stopping.clone();
        let logs = Arc::clone(&context.logs);
        let to_come = logs.follow(&tenant, &name, after).map(|line| match line {
            Ok(line) => Ok(encode(&line)),
            Err(error) => Err(std::io::Error::other(error)),
        });
        let until_over = async move {
            tokio::select! {
                // A follower would hold a shutdown up for ever.
                _ = stopping.wait_for(|stopping| *stopping) => {}
                () = until_not_allowed(&context.identification, &headers, &name) => {}
            }
        };
        Body::from_stream(past.chain(to_come.take_until(Box::pin(until_over))))
    } else {
        Body::from_stream(past)
    };
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    Ok(response)
}

/// Waits until the key of a request that goes on may not read the function's log any more, such as one that was
/// revoked.
async fn until_not_allowed(identification: &Identification, headers: &HeaderMap, function: &FunctionName) {
    let is_allowed = || {
        let caller = identification.caller(headers);
        caller.is_ok_and(|caller| caller.may_with(Permission::Read, function.as_str()).is_ok())
    };
    while is_allowed() {
        tokio::time::sleep(CHECK_EVERY).await;
    }
}

fn encode(line: &LogLine) -> Bytes {
    let mut text = serde_json::to_vec(line).expect("a line is text and numbers");
    text.push(b'\n');
    text.into()
}

fn unreadable(error: modelet_observe::Error) -> modelet_types::Problem {
    tracing::error!(%error, "cannot read a function's log");
    modelet_types::Problem::new(
        modelet_types::Code::Internal,
        "the function's log cannot be read; the host's log has the reason",
    )
}
