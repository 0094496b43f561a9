//! A request read, and its response written.

use std::io;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use modelet_runtime::{Encoded, TensorCodec, TensorRequest};
use modelet_types::tensor::element_count;
use modelet_types::{Code, FunctionName, Limits, Problem, RevisionNumber, Signature, Tensor};

use crate::extract::from_json;

use super::budget::TensorBudget;
use super::compression::{Coding, plain};
use super::data::{self, Elements};
use super::message::{BinarySize, Input, Output, OutputTensor, Request, Response};
use super::{HEADER_LENGTH, binary, datatype, element_type_of, shape_of};

/// The protocol over HTTP, for one request to a model.
pub(crate) struct RestCodec {
    model: FunctionName,
    version: RevisionNumber,
    headers: HeaderMap,
    /// The caller's name for the request.
    id: Option<String>,
    /// Whether an output follows the JSON in binary, where it says so itself.
    binary: Vec<(String, bool)>,
    /// The same for the others.
    others_are_binary: bool,
}

impl RestCodec {
    /// The codec of a request with these headers.
    pub(crate) fn new(model: FunctionName, version: RevisionNumber, headers: HeaderMap) -> Self {
        Self { model, version, headers, id: None, binary: Vec::new(), others_are_binary: false }
    }

    fn read(&mut self, json: &[u8], binary: Bytes, limits: &Limits) -> Result<TensorRequest, Problem> {
        let request: Request<'_> = from_json(json, Code::InvalidInput)?;
        let mut inputs = Inputs { binary, budget: TensorBudget::new(limits.tensor_bytes) };
        let read = |(index, input)| inputs.read(&format!("inputs[{index}]"), input);
        let tensors: Vec<_> =
            request.inputs.into_iter().enumerate().map(read).collect::<Result<_, Problem>>()?;
        if !inputs.binary.is_empty() {
            let detail = format!("{} bytes of the body belong to no input", inputs.binary.len());
            return Err(Problem::new(Code::InvalidInput, detail).at("body"));
        }
        let mut outputs = Vec::with_capacity(request.outputs.len());
        let all_binary = request.parameters.binary_data_output.unwrap_or_default();
        for (index, Output { name, parameters }) in request.outputs.into_iter().enumerate() {
            parameters.check(&format!("outputs[{index}]"))?;
            self.binary.push((name.clone(), parameters.binary_data.unwrap_or(all_binary)));
            outputs.push(name);
        }
        self.others_are_binary = all_binary;
        self.id = request.id;
        Ok(TensorRequest { inputs: tensors, outputs })
    }

    fn is_binary(&self, output: &str) -> bool {
        let says = self.binary.iter().find(|(name, _)| name == output);
        says.map_or(self.others_are_binary, |(_, is_binary)| *is_binary)
    }
}

impl TensorCodec for RestCodec {
    fn is_compressed(&self) -> bool {
        self.headers.contains_key(CONTENT_ENCODING)
    }

    fn decode(
        &mut self,
        body: Bytes,
        signature: &Signature,
        limits: &Limits,
    ) -> Result<TensorRequest, Problem> {
        let body = plain(&self.headers, body, limits.request_body_bytes)?;
        match json_length(&self.headers)? {
            None => self.read(&body, Bytes::new(), limits),
            Some(0) => {
                // The body is the only input, and the response all binary.
                self.others_are_binary = true;
                raw_input(signature, body, limits)
            }
            Some(length) if length <= body.len() => self.read(&body[..length], body.slice(length..), limits),
            Some(length) => {
                let detail = format!("it says {length}, but the body has {} bytes", body.len());
                Err(Problem::new(Code::InvalidInput, detail).at(HEADER_LENGTH.as_str()))
            }
        }
    }

