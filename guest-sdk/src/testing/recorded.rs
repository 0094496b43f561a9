//! A model that knows the answers of the real one.
//!
//! A recording is a JSON list of runs, the same as a manifest's golden outputs:
//!
//! ```json
//! [{
//!   "inputs":  { "features": { "shape": [1, 4], "f32": [5.1, 3.5, 1.4, 0.2] } },
//!   "outputs": { "probabilities": { "shape": [1, 3], "f32": [0.97, 0.02, 0.01] } }
//! }]
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;

use super::TestModel;
use super::literal::{Literal, close};
use crate::error::Error;
use crate::model::{Inputs, Outputs};
use crate::tensor::{Tensor, TensorInfo};

/// How far an input may be from a recorded one, relative to numbers above 1.
const INPUT_TOLERANCE: f64 = 1e-5;

/// Answers recorded inputs with recorded outputs, and refuses any other.
pub struct RecordedModel(Vec<Run>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Run {
    inputs: BTreeMap<String, Literal>,
    outputs: BTreeMap<String, Literal>,
    /// Of the golden outputs in the same file; it says nothing here.
    #[serde(default, rename = "tolerance")]
    _tolerance: Option<f64>,
}

impl RecordedModel {
    /// Reads a recording; a relative path begins at the folder of the crate under test.
    ///
    /// # Panics
    /// If it cannot be read, so that the test says why.
    pub fn from_file(path: impl AsRef<Path>) -> Self {
        let path = path.as_ref();
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, &path.display().to_string()),
            Err(error) => panic!("cannot read the recording {}: {error}", path.display()),
        }
    }

    /// The same from its text.
    ///
    /// # Panics
    /// If it is not a recording.
    pub fn from_json(text: &str) -> Self {
        Self::parse(text, "the recording")
    }

    fn parse(text: &str, name: &str) -> Self {
        match serde_json::from_str::<Vec<Run>>(text) {
            Ok(runs) if runs.is_empty() => panic!("{name} has no runs"),
            Ok(runs) => Self(runs),
            Err(error) => panic!("{name} is not a list of runs: {error}"),
        }
    }
}

impl TestModel for RecordedModel {
    fn inputs(&self) -> Vec<TensorInfo> {
        declared(self.0.iter().map(|run| &run.inputs))
    }

    fn outputs(&self) -> Vec<TensorInfo> {
        declared(self.0.iter().map(|run| &run.outputs))
    }

    fn infer(&self, inputs: &Inputs) -> Result<Outputs, Error> {
        let matches = |run: &&Run| {
            run.inputs.len() == inputs.iter().count()
                && run.inputs.iter().all(|(name, recorded)| {
                    inputs.get(name).is_some_and(|given| close(given, &recorded.0, INPUT_TOLERANCE))
                })
        };
        let Some(run) = self.0.iter().find(matches) else {
            let given: Vec<_> = inputs.iter().map(|(name, tensor)| format!("{name}: {tensor:?}")).collect();
            let known: Vec<_> = self.0.iter().map(Run::to_string).collect();
            return Err(Error::Backend(format!(
                "no recorded run has these inputs: {}; recorded are {}",
                given.join(", "),
                known.join(" | ")
            )));
        };
        Ok(run.outputs.iter().map(|(name, Literal(tensor))| (name.as_str(), tensor.share())).collect())
    }
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let inputs: Vec<_> = self.inputs.iter().map(|(name, Literal(t))| format!("{name}: {t:?}")).collect();
        f.write_str(&inputs.join(", "))
    }
}

/// What runs have in common: a dimension that differs between them is chosen by each call.
fn declared<'a>(runs: impl Iterator<Item = &'a BTreeMap<String, Literal>>) -> Vec<TensorInfo> {
    let mut infos: BTreeMap<&str, TensorInfo> = BTreeMap::new();
    for (name, Literal(tensor)) in runs.flatten() {
        let info = infos.entry(name).or_insert_with(|| info(name, tensor));
        for (known, dim) in info.shape.iter_mut().zip(tensor.shape()) {
            *known = known.filter(|&known| known == dim);
        }
    }
    infos.into_values().collect()
}

fn info(name: &str, tensor: &Tensor) -> TensorInfo {
    let shape = tensor.shape().into_iter().map(Some).collect();
    TensorInfo { name: name.to_owned(), element_type: tensor.element_type(), shape }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORDING: &str = r#"[
        {"inputs": {"x": {"shape": [1], "f32": [0.1]}}, "outputs": {"y": {"shape": [1], "i64": [1]}}},
        {"inputs": {"x": {"shape": [2], "f32": [0.1, 0.2]}},
         "outputs": {"y": {"shape": [2], "i64": [1, 2]}}, "tolerance": 1e-4}
    ]"#;

    #[test]
    fn answers_what_was_recorded() {
        let model = RecordedModel::from_json(RECORDING);
        let inputs = Inputs::from([("x", Tensor::new([2], [0.100_001_f32, 0.2]).unwrap())]);
        let outputs = model.infer(&inputs).unwrap();
        assert_eq!(outputs.get("y").unwrap().to_vec::<i64>().unwrap(), [1, 2]);
    }

    #[test]
    fn refuses_anything_else_and_says_what_it_knows() {
        let model = RecordedModel::from_json(RECORDING);
        let inputs = Inputs::from([("x", Tensor::new([1], [0.5_f32]).unwrap())]);
        let message = model.infer(&inputs).unwrap_err().to_string();
        assert_eq!(
            message,
            "no recorded run has these inputs: x: f32[1]; recorded are x: f32[1] | x: f32[2]"
        );
        let both = inputs.with("z", Tensor::new([], [0_u8]).unwrap());
        assert!(model.infer(&both).is_err());
    }

    #[test]
    fn declares_what_the_runs_have_in_common() {
        let inputs = RecordedModel::from_json(RECORDING).inputs();
        assert_eq!((inputs.len(), inputs[0].name.as_str(), &inputs[0].shape[..]), (1, "x", &[None][..]));
    }

    #[test]
    #[should_panic(expected = "the recording is not a list of runs")]
    fn a_broken_recording_fails_the_test() {
        RecordedModel::from_json(r#"[{"inputs": {}, "outputs": {"y": {"shape": [1]}}}]"#);
    }
}
