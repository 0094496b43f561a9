//! The inference service from outside, over models that are written here byte by byte. What both
//! backends promise is one suite, run over each.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail where they stand")]

mod batching;
mod both;
mod check;
mod hostile;
mod models;
mod residency;
mod service;