    fn encode(&mut self, outputs: Vec<(String, Tensor)>, limits: &Limits) -> Result<Encoded, Problem> {
        let in_binary = outputs.iter().filter(|(name, _)| self.is_binary(name));
        binary::check_size(in_binary.map(|(_, tensor)| tensor), limits)?;
        let mut binary_part = Vec::new();
        let mut any_binary = false;
        let outputs = outputs.iter().map(|(name, tensor)| {
            let is_binary = self.is_binary(name);
            any_binary |= is_binary;
            OutputTensor {
                name,
                datatype: datatype(tensor.element_type()),
                shape: tensor.shape(),
                parameters: is_binary
                    .then(|| BinarySize { binary_data_size: binary::write(tensor, &mut binary_part) }),
                data: (!is_binary).then_some(Elements(tensor)),
            }
        });
        let outputs = outputs.collect();
        let head = Response {
            model_name: self.model.as_str(),
            model_version: self.version.to_string(),
            id: self.id.as_deref(),
            outputs,
        };
        let failed =
            |error: String| Problem::new(Code::Internal, format!("the response cannot be written: {error}"));
        let most = usize::try_from(limits.response_body_bytes).unwrap_or(usize::MAX);
        let mut json = Bounded { bytes: Vec::new(), most };
        serde_json::to_writer(&mut json, &head).map_err(|error| match error.io_error_kind() {
            Some(_) => {
                let detail =
                    format!("the response is over the limit of {most} bytes (limits.response_body_bytes)");
                Problem::new(Code::ResponseTooLarge, detail)
            }
            None => failed(error.to_string()),
        })?;
        let mut body = json.bytes;
        let mut headers = HeaderMap::new();
        let content_type = if any_binary {
            headers.insert(HEADER_LENGTH, HeaderValue::from(body.len()));
            body.append(&mut binary_part);
            "application/octet-stream"
        } else {
            "application/json"
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        if let Some(coding) = Coding::accepted(&self.headers) {
            body = coding.compress(&body).map_err(|error| failed(error.to_string()))?;
            headers.insert(CONTENT_ENCODING, coding.header());
        }
        Ok(Encoded { headers, body: body.into() })
    }
}

/// Bytes that become no more than they may: as JSON, numbers can be many times longer.
struct Bounded {
    bytes: Vec<u8>,
    most: usize,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.most - self.bytes.len() {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads inputs one after another.
struct Inputs {
    /// What of the body follows the JSON and was not read yet.
    binary: Bytes,
    budget: TensorBudget,
}

impl Inputs {
    fn read(&mut self, field: &str, input: Input<'_>) -> Result<(String, Tensor), Problem> {
        let invalid = |part: &str, detail: String| {
            Problem::new(Code::InvalidInput, detail).at(format!("{field}{part}"))
        };
        let Input { name, datatype, shape, parameters, data } = input;
        parameters.check(field)?;
        let element_type = element_type_of(&datatype, field)?;
        let shape = shape_of(&shape, field)?;
        let binary = &mut self.binary;
        let tensor =
            self.budget.spend(&shape, element_type, field, || match (data, parameters.binary_data_size) {
                (Some(json), None) => {
                    data::read(&shape, element_type, json).map_err(|detail| invalid(".data", detail))
                }
                (None, Some(size)) => {
                    let part = ".parameters.binary_data_size";
                    let size =
                        usize::try_from(size).ok().filter(|size| *size <= binary.len()).ok_or_else(|| {
                            invalid(part, format!("only {} bytes of the body are left for it", binary.len()))
                        })?;
                    binary::read(&shape, element_type, binary.split_to(size))
                        .map_err(|detail| invalid(part, detail))
                }
                (Some(_), Some(_)) => Err(invalid("", "give `data` or `binary_data_size`, not both".into())),
                (None, None) => Err(invalid(".data", "it is missing".into())),
            })?;
        Ok((name, tensor))
    }
}

/// How much of the body is JSON; `None` if all of it is.
fn json_length(headers: &HeaderMap) -> Result<Option<usize>, Problem> {
    let Some(value) = headers.get(HEADER_LENGTH) else { return Ok(None) };
    let length = value.to_str().ok().and_then(|text| text.parse().ok());
    let detail = "it is not a number of bytes";
    length.map(Some).ok_or_else(|| Problem::new(Code::InvalidInput, detail).at(HEADER_LENGTH.as_str()))
}

/// A body without JSON: the elements of the model's only input, in the one shape that they fit.
fn raw_input(signature: &Signature, body: Bytes, limits: &Limits) -> Result<TensorRequest, Problem> {
    let invalid = |detail: String| Problem::new(Code::InvalidInput, detail).at("body");
    let [input] = &signature.inputs[..] else {
        let count = signature.inputs.len();
        let detail = format!("a body without JSON is for models with one input; this one has {count}");
        return Err(invalid(detail));
    };
    if body.len() as u64 > limits.tensor_bytes {
        let detail = format!("the input is over the limit of {} (limits.tensor_bytes)", limits.tensor_bytes);
        return Err(Problem::new(Code::RequestTooLarge, detail).at("body"));
    }
    let open = input.shape.iter().filter(|dim| dim.is_none()).count();
    let known: Vec<usize> = input.shape.iter().flatten().copied().collect();
    let fixed = element_count(&known).map_err(|error| invalid(error.to_string()))?;
    let tensor = match input.element_type.size_bytes() {
        Some(_) if open > 1 || fixed == 0 => {
            let detail = "a body without JSON does not say which shape the input has: send it with one";
            return Err(invalid(detail.into()));
        }
        Some(size) => {
            let dim = body.len() / size / fixed;
            let shape: Vec<usize> = input.shape.iter().map(|known| known.unwrap_or(dim)).collect();
            binary::read(&shape, input.element_type, body).map_err(invalid)?
        }
        // One text, without its length.
        None => {
            let shape: Vec<usize> = input.shape.iter().map(|known| known.unwrap_or(1)).collect();
            let text = std::str::from_utf8(&body).map_err(|_| invalid("it is not UTF-8".into()))?;
            Tensor::from_texts(&shape, vec![text.into()]).map_err(|error| invalid(error.to_string()))?
        }
    };
    Ok(TensorRequest { inputs: vec![(input.name.clone(), tensor)], outputs: Vec::new() })
}

#[cfg(test)]
mod tests;
