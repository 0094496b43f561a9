//! HTTP in front of the control plane and the data plane.
//!
//! The only crate that knows status numbers, headers and addresses. Routes are in `routes.rs`, one
//! controller file per subject; the status of every error code is in `status.rs`.

mod awake;
mod caller;
mod config;
mod context;
mod controllers;
mod deploys;
mod descriptors;
#[cfg(test)]
mod documented;
mod extract;
mod functions;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod host;
mod listener;
mod machine;
mod middleware;
mod model_files;
mod oip;
mod problem;
mod publisher;
mod routes;
mod status;
mod tls;
mod usage_export;

pub use config::{
    AuditSettings, Authentication, CompileSettings, Config, Confinement, InferenceSettings, InvalidSetting,
    KeyValueSettings, LedgerSettings, TlsSettings, UsageExportSettings,
};
pub use descriptors::raise_descriptor_limit;
pub use host::{Host, ONNXRUNTIME_FILE, StartError, backends_folder};
pub use modelet_engine::compile_worker_if_asked;
pub use modelet_inference::{model_worker_if_asked, onnxruntime_version};
pub use routes::undescribed_addresses;
pub use tls::CertificateError;
pub use usage_export::CollectorError;
