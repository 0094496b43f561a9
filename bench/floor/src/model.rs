//! The model, in one session per core. Knows nothing of HTTP.
//!
//! Both models give one probability for each class.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Instant;

use anyhow::Context as _;
use ort::environment::Environment;
use ort::session::Session;
use ort::value::{DynTensor, Tensor};
use serde::Serialize;

/// Pixels of an image of 8 by 8.
pub const PIXELS: usize = 64;

/// What an image shows, or a file is.
#[derive(Debug, PartialEq, Serialize)]
pub struct Reading {
    /// The digit, or the number of the type.
    #[serde(rename = "digit")]
    class: usize,
    /// The probability that the model gives it, from 0 to 1.
    confidence: f32,
}

/// The loaded model.
pub struct Model {
    // `ort` runs a session for one caller at a time; with one per thread of the server, a request
    // finds a free one without waiting.
    sessions: Vec<Mutex<Session>>,
}

impl Model {
    /// Loads `model` into `count` sessions of one thread each.
    pub fn load(library: &Path, model: &Path, count: usize) -> anyhow::Result<Self> {
        let environment = environment(library)?;
        let sessions =
            (0..count).map(|_| load(&environment, model).map(Mutex::new)).collect::<ort::Result<_>>();
        Ok(Self { sessions: sessions.with_context(|| format!("cannot load `{}`", model.display()))? })
    }

    /// Reads an image whose pixels are from 0 to 1.
    pub fn read(&self, pixels: Vec<f32>) -> ort::Result<Reading> {
        self.run(Tensor::from_array(([1, PIXELS], pixels))?.upcast())
    }

    /// Tells what a file is from a row that is made of its bytes.
    pub fn tell(&self, row: Vec<i32>) -> ort::Result<Reading> {
        self.run(Tensor::from_array(([1, row.len()], row))?.upcast())
    }

    fn run(&self, input: DynTensor) -> ort::Result<Reading> {
        let mut session = self.free_session();
        let outputs = session.run(ort::inputs![input])?;
        let (_, probabilities) = outputs[0].try_extract_tensor::<f32>()?;
        Ok(likeliest(probabilities))
    }

    fn free_session(&self) -> MutexGuard<'_, Session> {
        let free = self.sessions.iter().find_map(|session| match session.try_lock() {
            Ok(session) => Some(session),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        });
        free.unwrap_or_else(|| self.sessions[0].lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// How long a plain load of a model of texts and its first run take, of a text of 32 tokens. The library is
/// there before.
pub fn load_and_run_ms(library: &Path, model: &Path) -> anyhow::Result<f64> {
    let environment = environment(library)?;
    let begin = Instant::now();
    let mut session =
        load(&environment, model).with_context(|| format!("cannot load `{}`", model.display()))?;
    let ids: Vec<i64> = (1000..1032).collect();
    let input = |values: Vec<i64>| Tensor::from_array(([1, 32], values));
    let outputs = session.run(ort::inputs![
        "input_ids" => input(ids)?,
        "attention_mask" => input(vec![1; 32])?,
        "token_type_ids" => input(vec![0; 32])?,
    ])?;
    outputs[0].try_extract_tensor::<f32>()?;
    Ok(begin.elapsed().as_secs_f64() * 1e3)
}

fn load(environment: &Environment, model: &Path) -> ort::Result<Session> {
    Session::builder(environment)?.with_intra_threads(1)?.commit_from_file(model)
}

fn environment(library: &Path) -> anyhow::Result<Environment> {
    // `ort` takes a relative path as relative to the executable.
    let library = std::path::absolute(library).context("cannot resolve the library's path")?;
    ort::init_from(&library)
        .with_context(|| format!("cannot load `{}`", library.display()))?
        .with_telemetry(false)
        .build()
        .context("cannot start ONNX Runtime")
}

/// The likeliest class; the smaller one of two that are equally likely.
fn likeliest(probabilities: &[f32]) -> Reading {
    let mut best = Reading { class: 0, confidence: f32::NEG_INFINITY };
    for (class, &confidence) in probabilities.iter().enumerate() {
        if confidence > best.confidence {
            best = Reading { class, confidence };
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likeliest_digit_wins_and_the_smaller_of_equals() {
        assert_eq!(likeliest(&[0.1, 0.6, 0.3]), Reading { class: 1, confidence: 0.6 });
        assert_eq!(likeliest(&[0.1, 0.4, 0.4]).class, 1);
    }
}
