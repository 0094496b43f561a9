//! Revisions: created from a manifest, listed, shown, deleted.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::StreamExt;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap};
use http::{HeaderValue, StatusCode};
use modelet_control::{Deploy, DeployEvent};
use modelet_store::{Actor, Revision, StoreError};
use modelet_types::{Code, FunctionName, Problem, RevisionNumber, RevisionSpec, TrafficSplit};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use utoipa::{IntoParams, ToSchema};

use crate::context::{Context, function_name};
use crate::extract::{Path, Query, from_json};
use crate::problem::{ProblemBody, ProblemResponse, Result};

const NDJSON: &str = "application/x-ndjson";

/// The largest manifest. Golden outputs are in it.
const MAX_MANIFEST_BYTES: usize = 16 << 20;

/// A revision.
#[derive(Serialize, ToSchema)]
pub(crate) struct RevisionBody {
    /// Which function it belongs to.
    #[schema(value_type = String)]
    function: FunctionName,
    /// Its number within the function.
    #[schema(value_type = u64)]
    revision: RevisionNumber,
    /// Whether it takes calls.
    active: bool,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: jiff::Timestamp,
    /// Who made it.
    #[schema(value_type = String)]
    created_by: Actor,
    /// The manifest.
    spec: RevisionSpec,
    /// What the host found out about it: the handler's kind, the models' backends and signatures.
    details: serde_json::Value,
}

impl RevisionBody {
    fn new(revision: Revision, active: bool) -> Self {
        let Revision { function, number, spec, details, created_at, created_by } = revision;
        Self { function, revision: number, active, created_at, created_by, spec, details }
    }
}

/// The revisions of a function.
#[derive(Serialize, ToSchema)]
pub(crate) struct RevisionsBody {
    /// Newest first.
    revisions: Vec<RevisionBody>,
}

/// How a revision is created.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateParams {
    /// Whether the revision takes all calls at once.
    #[serde(default = "yes")]
    activate: bool,
}

const fn yes() -> bool {
    true
}

/// The last line of a deploy that is followed.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum LastEvent {
    Done { revision: Box<RevisionBody> },
    Failed { problem: ProblemBody },
}

/// Creates a revision: checks the manifest, compiles the handler, loads the models and runs their
/// golden outputs. With `accept: application/x-ndjson` the answer is a line of JSON per step, of
/// which the last is `done` or `failed`.
#[utoipa::path(post, path = "/api/v1/functions/{function}/revisions", tag = "revisions",
    params(("function" = String, Path), CreateParams),
    request_body = RevisionSpec,
    responses(
        (status = 200, description = "the steps, if asked for", content_type = "application/x-ndjson"),
        (status = 201, body = RevisionBody),
        (status = 404, body = ProblemBody, description = "an artifact has not been uploaded"),
        (status = 422, body = ProblemBody, description = "manifest, component or a model is not valid"),
    ))]
pub(crate) async fn create(
    State(context): State<Context>,
    Path(name): Path<String>,
    Query(params): Query<CreateParams>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response> {
    let deploy = Deploy {
        actor: context.actor(),
        tenant: context.tenant(),
        function: function_name(&name)?,
        spec: read_spec(body).await?,
        activate: params.activate,
    };
    if headers.get(ACCEPT).is_some_and(|accept| accept == NDJSON) {
        return Ok(followed(context, deploy));
    }
    let revision = created(&context, deploy, Arc::new(|_| {})).await?;
    Ok((StatusCode::CREATED, Json(revision)).into_response())
}

async fn created(
    context: &Context,
    deploy: Deploy,
    progress: Arc<dyn Fn(DeployEvent) + Send + Sync>,
) -> Result<RevisionBody> {
    let active = deploy.activate;
    let revision = context.control.deploy(deploy, progress).await?;
    Ok(RevisionBody::new(revision, active))
}

/// A deploy as a stream of its steps. It goes on to its end if the client leaves.
fn followed(context: Context, deploy: Deploy) -> Response {
    // Unbounded, but a deploy has only so many steps.
    let (sender, lines) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let progress = sender.clone();
        let progress = move |event: DeployEvent| {
            let _ = progress.send(line(&event));
        };
        let last = match created(&context, deploy, Arc::new(progress)).await {
            Ok(revision) => LastEvent::Done { revision: Box::new(revision) },
            Err(ProblemResponse(problem)) => LastEvent::Failed { problem },
        };
        let _ = sender.send(line(&last));
    });
    let body = Body::from_stream(UnboundedReceiverStream::new(lines).map(Ok::<_, std::convert::Infallible>));
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(NDJSON));
    response
}

