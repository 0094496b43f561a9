//! What a handler in tensors takes and gives. Nobody can find that out from its code, so its manifest says it.

use serde::{Deserialize, Serialize};

use super::invalid;
use crate::{ElementType, Problem, Signature, TensorInfo};

/// The most inputs, and the most outputs.
const MAX_TENSORS: usize = 64;
/// The longest name of a tensor.
const MAX_NAME_BYTES: usize = 128;
/// The most dimensions of a tensor.
const MAX_RANK: usize = 16;
/// A dimension that each call chooses, as the Open Inference Protocol writes it.
const ANY: i64 = -1;

/// The inputs and outputs of a handler in tensors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct DeclaredSignature {
    /// What a request brings, all of it.
    pub inputs: Vec<DeclaredTensor>,
    /// What an answer can have.
    pub outputs: Vec<DeclaredTensor>,
}

/// An input or output of a handler in tensors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct DeclaredTensor {
    /// The name by which it is given or asked for.
    pub name: String,
    /// What every element is.
    pub element_type: ElementType,
    /// The dimensions, outermost first; -1 where each call chooses.
    pub shape: Vec<i64>,
}

impl DeclaredSignature {
    /// Checks it, for a handler that may hold so many handles.
    pub(super) fn check(&self, handles: u64) -> Result<(), Problem> {
        let count = self.inputs.len();
        if count as u64 > handles {
            let detail = format!(
                "{count} inputs are more than the handler may hold handles ({handles}, limits.handles)"
            );
            return Err(invalid("signature.inputs", detail));
        }
        for (side, tensors) in [("inputs", &self.inputs), ("outputs", &self.outputs)] {
            let path = format!("signature.{side}");
            if tensors.is_empty() || tensors.len() > MAX_TENSORS {
                return Err(invalid(path, format!("use 1 to {MAX_TENSORS} tensors, got {}", tensors.len())));
            }
            for (index, tensor) in tensors.iter().enumerate() {
                let at = |field: &str, detail: String| invalid(format!("{path}[{index}].{field}"), detail);
                let DeclaredTensor { name, shape, .. } = tensor;
                if name.is_empty() || name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control) {
                    let detail =
                        format!("a name has 1 to {MAX_NAME_BYTES} bytes, none of them a control character");
                    return Err(at("name", detail));
                }
                if tensors[..index].iter().any(|other| other.name == *name) {
                    return Err(at("name", format!("`{name}` is named twice")));
                }
                if shape.len() > MAX_RANK {
                    return Err(at("shape", format!("at most {MAX_RANK} dimensions, got {}", shape.len())));
                }
                if let Some(dim) = shape.iter().find(|dim| **dim < ANY) {
                    return Err(at(
                        "shape",
                        format!("{dim} is no dimension: use {ANY} where each call chooses"),
                    ));
                }
            }
        }
        Ok(())
    }

    /// The same, as a model has it.
    pub fn signature(&self) -> Signature {
        let info = |tensor: &DeclaredTensor| TensorInfo {
            name: tensor.name.clone(),
            element_type: tensor.element_type,
            shape: tensor.shape.iter().map(|dim| usize::try_from(*dim).ok()).collect(),
        };
        Signature {
            inputs: self.inputs.iter().map(info).collect(),
            outputs: self.outputs.iter().map(info).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(inputs: &str) -> DeclaredSignature {
        let outputs = r#"[{ "name": "label", "element_type": "text", "shape": [] }]"#;
        serde_json::from_str(&format!(r#"{{ "inputs": {inputs}, "outputs": {outputs} }}"#)).unwrap()
    }

    #[test]
    fn an_open_dimension_is_minus_one() {
        let signature = declared(r#"[{ "name": "x", "element_type": "f32", "shape": [-1, 64] }]"#);
        signature.check(10).unwrap();
        assert_eq!(signature.check(0).unwrap_err().field.as_deref(), Some("signature.inputs"));
        let Signature { inputs, outputs } = signature.signature();
        assert_eq!((&inputs[0].shape[..], inputs[0].element_type), (&[None, Some(64)][..], ElementType::F32));
        assert!(outputs[0].shape.is_empty());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let wide = format!(r#"[{{ "name": "x", "element_type": "u8", "shape": {:?} }}]"#, vec![1; 17]);
        for (inputs, field) in [
            ("[]", "signature.inputs"),
            (r#"[{ "name": "", "element_type": "u8", "shape": [] }]"#, "signature.inputs[0].name"),
            (r#"[{ "name": "x", "element_type": "u8", "shape": [-2] }]"#, "signature.inputs[0].shape"),
            (&wide, "signature.inputs[0].shape"),
            (
                r#"[{ "name": "x", "element_type": "u8", "shape": [] },
                    { "name": "x", "element_type": "u8", "shape": [] }]"#,
                "signature.inputs[1].name",
            ),
        ] {
            let problem = declared(inputs).check(100).unwrap_err();
            assert_eq!(problem.field.as_deref(), Some(field), "{problem}");
        }
    }
}
