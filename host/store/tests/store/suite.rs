//! What any metastore must do, whatever database is underneath.

pub mod approvals;
pub mod artifacts;
pub mod audit;
pub mod functions;
pub mod garbage;
pub mod records;
pub mod requests;
pub mod secrets;
pub mod traffic;
