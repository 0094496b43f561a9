//! A handler that attacks its host. The path says how; `tests/it/hostile_guests` says what must come
//! of it.
//!
//! It is a component only: built for the machine itself, the crate is empty.
#![cfg(target_family = "wasm")]

mod body;
mod compute;
mod phase;
mod tensor;

use modelet_sdk::{Problem, Request, Response, call};
use serde::Deserialize;

/// How much of it.
#[derive(Deserialize)]
struct Amount {
    n: usize,
}

#[modelet_sdk::handler]
async fn attack(request: Request) -> Result<Response, Problem> {
    match request.path() {
        "/loop" => call(compute::endless_loop, request).await,
        "/recurse" => call(compute::endless_recursion, request).await,
        "/sleep" => call(compute::sleep_for_ever, request).await,
        "/await-nothing" => call(compute::await_nothing, request).await,
        "/memory" => call(compute::take_all_memory, request).await,
        "/log" => call(body::flood_the_log, request).await,
        "/print" => call(body::flood_standard_error, request).await,
        "/big" => call(body::one_large_body, request).await,
        "/big-stream" => call(body::one_long_stream, request).await,
        "/trap-mid-stream" => call(body::trap_mid_stream, request).await,
        "/loop-mid-stream" => call(body::loop_mid_stream, request).await,
        "/bad-header" => call(body::header_with_a_line_end, request).await,
        "/bad-status" => call(body::status_of_the_protocol, request).await,
        "/trap-before" => call(phase::TrapBefore, request).await,
        "/trap-after" => call(phase::TrapAfter, request).await,
        "/tensors" => call(tensor::hold_large_tensors, request).await,
        "/handles" => call(tensor::hold_many_tensors, request).await,
        "/short-tensor" => call(tensor::fewer_elements_than_the_shape, request).await,
        "/overflowing-shape" => call(tensor::shape_that_overflows, request).await,
        "/wild-pointer" => call(tensor::elements_outside_of_memory, request).await,
        "/wrong-shape" => call(tensor::shape_that_the_model_does_not_take, request).await,
        "/wrong-input" => call(tensor::input_that_the_model_does_not_have, request).await,
        "/foreign-model" => call(tensor::model_of_somebody_else, request).await,
        path => Err(Problem::not_found(format!("there is no attack at {path}"))),
    }
}
