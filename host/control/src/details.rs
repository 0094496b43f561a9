//! What the host found out about a revision when it was deployed. Stored with the revision.

use std::collections::BTreeMap;

use modelet_engine::HandlerKind;
use modelet_inference::CheckedModel;
use modelet_types::ModelName;
use serde::{Deserialize, Serialize};

/// What was found out about a revision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RevisionDetails {
    /// Which contract of HTTP its handler fulfils, if it has one that does; one that takes tensors alone does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<HandlerKind>,
    /// The size of its handler's component.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component_bytes: Option<u64>,
    /// Its models: what runs each, and why.
    pub models: BTreeMap<ModelName, CheckedModel>,
}
