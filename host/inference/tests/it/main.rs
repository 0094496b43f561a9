//! The inference service from outside, over models that are written here byte by byte. What both
//! backends promise is one suite, run over each, in this process and in another.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail where they stand")]
#![expect(clippy::duplicate_mod, reason = "the same suites run in both places")]

mod apart;
mod batching;
mod element_types;
mod forest;
mod here;
mod inline;
mod memory;
mod models;
mod prepared;
mod residency;
mod response_cache;
mod service;
mod sharing;
mod unanswered;
