//! A handler of the world `blocking-function`, which the SDK does not use: 64 bytes of pixels in,
//! the digit as text out.
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

use bindings::exports::modelet::handler::blocking_handler::{Guest, Problem, Request, Response};
use bindings::modelet::inference::blocking_models::Model;
use bindings::modelet::inference::tensors::{Elements, Error, Tensor};

const PIXELS: usize = 64;

struct Digits;

impl Guest for Digits {
    fn handle(_: Request, body: Vec<u8>) -> Result<(Response, Vec<u8>), Problem> {
        if body.len() != PIXELS {
            let detail = format!("the body must have {PIXELS} bytes, got {}", body.len());
            return Err(Problem {
                status: 422,
                code: "invalid_input".into(),
                detail,
                field: Some("body".into()),
            });
        }
        let digit = read(&body).map_err(|error| Problem {
            status: 500,
            code: "model_failed".into(),
            detail: format!("{error:?}"),
            field: None,
        })?;
        let headers = vec![("content-type".to_owned(), b"text/plain".to_vec())];
        Ok((Response { status: 200, headers }, digit.to_string().into_bytes()))
    }
}

fn read(pixels: &[u8]) -> Result<usize, Error> {
    let scaled = pixels.iter().map(|&pixel| f32::from(pixel) / 16.0).collect();
    let input = Tensor::create(&[1, PIXELS as u64], &Elements::F32(scaled))?;
    let model = Model::load("digits")?;
    let outputs = model.infer(&[("input".to_owned(), &input)], &["probabilities".to_owned()])?;
    let Elements::F32(probabilities) = outputs[0].1.elements() else {
        return Err(Error::Backend("the probabilities are not f32".into()));
    };
    let likelier = |&(_, a): &(usize, &f32), &(_, b): &(usize, &f32)| a.total_cmp(b);
    Ok(probabilities.iter().enumerate().max_by(likelier).map_or(0, |(digit, _)| digit))
}

#[allow(unsafe_code, reason = "generated")]
const _: () = {
    bindings::export!(Digits with_types_in bindings);
};
