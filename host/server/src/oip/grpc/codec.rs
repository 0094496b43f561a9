//! An inference request read from its message, and its response written into one.

use bytes::{Buf as _, Bytes};
use http::HeaderMap;
use modelet_runtime::{Encoded, TensorCodec, TensorRequest};
use modelet_types::tensor::{Element, InvalidTensor, element_count};
use modelet_types::{Code, ElementType, FunctionName, Limits, Problem, RevisionNumber, Signature, Tensor};
use prost::encoding::{DecodeContext, WireType, decode_key, skip_field};
use prost::{DecodeError, Message as _};

use super::message::{
    InferTensor, InferTensorContents, ModelInferRequest, ModelInferResponse, ParameterName, RequestedOutput,
    TensorDescription,
};
use crate::oip::budget::TensorBudget;
use crate::oip::{binary, datatype, dim_of, element_type_of, extension_refused, shape_of};

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
        body: Bytes,
        signature: &Signature,
        limits: &Limits,
    ) -> Result<TensorRequest, Problem> {
        // Counted first, since each costs more memory than the message has bytes for it.
        for (tag, field, most) in [
            (5, "inputs", signature.inputs.len()),
            (6, "outputs", signature.outputs.len()),
            (7, "raw_input_contents", signature.inputs.len()),
        ] {
            let count = count(&body, tag).map_err(|error| invalid("body", error.to_string()))?;
            if count > most {
                return Err(invalid(field, format!("{count} are more than the {most} that the model has")));
            }
        }
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
        let name = |(index, output): (usize, Bytes)| {
            let field = format!("outputs[{index}]");
            refuse_parameters(&output, 2, &["classification", "shared_memory_region"], &field)?;
            let output = RequestedOutput::decode(output);
            output.map(|output| output.name).map_err(|error| invalid(&field, error.to_string()))
        };
        let outputs = outputs.into_iter().enumerate().map(name).collect::<Result<_, Problem>>()?;
        Ok(TensorRequest { inputs: tensors, outputs })
    }

    fn encode(&mut self, outputs: Vec<(String, Tensor)>, limits: &Limits) -> Result<Encoded, Problem> {
        binary::check_size(outputs.iter().map(|(_, tensor)| tensor), limits)?;
        let raw = outputs.iter().map(|(_, tensor)| {
            let mut bytes = Vec::new();
            binary::write(tensor, &mut bytes);
            bytes.into()
        });
        let message = ModelInferResponse {
            model_name: self.model.to_string(),
            model_version: self.version.to_string(),
            id: std::mem::take(&mut self.id),
            raw_output_contents: raw.collect(),
            outputs: outputs.iter().map(|(name, tensor)| described(name, tensor)).collect(),
        };
        Ok(Encoded { headers: HeaderMap::new(), body: message.encode_to_vec().into() })
    }
}

fn described(name: &str, tensor: &Tensor) -> TensorDescription {
    TensorDescription {
        name: name.to_owned(),
        datatype: datatype(tensor.element_type()).to_owned(),
        shape: tensor.shape().iter().map(|&dim| dim_of(dim)).collect(),
    }
}

fn invalid(field: &str, detail: impl Into<String>) -> Problem {
    Problem::new(Code::InvalidInput, detail.into()).at(field)
}

/// Calls `visit` with what `message` has under `tag`, one after another, without reading the rest.
fn each(
    message: &Bytes,
    tag: u32,
    mut visit: impl FnMut(Bytes) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    let mut rest = message.clone();
    while rest.has_remaining() {
        let (found, wire_type) = decode_key(&mut rest)?;
        if found == tag && wire_type == WireType::LengthDelimited {
            let mut value = Bytes::new();
            prost::encoding::bytes::merge(wire_type, &mut value, &mut rest, DecodeContext::default())?;
            visit(value)?;
        } else {
            skip_field(wire_type, found, &mut rest, DecodeContext::default())?;
        }
    }
    Ok(())
}

/// How often `message` has `tag`.
fn count(message: &Bytes, tag: u32) -> Result<usize, DecodeError> {
    let mut count = 0;
    each(message, tag, |_| {
        count += 1;
        Ok(())
    })?;
    Ok(count)
}

/// Refuses the parameters called so among those that `message` has under `tag`.
fn refuse_parameters(message: &Bytes, tag: u32, refused: &[&str], field: &str) -> Result<(), Problem> {
    let mut found = None;
    let looked = each(message, tag, |entry| {
        let ParameterName { name } = ParameterName::decode(entry)?;
        found = found.or(refused.iter().copied().find(|refused| *refused == name));
        Ok(())
    });
    looked.map_err(|error| invalid(field, error.to_string()))?;
    found.map_or(Ok(()), |name| Err(extension_refused(field, name)))
}

fn read(
    budget: &mut TensorBudget,
    field: &str,
    input: Bytes,
    raw: Option<Bytes>,
) -> Result<(String, Tensor), Problem> {
    refuse_parameters(&input, 4, &["shared_memory_region"], field)?;
    let input = InferTensor::decode(input).map_err(|error| invalid(field, error.to_string()))?;
    let InferTensor { name, datatype, shape, contents } = input;
    let element_type = element_type_of(&datatype, field)?;
    let shape = shape_of(&shape, field)?;
    let tensor = budget.spend(&shape, element_type, field, || match (raw, contents) {
        (Some(bytes), None) => binary::read(&shape, element_type, bytes)
            .map_err(|detail| invalid(field, format!("its raw contents: {detail}"))),
        (Some(_), Some(_)) => Err(invalid(field, "give `contents` or `raw_input_contents`, not both")),
        (None, contents) => contents_of(&shape, contents.unwrap_or_default())
            .and_then(|contents| typed(&shape, element_type, contents))
            .map_err(|detail| invalid(&format!("{field}.contents"), detail)),
    })?;
    Ok((name, tensor))
}

/// Where texts stand in the contents of a tensor.
const TEXTS: u32 = 8;

/// The most bytes of a number in a list: a varint of 64 bits.
const MAX_NUMBER_BYTES: usize = 10;

/// The lists of elements, if they have no more than the shape needs.
fn contents_of(shape: &[usize], contents: Bytes) -> Result<InferTensorContents, String> {
    let wanted = element_count(shape).map_err(|error| error.to_string())?;
    let texts = count(&contents, TEXTS).map_err(|error| error.to_string())?;
    // Numbers are packed, or each has a key before it. Texts may be long, but then are few.
    let most = wanted.saturating_mul(MAX_NUMBER_BYTES + 1).saturating_add(MAX_NUMBER_BYTES);
    if texts > wanted || (texts == 0 && contents.len() > most) {
        return Err(format!("shape {shape:?} has {wanted} elements, but more were given"));
    }
    InferTensorContents::decode(contents).map_err(|error| error.to_string())
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
