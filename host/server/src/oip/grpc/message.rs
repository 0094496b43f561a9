//! The messages of package `inference`.

use bytes::Bytes;
use prost::Message;

use crate::oip::ModelConfig;

/// A message without anything in it.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Empty {}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct LiveResponse {
    #[prost(bool, tag = "1")]
    pub live: bool,
}

/// Of the server as of a model.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ReadyResponse {
    #[prost(bool, tag = "1")]
    pub ready: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ServerMetadataResponse {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub version: String,
    #[prost(string, repeated, tag = "3")]
    pub extensions: Vec<String>,
}

/// A question about a model: whether it is ready, or what it is. And what of a request for inference says
/// whose it is, which is read before the rest, without memory for that: its first fields are the same.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ModelRequest {
    #[prost(string, tag = "1")]
    pub name: String,
    /// Empty where the server chooses.
    #[prost(string, tag = "2")]
    pub version: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ModelMetadataResponse {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, repeated, tag = "2")]
    pub versions: Vec<String>,
    #[prost(string, tag = "3")]
    pub platform: String,
    #[prost(message, repeated, tag = "4")]
    pub inputs: Vec<TensorDescription>,
    #[prost(message, repeated, tag = "5")]
    pub outputs: Vec<TensorDescription>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ModelConfigResponse {
    #[prost(message, optional, tag = "1")]
    pub config: Option<ModelConfig>,
}

/// An input or output of a model, or an output without its data: the fields are the same.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct TensorDescription {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub datatype: String,
    #[prost(int64, repeated, tag = "3")]
    pub shape: Vec<i64>,
}

/// A request for inference, without its address. What is in it stays bytes until it is known how much of it
/// there may be.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ModelInferRequest {
    #[prost(string, tag = "3")]
    pub id: String,
    /// Each an [`InferTensor`].
    #[prost(bytes = "bytes", repeated, tag = "5")]
    pub inputs: Vec<Bytes>,
    /// Each a [`RequestedOutput`].
    #[prost(bytes = "bytes", repeated, tag = "6")]
    pub outputs: Vec<Bytes>,
    /// One for each input, instead of their contents.
    #[prost(bytes = "bytes", repeated, tag = "7")]
    pub raw_input_contents: Vec<Bytes>,
}

/// An input, without its parameters.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct InferTensor {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub datatype: String,
    #[prost(int64, repeated, tag = "3")]
    pub shape: Vec<i64>,
    /// An [`InferTensorContents`].
    #[prost(bytes = "bytes", optional, tag = "5")]
    pub contents: Option<Bytes>,
}

/// An output that the caller wants, without its parameters.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RequestedOutput {
    #[prost(string, tag = "1")]
    pub name: String,
}

/// An entry of a map of parameters, of which only the name matters.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ParameterName {
    #[prost(string, tag = "1")]
    pub name: String,
}

/// The elements of a tensor, in the list of its type.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct InferTensorContents {
    #[prost(bool, repeated, tag = "1")]
    pub bools: Vec<bool>,
    /// INT8, INT16 and INT32.
    #[prost(int32, repeated, tag = "2")]
    pub ints: Vec<i32>,
    #[prost(int64, repeated, tag = "3")]
    pub int64s: Vec<i64>,
    /// UINT8, UINT16 and UINT32.
    #[prost(uint32, repeated, tag = "4")]
    pub uints: Vec<u32>,
    #[prost(uint64, repeated, tag = "5")]
    pub uint64s: Vec<u64>,
    #[prost(float, repeated, tag = "6")]
    pub fp32s: Vec<f32>,
    #[prost(double, repeated, tag = "7")]
    pub fp64s: Vec<f64>,
    #[prost(bytes = "bytes", repeated, tag = "8")]
    pub bytes: Vec<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ModelInferResponse {
    #[prost(string, tag = "1")]
    pub model_name: String,
    #[prost(string, tag = "2")]
    pub model_version: String,
    #[prost(string, tag = "3")]
    pub id: String,
    #[prost(message, repeated, tag = "5")]
    pub outputs: Vec<TensorDescription>,
    /// One for each output, instead of their contents.
    #[prost(bytes = "bytes", repeated, tag = "6")]
    pub raw_output_contents: Vec<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct RepositoryIndexResponse {
    #[prost(message, repeated, tag = "1")]
    pub models: Vec<ModelIndex>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ModelIndex {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub version: String,
    #[prost(string, tag = "3")]
    pub state: String,
    #[prost(string, tag = "4")]
    pub reason: String,
}

/// A request to load or unload a model. Triton has the repository's name first, KServe the model's.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RepositoryModelRequest {
    #[prost(string, tag = "1")]
    pub repository_or_model: String,
    #[prost(string, tag = "2")]
    pub model: String,
}

impl RepositoryModelRequest {
    /// The model, whichever of the two wrote the request.
    pub(crate) fn model_name(&self) -> &str {
        if self.model.is_empty() { &self.repository_or_model } else { &self.model }
    }
}

/// What KServe answers; to Triton's clients its fields are unknown ones.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RepositoryModelResponse {
    #[prost(string, tag = "1")]
    pub model: String,
    #[prost(bool, tag = "2")]
    pub is_done: bool,
}
