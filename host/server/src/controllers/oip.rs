//! The addresses of the Open Inference Protocol: at the root, where a model is a function of the
//! caller's tenant and a version is a revision, and below the address of a function that is a model
//! alone.

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode};
use modelet_control::Identity;
use modelet_engine::Failure;
use modelet_runtime::{Answer, Routed, TensorBody, TensorCall, TensorCodec};
use modelet_types::{Code, FunctionName, Permission, Problem, RevisionNumber, TenantName};
use serde::Serialize;

use crate::caller::Caller;
use crate::context::Context;
use crate::controllers::invoke::{self, describe};
use crate::controllers::revisions::revision_number;
use crate::oip::{self, EXTENSIONS, RestCodec, TensorMetadata};

/// What an address asks for.
#[derive(Debug, PartialEq)]
enum Endpoint<'p> {
    Server,
    Live,
    Ready,
    Index,
    Load { model: &'p str },
    Unload { model: &'p str },
    Model { model: &'p str, version: Option<&'p str>, ask: Ask },
}

/// What is asked of a model.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ask {
    Metadata,
    Ready,
    Infer,
}

impl<'p> Endpoint<'p> {
    /// What `path` names, which begins after `/v2`.
    fn parse(method: &Method, path: &'p str) -> Result<Self, Problem> {
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        let (wanted, endpoint) = match segments[..] {
            [] => (Method::GET, Self::Server),
            ["health", "live"] => (Method::GET, Self::Live),
            ["health", "ready"] => (Method::GET, Self::Ready),
            ["repository", "index"] => (Method::POST, Self::Index),
            ["repository", "models", model, "load"] => (Method::POST, Self::Load { model }),
            ["repository", "models", model, "unload"] => (Method::POST, Self::Unload { model }),
            ["models", model, ref rest @ ..] => {
                let (version, rest) = match *rest {
                    ["versions", version, ref rest @ ..] => (Some(version), rest),
                    ref rest => (None, rest),
                };
                let (method, ask) = match rest {
                    [] => (Method::GET, Ask::Metadata),
                    ["ready"] => (Method::GET, Ask::Ready),
                    ["infer"] => (Method::POST, Ask::Infer),
                    _ => return Err(unknown(path)),
                };
                (method, Self::Model { model, version, ask })
            }
            _ => return Err(unknown(path)),
        };
        if *method == wanted || (wanted == Method::GET && *method == Method::HEAD) {
            return Ok(endpoint);
        }
        let shown: String = path.chars().take(200).collect();
        Err(Problem::new(Code::MethodNotAllowed, format!("/v2{shown} takes {wanted}, not {method}")))
    }
}

fn unknown(path: &str) -> Problem {
    let shown: String = path.chars().take(200).collect();
    let detail = format!(
        "there is nothing at /v2{shown}: the Open Inference Protocol has /v2/models/MODEL[/versions/VERSION] \
         and below it /ready and /infer"
    );
    Problem::new(Code::NotFound, detail)
}

/// Answers at the root.
pub(crate) async fn root(State(context): State<Context>, caller: Caller, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let path = path.strip_prefix("/v2").unwrap_or_default();
    let answer = async {
        match Endpoint::parse(request.method(), path)? {
            Endpoint::Index => Ok(Json(index(&context, &caller)?).into_response()),
            Endpoint::Load { model } => load(&context, &caller, model).await.map(|()| done()),
            Endpoint::Unload { model } => unload(&context, &caller, model).await.map(|()| done()),
            Endpoint::Model { model, version, ask: Ask::Infer } => {
                Ok(infer(&context, find(&context, &caller, model, version), request).await)
            }
            Endpoint::Model { model, version, ask } => {
                let routed = find(&context, &caller, model, version)?;
                answer(&context, routed, ask, request).await
            }
            endpoint @ (Endpoint::Live | Endpoint::Ready) => Ok(of_server(&context, &endpoint)),
            Endpoint::Server => {
                caller.known()?;
                Ok(of_server(&context, &Endpoint::Server))
            }
        }
    };
    answer.await.unwrap_or_else(|problem: Problem| oip::error(&problem))
}

