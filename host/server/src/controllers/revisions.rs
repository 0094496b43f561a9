//! Revisions: created from a manifest, listed, shown, deleted.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::StreamExt;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use modelet_control::{Deploy, DeployEvent, Deployed};
use modelet_store::{Actor, Function, Revision, StoreError};
use modelet_types::outbound::OutboundRule;
use modelet_types::{Code, FunctionName, Permission, Problem, RevisionNumber, RevisionSpec, TenantName};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::task::AbortOnDropHandle;
use utoipa::{IntoParams, ToSchema};

use crate::caller::{Caller, check_covers};
use crate::context::Context;
use crate::deploys::Place;
use crate::extract::conditional::{IdempotencyKey, IfMatch};
use crate::extract::page::{self, PageParams};
use crate::extract::{Path, Query, conditional, from_json, json_body};
use crate::problem::{ProblemBody, ProblemResponse, Result};

const NDJSON: &str = "application/x-ndjson";

/// The largest manifest. Golden outputs are in it.
const MAX_MANIFEST_BYTES: usize = 16 << 20;

/// A revision.
#[derive(Serialize, ToSchema)]
pub(crate) struct RevisionBody {
    /// Which function it belongs to.
    function: FunctionName,
    /// Its number within the function.
    revision: RevisionNumber,
    /// Whether it takes calls.
    active: bool,
    /// The activation that waits for a second person to give it calls; `null`: none.
    pending: Option<u64>,
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
    fn of(revision: Revision, function: &Function) -> Self {
        let is_active = function.traffic.names(revision.number);
        let pending = function.pending.as_ref().filter(|pending| pending.traffic.names(revision.number));
        Deployed { is_active, pending: pending.map(|pending| pending.id), revision }.into()
    }
}

impl From<Deployed> for RevisionBody {
    fn from(deployed: Deployed) -> Self {
        let Deployed { revision, is_active: active, pending } = deployed;
        let Revision { function, number, spec, details, created_at, created_by } = revision;
        Self { function, revision: number, active, pending, created_at, created_by, spec, details }
    }
}

/// Revisions of a function.
#[derive(Serialize, ToSchema)]
pub(crate) struct RevisionsBody {
    /// Newest first.
    revisions: Vec<RevisionBody>,
    /// What to ask for next with `after`; `null` if these are the last.
    next: Option<RevisionNumber>,
}

/// How a revision is created.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateParams {
    /// Whether the revision takes all calls at once, or once a second person approves where the function needs
    /// one.
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
    Failed { problem: Box<ProblemBody> },
}

/// Creates a revision: checks the manifest, compiles the handler, loads the models and runs their
/// golden outputs. With `accept: application/x-ndjson` the answer is a line of JSON per step, of
/// which the last is `done` or `failed`. A client that leaves ends the deploy, unless the revision is
/// stored already.
#[utoipa::path(post, path = "/api/v1/functions/{function}/revisions", tag = "revisions",
    params(("function" = inline(FunctionName), Path), CreateParams, IfMatch, IdempotencyKey),
    request_body = RevisionSpec,
    responses(
        (status = 200, description = "the steps, if asked for", content_type = "application/x-ndjson"),
        (status = 201, body = RevisionBody),
        (status = 404, body = ProblemBody, description = "an artifact has not been uploaded"),
        (status = 422, body = ProblemBody, description = "manifest, component or a model is not valid"),
        (status = 503, body = ProblemBody, description = "as many deploys as may be are under way"),
    ))]
pub(crate) async fn create(
    State(context): State<Context>,
    caller: Caller,
    Path(name): Path<String>,
    Query(params): Query<CreateParams>,
    parts: Parts,
    body: Body,
) -> Result<Response> {
    let (identity, function) = caller.may_with(Permission::Deploy, &name)?;
    // Before the manifest is received, so that its memory counts.
    let place = context.deploys.take(&identity.tenant)?;
    let idle_timeout = context.config.body_idle_timeout();
    let manifest = json_body(&parts.headers, body, MAX_MANIFEST_BYTES, idle_timeout).await?;
    let request = conditional::request(&parts, &manifest)?;
    let precondition = conditional::precondition(&parts.headers)?;
    let spec: RevisionSpec = off_the_loop(move || from_json(&manifest, Code::InvalidManifest)).await??;
    for (index, called) in spec.outbound.iter().map(OutboundRule::function).enumerate() {
        // What a handler may call, whoever deploys it can call by it.
        called.map_or(Ok(()), |called| check_covers(identity, called)).map_err(|problem| {
            Problem::new(problem.code, format!("{}, and what it deploys may call no other", problem.detail))
                .at(format!("outbound[{index}]"))
        })?;
    }
    let deploy = Deploy {
        actor: identity.actor.clone().with_request(request),
        tenant: identity.tenant.clone(),
        function,
        spec,
        activate: params.activate,
        precondition,
    };
    if parts.headers.get(ACCEPT).is_some_and(|accept| accept == NDJSON) {
        return Ok(followed(context, deploy, place));
    }
    let creating = AbortOnDropHandle::new(tokio::spawn(async move {
        let _place = place;
        let revision = created(&context, deploy, Arc::new(|_| {})).await?;
        Result::Ok(off_the_loop(move || json_text(&revision)).await?)
    }));
    let body = creating.await.map_err(broken_off)??;
    Ok((StatusCode::CREATED, [(CONTENT_TYPE, "application/json")], body).into_response())
}

