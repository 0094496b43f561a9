//! The end-to-end suite: every test starts a host with a data folder of its own and talks to it as
//! its users do, over HTTP.
//!
//! Guests and examples are built beforehand (`cargo xtask test` does it); a test that misses one
//! fails with the command. Nothing here sleeps: what takes time is waited for, with a deadline.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what it is for")]

mod api;
mod approvals;
mod audit;
mod bad_requests;
mod cold_start;
mod compiling;
mod crash;
mod examples;
mod functions;
mod hostile_guests;
mod hostile_uploads;
mod key_value;
mod languages;
mod ledger;
mod lifecycle;
mod logs;
mod model_alone;
mod new_project;
mod other_tools;
mod outbound;
mod quotas;
mod residency;
mod reuse;
mod scale_to_zero;
mod secrets;
mod shutdown;
mod standard_components;
mod storage;
mod streams;
mod support;
mod surface;
mod tenants;
mod tensors;
mod tls;
mod usage;
mod usage_export;
mod worker_processes;
