//! What a host remembers: tenants, keys, functions, revisions, secrets, usage and changes in SQL (the metastore), and the
//! bytes of artifacts by digest, in a folder or in an S3-compatible bucket.
//!
//! Two invariants hold whenever the process dies: what was acknowledged is there after a restart,
//! and a row never names bytes that are not there (blob before row; on removal, row before blob).
//!
//! Knows nothing of HTTP, of WebAssembly or of what is in an artifact.

mod anchor;
mod api_key;
mod approval;
mod artifact;
mod audit_key;
mod belonging;
mod blobs;
mod bucket;
mod chain;
mod change;
mod copy;
mod database;
mod error;
mod export;
pub mod failpoints;
mod folder;
mod forget;
mod function;
mod garbage;
mod page;
mod precondition;
mod request;
mod revision;
mod seal;
mod secret;
mod store;
mod tenant;
mod traffic;
mod upload;
mod usage;
mod usage_export;

pub use anchor::{Anchor, Heads, Signed, read_anchors};
pub use api_key::{ApiKey, NewApiKey, StoredKey};
pub use approval::PendingActivation;
pub use artifact::Artifact;
pub use audit_key::{AuditKey, AuditKeyError, AuditSignature, InvalidPublicKey, PublicKey};
pub use blobs::{ArtifactsConfig, BucketConfig, HeldBlob};
pub use change::{Actor, ChainBreak, ChainHead, Change, State, Verified};
pub use copy::{Copied, CopyProgress, Source, copy};
pub use database::MetastoreUrl;
pub use error::StoreError;
pub use export::{ExportError, verify_export};
pub use forget::Forgotten;
pub use function::{Function, FunctionSetting, Route};
pub use garbage::Collected;
pub use page::Page;
pub use precondition::Precondition;
pub use request::{REQUEST_RETENTION, Request};
pub use revision::{NewRevision, Revision};
pub use secret::Secret;
pub use store::{Store, StoreConfig};
pub use tenant::{Tenant, TenantSetting};
pub use upload::{UploadRange, UploadState};
pub use usage::{UsageCursor, UsageHour, UsageQuery, UsageSum, hour_of, hour_start};