fn line(event: &impl Serialize) -> Bytes {
    let mut line = serde_json::to_vec(event).expect("events are text and numbers");
    line.push(b'\n');
    line.into()
}

async fn read_spec(body: Body) -> std::result::Result<RevisionSpec, Problem> {
    let bytes = axum::body::to_bytes(body, MAX_MANIFEST_BYTES).await.map_err(|_| {
        let detail = format!("the manifest broke off, or is over the limit of {MAX_MANIFEST_BYTES} bytes");
        Problem::new(Code::RequestTooLarge, detail)
    })?;
    from_json(&bytes, Code::InvalidManifest)
}

/// The revisions of a function, newest first.
#[utoipa::path(get, path = "/api/v1/functions/{function}/revisions", tag = "revisions",
    params(("function" = String, Path)),
    responses((status = 200, body = RevisionsBody), (status = 404, body = ProblemBody)))]
pub(crate) async fn list(
    State(context): State<Context>,
    Path(name): Path<String>,
) -> Result<Json<RevisionsBody>> {
    let name = function_name(&name)?;
    let traffic = traffic_of(&context, &name).await?;
    let revisions = context.control.store().revisions(&context.tenant(), &name).await?;
    let body = |revision: Revision| {
        let active = traffic.names(revision.number);
        RevisionBody::new(revision, active)
    };
    let revisions = revisions.into_iter().map(body).collect();
    Ok(Json(RevisionsBody { revisions }))
}

/// One revision.
#[utoipa::path(get, path = "/api/v1/functions/{function}/revisions/{revision}", tag = "revisions",
    params(("function" = String, Path), ("revision" = u64, Path)),
    responses((status = 200, body = RevisionBody), (status = 404, body = ProblemBody)))]
pub(crate) async fn show(
    State(context): State<Context>,
    Path((name, number)): Path<(String, String)>,
) -> Result<Json<RevisionBody>> {
    let (name, number) = (function_name(&name)?, revision_number(&number)?);
    let traffic = traffic_of(&context, &name).await?;
    let revision = context.control.store().revision(&context.tenant(), &name, number).await?;
    let revision = revision.ok_or(StoreError::NoRevision(name, number))?;
    Ok(Json(RevisionBody::new(revision, traffic.names(number))))
}

/// Deletes a revision that takes no calls.
#[utoipa::path(delete, path = "/api/v1/functions/{function}/revisions/{revision}", tag = "revisions",
    params(("function" = String, Path), ("revision" = u64, Path)),
    responses((status = 204), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub(crate) async fn delete(
    State(context): State<Context>,
    Path((name, number)): Path<(String, String)>,
) -> Result<StatusCode> {
    let (name, number) = (function_name(&name)?, revision_number(&number)?);
    context.control.delete_revision(&context.actor(), &context.tenant(), &name, number).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn traffic_of(context: &Context, name: &FunctionName) -> Result<TrafficSplit> {
    let function = context.control.store().function(&context.tenant(), name).await?;
    Ok(function.ok_or_else(|| StoreError::NoFunction(name.clone()))?.traffic)
}

fn revision_number(text: &str) -> std::result::Result<RevisionNumber, Problem> {
    text.parse().map_err(|_| {
        let shown: String = text.chars().take(40).collect();
        Problem::new(Code::InvalidInput, format!("`{shown}` is not the number of a revision")).at("revision")
    })
}
