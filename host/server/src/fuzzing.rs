//! What is promised of manifests and of connections, for any bytes; see docs/fuzzing.md.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use modelet_runtime::{TensorCodec as _, TensorRequest};
use modelet_types::limits::Limits;
use modelet_types::outbound::{OutboundRule, OutboundScheme};
use modelet_types::{
    Ceiling, Code, ElementType, Problem, RevisionNumber, RevisionSpec, Signature, TensorInfo,
};
use prost::Message as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::extract::from_json;
use crate::listener::{Server, Settings};
use crate::oip::grpc::{GrpcCodec, ModelInferResponse};
use crate::oip::{HEADER_LENGTH, RestCodec};

mod app;

/// Bytes of a refusal for each byte of a manifest: what a control character takes when it is shown.
const MAX_GROWTH: usize = 10;

/// Reads a manifest as the API does that deploys.
///
/// # Panics
/// If a refusal names no field, a manifest is not read back from what is stored of it, or one that was
/// accepted would not be when it is settled.
pub fn manifest(data: &[u8]) {
    let mut spec: RevisionSpec = match from_json(data, Code::InvalidManifest) {
        Ok(spec) => spec,
        Err(problem) => return is_a_refusal(&problem, data, &[Code::InvalidManifest]),
    };
    reads_back(&spec);
    let low = Ceiling { limits: Limits::default(), key_value_bytes: 1 << 20 };
    if spec.check(&low).is_ok() {
        let mut settled = spec.clone();
        settled.settle_limits(&low);
        assert_eq!(settled.check(&low), Ok(()));
    }
    let ceiling = Ceiling::HIGHEST;
    if let Err(problem) = spec.check(&ceiling) {
        return is_a_refusal(&problem, data, &[Code::InvalidManifest]);
    }
    spec.settle_limits(&ceiling);
    assert_eq!(spec.check(&ceiling), Ok(()));
    reads_back(&spec);
    let settled = spec.clone();
    spec.settle_limits(&ceiling);
    assert_eq!(spec, settled);
    spec.outbound.iter().for_each(allows_its_own);
}

fn is_a_refusal(problem: &Problem, data: &[u8], codes: &[Code]) {
    assert!(codes.contains(&problem.code), "{problem}");
    assert!(problem.field.as_deref().is_some_and(|field| !field.is_empty()), "no field: {problem}");
    assert!(problem.detail.len() <= data.len() * MAX_GROWTH + 4096, "{} bytes", problem.detail.len());
}

fn reads_back<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: &T) {
    let written = serde_json::to_vec(value).expect("it can be written");
    let read: T = serde_json::from_slice(&written).expect("what was written can be read");
    assert_eq!(&read, value);
}

/// A rule allows the destination that it is written as, and none of another port or name.
fn allows_its_own(rule: &OutboundRule) {
    let text = rule.to_string();
    let (methods, address) = text.split_once(' ').unwrap_or(("GET", &text));
    let method = methods.split(',').next().unwrap_or_default();
    let (scheme, authority) = match address.split_once("://") {
        Some(("http", authority)) => (OutboundScheme::Http, authority),
        Some((_, authority)) => (OutboundScheme::Https, authority),
        None => (OutboundScheme::Https, address),
    };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().expect("it was written")),
        _ => (authority, scheme.default_port()),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let host = if let Some(parent) = host.strip_prefix('*') { format!("a{parent}") } else { host.into() };
    assert!(rule.allows(method, scheme, &host, port), "{text}: {method} {host} {port}");
    assert!(!rule.allows(method, scheme, &host, port ^ 1), "{text}");
    if !text.contains('*') {
        assert!(!rule.allows(method, scheme, &format!("{host}.evil"), port), "{text}");
        assert!(!rule.allows(method, scheme, &format!("evil.{host}"), port), "{text}");
    }
}

/// Tensors that one request may have.
const MAX_TENSOR_BYTES: u64 = 4 << 10;

/// How a request for inference may be refused.
const OF_REQUESTS: [Code; 2] = [Code::InvalidInput, Code::RequestTooLarge];

fn is_within_limits(request: &TensorRequest) {
    let bytes: usize = request.inputs.iter().map(|(_, tensor)| tensor.byte_len()).sum();
    assert!(bytes as u64 <= MAX_TENSOR_BYTES, "{bytes} bytes of tensors");
}

