//! The declared inputs and outputs of the main graph (`ValueInfoProto`, `TypeProto`).

use std::collections::HashSet;

use modelet_types::tensor::MAX_RANK;
use modelet_types::{ElementType, Signature, TensorInfo};

use super::Refusal;
use super::wire::{self, Malformed, Message, Value};

/// The most inputs or outputs; far more than any real model has.
const MAX_VALUES: usize = 4096;

/// Reads the signature of a `GraphProto`.
pub fn read(graph: Message<'_>) -> Result<Signature, Refusal> {
    // Before IR version 4, every initializer was listed as an input as well; since then, one that
    // is listed is a default. Neither has to be given.
    let mut defaults = HashSet::new();
    for field in graph.fields() {
        match field? {
            (5, Value::Bytes(tensor)) => _ = defaults.insert(name_in(graph.nested(tensor)?, 8)?),
            (15, Value::Bytes(sparse)) => {
                let sparse = graph.nested(sparse)?;
                for field in sparse.fields() {
                    if let (1, Value::Bytes(values)) = field? {
                        defaults.insert(name_in(sparse.nested(values)?, 8)?);
                    }
                }
            }
            _ => {}
        }
    }
    let mut signature = Signature::default();
    for field in graph.fields() {
        match field? {
            (11, Value::Bytes(info)) => {
                let input = graph.nested(info)?;
                if !defaults.contains(name_in(input, 1)?) {
                    push(&mut signature.inputs, read_input(input)?)?;
                }
            }
            (12, Value::Bytes(info)) => {
                if let Some(output) = read_output(graph.nested(info)?)? {
                    push(&mut signature.outputs, output)?;
                }
            }
            _ => {}
        }
    }
    if signature.outputs.is_empty() {
        return Err(Refusal::Because("the model declares no output that is a tensor".into()));
    }
    Ok(signature)
}

fn push(values: &mut Vec<TensorInfo>, info: TensorInfo) -> Result<(), Refusal> {
    if values.len() == MAX_VALUES {
        return Err(Refusal::Because(format!("the model declares more than {MAX_VALUES} inputs or outputs")));
    }
    values.push(info);
    Ok(())
}

fn read_input(input: Message<'_>) -> Result<TensorInfo, Refusal> {
    let name = name_in(input, 1)?;
    let quoted = wire::quote(name);
    match declared_type(input)? {
        Declared::Tensor { element_type, shape: Some(shape) } => {
            Ok(TensorInfo { name: name.to_owned(), element_type, shape })
        }
        Declared::Tensor { shape: None, .. } => {
            Err(Refusal::Because(format!("input {quoted} does not declare how many dimensions it has")))
        }
        Declared::Unsupported(what) => Err(Refusal::Because(format!("input {quoted} is {what}"))),
    }
}

/// An output that is a tensor. If the file does not say how many dimensions it has, it shows none.
fn read_output(output: Message<'_>) -> Result<Option<TensorInfo>, Refusal> {
    let name = name_in(output, 1)?.to_owned();
    Ok(match declared_type(output)? {
        Declared::Tensor { element_type, shape } => {
            Some(TensorInfo { name, element_type, shape: shape.unwrap_or_default() })
        }
        // Such as the list of maps that skl2onnx makes of a classifier's probabilities.
        Declared::Unsupported(_) => None,
    })
}

/// The text in a field of a message; empty if it has none.
pub fn name_in(message: Message<'_>, number: u32) -> Result<&str, Malformed> {
    let mut name = "";
    for field in message.fields() {
        match field? {
            (n, Value::Bytes(bytes)) if n == number => name = wire::text(bytes)?,
            _ => {}
        }
    }
    Ok(name)
}

enum Declared {
    Tensor { element_type: ElementType, shape: Option<Vec<Option<usize>>> },
    Unsupported(&'static str),
}

/// The `TypeProto` of a `ValueInfoProto`.
fn declared_type(info: Message<'_>) -> Result<Declared, Refusal> {
    let mut declared = Declared::Unsupported("of no declared type");
    for field in info.fields() {
        let (2, Value::Bytes(bytes)) = field? else { continue };
        let type_proto = info.nested(bytes)?;
        for field in type_proto.fields() {
            match field? {
                (1, Value::Bytes(bytes)) => declared = tensor_type(type_proto.nested(bytes)?)?,
                (4 | 5 | 7 | 8 | 9, _) => {
                    declared = Declared::Unsupported("not a dense tensor, and only those are supported");
                }
                _ => {}
            }
        }
    }
    Ok(declared)
}

/// `TypeProto.Tensor`.
fn tensor_type(tensor: Message<'_>) -> Result<Declared, Refusal> {
    let (mut element_type, mut shape) = (None, None);
    for field in tensor.fields() {
        match field? {
            (1, Value::Varint(code)) => element_type = element_type_of(code),
            (2, Value::Bytes(bytes)) => shape = Some(read_shape(tensor.nested(bytes)?)?),
            _ => {}
        }
    }
    Ok(match element_type {
        Some(element_type) => Declared::Tensor { element_type, shape },
        None => Declared::Unsupported("a tensor of an element type that is not supported"),
    })
}

/// `TensorShapeProto`. A dimension with a name, or with nothing, is chosen by each call.
pub fn read_shape(shape: Message<'_>) -> Result<Vec<Option<usize>>, Refusal> {
    let mut dims = Vec::new();
    for field in shape.fields() {
        let (1, Value::Bytes(bytes)) = field? else { continue };
        if dims.len() == MAX_RANK {
            return Err(Refusal::Because(format!("a shape has more than {MAX_RANK} dimensions")));
        }
        let mut dim = None;
        for field in shape.nested(bytes)?.fields() {
            match field? {
                // Some exporters write 0 or -1 for "any".
                (1, Value::Varint(size)) => {
                    dim = i64::try_from(size).ok().filter(|&s| s > 0).and_then(|s| usize::try_from(s).ok());
                }
                (2, Value::Bytes(_)) => dim = None,
                _ => {}
            }
        }
        dims.push(dim);
    }
    Ok(dims)
}

/// `TensorProto.DataType`.
fn element_type_of(code: u64) -> Option<ElementType> {
    Some(match code {
        1 => ElementType::F32,
        2 => ElementType::U8,
        3 => ElementType::I8,
        4 => ElementType::U16,
        5 => ElementType::I16,
        6 => ElementType::I32,
        7 => ElementType::I64,
        8 => ElementType::Text,
        9 => ElementType::Boolean,
        10 => ElementType::F16,
        11 => ElementType::F64,
        12 => ElementType::U32,
        13 => ElementType::U64,
        16 => ElementType::Bf16,
        _ => return None,
    })
}
