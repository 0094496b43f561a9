//! What the host must know of an ONNX file before a backend sees it (onnx.proto, IR version 13).
//!
//! Reads the declared inputs and outputs, refuses tensors kept in other files, bounds what backends
//! decode by recursion, and finds out how the operators stand on each other (`flow`). It skims:
//! weights are stepped over, never copied, and nothing is allocated by a length that the file merely
//! claims. It does not validate operators or types; backends do.

use modelet_types::tensor::MAX_RANK;
use modelet_types::{ElementType, Signature};

use crate::InferenceError;

mod flow;
mod signature;
mod wire;

use flow::{Extent, Flow, Kind, Operator};
use wire::{Malformed, Message, Value};

/// The most operators, names of their inputs and outputs, and weights of one file, all together: some
/// hundred times what the largest models have. It bounds the memory that reading takes.
const MAX_PARTS: usize = 1 << 20;

/// What a model file says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelFacts {
    /// The inputs that a run must give and the outputs that it can ask for, in the model's order.
    /// Inputs with a default in the file, and outputs that are not tensors, are left out.
    pub signature: Signature,
    /// Whether runs with inputs of the same shapes cost the same. Loops, branches, and operators that
    /// make a shape out of values, can turn a small input into any amount of work; so can operators
    /// that this version does not know.
    pub cost_follows_shapes: bool,
    /// The most operators of which each needs the one before, with those of subgraphs.
    pub longest_chain: usize,
    /// The most terms of a sum, or factors of a product, once those that are sums or products
    /// themselves are written out.
    pub longest_sum: usize,
}

/// Reads the facts of a model.
///
/// # Errors
/// `InvalidModel` if the bytes are not an ONNX model, or one that keeps data in another file, or one
/// that is nested too deeply, or one whose inputs are not tensors with a known number of dimensions.
pub fn read(bytes: &[u8]) -> Result<ModelFacts, InferenceError> {
    let mut reader = Reader { parts: 0, has_functions: false };
    reader.model(Message::new(bytes)).map_err(|refusal| {
        InferenceError::InvalidModel(match refusal {
            Refusal::Malformed(Malformed(what)) => format!("the file is not an ONNX model: {what}"),
            Refusal::Because(why) => why,
        })
    })
}

/// Why a file is refused.
enum Refusal {
    Malformed(Malformed),
    Because(String),
}

impl From<Malformed> for Refusal {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

struct Reader {
    /// Counted against [`MAX_PARTS`].
    parts: usize,
    has_functions: bool,
}

/// What the attributes of an operator hold.
#[derive(Default)]
struct Held<'a> {
    captures: Vec<&'a str>,
    inside: usize,
    longest_sum: usize,
}

