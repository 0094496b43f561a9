//! A handler that answers with its number. What is deployed ten thousand times has another number each
//! time, put in place of [`NUMBER`] in its code, so that no two of them are the same code.
//!
//! It is a component only: built for the machine itself, the crate is empty.
#![cfg(target_family = "wasm")]

#[allow(unsafe_code, missing_docs, clippy::all, reason = "generated")]
mod bindings {
    wit_bindgen::generate!({
        path: "../../../wit",
        world: "blocking-function",
        generate_all,
    });
}

use std::hint::black_box;

use bindings::exports::modelet::handler::blocking_handler::{Guest, Problem, Request, Response};

/// Has its highest bit but one set, and so takes ten bytes as the constant of an instruction, as every
/// number from 2⁶² to 2⁶³ does.
const NUMBER: u64 = 0x4d4f_4445_4c45_5431;

struct Numbered;

impl Guest for Numbered {
    fn handle(_: Request, _: Vec<u8>) -> Result<(Response, Vec<u8>), Problem> {
        let response = Response { status: 200, headers: Vec::new() };
        Ok((response, black_box(NUMBER).to_string().into_bytes()))
    }
}

#[allow(unsafe_code, reason = "generated")]
const _: () = {
    bindings::export!(Numbered with_types_in bindings);
};
