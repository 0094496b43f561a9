//! A request matched with the signature: everything that can be wrong with it is found here, before
//! a backend sees it.

use std::collections::HashMap;

use modelet_types::tensor::extent;
use modelet_types::{Signature, Tensor};

use crate::InferenceError;

/// What the dimensions of an input without elements may be together, beside the 0.
const MAX_EMPTY_EXTENT: usize = 1 << 24;

/// Where each name stands in the signature.
pub struct Names {
    inputs: HashMap<String, usize>,
    outputs: HashMap<String, usize>,
}

impl Names {
    pub fn of(signature: &Signature) -> Self {
        let index = |infos: &[modelet_types::TensorInfo]| {
            infos.iter().enumerate().map(|(index, info)| (info.name.clone(), index)).collect()
        };
        Self { inputs: index(&signature.inputs), outputs: index(&signature.outputs) }
    }
}

/// A valid run.
#[derive(Clone)]
pub struct Plan {
    /// One for each input of the signature, in its order.
    pub inputs: Vec<Tensor>,
    /// Indices into the signature's outputs, in the order wanted.
    pub outputs: Vec<usize>,
}

impl Plan {
    /// Matches `inputs` and the chosen `outputs` with the signature.
    ///
    /// # Errors
    /// `InvalidInput` naming the input or output that is missing, unknown, given twice, or of the
    /// wrong type or shape.
    pub fn new(
        signature: &Signature,
        names: &Names,
        inputs: Vec<(String, Tensor)>,
        outputs: &[String],
    ) -> Result<Self, InferenceError> {
        let mut given: Vec<Option<Tensor>> = vec![None; signature.inputs.len()];
        for (name, tensor) in inputs {
            let index = find(&names.inputs, &name, "input")?;
            if let Some(mismatch) = signature.inputs[index].mismatch(&tensor) {
                return Err(InferenceError::InvalidInput(mismatch));
            }
            // A model may make something of the dimensions that are left.
            let is_small = extent(tensor.shape()).is_ok_and(|extent| extent <= MAX_EMPTY_EXTENT);
            if tensor.is_empty() && !is_small {
                let shape = tensor.shape();
                return Err(invalid(format!("input {} has no elements, and shape {shape:?}", quote(&name))));
            }
            if given[index].replace(tensor).is_some() {
                return Err(invalid(format!("input {} is given twice", quote(&name))));
            }
        }
        let inputs = given
            .into_iter()
            .zip(&signature.inputs)
            .map(|(tensor, info)| {
                tensor.ok_or_else(|| {
                    let wanted = info.element_type;
                    invalid(format!("input {} of type {wanted} is missing", quote(&info.name)))
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self { inputs, outputs: choose(signature, names, outputs)? })
    }
}

/// Matches `inputs` with a signature as a run of a model does, and gives them in its order.
///
/// # Errors
/// `InvalidInput` naming the input or output that is missing, unknown, given twice, or of the wrong type or
/// shape.
pub fn match_inputs(
    signature: &Signature,
    inputs: Vec<(String, Tensor)>,
    outputs: &[String],
) -> Result<Vec<(String, Tensor)>, InferenceError> {
    let plan = Plan::new(signature, &Names::of(signature), inputs, outputs)?;
    Ok(signature.inputs.iter().map(|info| info.name.clone()).zip(plan.inputs).collect())
}

fn choose(signature: &Signature, names: &Names, wanted: &[String]) -> Result<Vec<usize>, InferenceError> {
    if wanted.is_empty() {
        return Ok((0..signature.outputs.len()).collect());
    }
    let mut chosen = vec![false; signature.outputs.len()];
    wanted
        .iter()
        .map(|name| {
            let index = find(&names.outputs, name, "output")?;
            if std::mem::replace(&mut chosen[index], true) {
                return Err(invalid(format!("output {} is asked for twice", quote(name))));
            }
            Ok(index)
        })
        .collect()
}

fn find(known: &HashMap<String, usize>, name: &str, side: &str) -> Result<usize, InferenceError> {
    known.get(name).copied().ok_or_else(|| {
        let mut names: Vec<_> = known.iter().map(|(name, index)| (index, quote(name))).collect();
        names.sort_unstable();
        let names: Vec<String> = names.into_iter().map(|(_, name)| name).take(10).collect();
        let names = if names.is_empty() { "none".into() } else { names.join(", ") };
        invalid(format!("the model has no {side} {}; it has {names}", quote(name)))
    })
}

/// A caller's or a model's name, cut to what fits a message.
fn quote(name: &str) -> String {
    format!("`{}`", name.chars().take(80).collect::<String>())
}

fn invalid(message: String) -> InferenceError {
    InferenceError::InvalidInput(message)
}

#[cfg(test)]
mod tests {
    use modelet_types::{ElementType, TensorInfo};

    use super::*;

    fn plan(inputs: &[(&str, Tensor)], outputs: &[&str]) -> Result<Plan, String> {
        let info = |name: &str, shape: &[Option<usize>]| TensorInfo {
            name: name.into(),
            element_type: ElementType::F32,
            shape: shape.to_vec(),
        };
        let signature = Signature {
            inputs: vec![info("a", &[None, Some(2)]), info("b", &[])],
            outputs: vec![info("x", &[]), info("y", &[])],
        };
        let inputs = inputs.iter().map(|(name, tensor)| ((*name).to_owned(), tensor.clone())).collect();
        let outputs: Vec<String> = outputs.iter().map(|&name| name.to_owned()).collect();
        Plan::new(&signature, &Names::of(&signature), inputs, &outputs).map_err(|e| e.to_string())
    }

    fn f32s(shape: &[usize]) -> Tensor {
        Tensor::from_vec(shape, vec![0.0_f32; shape.iter().product()]).unwrap()
    }

    #[test]
    fn puts_inputs_and_outputs_in_order() {
        let both = [("b", f32s(&[])), ("a", f32s(&[3, 2]))];
        let all = plan(&both, &[]).unwrap();
        assert_eq!(all.inputs[0].shape(), [3, 2]);
        assert_eq!(all.outputs, [0, 1]);
        assert_eq!(plan(&both, &["y", "x"]).unwrap().outputs, [1, 0]);
    }

    #[test]
    fn names_what_is_wrong() {
        let (a, b) = (("a", f32s(&[1, 2])), ("b", f32s(&[])));
        let wrong = |inputs: &[(&str, Tensor)], outputs: &[&str]| plan(inputs, outputs).err().unwrap();
        assert_eq!(wrong(std::slice::from_ref(&a), &[]), "input `b` of type f32 is missing");
        assert_eq!(wrong(&[("c", f32s(&[]))], &[]), "the model has no input `c`; it has `a`, `b`");
        assert_eq!(wrong(&[b.clone(), b.clone()], &[]), "input `b` is given twice");
        assert_eq!(wrong(&[("a", f32s(&[1, 3]))], &[]), "input `a` takes shape [any, 2], but got [1, 3]");
        let ints = Tensor::from_vec(&[], vec![1_i64]).unwrap();
        let empty = Tensor::from_vec::<f32>(&[1 << 40, 0], vec![]).unwrap();
        assert!(wrong(&[("b", empty)], &[]).contains("takes shape"));
        assert_eq!(wrong(&[("b", ints)], &[]), "input `b` takes elements of type f32, but got i64");
        let both = [a, b];
        assert_eq!(wrong(&both, &["z"]), "the model has no output `z`; it has `x`, `y`");
        assert_eq!(wrong(&both, &["x", "x"]), "output `x` is asked for twice");
    }
}