impl Reader {
    /// `ModelProto`.
    fn model<'a>(&mut self, model: Message<'a>) -> Result<ModelFacts, Refusal> {
        let mut graph = None;
        for field in model.fields() {
            match field? {
                (7, Value::Bytes(bytes)) => {
                    let previous = graph.replace(model.nested(bytes)?);
                    if previous.is_some() {
                        return Err(Malformed("it has more than one graph").into());
                    }
                }
                // Training graphs do not run here, but a backend reads their tensors all the same.
                (20, Value::Bytes(bytes)) => {
                    let training = model.nested(bytes)?;
                    for field in training.fields() {
                        if let (1 | 2, Value::Bytes(bytes)) = field? {
                            self.graph(training.nested(bytes)?)?;
                        }
                    }
                }
                (25, Value::Bytes(bytes)) => self.function(model.nested(bytes)?)?,
                _ => {}
            }
        }
        let graph = graph.ok_or(Malformed("it has no graph"))?;
        let (_, extent) = self.graph(graph)?;
        let signature = signature::read(graph)?;
        Ok(ModelFacts {
            // A function may have the name of an operator of the standard, and takes its place. What
            // texts cost is a matter of their lengths.
            cost_follows_shapes: extent.cost_follows_shapes
                && !self.has_functions
                && signature.inputs.iter().all(|input| input.element_type != ElementType::Text),
            longest_chain: extent.longest_chain,
            longest_sum: extent.longest_sum,
            signature,
        })
    }

    /// `FunctionProto`: an operator that the model defines by itself.
    fn function(&mut self, function: Message<'_>) -> Result<(), Refusal> {
        self.has_functions = true;
        for field in function.fields() {
            match field? {
                (7, Value::Bytes(bytes)) => _ = self.node(function.nested(bytes)?)?,
                (11, Value::Bytes(bytes)) => _ = self.attribute(function.nested(bytes)?)?,
                (12, Value::Bytes(bytes)) => value_info(function.nested(bytes)?)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// `GraphProto`. Gives the names that it takes from around it.
    fn graph<'a>(&mut self, graph: Message<'a>) -> Result<(Vec<&'a str>, Extent), Refusal> {
        let mut flow = Flow::default();
        let mut longest_sum = 0;
        for field in graph.fields() {
            let (number, Value::Bytes(bytes)) = field? else { continue };
            match number {
                1 => {
                    let (operator, inside) = self.node(graph.nested(bytes)?)?;
                    flow.operators.push(operator);
                    longest_sum = longest_sum.max(inside);
                }
                5 => {
                    self.count()?;
                    flow.constants.insert(tensor(graph.nested(bytes)?)?);
                }
                15 => {
                    self.count()?;
                    flow.constants.insert(sparse_tensor(graph.nested(bytes)?)?);
                }
                11..=13 => {
                    self.count()?;
                    let info = graph.nested(bytes)?;
                    value_info(info)?;
                    match number {
                        11 => flow.inputs.push(signature::name_in(info, 1)?),
                        12 => flow.outputs.push(signature::name_in(info, 1)?),
                        _ => {}
                    }
                }
                _ => {}
            }
        }
        let extent = flow.extent();
        Ok((flow.captures(), Extent { longest_sum: extent.longest_sum.max(longest_sum), ..extent }))
    }

    /// `NodeProto`. Gives the longest sum in its subgraphs as well.
    fn node<'a>(&mut self, node: Message<'a>) -> Result<(Operator<'a>, usize), Refusal> {
        self.count()?;
        let (mut name, mut domain) = ("", "");
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        let mut all = Held::default();
        for field in node.fields() {
            let (number, Value::Bytes(bytes)) = field? else { continue };
            match number {
                1 | 2 => {
                    self.count()?;
                    let names = if number == 1 { &mut inputs } else { &mut outputs };
                    names.push(wire::text(bytes)?);
                }
                4 => name = wire::text(bytes)?,
                7 => domain = wire::text(bytes)?,
                5 => {
                    let held = self.attribute(node.nested(bytes)?)?;
                    all.captures.extend(held.captures);
                    all.inside = all.inside.max(held.inside);
                    all.longest_sum = all.longest_sum.max(held.longest_sum);
                }
                _ => {}
            }
        }
        let kind = match domain {
            "" | "ai.onnx" => Some(Kind::Tensors(name)),
            "ai.onnx.ml" => Some(Kind::Classic(name)),
            _ => None,
        };
        let Held { captures, inside, longest_sum } = all;
        Ok((Operator { kind, inputs, outputs, captures, inside }, longest_sum))
    }

    /// `AttributeProto`: may hold tensors, types, and whole graphs, such as the body of a loop.
    fn attribute<'a>(&mut self, attribute: Message<'a>) -> Result<Held<'a>, Refusal> {
        let mut held = Held::default();
        for field in attribute.fields() {
            match field? {
                (5 | 10, Value::Bytes(bytes)) => _ = tensor(attribute.nested(bytes)?)?,
                (6 | 11, Value::Bytes(bytes)) => {
                    let (captures, extent) = self.graph(attribute.nested(bytes)?)?;
                    held.captures.extend(captures);
                    held.inside = held.inside.max(extent.longest_chain.max(1));
                    held.longest_sum = held.longest_sum.max(extent.longest_sum);
                }
                (14 | 15, Value::Bytes(bytes)) => type_proto(attribute.nested(bytes)?)?,
                (22 | 23, Value::Bytes(bytes)) => _ = sparse_tensor(attribute.nested(bytes)?)?,
                _ => {}
            }
        }
        Ok(held)
    }

    fn count(&mut self) -> Result<(), Refusal> {
        self.parts += 1;
        if self.parts > MAX_PARTS {
            return Err(Refusal::Because(format!(
                "the model has more than {MAX_PARTS} operators, values and weights"
            )));
        }
        Ok(())
    }
}

