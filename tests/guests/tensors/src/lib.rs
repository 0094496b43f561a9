//! A handler in tensors around the digits model: bytes of ink in, names and probabilities out. What its input `ask`
//! says, it does wrong.
//!
//! It is a component only: built for the machine itself, the crate is empty.
#![cfg(target_family = "wasm")]

use modelet_sdk::{Inputs, Model, Outputs, Problem, Tensor};

const NAMES: [&str; 10] = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];

#[modelet_sdk::transform]
async fn classify(inputs: Inputs) -> Result<Outputs, Problem> {
    let ask = inputs.required("ask")?.to_scalar::<String>()?;
    match ask.as_str() {
        "refuse" => return Err(Problem::new(422, "too_faint", "draw darker").at("pixels")),
        "give up" => return Err(Problem::new(503, "tired", "try again later")),
        "complain" => return Err(Problem::new(400, "no".repeat(1_000), "!".repeat(1_000_000))),
        "panic" => panic!("on purpose"),
        "loop" => loop {
            std::hint::spin_loop();
        },
        _ => {}
    }
    let pixels = inputs.required("pixels")?;
    let rows = pixels.shape()[0];
    let shades: Vec<f32> = pixels.to_vec::<u8>()?.into_iter().map(|ink| f32::from(ink) / 16.0).collect();
    let image = Tensor::new([rows, 64], shades)?;
    let probabilities = Model::load("digits").await?.infer([("input", &image)]).await?.into_one()?;
    let values = probabilities.to_vec::<f32>()?;
    let best = |row: &[f32]| (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap_or_default();
    let names: Vec<&str> = values.chunks(10).map(|row| NAMES[best(row)]).collect();
    let label = Tensor::new([rows], names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())?;
    Ok(match ask.as_str() {
        "give less" => Outputs::from([("label", label)]),
        "give otherwise" => Outputs::from([
            ("label", Tensor::new([rows, 1], vec![0_u8; rows])?),
            ("probabilities", probabilities),
        ]),
        _ => Outputs::from([("label", label), ("probabilities", probabilities), ("more", image)]),
    })
}
