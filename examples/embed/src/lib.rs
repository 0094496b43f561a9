//! Turns texts into vectors of length 1 whose dot product says how close their meanings are.
//!
//! `{"text": "…"}` is answered with `{"embedding": [384 numbers]}`, and `{"texts": ["…", …]}` with
//! `{"embeddings": [[…], …]}`. In tensors `text` is answered with `embedding`. The model is all-MiniLM-L6-v2; a
//! text beyond 256 tokens is cut there.

mod batch;
mod tokenizer;

use modelet_sdk::{Inputs, Json, Model, Outputs, Problem, Tensor};
use serde::{Deserialize, Serialize};

/// The numbers in a vector.
const WIDTH: usize = 384;
/// The most texts of one request.
const MAX_TEXTS: usize = 64;

/// One text or several.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Body {
    text: Option<String>,
    texts: Option<Vec<String>>,
}

/// One vector or several, as the request was.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// For `text`.
    Embedding(Vec<f32>),
    /// For `texts`, in their order.
    Embeddings(Vec<Vec<f32>>),
}

/// Answers a request.
///
/// # Errors
/// 422 with the field at fault, unless the body has one of `text` and `texts`, with 1 to 64 texts.
#[modelet_sdk::handler]
pub async fn embed(Json(body): Json<Body>) -> Result<Json<Answer>, Problem> {
    match body {
        Body { text: Some(text), texts: None } => {
            let vector = vectors(&[text]).await?.pop();
            let vector = vector.ok_or_else(|| Problem::internal("the model gave no vector"))?;
            Ok(Json(Answer::Embedding(vector)))
        }
        Body { text: None, texts: Some(texts) } => {
            check_count("texts", &texts)?;
            Ok(Json(Answer::Embeddings(vectors(&texts).await?)))
        }
        _ => Err(Problem::new(422, "invalid_input", "give one of `text` and `texts`").at("text")),
    }
}

/// Answers a request in tensors: `text` of any number of texts, with `embedding`, a row for each.
///
/// # Errors
/// 422 unless there are 1 to 64 texts.
#[modelet_sdk::transform]
pub async fn embed_tensors(inputs: Inputs) -> Result<Outputs, Problem> {
    let texts = inputs.required("text")?.to_vec::<String>()?;
    check_count("text", &texts)?;
    let embedding = Tensor::new([texts.len(), WIDTH], vectors(&texts).await?.concat())?;
    Ok(Outputs::from([("embedding", embedding)]))
}

fn check_count(field: &str, texts: &[String]) -> Result<(), Problem> {
    if texts.is_empty() || texts.len() > MAX_TEXTS {
        let reason = format!("must be 1 to {MAX_TEXTS} texts, got {}", texts.len());
        return Err(Problem::invalid(field, reason));
    }
    Ok(())
}

/// A vector for each text, in their order.
async fn vectors(texts: &[String]) -> Result<Vec<Vec<f32>>, Problem> {
    let encoded: Vec<Vec<u32>> = texts.iter().map(|text| tokenizer::encode(text)).collect();
    let model = Model::load("minilm").await?;
    let mut vectors = vec![Vec::new(); texts.len()];
    // One after another: together they would only raise the host's peak memory, since the model
    // already uses the cores within a batch.
    for batch in batch::plan(&encoded) {
        let outputs = model.infer(batch.inputs()?.iter()).await?;
        let values = outputs.into_one()?.to_vec::<f32>()?;
        if values.len() != batch.texts().len() * WIDTH {
            return Err(Problem::internal(format!("the model gave {} numbers", values.len())));
        }
        for (&text, vector) in batch.texts().iter().zip(values.chunks_exact(WIDTH)) {
            vectors[text] = vector.to_vec();
        }
    }
    Ok(vectors)
}

#[cfg(test)]
mod tests;
