//! The Open Inference Protocol over gRPC, at the same port: the same answers as in `controllers/oip.rs`.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::HeaderMap;
use http_body_util::Full;
use modelet_runtime::{Answer, AnswerBody, ArrivedBody, LARGE_BODY_BYTES, TensorBody, TensorCall};
use modelet_types::{Permission, Problem};
use prost::Message;
use tonic::Status;
use tonic::metadata::{KeyAndValueRef, MetadataMap};
use tonic::server::{Grpc, UnaryService};

use crate::caller::Caller;
use crate::context::Context;
use crate::controllers::invoke::{describe, is_timed};
use crate::controllers::oip;
use crate::oip::grpc::{
    Empty, GrpcCodec, LiveResponse, ModelConfigResponse, ModelIndex, ModelMetadataResponse, ModelRequest,
    RawCodec, ReadyResponse, RepositoryIndexResponse, RepositoryModelRequest, RepositoryModelResponse,
    ServerMetadataResponse, status, status_of_failure,
};

/// The most bytes of a message that is not for inference.
const MAX_QUESTION_BYTES: u64 = 64 << 10;

/// Bytes before a message that say how long it is (gRPC over HTTP/2, "Length-Prefixed-Message").
const PREFIX_BYTES: u64 = 5;

/// The name of the service, which is where its methods are.
const SERVICE: &str = "inference.GRPCInferenceService";

/// A method of the service.
#[derive(Clone, Copy)]
enum Method {
    ServerLive,
    ServerReady,
    ServerMetadata,
    ModelReady,
    ModelMetadata,
    ModelConfig,
    ModelStatistics,
    ModelInfer,
    RepositoryIndex,
    RepositoryModelLoad,
    RepositoryModelUnload,
}

/// Every method, by its name.
const METHODS: [(&str, Method); 11] = [
    ("ModelInfer", Method::ModelInfer),
    ("ModelReady", Method::ModelReady),
    ("ModelMetadata", Method::ModelMetadata),
    ("ModelConfig", Method::ModelConfig),
    ("ModelStatistics", Method::ModelStatistics),
    ("ServerLive", Method::ServerLive),
    ("ServerReady", Method::ServerReady),
    ("ServerMetadata", Method::ServerMetadata),
    ("RepositoryIndex", Method::RepositoryIndex),
    ("RepositoryModelLoad", Method::RepositoryModelLoad),
    ("RepositoryModelUnload", Method::RepositoryModelUnload),
];

/// The addresses of the service, each with its method in HTTP.
pub(crate) fn addresses() -> impl Iterator<Item = (http::Method, String)> {
    METHODS.iter().map(|(name, _)| (http::Method::POST, format!("/{SERVICE}/{name}")))
}

