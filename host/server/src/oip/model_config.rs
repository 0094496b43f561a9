//! How a model is run, as Triton's extension has it: `docs/protocol/extension_model_configuration.md` of
//! triton-inference-server/server, whose JSON has the names of `model_config.proto`. Of its many fields there
//! are those that mean something here.

use modelet_inference::SessionKey;
use modelet_types::{ElementType, FunctionName, RevisionNumber, Signature, TensorInfo};
use prost::Message;
use serde::{Serialize, Serializer};

use super::dim_of;

#[derive(Clone, PartialEq, Message, Serialize)]
pub(crate) struct ModelConfig {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub platform: String,
    #[prost(string, tag = "17")]
    pub backend: String,
    #[prost(message, optional, tag = "3")]
    pub version_policy: Option<VersionPolicy>,
    /// 0 where requests are not put together, and then shapes are whole.
    #[prost(int32, tag = "4")]
    pub max_batch_size: i32,
    #[prost(message, repeated, tag = "5")]
    pub input: Vec<ModelInput>,
    #[prost(message, repeated, tag = "6")]
    pub output: Vec<ModelOutput>,
    #[prost(message, optional, tag = "11")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dynamic_batching: Option<DynamicBatching>,
    #[prost(message, optional, tag = "24")]
    pub response_cache: Option<ResponseCache>,
}

#[derive(Clone, PartialEq, Message, Serialize)]
pub(crate) struct VersionPolicy {
    #[prost(message, optional, tag = "3")]
    pub specific: Option<SpecificVersions>,
}

#[derive(Clone, PartialEq, Message, Serialize)]
pub(crate) struct SpecificVersions {
    #[prost(int64, repeated, tag = "1")]
    pub versions: Vec<i64>,
}

#[derive(Clone, PartialEq, Message, Serialize)]
pub(crate) struct ModelInput {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(int32, tag = "2")]
    #[serde(serialize_with = "by_name")]
    pub data_type: i32,
    #[prost(int64, repeated, tag = "4")]
    pub dims: Vec<i64>,
}

#[derive(Clone, PartialEq, Message, Serialize)]
pub(crate) struct ModelOutput {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(int32, tag = "2")]
    #[serde(serialize_with = "by_name")]
    pub data_type: i32,
    #[prost(int64, repeated, tag = "3")]
    pub dims: Vec<i64>,
}

#[derive(Clone, PartialEq, Message, Serialize)]
pub(crate) struct DynamicBatching {
    #[prost(uint64, tag = "2")]
    pub max_queue_delay_microseconds: u64,
}

#[derive(Clone, PartialEq, Message, Serialize)]
pub(crate) struct ResponseCache {
    #[prost(bool, tag = "1")]
    pub enable: bool,
}

/// The element types of `model_config.proto`, where each stands at its number.
const DATA_TYPES: [(Option<ElementType>, &str); 15] = [
    (None, "TYPE_INVALID"),
    (Some(ElementType::Boolean), "TYPE_BOOL"),
    (Some(ElementType::U8), "TYPE_UINT8"),
    (Some(ElementType::U16), "TYPE_UINT16"),
    (Some(ElementType::U32), "TYPE_UINT32"),
    (Some(ElementType::U64), "TYPE_UINT64"),
    (Some(ElementType::I8), "TYPE_INT8"),
    (Some(ElementType::I16), "TYPE_INT16"),
    (Some(ElementType::I32), "TYPE_INT32"),
    (Some(ElementType::I64), "TYPE_INT64"),
    (Some(ElementType::F16), "TYPE_FP16"),
    (Some(ElementType::F32), "TYPE_FP32"),
    (Some(ElementType::F64), "TYPE_FP64"),
    (Some(ElementType::Text), "TYPE_STRING"),
    (Some(ElementType::Bf16), "TYPE_BF16"),
];

/// An element type's number.
fn data_type(element_type: ElementType) -> i32 {
    let found = DATA_TYPES.iter().position(|(known, _)| *known == Some(element_type));
    found.and_then(|number| i32::try_from(number).ok()).unwrap_or_default()
}

/// Over gRPC an element type is a number, in JSON a name.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields so")]
fn by_name<S: Serializer>(number: &i32, serializer: S) -> Result<S::Ok, S::Error> {
    let found = usize::try_from(*number).ok().and_then(|number| DATA_TYPES.get(number));
    found.map_or(DATA_TYPES[0].1, |(_, name)| name).serialize(serializer)
}

impl ModelConfig {
    /// Of a model that is run as `key` says, or of a handler in tensors, with the versions that take calls.
    pub(crate) fn new(
        function: &FunctionName,
        platform: String,
        key: Option<&SessionKey>,
        signature: &Signature,
        versions: Vec<RevisionNumber>,
    ) -> Self {
        let batching =
            key.and_then(|key| key.batching.as_ref()).filter(|batching| batching.max_batch_size > 1);
        // What is put together is left out of the shapes.
        let first = usize::from(batching.is_some());
        let dims =
            |info: &TensorInfo| info.shape.iter().skip(first).map(|dim| dim.map_or(-1, dim_of)).collect();
        let input = |info: &TensorInfo| ModelInput {
            name: info.name.clone(),
            data_type: data_type(info.element_type),
            dims: dims(info),
        };
        let output = |info: &TensorInfo| ModelOutput {
            name: info.name.clone(),
            data_type: data_type(info.element_type),
            dims: dims(info),
        };
        let versions = versions.iter().map(|version| i64::try_from(version.0).unwrap_or(i64::MAX)).collect();
        let max_batch_size = batching.map_or(0, |batching| batching.max_batch_size);
        Self {
            name: function.to_string(),
            platform,
            backend: key.map_or("modelet", |key| key.backend.as_str()).to_owned(),
            version_policy: Some(VersionPolicy { specific: Some(SpecificVersions { versions }) }),
            max_batch_size: i32::try_from(max_batch_size).unwrap_or(i32::MAX),
            input: signature.inputs.iter().map(input).collect(),
            output: signature.outputs.iter().map(output).collect(),
            dynamic_batching: batching.map(|batching| DynamicBatching {
                max_queue_delay_microseconds: batching.max_queue_delay_us,
            }),
            response_cache: Some(ResponseCache {
                enable: key.is_some_and(|key| key.response_cache.is_some()),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_type_has_a_number() {
        for (element_type, name) in super::super::DATATYPES {
            assert_ne!(data_type(element_type), 0, "{name}");
        }
    }
}
