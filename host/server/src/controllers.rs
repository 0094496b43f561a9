//! One file per subject of the API.

pub(crate) mod approvals;
pub(crate) mod artifacts;
pub(crate) mod changes;
pub(crate) mod functions;
pub(crate) mod health;
pub(crate) mod host;
pub(crate) mod invoke;
pub(crate) mod keys;
pub(crate) mod logs;
pub(crate) mod oip;
pub(crate) mod oip_grpc;
pub(crate) mod openapi;
pub(crate) mod revisions;
pub(crate) mod secrets;
pub(crate) mod state;
mod statement;
pub(crate) mod tenants;
pub(crate) mod traffic;
pub(crate) mod usage;
