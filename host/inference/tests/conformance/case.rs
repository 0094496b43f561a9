//! The tests as they were fetched: a folder each, with a model, its inputs and what it has to give.

use std::path::{Path, PathBuf};

use modelet_types::Tensor;
use prost::Message as _;

use crate::proto::{BFLOAT16, ModelProto, TensorProto, UINT16, ValueInfoProto};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../.cache/onnx-node-tests");

/// As many as onnx 1.17.0 has.
const COUNT: usize = 1288;

/// One test.
pub struct Case {
    pub name: String,
    /// The model file's bytes.
    pub model: Vec<u8>,
    folder: PathBuf,
}

/// All tests, in the order of their names.
pub fn all() -> Vec<Case> {
    let folder = Path::new(FOLDER);
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| {
        panic!("{}: {error}: run `python3 examples/fetch.py onnx-node-tests`", folder.display())
    });
    let mut cases: Vec<Case> = entries
        .map(|entry| {
            let entry = entry.unwrap();
            let folder = entry.path();
            let model = std::fs::read(folder.join("model.onnx")).unwrap();
            Case { name: entry.file_name().into_string().unwrap(), model, folder }
        })
        .collect();
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(cases.len(), COUNT, "the folder is not what was fetched: fetch it again");
    cases
}

impl Case {
    /// The inputs of its one run, by name.
    pub fn inputs(&self) -> Result<Vec<(String, Tensor)>, String> {
        self.values("input", |model| model.graph.unwrap_or_default().input)
    }

    /// What the run has to give, by name.
    pub fn outputs(&self) -> Result<Vec<(String, Tensor)>, String> {
        self.values("output", |model| model.graph.unwrap_or_default().output)
    }

    /// The files of a kind, with the names that the model has for them, in its order.
    fn values(
        &self,
        kind: &str,
        declared: impl Fn(ModelProto) -> Vec<ValueInfoProto>,
    ) -> Result<Vec<(String, Tensor)>, String> {
        let data = self.folder.join("test_data_set_0");
        let count = std::fs::read_dir(&data)
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_name().to_str().unwrap().starts_with(kind))
            .count();
        let model = ModelProto::decode(&self.model[..]).map_err(|error| error.to_string())?;
        let declared = declared(model);
        assert_eq!(count, declared.len(), "{} has a file for each {kind} of its model", self.name);
        declared
            .into_iter()
            .enumerate()
            .map(|(index, value)| {
                let declared = value.element_type();
                let declared = declared.ok_or_else(|| format!("{kind} `{}` is not a tensor", value.name))?;
                let file = std::fs::read(data.join(format!("{kind}_{index}.pb"))).unwrap();
                let mut tensor = TensorProto::decode(&file[..]).map_err(|error| error.to_string())?;
                // What made the files had no bfloat16, and wrote the bits.
                if (declared, tensor.data_type) == (BFLOAT16, UINT16) {
                    tensor.data_type = BFLOAT16;
                }
                let tensor = tensor.to_tensor().map_err(|why| format!("{kind} `{}`: {why}", value.name))?;
                Ok((value.name, tensor))
            })
            .collect()
    }
}
