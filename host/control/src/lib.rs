//! The control plane: tenants and their keys, deploys, activation, deletion, and the routing table that follows from them.
//!
//! Every change goes through [`Control`], which writes it to the store and then publishes what the
//! store says. It knows no HTTP, and it does not know who reads the routing table: that is a
//! [`Publisher`].

mod audit;
mod billing;
mod control;
mod deploy;
mod details;
mod forget;
mod function;
mod identity;
mod operator_key;
mod publish;
mod secret;
mod tenant;
mod upkeep;
mod usage;
mod usage_export;

pub use audit::{AuditConfig, Verification};
pub use billing::{Billing, DEFAULT_PLAN, FunctionUsage, Month, Statement};
pub use control::{Control, ControlConfig};
pub use deploy::{Deploy, DeployEvent, Deployed};
pub use details::RevisionDetails;
pub use identity::{Authenticator, Identity};
pub use publish::{Publication, PublishedRevision, Publisher};
pub use tenant::{KeySpec, MadeKey};
pub use usage_export::{NotSent, Remedy, UsageExport, UsageSink};
