//! What the host must know of an ONNX file before a backend sees it (onnx.proto, IR version 13).
//!
//! Reads the declared inputs and outputs, refuses tensors kept in other files, and finds operators
//! whose cost depends on values. It skims: weights are stepped over, never copied, and nothing is
//! allocated by a length that the file merely claims. It does not validate operators or types;
//! backends do.

use modelet_types::Signature;

use crate::InferenceError;

mod signature;
mod wire;

use wire::{Malformed, Message, Value};

/// What a model file says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelFacts {
    /// The inputs that a run must give and the outputs that it can ask for, in the model's order.
    /// Inputs with a default in the file, and outputs that are not tensors, are left out.
    pub signature: Signature,
    /// Whether the cost of a run follows from the shapes of its inputs. Loops, and operators that
    /// make a shape out of values, can turn a small input into any amount of work.
    pub cost_follows_shapes: bool,
}

/// Operators whose work depends on the values of their inputs.
const VALUE_DEPENDENT: [&str; 14] = [
    "Loop",
    "Scan",
    "SequenceMap",
    "Range",
    "ConstantOfShape",
    "Expand",
    "Tile",
    "Resize",
    "Upsample",
    "OneHot",
    "Pad",
    "CenterCropPad",
    "HannWindow",
    "BlackmanWindow",
];

/// Reads the facts of a model.
///
/// # Errors
/// `InvalidModel` if the bytes are not an ONNX model, or one that keeps data in another file, or one
/// whose inputs are not tensors with a known number of dimensions.
pub fn read(bytes: &[u8]) -> Result<ModelFacts, InferenceError> {
    let mut reader = Reader { cost_follows_shapes: true };
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
    cost_follows_shapes: bool,
}

impl Reader {
    /// `ModelProto`.
    fn model(&mut self, model: Message<'_>) -> Result<ModelFacts, Refusal> {
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
        self.graph(graph)?;
        Ok(ModelFacts { signature: signature::read(graph)?, cost_follows_shapes: self.cost_follows_shapes })
    }

    /// `FunctionProto`: an operator that the model defines by itself.
    fn function(&mut self, function: Message<'_>) -> Result<(), Refusal> {
        for field in function.fields() {
            match field? {
                (7, Value::Bytes(bytes)) => self.node(function.nested(bytes)?)?,
                (11, Value::Bytes(bytes)) => self.attribute(function.nested(bytes)?)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// `GraphProto`.
    fn graph(&mut self, graph: Message<'_>) -> Result<(), Refusal> {
        for field in graph.fields() {
            match field? {
                (1, Value::Bytes(bytes)) => self.node(graph.nested(bytes)?)?,
                (5, Value::Bytes(bytes)) => self.tensor(graph.nested(bytes)?)?,
                (15, Value::Bytes(bytes)) => self.sparse_tensor(graph.nested(bytes)?)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// `NodeProto`.
    fn node(&mut self, node: Message<'_>) -> Result<(), Refusal> {
        let (mut operator, mut domain) = ("", "");
        for field in node.fields() {
            match field? {
                (4, Value::Bytes(bytes)) => operator = wire::text(bytes)?,
                (7, Value::Bytes(bytes)) => domain = wire::text(bytes)?,
                (5, Value::Bytes(bytes)) => self.attribute(node.nested(bytes)?)?,
                _ => {}
            }
        }
        // What operators of other domains do is not known, so nothing is promised for them.
        let known = matches!(domain, "" | "ai.onnx" | "ai.onnx.ml");
        if !known || VALUE_DEPENDENT.contains(&operator) {
            self.cost_follows_shapes = false;
        }
        Ok(())
    }

    /// `AttributeProto`: may hold tensors and whole graphs, such as the body of a loop.
    fn attribute(&mut self, attribute: Message<'_>) -> Result<(), Refusal> {
        for field in attribute.fields() {
            match field? {
                (5 | 10, Value::Bytes(bytes)) => self.tensor(attribute.nested(bytes)?)?,
                (6 | 11, Value::Bytes(bytes)) => self.graph(attribute.nested(bytes)?)?,
                (22 | 23, Value::Bytes(bytes)) => self.sparse_tensor(attribute.nested(bytes)?)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// `SparseTensorProto`.
    fn sparse_tensor(&mut self, sparse: Message<'_>) -> Result<(), Refusal> {
        for field in sparse.fields() {
            if let (1 | 2, Value::Bytes(bytes)) = field? {
                self.tensor(sparse.nested(bytes)?)?;
            }
        }
        Ok(())
    }

    /// `TensorProto`.
    fn tensor(&mut self, tensor: Message<'_>) -> Result<(), Refusal> {
        let (mut external, mut name, mut elements) = (false, "", 1_u64);
        let mut dimension = |dim: u64| elements = elements.saturating_mul(dim.max(1));
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
        // The densest elements, of two bits, take a quarter of a byte each.
        if elements > 1 && elements / 4 > tensor.len() as u64 {
            return Err(Refusal::Because(format!(
                "tensor {} claims {elements} elements, but has {} bytes",
                wire::quote(name),
                tensor.len()
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
