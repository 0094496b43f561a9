//! The addresses of the Open Inference Protocol: at the root, where a model is a function of the
//! caller's tenant and a version is a revision, and below the address of a function that takes
//! tensors: a model alone, or a handler in tensors.

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode};
use modelet_control::Identity;
use modelet_runtime::{Answer, Routed, TensorBody, TensorCall, TensorCodec};
use modelet_types::{Code, FunctionName, Permission, Problem, RevisionNumber, Signature, TenantName};
use serde::Serialize;

use crate::caller::Caller;
use crate::context::Context;
use crate::controllers::invoke::{self, describe};
use crate::controllers::revisions::revision_number;
use crate::oip::{
    self, EXTENSIONS, ModelConfig, ModelStatistics, ModelStatisticsResponse, RestCodec, TensorMetadata,
};

/// What is at an address.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Endpoint {
    Server,
    Live,
    Ready,
    Index,
    Load,
    Unload,
    /// Of all models, or of one.
    Statistics,
    Model(Ask),
}

/// What is asked of a model.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ask {
    Metadata,
    Ready,
    Config,
    Infer,
}

/// Where the protocol's own addresses begin.
const PREFIX: &str = "/v2";

/// Every address of the protocol: with which method, where below [`PREFIX`], and what is there.
const ADDRESSES: [(Method, &str, Endpoint); 17] = [
    (Method::POST, "/models/{model}/infer", Endpoint::Model(Ask::Infer)),
    (Method::POST, "/models/{model}/versions/{version}/infer", Endpoint::Model(Ask::Infer)),
    // Before that of a model, which may be called so.
    (Method::GET, "/models/stats", Endpoint::Statistics),
    (Method::GET, "/models/{model}/stats", Endpoint::Statistics),
    (Method::GET, "/models/{model}/versions/{version}/stats", Endpoint::Statistics),
    (Method::GET, "/models/{model}", Endpoint::Model(Ask::Metadata)),
    (Method::GET, "/models/{model}/versions/{version}", Endpoint::Model(Ask::Metadata)),
    (Method::GET, "/models/{model}/ready", Endpoint::Model(Ask::Ready)),
    (Method::GET, "/models/{model}/versions/{version}/ready", Endpoint::Model(Ask::Ready)),
    (Method::GET, "/models/{model}/config", Endpoint::Model(Ask::Config)),
    (Method::GET, "/models/{model}/versions/{version}/config", Endpoint::Model(Ask::Config)),
    (Method::GET, "", Endpoint::Server),
    (Method::GET, "/health/live", Endpoint::Live),
    (Method::GET, "/health/ready", Endpoint::Ready),
    (Method::POST, "/repository/index", Endpoint::Index),
    (Method::POST, "/repository/models/{model}/load", Endpoint::Load),
    (Method::POST, "/repository/models/{model}/unload", Endpoint::Unload),
];

/// The addresses of the protocol, each with its method.
pub(crate) fn addresses() -> impl Iterator<Item = (Method, String)> {
    ADDRESSES.iter().map(|(method, below, _)| (method.clone(), format!("{PREFIX}{below}")))
}

/// An address that was asked for.
#[derive(Debug, PartialEq)]
struct Address<'p> {
    endpoint: Endpoint,
    /// Empty where the endpoint is not about a model.
    model: &'p str,
    version: Option<&'p str>,
}

impl<'p> Address<'p> {
    /// What `path` names, which begins after [`PREFIX`].
    fn parse(method: &Method, path: &'p str) -> Result<Self, Problem> {
        let segments: Vec<&str> = segments(path).collect();
        let mut other = None;
        for (wanted, below, endpoint) in &ADDRESSES {
            let Some((model, version)) = names_in(&segments, below) else { continue };
            if method == wanted || (*wanted == Method::GET && *method == Method::HEAD) {
                return Ok(Self { endpoint: *endpoint, model, version });
            }
            other = Some(wanted);
        }
        let wanted = other.ok_or_else(|| unknown(path))?;
        let shown: String = path.chars().take(200).collect();
        Err(Problem::new(Code::MethodNotAllowed, format!("{PREFIX}{shown} takes {wanted}, not {method}")))
    }
}