async fn created(
    context: &Context,
    deploy: Deploy,
    progress: Arc<dyn Fn(DeployEvent) + Send + Sync>,
) -> Result<RevisionBody> {
    Ok(context.control.deploy(deploy, progress).await?.into())
}

/// A deploy as a stream of its steps. It ends when the client leaves.
fn followed(context: Context, deploy: Deploy, place: Place) -> Response {
    // Unbounded, but a deploy has only so many steps.
    let (sender, lines) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let _place = place;
        let progress = sender.clone();
        let progress = move |event: DeployEvent| {
            let _ = progress.send(line(&event));
        };
        let created = tokio::select! {
            created = created(&context, deploy, Arc::new(progress)) => created,
            () = sender.closed() => return,
        };
        let last = match created {
            Ok(revision) => LastEvent::Done { revision: Box::new(revision) },
            Err(ProblemResponse(problem)) => LastEvent::Failed { problem: Box::new(problem) },
        };
        if let Ok(last) = off_the_loop(move || line(&last)).await {
            let _ = sender.send(last);
        }
    });
    let body = Body::from_stream(UnboundedReceiverStream::new(lines).map(Ok::<_, std::convert::Infallible>));
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(NDJSON));
    response
}

fn line(event: &impl Serialize) -> Bytes {
    let mut line = json_text(event);
    line.push(b'\n');
    line.into()
}

fn json_text(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("events and revisions are text and numbers")
}

/// Does what takes long with a manifest of megabytes where no request waits for it.
async fn off_the_loop<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> std::result::Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(broken_off)
}

fn broken_off(error: tokio::task::JoinError) -> Problem {
    tracing::error!(%error, "a deploy broke off");
    Problem::new(Code::Internal, "the deploy broke off; the host's log has the reason")
}

/// Revisions of a function, newest first.
#[utoipa::path(get, path = "/api/v1/functions/{function}/revisions", tag = "revisions",
    params(("function" = inline(FunctionName), Path), PageParams<RevisionNumber>),
    responses((status = 200, body = RevisionsBody), (status = 404, body = ProblemBody)))]
pub(crate) async fn list(
    State(context): State<Context>,
    caller: Caller,
    Path(name): Path<String>,
    Query(params): Query<PageParams<RevisionNumber>>,
) -> Result<Json<RevisionsBody>> {
    let (identity, name) = caller.may_with(Permission::Read, &name)?;
    let page = params.page()?;
    let function = function(&context, &identity.tenant, &name).await?;
    let more = page::and_one_more(&page);
    let mut revisions = context.control.store().revisions(&identity.tenant, &name, &more).await?;
    let next = page::cut(&mut revisions, page.limit, |revision| revision.number);
    let body = |revision| RevisionBody::of(revision, &function);
    let revisions = revisions.into_iter().map(body).collect();
    Ok(Json(RevisionsBody { revisions, next }))
}

/// One revision.
#[utoipa::path(get, path = "/api/v1/functions/{function}/revisions/{revision}", tag = "revisions",
    params(("function" = inline(FunctionName), Path), ("revision" = inline(RevisionNumber), Path)),
    responses((status = 200, body = RevisionBody), (status = 404, body = ProblemBody)))]
pub(crate) async fn show(
    State(context): State<Context>,
    caller: Caller,
    Path((name, number)): Path<(String, String)>,
) -> Result<Json<RevisionBody>> {
    let (identity, name) = caller.may_with(Permission::Read, &name)?;
    let number = revision_number(&number)?;
    let function = function(&context, &identity.tenant, &name).await?;
    let revision = context.control.store().revision(&identity.tenant, &name, number).await?;
    let revision = revision.ok_or(StoreError::NoRevision(name, number))?;
    Ok(Json(RevisionBody::of(revision, &function)))
}

/// Deletes a revision that takes no calls.
#[utoipa::path(delete, path = "/api/v1/functions/{function}/revisions/{revision}", tag = "revisions",
    params(("function" = inline(FunctionName), Path), ("revision" = inline(RevisionNumber), Path)),
    responses((status = 204), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub(crate) async fn delete(
    State(context): State<Context>,
    caller: Caller,
    Path((name, number)): Path<(String, String)>,
) -> Result<StatusCode> {
    let (identity, name) = caller.may_with(Permission::Deploy, &name)?;
    let number = revision_number(&number)?;
    context.control.delete_revision(&identity.actor, &identity.tenant, &name, number).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn function(context: &Context, tenant: &TenantName, name: &FunctionName) -> Result<Function> {
    let function = context.control.store().function(tenant, name).await?;
    Ok(function.ok_or_else(|| StoreError::NoFunction(name.clone()))?)
}

pub(crate) fn revision_number(text: &str) -> std::result::Result<RevisionNumber, Problem> {
    text.parse().map_err(|_| {
        let shown: String = text.chars().take(40).collect();
        Problem::new(Code::InvalidInput, format!("`{shown}` is not the number of a revision")).at("revision")
    })
}