/// Answers below the address of a function that is a model alone: `path` follows that address. What is
/// posted to the address itself is inference too.
pub(crate) async fn of_function(
    context: &Context,
    caller: &Caller,
    routed: Routed,
    path: &str,
    request: Request,
) -> Response {
    let answer = async {
        let below = path.strip_prefix("/v2").filter(|rest| rest.is_empty() || rest.starts_with('/'));
        let Some(below) = below else {
            let ask = match *request.method() {
                Method::POST if path == "/" => Ask::Infer,
                Method::GET if path == "/" => Ask::Metadata,
                _ => return Err(not_here(path)),
            };
            return answer(context, routed, ask, request).await;
        };
        match Endpoint::parse(request.method(), below)? {
            Endpoint::Model { model, version, ask } if model == routed.function().as_str() => {
                let routed = match version {
                    Some(version) => {
                        let tenant = routed.tenant().as_str();
                        let version = Some(revision_number(version)?);
                        // That anybody may call one revision says nothing of another.
                        caller.admit(tenant, model, context.runtime.find(tenant, model, version))?
                    }
                    None => routed,
                };
                answer(context, routed, ask, request).await
            }
            endpoint @ (Endpoint::Server | Endpoint::Live | Endpoint::Ready) => {
                Ok(of_server(context, &endpoint))
            }
            _ => Err(not_here(path)),
        }
    };
    answer.await.unwrap_or_else(|problem: Problem| oip::error(&problem))
}

/// What the server says of itself.
fn of_server(context: &Context, endpoint: &Endpoint<'_>) -> Response {
    match endpoint {
        Endpoint::Live => Json(Live { live: true }).into_response(),
        Endpoint::Ready => server_ready(context),
        _ => Json(Server::here()).into_response(),
    }
}

fn not_here(path: &str) -> Problem {
    let shown: String = path.chars().take(200).collect();
    let detail = format!(
        "there is no {shown} here: this function is a model without a handler, which takes POST of an \
         inference request, or what the Open Inference Protocol has below v2/"
    );
    Problem::new(Code::NotFound, detail)
}

/// The revision of a function of the caller's tenant that is meant by a model and its version.
pub(super) fn find(
    context: &Context,
    caller: &Caller,
    model: &str,
    version: Option<&str>,
) -> Result<Routed, Problem> {
    let tenant = caller.known()?.tenant.as_str();
    let version = version.map(revision_number).transpose()?;
    caller.admit(tenant, model, context.runtime.find(tenant, model, version))
}

async fn answer(context: &Context, routed: Routed, ask: Ask, request: Request) -> Result<Response, Problem> {
    match ask {
        Ask::Metadata => Ok(Json(metadata(context, &routed)?).into_response()),
        Ask::Ready => {
            model_of(&routed)?;
            // What sleeps wakes with a request, so all that is active is ready.
            Ok(Json(ModelReady { name: routed.function().as_str(), ready: true }).into_response())
        }
        Ask::Infer => Ok(infer(context, Ok(routed), request).await),
    }
}

/// Answers a call of the model that it was routed to, or says why it was not.
async fn infer(context: &Context, routed: Result<Routed, Problem>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let timed = invoke::is_timed(&parts.headers);
    let call = TensorCall { body: TensorBody::Coming(body), timeout: None, timed };
    let codec = |model, version| RestCodec::new(model, version, parts.headers);
    let answer = call_model(context, routed, call, codec).await;
    let mut response = match answer.result {
        Ok(reply) => invoke::response(reply),
        Err(failure) => oip::error(&problem_of(failure)),
    };
    describe(response.headers_mut(), answer.invocation, answer.revision, answer.wake, &answer.stages);
    response
}

/// Calls the model that a request was routed to, in a protocol whose codec for it `codec` makes; or says why
/// it was not routed to one.
pub(super) async fn call_model<C: TensorCodec>(
    context: &Context,
    routed: Result<Routed, Problem>,
    call: TensorCall<Body>,
    codec: impl FnOnce(FunctionName, RevisionNumber) -> C,
) -> Answer {
    match routed.and_then(|routed| model_of(&routed).map(drop).map(|()| routed)) {
        Ok(routed) => {
            let codec = codec(routed.function().clone(), routed.revision());
            context.runtime.infer(routed, call, codec).await
        }
        Err(problem) => Answer::refused(problem),
    }
}

/// Why there is no answer, whoever says so.
pub(super) fn problem_of(failure: Failure) -> Problem {
    match failure {
        Failure::Host(problem) => problem,
        Failure::Handler(error) => Problem::new(Code::HandlerError, error.detail),
    }
}

/// The model of a function without a handler.
pub(super) fn model_of(routed: &Routed) -> Result<(&'static str, &modelet_types::Signature), Problem> {
    match routed.model() {
        Some((backend, signature)) => Ok((backend.as_str(), signature)),
        None => {
            let name = routed.function();
            let detail = format!(
                "function `{name}` has a handler, which takes HTTP requests at its own address and no tensors"
            );
            Err(Problem::new(Code::InvalidInput, detail).at("model_name"))
        }
    }
}

/// What is answered where there is nothing to say.
fn done() -> Response {
    Json(serde_json::Map::new()).into_response()
}

