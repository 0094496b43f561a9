//! What the host found out about a revision when it was deployed. Stored with the revision.

use std::collections::BTreeMap;

use modelet_engine::HandlerKind;
use modelet_inference::CheckedModel;
use modelet_types::ModelName;
use serde::{Deserialize, Serialize};

/// What was found out about a revision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RevisionDetails {
    /// Which contract its handler fulfils.
    pub kind: HandlerKind,
    /// The size of the component.
    pub component_bytes: u64,
    /// Its models: what runs each, and why.
    pub models: BTreeMap<ModelName, CheckedModel>,
}
