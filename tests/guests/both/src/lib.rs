//! A handler of HTTP and one in tensors, which count in one instance how often either was called.
//!
//! It is a component only: built for the machine itself, the crate is empty.
#![cfg(target_family = "wasm")]

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use modelet_sdk::{Inputs, Outputs, Problem, Tensor};

static CALLS: AtomicU32 = AtomicU32::new(0);

#[modelet_sdk::handler]
async fn greet(name: String) -> String {
    format!("hello {name}, {}", CALLS.fetch_add(1, Relaxed))
}

#[modelet_sdk::transform]
async fn count(inputs: Inputs) -> Result<Outputs, Problem> {
    let by = inputs.required("by")?.to_scalar::<u32>()?;
    let calls = CALLS.fetch_add(1, Relaxed);
    Ok(Outputs::from([("counted", Tensor::new([1], [by * calls])?)]))
}
