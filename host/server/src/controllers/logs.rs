//! A function's log: the last lines, and those to come.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use modelet_observe::LogLine;
use modelet_store::StoreError;
use modelet_types::Permission;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::caller::Caller;
use crate::context::Context;
use crate::extract::{Path, Query};
use crate::problem::{ProblemBody, Result};

/// The most lines that are read back at once.
const MAX_TAIL: usize = 10_000;

/// Which lines.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogParams {
    /// How many of the last lines; at most 10,000.
    #[serde(default = "default_tail")]
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
    params(("function" = String, Path), LogParams),
    responses((status = 200, content_type = "application/x-ndjson"), (status = 404, body = ProblemBody)))]
pub(crate) async fn read(
    State(context): State<Context>,
    caller: Caller,
    Path(name): Path<String>,
    Query(params): Query<LogParams>,
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
        // A follower would hold a shutdown up for ever.
        let until_stopped = async move { drop(stopping.wait_for(|stopping| *stopping).await) };
        Body::from_stream(past.chain(to_come.take_until(Box::pin(until_stopped))))
    } else {
        Body::from_stream(past)
    };
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    Ok(response)
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
