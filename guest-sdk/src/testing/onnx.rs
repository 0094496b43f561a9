//! A real model, run by rten in the test's own process.
//!
//! rten has f32, i32, i8 and u8, and computes i64 and booleans as i32. What the file declares is
//! converted on the way in and back on the way out, as a host does; other types are refused.

use std::fs;
use std::path::Path;

use rten::{Model, Value, ValueOrView};
use rten_onnx::onnx::{DataType, ModelProto, ValueInfoProto};
use rten_tensor::prelude::*;

use super::TestModel;
use crate::element::{ElementType, Elements};
use crate::error::Error;
use crate::model::{Inputs, Outputs};
use crate::tensor::{Tensor, TensorInfo};

/// Runs an ONNX file.
pub struct OnnxModel {
    model: Model,
    inputs: Vec<TensorInfo>,
    outputs: Vec<TensorInfo>,
}

impl OnnxModel {
    /// Loads a file; a relative path begins at the folder of the crate under test.
    ///
    /// # Panics
    /// If rten cannot load it, so that the test says why.
    pub fn from_file(path: impl AsRef<Path>) -> Self {
        let path = path.as_ref();
        match fs::read(path) {
            Ok(bytes) => Self::load(bytes, &path.display().to_string()),
            Err(error) => panic!("cannot read the model {}: {error}", path.display()),
        }
    }

    /// The same from its bytes.
    ///
    /// # Panics
    /// If rten cannot load it.
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self::load(bytes.into(), "the model")
    }

    fn load(bytes: Vec<u8>, name: &str) -> Self {
        let loaded = declared(&bytes).and_then(|(inputs, outputs)| {
            let model = Model::load(bytes).map_err(|error| error.to_string())?;
            Ok(Self { model, inputs, outputs })
        });
        loaded.unwrap_or_else(|error| panic!("{name} cannot be loaded: {error}"))
    }

    /// The declared inputs with what was given for each.
    fn check<'a>(&self, given: &'a Inputs) -> Result<Vec<&'a Tensor>, Error> {
        if let Some((name, _)) = given.iter().find(|(name, _)| self.inputs.iter().all(|i| i.name != *name)) {
            return Err(Error::InvalidInput(format!("the model has no input `{name}`")));
        }
        self.inputs
            .iter()
            .map(|input| {
                let missing = || Error::InvalidInput(format!("input `{}` is missing", input.name));
                let tensor = given.get(&input.name).ok_or_else(missing)?;
                mismatch(input, tensor).map_or(Ok(tensor), |message| Err(Error::InvalidInput(message)))
            })
            .collect()
    }
}

impl TestModel for OnnxModel {
    fn inputs(&self) -> Vec<TensorInfo> {
        self.inputs.clone()
    }

    fn outputs(&self) -> Vec<TensorInfo> {
        self.outputs.clone()
    }

    fn infer(&self, inputs: &Inputs) -> Result<Outputs, Error> {
        let backend = |error: rten::RunError| Error::Backend(error.to_string());
        let mut values = Vec::new();
        for (info, tensor) in self.inputs.iter().zip(self.check(inputs)?) {
            let id = self.model.node_id(&info.name).map_err(backend)?;
            values.push((id, ValueOrView::Value(to_rten(tensor)?)));
        }
        let ids =
            self.outputs.iter().map(|info| self.model.node_id(&info.name)).collect::<Result<Vec<_>, _>>();
        let outputs = self.model.run(values, &ids.map_err(backend)?, None).map_err(backend)?;
        self.outputs
            .iter()
            .zip(outputs)
            .map(|(info, value)| Ok((info.name.clone(), from_rten(value, info.element_type)?)))
            .collect()
    }
}

fn mismatch(info: &TensorInfo, tensor: &Tensor) -> Option<String> {
    let (name, wanted, got) = (&info.name, info.element_type, tensor.element_type());
    if wanted != got {
        return Some(format!("input `{name}` takes elements of type {wanted}, but got {got}"));
    }
    let shape = tensor.shape();
    let fits = info.shape.len() == shape.len()
        && info.shape.iter().zip(&shape).all(|(wanted, &got)| wanted.is_none_or(|wanted| wanted == got));
    if fits {
        return None;
    }
    let text = |dim: &Option<usize>| dim.map_or_else(|| "any".to_owned(), |dim| dim.to_string());
    let wanted: Vec<_> = info.shape.iter().map(text).collect();
    Some(format!("input `{name}` takes shape [{}], but got {shape:?}", wanted.join(", ")))
}

fn to_rten(tensor: &Tensor) -> Result<Value, Error> {
    let shape = tensor.shape();
    let value = match tensor.elements() {
        Elements::F32(x) => Value::from_shape(&shape, x).map_err(|error| error.to_string()),
        Elements::I32(x) => Value::from_shape(&shape, x).map_err(|error| error.to_string()),
        Elements::I8(x) => Value::from_shape(&shape, x).map_err(|error| error.to_string()),
        Elements::U8(x) => Value::from_shape(&shape, x).map_err(|error| error.to_string()),
        Elements::Boolean(x) => {
            let x: Vec<i32> = x.into_iter().map(i32::from).collect();
            Value::from_shape(&shape, x).map_err(|error| error.to_string())
        }
        Elements::I64(x) => {
            let narrow = x.into_iter().map(i32::try_from).collect::<Result<Vec<_>, _>>();
            let narrow = narrow.map_err(|_| Error::Backend("rten has no integers beyond 32 bits".into()))?;
            Value::from_shape(&shape, narrow).map_err(|error| error.to_string())
        }
        other => return Err(Error::Backend(format!("rten has no tensors of {}", other.element_type()))),
    };
    value.map_err(Error::Backend)
}

