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
    let mut left_out = None;
    for field in graph.fields() {
        match field? {
            (11, Value::Bytes(info)) => {
                let input = graph.nested(info)?;
                if !defaults.contains(name_in(input, 1)?) {
                    push(&mut signature.inputs, read_input(input)?)?;
                }
            }
            (12, Value::Bytes(info)) => match read_output(graph.nested(info)?)? {
                Ok(output) => push(&mut signature.outputs, output)?,
                Err(why) => left_out = left_out.or(Some(why)),
            },
            _ => {}
        }
    }
    if signature.outputs.is_empty() {
        let why = left_out.map(|why| format!(": {why}")).unwrap_or_default();
        return Err(Refusal::Because(format!("the model declares no output that can be given{why}")));
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

/// An output, or why it cannot be one. If the file does not say how many dimensions it has, it shows none.
fn read_output(output: Message<'_>) -> Result<Result<TensorInfo, String>, Refusal> {
    let name = name_in(output, 1)?.to_owned();
    Ok(match declared_type(output)? {
        Declared::Tensor { element_type, shape } => {
            Ok(TensorInfo { name, element_type, shape: shape.unwrap_or_default() })
        }
        // Such as the list of maps that skl2onnx makes of a classifier's probabilities.
        Declared::Unsupported(what) => Err(format!("output {} is {what}", wire::quote(&name))),
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
    Unsupported(String),
}

/// The `TypeProto` of a `ValueInfoProto`.
fn declared_type(info: Message<'_>) -> Result<Declared, Refusal> {
    let mut declared = Declared::Unsupported("of no declared type".into());
    for field in info.fields() {
        let (2, Value::Bytes(bytes)) = field? else { continue };
        let type_proto = info.nested(bytes)?;
        for field in type_proto.fields() {
            match field? {
                (1, Value::Bytes(bytes)) => declared = tensor_type(type_proto.nested(bytes)?)?,
                (number @ (4 | 5 | 7 | 8 | 9), _) => {
                    let what = match number {
                        4 => "a sequence",
                        5 => "a map",
                        7 => "of a type of its own",
                        8 => "a sparse tensor",
                        _ => "an optional value",
                    };
                    declared =
                        Declared::Unsupported(format!("{what}, and models here take and give tensors"));
                }
                _ => {}
            }
        }
    }
    Ok(declared)
}

/// `TypeProto.Tensor`.
fn tensor_type(tensor: Message<'_>) -> Result<Declared, Refusal> {
    let (mut code, mut shape) = (0, None);
    for field in tensor.fields() {
        match field? {
            (1, Value::Varint(number)) => code = number,
            (2, Value::Bytes(bytes)) => shape = Some(read_shape(tensor.nested(bytes)?)?),
            _ => {}
        }
    }
    Ok(match element_type_of(code) {
        Ok(element_type) => Declared::Tensor { element_type, shape },
        Err(name) => Declared::Unsupported(format!(
            "a tensor with elements of type {name}, which is not supported: cast it inside of the model"
        )),
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

/// `TensorProto.DataType`; the name of one that tensors here do not have.
fn element_type_of(code: u64) -> Result<ElementType, String> {
    let missing = match code {
        1 => return Ok(ElementType::F32),
        2 => return Ok(ElementType::U8),
        3 => return Ok(ElementType::I8),
        4 => return Ok(ElementType::U16),
        5 => return Ok(ElementType::I16),
        6 => return Ok(ElementType::I32),
        7 => return Ok(ElementType::I64),
        8 => return Ok(ElementType::Text),
        9 => return Ok(ElementType::Boolean),
        10 => return Ok(ElementType::F16),
        11 => return Ok(ElementType::F64),
        12 => return Ok(ElementType::U32),
        13 => return Ok(ElementType::U64),
        16 => return Ok(ElementType::Bf16),
        14 => "complex64",
        15 => "complex128",
        17 => "float8e4m3fn",
        18 => "float8e4m3fnuz",
        19 => "float8e5m2",
        20 => "float8e5m2fnuz",
        21 => "uint4",
        22 => "int4",
        23 => "float4e2m1",
        _ => return Err(format!("number {code}")),
    };
    Err(missing.into())
}