/// Answers a call of a method of the service.
pub(crate) async fn call(
    State(context): State<Context>,
    caller: Caller,
    Path(method): Path<String>,
    request: Request,
) -> Response {
    let (context, caller) = (&context, &caller);
    let Some((_, called)) = METHODS.iter().find(|(name, _)| *name == method) else {
        let shown: String = method.chars().take(80).collect();
        let detail = format!("this host does not have the method `{shown}`");
        return Status::unimplemented(detail).into_http();
    };
    match called {
        Method::ServerLive => ask(context, request, async |_: Empty| Ok(LiveResponse { live: true })).await,
        Method::ServerReady => {
            let ready = !*context.stopping.borrow();
            ask(context, request, async |_: Empty| Ok(ReadyResponse { ready })).await
        }
        Method::ServerMetadata => {
            ask(context, request, async |_: Empty| caller.known().map(|_| server_metadata())).await
        }
        Method::ModelReady => {
            ask(context, request, async |ModelRequest { name, version }| {
                // A model that is not there is not ready, which is no error here.
                caller.known()?;
                let routed = oip::find(context, caller, &name, oip::given(&version));
                Ok(ReadyResponse { ready: routed.is_ok_and(|routed| oip::signature_of(&routed).is_ok()) })
            })
            .await
        }
        Method::ModelMetadata => {
            ask(context, request, async |request| model_metadata(context, caller, request)).await
        }
        Method::ModelConfig => {
            ask(context, request, async |ModelRequest { name, version }| {
                let routed = oip::find(context, caller, &name, oip::given(&version))?;
                Ok(ModelConfigResponse { config: Some(oip::config(context, &routed)?) })
            })
            .await
        }
        Method::ModelStatistics => {
            ask(context, request, async |ModelRequest { name, version }| {
                oip::statistics(context, caller, oip::given(&name), oip::given(&version))
            })
            .await
        }
        Method::ModelInfer => infer(context, caller, request).await,
        Method::RepositoryIndex => ask(context, request, async |_: Empty| index(context, caller)).await,
        Method::RepositoryModelLoad => {
            ask(context, request, async |request: RepositoryModelRequest| {
                let model = request.model_name().to_owned();
                oip::load(context, caller, &model).await?;
                Ok(RepositoryModelResponse { model, is_done: true })
            })
            .await
        }
        Method::RepositoryModelUnload => {
            ask(context, request, async |request: RepositoryModelRequest| {
                let model = request.model_name().to_owned();
                oip::unload(context, caller, &model).await?;
                Ok(RepositoryModelResponse { model, is_done: true })
            })
            .await
        }
    }
}

fn server_metadata() -> ServerMetadataResponse {
    let oip::Server { name, version, extensions } = oip::Server::here();
    let extensions = extensions.map(str::to_owned).into();
    ServerMetadataResponse { name: name.into(), version: version.into(), extensions }
}

fn model_metadata(
    context: &Context,
    caller: &Caller,
    request: ModelRequest,
) -> Result<ModelMetadataResponse, Problem> {
    let ModelRequest { name, version } = request;
    let routed = oip::find(context, caller, &name, oip::given(&version))?;
    let oip::Metadata { name, versions, platform, inputs, outputs } = oip::metadata(context, &routed)?;
    Ok(ModelMetadataResponse {
        name: name.to_string(),
        versions,
        platform,
        inputs: inputs.into_iter().map(Into::into).collect(),
        outputs: outputs.into_iter().map(Into::into).collect(),
    })
}

fn index(context: &Context, caller: &Caller) -> Result<RepositoryIndexResponse, Problem> {
    let entry = |entry: oip::IndexEntry| ModelIndex {
        name: entry.name.to_string(),
        version: entry.version,
        state: entry.state.into(),
        reason: entry.reason.into(),
    };
    let models = oip::index(context, caller)?;
    Ok(RepositoryIndexResponse { models: models.into_iter().map(entry).collect() })
}

/// Answers a question of one message with another.
async fn ask<Q: Message + Default, A: Message>(
    context: &Context,
    request: Request,
    answer: impl AsyncFnOnce(Q) -> Result<A, Problem>,
) -> Response {
    unary(context, request, MAX_QUESTION_BYTES, async |ArrivedBody { bytes, .. }| {
        let question = Q::decode(bytes).map_err(|error| Status::invalid_argument(error.to_string()))?;
        let answer = answer(question).await.map_err(|problem| status(&problem))?;
        Ok(tonic::Response::new(answer.encode_to_vec().into()))
    })
    .await
}