/// `ValueInfoProto`.
fn value_info(info: Message<'_>) -> Result<(), Refusal> {
    for field in info.fields() {
        if let (2, Value::Bytes(bytes)) = field? {
            type_proto(info.nested(bytes)?)?;
        }
    }
    Ok(())
}

/// `TypeProto`. Sequences, maps and optional values are of types that may be such again.
fn type_proto(type_proto: Message<'_>) -> Result<(), Refusal> {
    for field in type_proto.fields() {
        let (number, Value::Bytes(bytes)) = field? else { continue };
        if !matches!(number, 1 | 4 | 5 | 8 | 9) {
            continue;
        }
        let parts = type_proto.nested(bytes)?;
        for field in parts.fields() {
            match (number, field?) {
                (1 | 8, (2, Value::Bytes(shape))) => _ = signature::read_shape(parts.nested(shape)?)?,
                (4 | 9, (1, Value::Bytes(element))) | (5, (2, Value::Bytes(element))) => {
                    self::type_proto(parts.nested(element)?)?;
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// `SparseTensorProto`. Gives its name, which is that of its values.
fn sparse_tensor(sparse: Message<'_>) -> Result<&str, Refusal> {
    let mut name = "";
    for field in sparse.fields() {
        match field? {
            (1, Value::Bytes(bytes)) => name = tensor(sparse.nested(bytes)?)?,
            (2, Value::Bytes(bytes)) => _ = tensor(sparse.nested(bytes)?)?,
            _ => {}
        }
    }
    Ok(name)
}

/// `TensorProto`. Gives its name.
fn tensor(tensor: Message<'_>) -> Result<&str, Refusal> {
    let (mut external, mut name, mut elements, mut rank) = (false, "", 1_u64, 0_usize);
    let mut dimension = |dim: u64| {
        rank += 1;
        elements = elements.saturating_mul(dim.max(1));
    };
    for field in tensor.fields() {
        match field? {
            (1, Value::Varint(dim)) => dimension(dim),
            (1, Value::Bytes(packed)) => {
                for dim in wire::packed_varints(packed) {
                    dimension(dim?);
                }
            }
            (8, Value::Bytes(bytes)) => name = wire::text(bytes)?,
            (13, Value::Bytes(_)) => external = true,
            (14, Value::Varint(location)) => external |= location != 0,
            _ => {}
        }
    }
    if external {
        let name = wire::quote(name);
        return Err(Refusal::Because(format!(
            "tensor {name} keeps its data in another file, and a model is one file: save it with its \
             data inside, such as with `onnx.save_model(model, path, save_as_external_data=False)`"
        )));
    }
    if rank > MAX_RANK {
        let name = wire::quote(name);
        return Err(Refusal::Because(format!("tensor {name} has {rank} dimensions; use at most {MAX_RANK}")));
    }
    // The densest elements, of two bits, take a quarter of a byte each.
    if elements > 1 && elements / 4 > tensor.len() as u64 {
        return Err(Refusal::Because(format!(
            "tensor {} claims {elements} elements, but has {} bytes",
            wire::quote(name),
            tensor.len()
        )));
    }
    Ok(name)
}

#[cfg(test)]
mod tests;