/// Reads an inference request. The first byte says whether its body is JSON, JSON of so many bytes (the
/// next two) with binary tensors behind it, or the only input of a model.
///
/// # Panics
/// If a refusal names no field, more is read than the limit allows, or what was read is not read back from
/// the response that it is written into.
pub fn oip_request(data: &[u8]) {
    let (length, body) = match data {
        [0, body @ ..] => (None, body),
        [1, low, high, body @ ..] => (Some(u16::from_le_bytes([*low, *high])), body),
        [2, body @ ..] => (Some(0), body),
        _ => return,
    };
    let info = TensorInfo { name: "x".into(), element_type: ElementType::F32, shape: vec![None, Some(2)] };
    let signature = Signature { inputs: vec![info], outputs: Vec::new() };
    let limits = Limits { tensor_bytes: MAX_TENSOR_BYTES, ..Limits::HIGHEST };
    let read = |headers: &HeaderMap, body: Bytes| {
        let name = "m".parse().expect("it is a name");
        let mut codec = RestCodec::new(name, RevisionNumber(1), headers.clone());
        codec.decode(body, &signature, &limits).map(|request| (codec, request))
    };
    let headers = length.map(|length| (HEADER_LENGTH, HeaderValue::from(length))).into_iter().collect();
    let (_, request) = match read(&headers, Bytes::copy_from_slice(body)) {
        Ok(read) => read,
        Err(problem) => return is_a_refusal(&problem, data, &OF_REQUESTS),
    };
    is_within_limits(&request);
    for binary in [false, true] {
        let asks = serde_json::json!({ "inputs": [], "parameters": { "binary_data_output": binary } });
        let asks = Bytes::from(serde_json::to_vec(&asks).expect("it can be written"));
        let (mut codec, _) = read(&HeaderMap::new(), asks).expect("it asks for nothing wrong");
        let outputs = request.inputs.clone();
        let written = codec.encode(outputs, &limits).expect("tensors can be written");
        // A response has the form of a request, but for the name of its tensors.
        let length = written.headers.get(HEADER_LENGTH).map(|length| length.to_str().expect("a number"));
        let length = length.map_or(written.body.len(), |length| length.parse().expect("a number"));
        let head = std::str::from_utf8(&written.body[..length]).expect("JSON is text");
        let mut head: serde_json::Value = serde_json::from_str(head).expect("it was written");
        let outputs = head.as_object_mut().and_then(|head| head.remove("outputs")).expect("outputs");
        let head = serde_json::to_vec(&serde_json::json!({ "inputs": outputs })).expect("it can be written");
        let headers = HeaderMap::from_iter([(HEADER_LENGTH, HeaderValue::from(head.len()))]);
        let body = [&head[..], &written.body[length..]].concat();
        let (_, again) = match read(&headers, body.into()) {
            Ok(read) => read,
            // Bytes may be numbers that JSON does not have.
            Err(problem) => {
                assert!(!binary && problem.detail.contains("null"), "{problem}");
                continue;
            }
        };
        assert_eq!(again.inputs.len(), request.inputs.len());
        for ((_, read), (_, given)) in again.inputs.iter().zip(&request.inputs) {
            assert_eq!((read.shape(), read.element_type()), (given.shape(), given.element_type()));
            assert_eq!((read.as_bytes(), read.as_texts()), (given.as_bytes(), given.as_texts()));
        }
    }
}

/// Reads an inference request as gRPC has it.
///
/// # Panics
/// If a refusal names no field, more is read than the limit allows, or the response that it is written into
/// does not have the tensors that were read.
pub fn oip_message(data: &[u8]) {
    let info = |name: &str, element_type| TensorInfo { name: name.into(), element_type, shape: vec![None] };
    let inputs = vec![info("x", ElementType::F32), info("t", ElementType::Text)];
    let signature = Signature { outputs: inputs.clone(), inputs };
    let limits = Limits { tensor_bytes: MAX_TENSOR_BYTES, ..Limits::HIGHEST };
    let mut codec = GrpcCodec::new("m".parse().expect("it is a name"), RevisionNumber(1));
    let request = match codec.decode(Bytes::copy_from_slice(data), &signature, &limits) {
        Ok(request) => request,
        Err(problem) => return is_a_refusal(&problem, data, &OF_REQUESTS),
    };
    assert!(
        request.inputs.len() <= signature.inputs.len() && request.outputs.len() <= signature.outputs.len()
    );
    is_within_limits(&request);
    let written = codec.encode(request.inputs.clone(), &limits).expect("tensors can be written");
    let read = ModelInferResponse::decode(written.body).expect("it was written");
    assert_eq!(read.raw_output_contents.len(), request.inputs.len());
    for (output, (name, tensor)) in read.outputs.iter().zip(&request.inputs) {
        assert_eq!((&output.name, output.shape.len()), (name, tensor.shape().len()));
    }
}

/// What an answer may wait for, in a time that passes at once when everybody waits.
const WAIT: Duration = Duration::from_secs(30);

/// Serves a connection on which these bytes come and no more, in HTTP/1 or HTTP/2, with the addresses
/// of `app`.
///
/// # Panics
/// If the connection does not end, an answer is not what the host answers, or a controller was handed
/// what it could not be.
pub fn http(data: &[u8]) {
    let settings = Settings {
        header_timeout: WAIT,
        write_timeout: WAIT,
        max_connections: 1,
        shutdown_grace: Duration::ZERO,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let answer = runtime.expect("a runtime needs nothing of the system").block_on(async {
        let (client, host) = tokio::io::duplex(16 << 10);
        let (mut from_host, mut to_host) = tokio::io::split(client);
        let server = Server::new(app::app(), settings);
        let serve = async {
            // How it ended is the client's doing.
            _ = server.converse(host, None).await;
        };
        let send = async {
            // The host may have hung up.
            _ = to_host.write_all(data).await;
            _ = to_host.shutdown().await;
        };
        let mut answer = Vec::new();
        let receive = from_host.read_to_end(&mut answer);
        let ended = timeout(100 * WAIT, async { tokio::join!(serve, send, receive) }).await;
        assert!(ended.is_ok(), "the connection did not end");
        answer
    });
    // HTTP/2 begins with a frame of settings instead, whose length is less than 65536.
    if answer.first().is_some_and(|&byte| byte != 0) {
        let status = answer.strip_prefix(b"HTTP/1.1 ").or(answer.strip_prefix(b"HTTP/1.0 "));
        let status = status.unwrap_or_else(|| panic!("no answer: {:?}", String::from_utf8_lossy(&answer)));
        assert!(matches!(status, [b'1' | b'2' | b'4', ..]), "{:?}", String::from_utf8_lossy(&answer));
    }
}

#[cfg(test)]
mod tests {
    use modelet_corpora::replay;

    use super::*;

    #[test]
    fn manifests_of_the_corpus() {
        replay("manifest", manifest);
    }

    #[test]
    fn inference_requests_of_the_corpus() {
        replay("oip_request", oip_request);
    }

    #[test]
    fn inference_messages_of_the_corpus() {
        replay("oip_message", oip_message);
    }

    #[test]
    fn connections_of_the_corpus() {
        replay("http", http);
    }
}
