//! What this version reads of the host's answers. Entries it does not know are left aside, so that
//! an older command line works with a newer host.

mod state;

pub use state::{RevisionState, SessionState, State};

use std::collections::BTreeMap;

use modelet_types::manifest::DeclaredSignature;
use modelet_types::split::Share;
use modelet_types::{Signature, TenantName};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::problem::HostProblem;

/// All functions.
#[derive(Debug, Deserialize)]
pub struct Functions {
    /// In the order of their names.
    pub functions: Vec<Function>,
}

/// A function.
#[derive(Debug, Deserialize)]
pub struct Function {
    /// Its name.
    #[serde(rename = "function")]
    pub name: String,
    /// Which revisions answer its calls.
    pub traffic: Vec<Share>,
    /// The newest revision.
    #[serde(default)]
    pub latest: Option<u64>,
    /// What waits for a second person.
    #[serde(default)]
    pub pending: Option<Pending>,
    /// When it last changed.
    pub updated_at: String,
    /// Where it is called, as a path on the host.
    pub url: String,
}

/// A traffic split that waits for a second person.
#[derive(Debug, Deserialize)]
pub struct Pending {
    /// What it is approved by.
    pub activation: u64,
    /// What was asked for.
    pub traffic: Vec<Share>,
}

/// A function's revisions.
#[derive(Debug, Deserialize)]
pub struct Revisions {
    /// Newest first.
    pub revisions: Vec<Revision>,
}

/// A revision.
#[derive(Clone, Debug, Deserialize)]
pub struct Revision {
    /// Whose it is.
    pub function: String,
    /// Its number.
    pub revision: u64,
    /// When it was deployed.
    pub created_at: String,
    /// Who deployed it.
    #[serde(default)]
    pub created_by: String,
    /// Whether it answers calls.
    pub active: bool,
    /// The activation that waits for a second person to give it calls.
    #[serde(default)]
    pub pending: Option<u64>,
    /// What of its manifest is shown.
    #[serde(default)]
    pub spec: Spec,
    /// What the host found out about it.
    #[serde(default)]
    pub details: Details,
}

/// What of a revision's manifest is shown.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Spec {
    /// What a handler in tensors takes and gives.
    #[serde(default)]
    pub signature: Option<DeclaredSignature>,
}

/// What the host found out at deploy.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Details {
    /// Which contract its handler fulfils; none if there is no handler.
    #[serde(default)]
    pub kind: Option<String>,
    /// The models by name.
    #[serde(default)]
    pub models: BTreeMap<String, ModelDetails>,
}

/// What the host found out about a model.
#[derive(Clone, Debug, Deserialize)]
pub struct ModelDetails {
    /// The backend that runs it.
    pub backend: String,
    /// What it takes and gives.
    #[serde(default)]
    pub signature: Signature,
}

/// What happens while a revision is created.
#[derive(Debug, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum DeployEvent {
    /// The handler is being compiled.
    Compiling,
    /// It is compiled.
    Compiled {
        /// How long that took.
        duration_ms: f64,
    },
    /// A model is being loaded and run.
    CheckingModel {
        /// Its name.
        model: String,
    },
    /// It gives its golden outputs.
    CheckedModel {
        /// Its name.
        model: String,
        /// What runs it.
        backend: String,
        /// Why that backend.
        #[serde(default)]
        reason: Option<String>,
        /// How long that took.
        duration_ms: f64,
    },
    /// The revision is durable.
    Stored,
    /// It answers calls.
    Activated,
    /// The last line: it is there.
    Done {
        /// The revision as the host tells it.
        revision: serde_json::Value,
    },
    /// The last line: it is refused.
    Failed {
        /// Why.
        problem: Box<HostProblem>,
    },
    /// Something of a newer host.
    #[serde(other)]
    Unknown,
}

/// The secrets of a function.
#[derive(Debug, Deserialize)]
pub struct Secrets {
    /// In the order of their names.
    pub secrets: Vec<Secret>,
}

/// A secret, without its value.
#[derive(Debug, Deserialize)]
pub struct Secret {
    /// Its name.
    pub name: String,
    /// When it was last set.
    pub set_at: String,
    /// Who set it.
    #[serde(default)]
    pub set_by: String,
}

/// One change.
#[derive(Debug, Deserialize)]
pub struct Change {
    /// Its place in the tenant's sequence.
    pub id: u64,
    /// When it was made.
    pub at: String,
    /// Who made it.
    pub actor: String,
    /// From which address.
    #[serde(default)]
    pub origin: Option<String>,
    /// What was done.
    pub action: String,
    /// What it was done to.
    pub subject: String,
}

/// Changes as the host wrote them: what they are chained by is their very text.
#[derive(Debug, Deserialize)]
pub struct WrittenChanges {
    /// The oldest first.
    pub changes: Vec<Box<RawValue>>,
    /// What to ask for next.
    pub next: Option<u64>,
}

