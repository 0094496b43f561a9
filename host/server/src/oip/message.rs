//! The JSON of requests and responses, without the tensors' data.

use modelet_types::Problem;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::data::Elements;
use super::extension_refused;

/// A request for inference. Entries that it does not know are left aside: clients send more than the
/// protocol names.
#[derive(Deserialize)]
pub(super) struct Request<'r> {
    /// The caller's name for the request, which is given back.
    #[serde(default)]
    pub id: Option<String>,
    #[serde(default)]
    pub parameters: Parameters,
    #[serde(borrow)]
    pub inputs: Vec<Input<'r>>,
    #[serde(default)]
    pub outputs: Vec<Output>,
}

/// An input tensor.
#[derive(Deserialize)]
pub(super) struct Input<'r> {
    pub name: String,
    pub datatype: String,
    pub shape: Vec<i64>,
    #[serde(default)]
    pub parameters: Parameters,
    /// Left out where the data follows in binary.
    #[serde(default, borrow)]
    pub data: Option<&'r RawValue>,
}

/// An output that the caller wants.
#[derive(Deserialize)]
pub(super) struct Output {
    pub name: String,
    #[serde(default)]
    pub parameters: Parameters,
}

/// The parameters that mean something here, wherever they stand.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Parameters {
    /// Of an input: bytes of its data, after the JSON.
    pub binary_data_size: Option<u64>,
    /// Of an output: whether its data is to follow the JSON.
    pub binary_data: Option<bool>,
    /// Of a request: the same for every output that does not say.
    pub binary_data_output: Option<bool>,
    /// Of an output: that its classes be named, which this host does not do.
    pub classification: Option<IgnoredAny>,
    /// Of an input or output: a region of memory that the client shares with the server.
    pub shared_memory_region: Option<IgnoredAny>,
}

impl Parameters {
    /// Refuses what would change the meaning of a request if it were left aside.
    pub fn check(&self, field: &str) -> Result<(), Problem> {
        let refused = [
            ("classification", self.classification.is_some()),
            ("shared_memory_region", self.shared_memory_region.is_some()),
        ];
        match refused.into_iter().find(|(_, is_given)| *is_given) {
            Some((name, _)) => Err(extension_refused(field, name)),
            None => Ok(()),
        }
    }
}

/// A response.
#[derive(Serialize)]
pub(super) struct Response<'r> {
    pub model_name: &'r str,
    pub model_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'r str>,
    pub outputs: Vec<OutputTensor<'r>>,
}

/// An output tensor.
#[derive(Serialize)]
pub(super) struct OutputTensor<'r> {
    pub name: &'r str,
    pub datatype: &'static str,
    pub shape: &'r [usize],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameters: Option<BinarySize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Elements<'r>>,
}

/// Where the data follows the JSON: its bytes.
#[derive(Serialize)]
pub(super) struct BinarySize {
    pub binary_data_size: usize,
}