async fn infer(context: &Context, caller: &Caller, request: Request) -> Response {
    // Before the message, which may be large, takes memory.
    if let Err(problem) = caller.may(Permission::Invoke) {
        return status(&problem).into_http();
    }
    let (timeout, timed) = (timeout_of(request.headers()), is_timed(request.headers()));
    unary(context, request, context.config.max_grpc_message_bytes, async |body| {
        let ModelRequest { name, version } = address_of(body.bytes.clone()).await?;
        let routed = oip::find(context, caller, &name, oip::given(&version));
        let call = TensorCall { body: TensorBody::Arrived(body), timeout, timed, origin: None };
        let answer = oip::call_model(context, routed, call, GrpcCodec::new).await;
        let Answer { invocation, revision, wake, stages, result } = answer;
        let mut response = match result.map(|reply| reply.body) {
            Ok(AnswerBody::Bytes(bytes)) => Ok(tonic::Response::new(bytes)),
            Ok(AnswerBody::Stream(_)) => Err(Status::internal("tensors do not stream")),
            Err(failure) => Err(status_of_failure(&failure)),
        };
        let metadata = match &mut response {
            Ok(response) => response.metadata_mut(),
            Err(status) => status.metadata_mut(),
        };
        let mut headers = HeaderMap::new();
        describe(&mut headers, invocation, revision, wake, &stages);
        let described = MetadataMap::from_headers(headers);
        for entry in described.iter() {
            if let KeyAndValueRef::Ascii(key, value) = entry {
                metadata.insert(key.clone(), value.clone());
            }
        }
        response
    })
    .await
}

/// Reads whose message it is, past all else that stands in it.
async fn address_of(message: Bytes) -> Result<ModelRequest, Status> {
    let read = |message: Bytes| {
        ModelRequest::decode(message).map_err(|error| Status::invalid_argument(error.to_string()))
    };
    if message.len() <= LARGE_BODY_BYTES {
        return read(message);
    }
    let reading = tokio::task::spawn_blocking(move || read(message));
    reading.await.map_err(|error| Status::internal(format!("reading the message failed: {error}")))?
}

/// The most digits of a timeout.
const MAX_TIMEOUT_DIGITS: usize = 8;

/// How long the caller waits, if it says (gRPC over HTTP/2, "Timeout").
fn timeout_of(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = number.parse().ok().filter(|_| number.len() <= MAX_TIMEOUT_DIGITS)?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

/// Receives the only message of a call, within `limit`, and answers it.
async fn unary(
    context: &Context,
    request: Request,
    limit: u64,
    answer: impl AsyncFnOnce(ArrivedBody) -> Result<tonic::Response<Bytes>, Status>,
) -> Response {
    let (parts, body) = request.into_parts();
    // All of it first, within this host's bounds of time and memory, which tonic does not have.
    let received = context.runtime.receive_ahead(body, limit.saturating_add(PREFIX_BYTES)).await;
    let held = match received {
        Ok(body) => body,
        Err(problem) => return status(&problem).into_http(),
    };
    let request = http::Request::from_parts(parts, Full::new(held.bytes.clone()));
    // Whatever it says of its length, there is no more of it.
    let limit = held.bytes.len();
    let mut grpc = Grpc::new(RawCodec).max_decoding_message_size(limit).max_encoding_message_size(usize::MAX);
    let once = Once(Some(async |message: Bytes| answer(held.with(message)).await));
    grpc.unary(once, request).await.map(Body::new)
}

/// A service of one call.
struct Once<F>(Option<F>);

impl<F, A> UnaryService<Bytes> for Once<F>
where
    F: FnOnce(Bytes) -> A,
    A: Future<Output = Result<tonic::Response<Bytes>, Status>>,
{
    type Response = Bytes;
    type Future = A;

    fn call(&mut self, request: tonic::Request<Bytes>) -> A {
        let answer = self.0.take().expect("a unary call is one call");
        answer(request.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_callers_patience_is_read() {
        let timeout = |text: &'static str| {
            timeout_of(&HeaderMap::from_iter([(
                "grpc-timeout".parse().unwrap(),
                HeaderValue::from_static(text),
            )]))
        };
        assert_eq!(timeout("250m"), Some(Duration::from_millis(250)));
        assert_eq!(timeout("2H"), Some(Duration::from_secs(7200)));
        assert!(timeout("99999999H").is_some());
        for text in ["", "m", "1", "1x", "-1S", "999999999H"] {
            assert_eq!(timeout(text), None, "{text}");
        }
    }
}