/// Whether the record of changes is whole.
#[derive(Debug, Deserialize)]
pub struct Verified {
    /// Whether it is.
    pub intact: bool,
    /// The last change.
    #[serde(default)]
    pub id: Option<u64>,
    /// Its hash.
    #[serde(default)]
    pub hash: Option<String>,
    /// The first change that is not right.
    #[serde(default)]
    pub broken_at: Option<u64>,
    /// What is wrong with it.
    #[serde(default)]
    pub reason: Option<String>,
    /// Up to where changes were forgotten.
    #[serde(default)]
    pub checkpoint: Option<Checkpoint>,
    /// What of it is signed.
    #[serde(default)]
    pub signed: Option<Signed>,
    /// Hashes outside of the metastore that are of before the host's key.
    #[serde(default)]
    pub unsigned_heads: u64,
    /// Changes that could not be compared.
    #[serde(default)]
    pub unchecked: Vec<u64>,
    /// With which key the host signs.
    #[serde(default)]
    pub public_key: Option<String>,
}

/// Up to where changes were forgotten, but for the first.
#[derive(Debug, Deserialize)]
pub struct Checkpoint {
    /// The last that is gone.
    pub id: u64,
    /// When.
    pub at: String,
}

/// What of the record of changes is signed.
#[derive(Debug, Deserialize)]
pub struct Signed {
    /// When a host signed it first.
    pub since: String,
    /// The last change that is covered.
    pub id: u64,
}

/// Whose key it is.
#[derive(Debug, Deserialize)]
pub struct Identity {
    /// The tenant.
    pub tenant: TenantName,
    /// What it is for.
    pub role: String,
}

/// The keys of a tenant.
#[derive(Debug, Deserialize)]
pub struct Keys {
    /// The oldest first.
    pub keys: Vec<Key>,
}

/// A key, without what would let anybody use it.
#[derive(Debug, Deserialize)]
pub struct Key {
    /// What it is found by.
    pub id: String,
    /// Whose it is.
    pub tenant: String,
    /// What it is for.
    pub role: String,
    /// The functions that it is for; `None`: all.
    #[serde(default)]
    pub functions: Option<Vec<String>>,
    /// What it is used for.
    #[serde(default)]
    pub description: String,
    /// When it ends.
    #[serde(default)]
    pub expires_at: Option<String>,
    /// When it was last used.
    #[serde(default)]
    pub last_used_at: Option<String>,
}

/// A key that was made.
#[derive(Debug, Deserialize)]
pub struct MadeKey {
    /// What is known about it.
    #[serde(flatten)]
    pub about: Key,
    /// The key.
    pub key: String,
}

/// What a tenant has used.
#[derive(Debug, Deserialize)]
pub struct Usage {
    /// From this time on.
    pub from: String,
    /// Before this time.
    pub to: String,
    /// By time, function and revision.
    pub rows: Vec<UsageRow>,
}

/// One row of it.
#[derive(Debug, Deserialize)]
pub struct UsageRow {
    /// The beginning of its time.
    pub from: String,
    /// The function, if rows are divided by it.
    #[serde(default)]
    pub function: Option<String>,
    /// The revision, if rows are divided by it.
    #[serde(default)]
    pub revision: Option<u64>,
    /// The sums.
    #[serde(flatten)]
    pub usage: modelet_types::Usage,
}

/// What a tenant owes for a month. Amounts are decimal numbers, as text.
#[derive(Debug, Deserialize)]
pub struct Statement {
    /// Who pays.
    pub tenant: String,
    /// The month.
    pub month: String,
    /// Whether it has ended.
    pub is_final: bool,
    /// The plan, if there is one.
    pub plan: Option<String>,
    /// The currency's code.
    pub currency: String,
    /// What was used, and what that costs.
    pub lines: Vec<BillLine>,
    /// The sum.
    pub total: String,
}

/// One line of a statement.
#[derive(Debug, Deserialize)]
pub struct BillLine {
    /// In which unit.
    pub unit: String,
    /// How many were used.
    pub quantity: String,
    /// How many of them cost nothing.
    pub free: String,
    /// The price of `priced_units`.
    pub price: String,
    /// How many units the price is for.
    pub priced_units: u64,
    /// What they cost.
    pub amount: String,
}

/// The tenants of a host.
#[derive(Debug, Deserialize)]
pub struct Tenants {
    /// By name.
    pub tenants: Vec<Tenant>,
}

/// A tenant.
#[derive(Debug, Deserialize)]
pub struct Tenant {
    /// Its name.
    #[serde(rename = "tenant")]
    pub name: String,
    /// How far it is trusted.
    pub trust: String,
    /// When it was made.
    pub created_at: String,
    /// Who made it.
    #[serde(default)]
    pub created_by: String,
}

/// A line of a function's log.
#[derive(Debug, Deserialize, Serialize)]
pub struct LogLine {
    /// When it was written.
    pub at: String,
    /// How grave it is.
    pub level: String,
    /// Who wrote it: `handler`, `stdout`, `stderr` or `host`.
    pub source: String,
    /// The text.
    pub message: String,
    /// The rest, kept for `--json`.
    #[serde(flatten)]
    pub rest: serde_json::Map<String, serde_json::Value>,
}

/// What a host is and can do.
#[derive(Debug, Deserialize)]
pub struct HostInfo {
    /// Its version.
    pub version: String,
    /// The backends it was built with.
    #[serde(default)]
    pub backends: Vec<BackendInfo>,
}

/// A backend of a host.
#[derive(Debug, Deserialize)]
pub struct BackendInfo {
    /// Its name.
    pub name: String,
    /// Whether it can run models.
    pub available: bool,
    /// The version of its library.
    #[serde(default)]
    pub version: Option<String>,
    /// Why it is not available.
    #[serde(default)]
    pub reason: Option<String>,
}