/// What the server is.
#[derive(Serialize)]
pub(super) struct Server {
    pub(super) name: &'static str,
    pub(super) version: &'static str,
    pub(super) extensions: [&'static str; EXTENSIONS.len()],
}

impl Server {
    pub(super) fn here() -> Self {
        Self { name: "modelet", version: env!("CARGO_PKG_VERSION"), extensions: EXTENSIONS }
    }
}

#[derive(Serialize)]
struct Live {
    live: bool,
}

#[derive(Serialize)]
struct Ready {
    ready: bool,
}

#[derive(Serialize)]
struct ModelReady<'a> {
    name: &'a str,
    ready: bool,
}

fn server_ready(context: &Context) -> Response {
    let ready = !*context.stopping.borrow();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Ready { ready })).into_response()
}

/// What a model takes and gives.
#[derive(Serialize)]
pub(super) struct Metadata {
    pub(super) name: FunctionName,
    /// The revisions that can be called.
    pub(super) versions: Vec<String>,
    pub(super) platform: String,
    pub(super) inputs: Vec<TensorMetadata>,
    pub(super) outputs: Vec<TensorMetadata>,
}

pub(super) fn metadata(context: &Context, routed: &Routed) -> Result<Metadata, Problem> {
    let (backend, signature) = model_of(routed)?;
    let name = routed.function().clone();
    let versions = models(context, routed.tenant(), name.as_str());
    Ok(Metadata {
        versions: versions.iter().map(|routed| routed.revision().to_string()).collect(),
        platform: format!("{backend}_onnx"),
        inputs: signature.inputs.iter().map(TensorMetadata::from).collect(),
        outputs: signature.outputs.iter().map(TensorMetadata::from).collect(),
        name,
    })
}

/// The revisions of a function that can be called and are models alone.
fn models(context: &Context, tenant: &TenantName, function: &str) -> Vec<Routed> {
    let active = context.runtime.active(tenant.as_str(), function).into_iter();
    active.filter(|routed| !routed.has_handler()).collect()
}

/// A line of the list of models.
#[derive(Serialize)]
pub(super) struct IndexEntry {
    pub(super) name: FunctionName,
    pub(super) version: String,
    pub(super) state: &'static str,
    pub(super) reason: &'static str,
}

/// The active revisions of every function that is a model alone. All of them are ready, so that what a
/// request for only those says makes no difference.
pub(super) fn index(context: &Context, caller: &Caller) -> Result<Vec<IndexEntry>, Problem> {
    let identity = caller.may(Permission::Invoke)?;
    let entry = |routed: Routed| IndexEntry {
        name: routed.function().clone(),
        version: routed.revision().to_string(),
        state: "READY",
        reason: "",
    };
    let names = context.runtime.functions(identity.tenant.as_str());
    let names = names.iter().map(FunctionName::as_str).filter(|name| identity.covers(name));
    Ok(names.flat_map(|name| models(context, &identity.tenant, name)).map(entry).collect())
}

/// The revisions of a function as [`models`] gives them, of which there is one.
fn some_models(context: &Context, caller: &Caller, model: &str) -> Result<Vec<Routed>, Problem> {
    let (Identity { tenant, .. }, name) = caller.may_with(Permission::Deploy, model)?;
    let models = models(context, tenant, name.as_str());
    if models.is_empty() {
        model_of(&context.runtime.find(tenant.as_str(), name.as_str(), None)?)?;
    }
    Ok(models)
}

/// Loads a model into memory before its first request.
pub(super) async fn load(context: &Context, caller: &Caller, model: &str) -> Result<(), Problem> {
    for routed in some_models(context, caller, model)? {
        context.runtime.load_now(&routed).await?;
    }
    Ok(())
}

/// Drops a model from memory. It stays callable: the next request loads it again.
pub(super) async fn unload(context: &Context, caller: &Caller, model: &str) -> Result<(), Problem> {
    for routed in some_models(context, caller, model)? {
        context.runtime.unload(&routed).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_of_the_protocol() {
        let parse = |method, path| Endpoint::parse(&method, path).map_err(|problem| problem.code);
        let model = |version, ask| Ok(Endpoint::Model { model: "m", version, ask });
        assert_eq!(parse(Method::GET, ""), Ok(Endpoint::Server));
        assert_eq!(parse(Method::GET, "/models/m"), model(None, Ask::Metadata));
        assert_eq!(parse(Method::HEAD, "/models/m/ready"), model(None, Ask::Ready));
        assert_eq!(parse(Method::POST, "/models/m/versions/3/infer"), model(Some("3"), Ask::Infer));
        assert_eq!(parse(Method::GET, "/models/m/versions/3"), model(Some("3"), Ask::Metadata));
        assert_eq!(parse(Method::POST, "/repository/models/m/load"), Ok(Endpoint::Load { model: "m" }));
        assert_eq!(parse(Method::GET, "/models/m/infer"), Err(Code::MethodNotAllowed));
        assert_eq!(parse(Method::POST, "/models/m/explain"), Err(Code::NotFound));
        assert_eq!(parse(Method::GET, "/models"), Err(Code::NotFound));
    }
}
