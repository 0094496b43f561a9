//! An inference request read from its message, and its response written into one.

use bytes::Bytes;
use http::HeaderMap;
use modelet_runtime::{Encoded, TensorCodec, TensorRequest, TensorResponse};
use modelet_types::tensor::{Element, InvalidTensor};
use modelet_types::{Code, ElementType, FunctionName, Limits, Problem, RevisionNumber, Signature, Tensor};
use prost::Message as _;

use super::message::{InferTensor, InferTensorContents, ModelInferRequest, ModelInferResponse};
use crate::oip::budget::TensorBudget;
use crate::oip::{binary, datatype, element_type_of, shape_of};

/// The protocol over gRPC, for one request to a model.
pub(crate) struct GrpcCodec {
    model: FunctionName,
    version: RevisionNumber,
    /// The caller's name for the request, which is given back.
    id: String,
}

impl GrpcCodec {
    pub(crate) fn new(model: FunctionName, version: RevisionNumber) -> Self {
        Self { model, version, id: String::new() }
    }
}

impl TensorCodec for GrpcCodec {
    fn decode(
        &mut self,
        _: &HeaderMap,
        body: Bytes,
        _: &Signature,
        limits: &Limits,
    ) -> Result<TensorRequest, Problem> {
        let request = ModelInferRequest::decode(body).map_err(|error| invalid("body", error.to_string()))?;
        let ModelInferRequest { id, inputs, outputs, raw_input_contents: raw } = request;
        self.id = id;
        if !raw.is_empty() && raw.len() != inputs.len() {
            let detail = format!("{} for {} inputs: give one for each, or none", raw.len(), inputs.len());
            return Err(invalid("raw_input_contents", detail));
        }
        let mut budget = TensorBudget::new(limits.tensor_bytes);
        let mut raw = raw.into_iter();
        let mut tensors = Vec::with_capacity(inputs.len());
        for (index, input) in inputs.into_iter().enumerate() {
            tensors.push(read(&mut budget, &format!("inputs[{index}]"), input, raw.next())?);
        }
        for (index, output) in outputs.iter().enumerate() {
            for name in ["classification", "shared_memory_region"] {
                if output.parameters.contains_key(name) {
                    return Err(refused(&format!("outputs[{index}]"), name));
                }
            }
        }
        Ok(TensorRequest {
            inputs: tensors,
            outputs: outputs.into_iter().map(|output| output.name).collect(),
        })
    }

    fn encode(&mut self, response: TensorResponse) -> Result<Encoded, Problem> {
        let outputs = response.outputs.iter().map(|(name, tensor)| InferTensor {
            name: name.clone(),
            datatype: datatype(tensor.element_type()).to_owned(),
            shape: tensor.shape().iter().map(|&dim| i64::try_from(dim).unwrap_or(i64::MAX)).collect(),
            ..InferTensor::default()
        });
        let raw = response.outputs.iter().map(|(_, tensor)| {
            let mut bytes = Vec::new();
            binary::write(tensor, &mut bytes);
            bytes.into()
        });
        let message = ModelInferResponse {
            model_name: self.model.to_string(),
            model_version: self.version.to_string(),
            id: std::mem::take(&mut self.id),
            outputs: outputs.collect(),
            raw_output_contents: raw.collect(),
        };
        Ok(Encoded { headers: HeaderMap::new(), body: message.encode_to_vec().into() })
    }
}

fn invalid(field: &str, detail: impl Into<String>) -> Problem {
    Problem::new(Code::InvalidInput, detail.into()).at(field)
}

/// A parameter that would change the meaning of a request if it were left aside.
fn refused(field: &str, parameter: &str) -> Problem {
    let detail = format!("this host does not have the extension that `{parameter}` belongs to");
    invalid(&format!("{field}.parameters.{parameter}"), detail)
}

fn read(
    budget: &mut TensorBudget,
    field: &str,
    input: InferTensor,
    raw: Option<Bytes>,
) -> Result<(String, Tensor), Problem> {
    let InferTensor { name, datatype, shape, contents, parameters } = input;
    if parameters.contains_key("shared_memory_region") {
        return Err(refused(field, "shared_memory_region"));
    }
    let element_type = element_type_of(&datatype, field)?;
    let shape = shape_of(&shape, field)?;
    let tensor = budget.spend(&shape, element_type, field, || match (raw, contents) {
        (Some(bytes), None) => binary::read(&shape, element_type, bytes)
            .map_err(|detail| invalid(field, format!("its raw contents: {detail}"))),
        (Some(_), Some(_)) => Err(invalid(field, "give `contents` or `raw_input_contents`, not both")),
        (None, contents) => typed(&shape, element_type, contents.unwrap_or_default())
            .map_err(|detail| invalid(&format!("{field}.contents"), detail)),
    })?;
    Ok((name, tensor))
}

/// A tensor whose elements stand in the list of their type.
fn typed(
    shape: &[usize],
    element_type: ElementType,
    contents: InferTensorContents,
) -> Result<Tensor, String> {
    fn narrow<W: Copy + std::fmt::Display, T: Element + TryFrom<W>>(
        shape: &[usize],
        wide: &[W],
    ) -> Result<Result<Tensor, InvalidTensor>, String> {
        let narrow = |&value: &W| T::try_from(value).map_err(|_| format!("{value} is out of range"));
        Ok(Tensor::from_vec(shape, wide.iter().map(narrow).collect::<Result<Vec<T>, _>>()?))
    }
    let InferTensorContents { bools, ints, int64s, uints, uint64s, fp32s, fp64s, bytes } = contents;
    let tensor = match element_type {
        ElementType::Boolean => Tensor::from_bools(shape, &bools),
        ElementType::I8 => narrow::<i32, i8>(shape, &ints)?,
        ElementType::I16 => narrow::<i32, i16>(shape, &ints)?,
        ElementType::I32 => Tensor::from_vec(shape, ints),
        ElementType::I64 => Tensor::from_vec(shape, int64s),
        ElementType::U8 => narrow::<u32, u8>(shape, &uints)?,
        ElementType::U16 => narrow::<u32, u16>(shape, &uints)?,
        ElementType::U32 => Tensor::from_vec(shape, uints),
        ElementType::U64 => Tensor::from_vec(shape, uint64s),
        ElementType::F32 => Tensor::from_vec(shape, fp32s),
        ElementType::F64 => Tensor::from_vec(shape, fp64s),
        ElementType::F16 | ElementType::Bf16 => {
            return Err("elements of this type have no list: send them as `raw_input_contents`".into());
        }
        ElementType::Text => {
            let text = |bytes: &Bytes| std::str::from_utf8(bytes).map(Box::from);
            let texts = bytes.iter().map(text).collect::<Result<Vec<_>, _>>();
            Tensor::from_texts(shape, texts.map_err(|_| "a text is not UTF-8".to_owned())?)
        }
    };
    tensor.map_err(|error| error.to_string())
}
