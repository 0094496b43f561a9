//! The Open Inference Protocol, version 2, over HTTP: how it writes tensors and errors.
//!
//! After the specification (github.com/kserve/open-inference-protocol, `inference_rest.md`) and, for
//! binary tensors and compression, Triton's extensions
//! (`docs/protocol/extension_binary_data.md` of triton-inference-server/server), which clients use
//! where a server names them. Knows no addresses; those are in `controllers/oip.rs`.

mod binary;
mod budget;
mod codec;
mod compression;
mod data;
pub(crate) mod grpc;
mod message;
mod model_config;
mod statistics;

pub(crate) use codec::RestCodec;
pub(crate) use model_config::ModelConfig;
pub(crate) use statistics::{ModelStatistics, ModelStatisticsResponse};

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, StatusCode};
use modelet_engine::Failure;
use modelet_types::{Code, ElementType, Problem, TensorInfo};
use serde::Serialize;

use crate::problem::say_reached;
use crate::status;

/// The extensions that this host has, by the names that Triton gave them.
pub(crate) const EXTENSIONS: [&str; 4] =
    ["binary_tensor_data", "model_configuration", "model_repository", "statistics"];

/// Bytes of JSON at the beginning of a body that goes on with binary tensors.
pub(crate) const HEADER_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

/// Element types, by the names of the protocol.
const DATATYPES: [(ElementType, &str); 14] = [
    (ElementType::Boolean, "BOOL"),
    (ElementType::U8, "UINT8"),
    (ElementType::U16, "UINT16"),
    (ElementType::U32, "UINT32"),
    (ElementType::U64, "UINT64"),
    (ElementType::I8, "INT8"),
    (ElementType::I16, "INT16"),
    (ElementType::I32, "INT32"),
    (ElementType::I64, "INT64"),
    (ElementType::F16, "FP16"),
    (ElementType::Bf16, "BF16"),
    (ElementType::F32, "FP32"),
    (ElementType::F64, "FP64"),
    (ElementType::Text, "BYTES"),
];

/// What the protocol calls an element type.
pub(crate) fn datatype(element_type: ElementType) -> &'static str {
    let found = DATATYPES.iter().find(|(known, _)| *known == element_type);
    found.map_or("BYTES", |(_, name)| name)
}

/// The element type that the protocol calls so, of the input at `field`.
fn element_type_of(datatype: &str, field: &str) -> Result<ElementType, Problem> {
    let found = DATATYPES.iter().find(|(_, name)| *name == datatype);
    found.map(|(element_type, _)| *element_type).ok_or_else(|| {
        let names: Vec<_> = DATATYPES.iter().map(|(_, name)| *name).collect();
        let shown: String = datatype.chars().take(40).collect();
        let detail = format!("`{shown}` is no datatype: use one of {}", names.join(", "));
        Problem::new(Code::InvalidInput, detail).at(format!("{field}.datatype"))
    })
}

/// A dimension, as the protocol's messages have it.
fn dim_of(dim: usize) -> i64 {
    i64::try_from(dim).unwrap_or(i64::MAX)
}

/// The shape of the input at `field`.
fn shape_of(shape: &[i64], field: &str) -> Result<Vec<usize>, Problem> {
    let dim = |&dim: &i64| {
        usize::try_from(dim).map_err(|_| {
            Problem::new(Code::InvalidInput, format!("{dim} is negative")).at(format!("{field}.shape"))
        })
    };
    shape.iter().map(dim).collect()
}

/// Refuses a parameter that would change the meaning of a request if it were left aside.
fn extension_refused(field: &str, parameter: &str) -> Problem {
    let detail = format!("this host does not have the extension that `{parameter}` belongs to");
    Problem::new(Code::InvalidInput, detail).at(format!("{field}.parameters.{parameter}"))
}

/// An error's text: all that these clients show, so it names the field too.
fn text_of(problem: &Problem) -> String {
    match &problem.field {
        Some(field) if !problem.detail.contains(&**field) => format!("{field}: {}", problem.detail),
        _ => problem.detail.to_string(),
    }
}

/// An input or output of a model, as its metadata has it.
#[derive(Serialize)]
pub(crate) struct TensorMetadata {
    pub(crate) name: String,
    pub(crate) datatype: &'static str,
    /// -1 where each call chooses.
    pub(crate) shape: Vec<i64>,
}

impl From<&TensorInfo> for TensorMetadata {
    fn from(info: &TensorInfo) -> Self {
        let dim = |dim: &Option<usize>| dim.map_or(-1, dim_of);
        Self {
            name: info.name.clone(),
            datatype: datatype(info.element_type),
            shape: info.shape.iter().map(dim).collect(),
        }
    }
}

/// Why there is no answer, whoever says so.
pub(crate) fn failure(failure: &Failure) -> Response {
    match failure {
        Failure::Host(problem) => error(problem),
        Failure::Handler(error) => {
            let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            error_of(status, &error.detail)
        }
    }
}

/// An error, as the protocol writes it: `{"error": "…"}`.
fn error_of(status: StatusCode, text: &str) -> Response {
    #[derive(Serialize)]
    struct ErrorBody<'a> {
        error: &'a str,
    }
    let body = serde_json::to_vec(&ErrorBody { error: text }).expect("text can be written");
    let mut response = (status, body).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The host's own error.
pub(crate) fn error(problem: &Problem) -> Response {
    let mut response = error_of(status::of(problem.code), &text_of(problem));
    let headers = response.headers_mut();
    if let Some(reached) = &problem.reached {
        say_reached(headers, reached);
    }
    if status::may_retry(problem.code) {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}