/// A name, unless none is given.
pub(super) fn given(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

/// The parts of a path, which may end in a slash or not.
fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|segment| !segment.is_empty())
}

/// The model and the version that `path` names, if it is an address like `template`.
fn names_in<'p>(path: &[&'p str], template: &str) -> Option<(&'p str, Option<&'p str>)> {
    let (mut model, mut version) = ("", None);
    let mut path = path.iter();
    for part in segments(template) {
        let segment = *path.next()?;
        match part {
            "{model}" => model = segment,
            "{version}" => version = Some(segment),
            _ if part == segment => {}
            _ => return None,
        }
    }
    path.next().is_none().then_some((model, version))
}

fn unknown(path: &str) -> Problem {
    let shown: String = path.chars().take(200).collect();
    let detail = format!(
        "there is nothing at {PREFIX}{shown}: the Open Inference Protocol has /v2/models/MODEL[/versions/VERSION] \
         and below it /ready, /config, /stats and /infer"
    );
    Problem::new(Code::NotFound, detail)
}

/// Answers at the root.
pub(crate) async fn root(State(context): State<Context>, caller: Caller, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let path = path.strip_prefix(PREFIX).unwrap_or_default();
    let answer = async {
        let Address { endpoint, model, version } = Address::parse(request.method(), path)?;
        match endpoint {
            Endpoint::Index => Ok(Json(index(&context, &caller)?).into_response()),
            Endpoint::Load => load(&context, &caller, model).await.map(|()| done()),
            Endpoint::Unload => unload(&context, &caller, model).await.map(|()| done()),
            Endpoint::Statistics => {
                Ok(Json(statistics(&context, &caller, given(model), version)?).into_response())
            }
            Endpoint::Model(Ask::Infer) => {
                Ok(infer(&context, find(&context, &caller, model, version), request).await)
            }
            Endpoint::Model(ask) => {
                let routed = find(&context, &caller, model, version)?;
                answer(&context, routed, ask, request).await
            }
            Endpoint::Live | Endpoint::Ready => Ok(of_server(&context, endpoint)),
            Endpoint::Server => {
                caller.known()?;
                Ok(of_server(&context, endpoint))
            }
        }
    };
    answer.await.unwrap_or_else(|problem: Problem| oip::error(&problem))
}

