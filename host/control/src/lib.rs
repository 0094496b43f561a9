//! The control plane: deploys, activation, deletion, and the routing table that follows from them.
//!
//! Every change goes through [`Control`], which writes it to the store and then publishes what the
//! store says. It knows no HTTP, and it does not know who reads the routing table: that is a
//! [`Publisher`].

mod control;
mod deploy;
mod details;
mod publish;
mod secret;
mod upkeep;

pub use control::{Control, ControlConfig};
pub use deploy::{Deploy, DeployEvent};
pub use details::RevisionDetails;
pub use publish::{Publication, PublishedRevision, Publisher};