fn from_rten(value: Value, declared: ElementType) -> Result<Tensor, Error> {
    let (shape, elements) = match (value, declared) {
        (Value::FloatTensor(x), ElementType::F32) => (x.shape().to_vec(), Elements::F32(x.into_data())),
        (Value::Int8Tensor(x), ElementType::I8) => (x.shape().to_vec(), Elements::I8(x.into_data())),
        (Value::UInt8Tensor(x), ElementType::U8) => (x.shape().to_vec(), Elements::U8(x.into_data())),
        (Value::Int32Tensor(x), ElementType::I32) => (x.shape().to_vec(), Elements::I32(x.into_data())),
        (Value::Int32Tensor(x), ElementType::I64) => {
            (x.shape().to_vec(), Elements::I64(x.into_data().into_iter().map(i64::from).collect()))
        }
        (Value::Int32Tensor(x), ElementType::Boolean) => {
            (x.shape().to_vec(), Elements::Boolean(x.into_data().into_iter().map(|x| x != 0).collect()))
        }
        (value, declared) => {
            let got = value.dtype();
            return Err(Error::Backend(format!("rten gives {got} where the model declares {declared}")));
        }
    };
    Tensor::from_elements(shape, &elements)
}

/// Inputs and outputs as the file declares them; rten keeps only what it computes with.
fn declared(bytes: &[u8]) -> Result<(Vec<TensorInfo>, Vec<TensorInfo>), String> {
    let model = ModelProto::parse_buf(bytes).map_err(|error| error.to_string())?;
    let graph = model.graph.ok_or("the file has no graph")?;
    // Old exporters list the weights among the inputs.
    let is_weight =
        |value: &&ValueInfoProto| graph.initializer.iter().any(|weight| weight.name == value.name);
    let inputs = graph.input.iter().filter(|value| !is_weight(value)).map(info).collect::<Result<_, _>>()?;
    let outputs = graph.output.iter().map(info).collect::<Result<_, _>>()?;
    Ok((inputs, outputs))
}

fn info(value: &ValueInfoProto) -> Result<TensorInfo, String> {
    let name = value.name.clone().unwrap_or_default();
    let tensor = value.r#type.as_ref().and_then(|of| of.tensor_type.as_ref());
    let tensor = tensor.ok_or_else(|| format!("`{name}` is not a tensor"))?;
    let element_type = match tensor.elem_type {
        Some(DataType::FLOAT) => ElementType::F32,
        Some(DataType::UINT8) => ElementType::U8,
        Some(DataType::INT8) => ElementType::I8,
        Some(DataType::INT32) => ElementType::I32,
        Some(DataType::INT64) => ElementType::I64,
        Some(DataType::BOOL) => ElementType::Boolean,
        other => return Err(format!("rten cannot run a model whose `{name}` is of type {other:?}")),
    };
    let dims = tensor.shape.iter().flat_map(|shape| &shape.dim);
    let shape = dims.map(|dim| dim.dim_value.and_then(|dim| usize::try_from(dim).ok())).collect();
    Ok(TensorInfo { name, element_type, shape })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The template's model, which is committed with the script that trains it.
    fn iris() -> OnnxModel {
        OnnxModel::from_file("templates/shared/model/iris.onnx")
    }

    #[test]
    fn declares_what_the_file_declares() {
        let model = iris();
        let input = TensorInfo {
            name: "features".into(),
            element_type: ElementType::F32,
            shape: vec![None, Some(4)],
        };
        assert_eq!(model.inputs(), [input]);
        assert_eq!(model.outputs()[0].name, "probabilities");
    }

    #[test]
    fn answers_as_onnxruntime_did() {
        let recorded = crate::testing::RecordedModel::from_file("templates/shared/model/golden.json");
        let features = Tensor::new([1, 4], [5.1_f32, 3.5, 1.4, 0.2]).unwrap();
        let inputs = Inputs::from([("features", features)]);
        let (ours, theirs) = (iris().infer(&inputs).unwrap(), recorded.infer(&inputs).unwrap());
        let (ours, theirs) = (ours.get("probabilities").unwrap(), theirs.get("probabilities").unwrap());
        assert!(crate::testing::literal::close(ours, theirs, 1e-5), "{:?}", ours.elements());
    }

    #[test]
    fn refuses_what_a_host_refuses() {
        let message = |inputs: Inputs| iris().infer(&inputs).unwrap_err().to_string();
        let tensor = |shape: [usize; 2]| Tensor::new(shape, vec![0.0_f32; shape[0] * shape[1]]).unwrap();
        assert_eq!(
            message(Inputs::from([("features", tensor([2, 3]))])),
            "input `features` takes shape [any, 4], but got [2, 3]"
        );
        assert_eq!(message(Inputs::from([("x", tensor([1, 4]))])), "the model has no input `x`");
        assert_eq!(message(Inputs::new()), "input `features` is missing");
        let integers = Tensor::new([1, 4], [0_i64; 4]).unwrap();
        assert_eq!(
            message(Inputs::from([("features", integers)])),
            "input `features` takes elements of type f32, but got i64"
        );
    }
}