/// Answers below the address of a function that takes tensors: `path` follows that address. What is
/// posted to the address itself is inference too.
pub(crate) async fn of_function(
    context: &Context,
    caller: &Caller,
    routed: Routed,
    path: &str,
    request: Request,
) -> Response {
    let answer = async {
        let below = path.strip_prefix(PREFIX).filter(|rest| rest.is_empty() || rest.starts_with('/'));
        let Some(below) = below else {
            let ask = match *request.method() {
                Method::POST if path == "/" => Ask::Infer,
                Method::GET if path == "/" => Ask::Metadata,
                _ => return Err(not_here(path)),
            };
            return answer(context, routed, ask, request).await;
        };
        let Address { endpoint, model, version } = Address::parse(request.method(), below)?;
        match endpoint {
            Endpoint::Model(ask) if model == routed.function().as_str() => {
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
            Endpoint::Server | Endpoint::Live | Endpoint::Ready => Ok(of_server(context, endpoint)),
            _ => Err(not_here(path)),
        }
    };
    answer.await.unwrap_or_else(|problem: Problem| oip::error(&problem))
}

/// What the server says of itself.
fn of_server(context: &Context, endpoint: Endpoint) -> Response {
    match endpoint {
        Endpoint::Live => Json(Live { live: true }).into_response(),
        Endpoint::Ready => server_ready(context),
        _ => Json(Server::here()).into_response(),
    }
}

fn not_here(path: &str) -> Problem {
    let shown: String = path.chars().take(200).collect();
    let detail = format!(
        "there is no {shown} here: this function takes tensors, by POST of an inference request, or what the Open \
         Inference Protocol has below v2/"
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
        Ask::Config => Ok(Json(config(context, &routed)?).into_response()),
        Ask::Ready => {
            signature_of(&routed)?;
            // What sleeps wakes with a request, so all that is active is ready.
            Ok(Json(ModelReady { name: routed.function().as_str(), ready: true }).into_response())
        }
        Ask::Infer => Ok(infer(context, Ok(routed), request).await),
    }
}

/// Answers a call of the model that it was routed to, or says why it was not.
async fn infer(context: &Context, routed: Result<Routed, Problem>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let timed = invoke::is_timed(&parts.headers);
    let origin = parts.extensions.remove();
    let call = TensorCall { body: TensorBody::Coming(body), timeout: None, timed, origin };
    let codec = |model, version| RestCodec::new(model, version, parts.headers);
    let answer = call_model(context, routed, call, codec).await;
    let mut response = match answer.result {
        Ok(reply) => invoke::response(reply),
        Err(failure) => oip::failure(&failure),
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
    match routed.and_then(|routed| signature_of(&routed).map(drop).map(|()| routed)) {
        Ok(routed) => {
            let codec = codec(routed.function().clone(), routed.revision());
            context.runtime.infer(routed, call, codec).await
        }
        Err(problem) => Answer::refused(problem),
    }
}

/// What a function takes and gives, if that is tensors.
pub(super) fn signature_of(routed: &Routed) -> Result<&Signature, Problem> {
    match routed.signature() {
        Some(signature) => Ok(signature),
        None => {
            let name = routed.function();
            let detail = format!(
                "function `{name}` has a handler of HTTP, which takes requests at its own address and no tensors"
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
    let signature = signature_of(routed)?;
    let name = routed.function().clone();
    let versions = models(context, routed.tenant(), name.as_str());
    Ok(Metadata {
        versions: versions.iter().map(|routed| routed.revision().to_string()).collect(),
        platform: platform(routed),
        inputs: signature.inputs.iter().map(TensorMetadata::from).collect(),
        outputs: signature.outputs.iter().map(TensorMetadata::from).collect(),
        name,
    })
}

/// What runs a function in tensors and what it is, in one word, as the protocol has it.
fn platform(routed: &Routed) -> String {
    routed.model().map_or_else(|| "modelet_wasm".into(), |key| format!("{}_onnx", key.backend.as_str()))
}

/// How a model is run.
pub(super) fn config(context: &Context, routed: &Routed) -> Result<ModelConfig, Problem> {
    let signature = signature_of(routed)?;
    let versions = models(context, routed.tenant(), routed.function().as_str());
    let versions = versions.iter().map(Routed::revision).collect();
    Ok(ModelConfig::new(routed.function(), platform(routed), routed.model(), signature, versions))
}

/// What the calls of a function's active revisions came to, or of one of these; of every function's that the
/// key is for, if none is named.
pub(super) fn statistics(
    context: &Context,
    caller: &Caller,
    model: Option<&str>,
    version: Option<&str>,
) -> Result<ModelStatisticsResponse, Problem> {
    let mut found = match model {
        Some(model) => some_models(context, caller.may_with(Permission::Read, model)?)?,
        None => all_models(context, caller.may(Permission::Read)?),
    };
    if let (Some(model), Some(version)) = (model, version) {
        let number = revision_number(version)?;
        found.retain(|routed| routed.revision() == number);
        if found.is_empty() {
            // Says why it is not there.
            let tenant = caller.known()?.tenant.as_str();
            signature_of(&context.runtime.find(tenant, model, Some(number))?)?;
        }
    }
    let model_stats = found
        .iter()
        .map(|routed| ModelStatistics::new(routed.function(), routed.revision(), &routed.statistics()))
        .collect();
    Ok(ModelStatisticsResponse { model_stats })
}

/// The revisions that can be called and take tensors, of every function that the caller's key is for.
fn all_models(context: &Context, identity: &Identity) -> Vec<Routed> {
    let names = context.runtime.functions(identity.tenant.as_str());
    let names = names.iter().map(FunctionName::as_str).filter(|name| identity.covers(name));
    names.flat_map(|name| models(context, &identity.tenant, name)).collect()
}

/// The revisions of a function that can be called and take tensors.
fn models(context: &Context, tenant: &TenantName, function: &str) -> Vec<Routed> {
    let active = context.runtime.active(tenant.as_str(), function).into_iter();
    active.filter(|routed| routed.signature().is_some()).collect()
}

/// A line of the list of models.
#[derive(Serialize)]
pub(super) struct IndexEntry {
    pub(super) name: FunctionName,
    pub(super) version: String,
    pub(super) state: &'static str,
    pub(super) reason: &'static str,
}

/// The active revisions of every function that takes tensors. All of them are ready, so that what a
/// request for only those says makes no difference.
pub(super) fn index(context: &Context, caller: &Caller) -> Result<Vec<IndexEntry>, Problem> {
    let identity = caller.may(Permission::Invoke)?;
    let entry = |routed: Routed| IndexEntry {
        name: routed.function().clone(),
        version: routed.revision().to_string(),
        state: "READY",
        reason: "",
    };
    Ok(all_models(context, identity).into_iter().map(entry).collect())
}

/// The revisions of a function as [`models`] gives them, of which there is one.
fn some_models(
    context: &Context,
    (Identity { tenant, .. }, name): (&Identity, FunctionName),
) -> Result<Vec<Routed>, Problem> {
    let models = models(context, tenant, name.as_str());
    if models.is_empty() {
        signature_of(&context.runtime.find(tenant.as_str(), name.as_str(), None)?)?;
    }
    Ok(models)
}

/// Loads a model into memory before its first request.
pub(super) async fn load(context: &Context, caller: &Caller, model: &str) -> Result<(), Problem> {
    for routed in some_models(context, caller.may_with(Permission::Deploy, model)?)? {
        context.runtime.load_now(&routed).await?;
    }
    Ok(())
}

/// Drops a model from memory. It stays callable: the next request loads it again.
pub(super) async fn unload(context: &Context, caller: &Caller, model: &str) -> Result<(), Problem> {
    for routed in some_models(context, caller.may_with(Permission::Deploy, model)?)? {
        context.runtime.unload(&routed).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_of_the_protocol() {
        let parse = |method, path| Address::parse(&method, path).map_err(|problem| problem.code);
        let at = |endpoint, model, version| Ok(Address { endpoint, model, version });
        let model = |version, ask| at(Endpoint::Model(ask), "m", version);
        assert_eq!(parse(Method::GET, ""), at(Endpoint::Server, "", None));
        assert_eq!(parse(Method::GET, "/"), at(Endpoint::Server, "", None));
        assert_eq!(parse(Method::GET, "/models/m"), model(None, Ask::Metadata));
        assert_eq!(parse(Method::HEAD, "/models/m/ready"), model(None, Ask::Ready));
        assert_eq!(parse(Method::POST, "/models/m/versions/3/infer"), model(Some("3"), Ask::Infer));
        assert_eq!(parse(Method::GET, "/models/m/versions/3"), model(Some("3"), Ask::Metadata));
        assert_eq!(parse(Method::POST, "/repository/models/m/load/"), at(Endpoint::Load, "m", None));
        assert_eq!(parse(Method::GET, "/models/m/infer"), Err(Code::MethodNotAllowed));
        for path in ["/models", "/models/m/versions", "/models/m/explain", "/models/m/infer/infer"] {
            assert_eq!(parse(Method::POST, path), Err(Code::NotFound), "{path}");
        }
    }
}
