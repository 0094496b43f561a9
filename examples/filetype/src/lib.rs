//! Tells what type a file is of by its content alone.
//!
//! The body is the file. The answer is
//! `{"label": "python", "confidence": 0.99, "mime_type": "text/x-python", …}`. The model is Magika's;
//! what is done before and after it is what its own library does.

mod features;
mod package;
mod verdict;

use modelet_sdk::{Json, Model, Problem, Tensor};

use features::{Features, WIDTH};
pub use verdict::Verdict;

/// Answers a request.
///
/// # Errors
/// None for any body; the host's, if the model cannot be run.
#[modelet_sdk::handler]
pub async fn filetype(file: Vec<u8>) -> Result<Json<Verdict>, Problem> {
    let row = match features::extract(&file) {
        Features::Empty => return Ok(Json(Verdict::empty())),
        Features::Few { is_text } => return Ok(Json(Verdict::few(is_text))),
        Features::Row(row) => row,
    };
    let input = Tensor::new([1, WIDTH], row)?;
    let outputs = Model::load("magika").await?.infer([("bytes", &input)]).await?;
    let probabilities = outputs.into_one()?.to_vec::<f32>()?;
    Ok(Json(Verdict::from_probabilities(&probabilities)?))
}

#[cfg(test)]
mod tests;
