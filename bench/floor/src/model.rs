//! The model, in one session per core. Knows nothing of HTTP.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use anyhow::Context as _;
use ort::session::Session;
use ort::value::Tensor;
use serde::Serialize;

/// Pixels of an image of 8 by 8.
pub const PIXELS: usize = 64;

/// What an image shows.
#[derive(Debug, PartialEq, Serialize)]
pub struct Reading {
    digit: usize,
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
        // `ort` takes a relative path as relative to the executable.
        let library = std::path::absolute(library).context("cannot resolve the library's path")?;
        let environment = ort::init_from(&library)
            .with_context(|| format!("cannot load `{}`", library.display()))?
            .with_telemetry(false)
            .build()
            .context("cannot start ONNX Runtime")?;
        let session = || -> ort::Result<Session> {
            Session::builder(&environment)?.with_intra_threads(1)?.commit_from_file(model)
        };
        let sessions = (0..count).map(|_| session().map(Mutex::new)).collect::<ort::Result<_>>();
        Ok(Self { sessions: sessions.with_context(|| format!("cannot load `{}`", model.display()))? })
    }

    /// Reads an image whose pixels are from 0 to 1.
    pub fn read(&self, pixels: Vec<f32>) -> ort::Result<Reading> {
        let input = Tensor::from_array(([1, PIXELS], pixels))?;
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

/// The likeliest digit; the smaller one of two that are equally likely.
fn likeliest(probabilities: &[f32]) -> Reading {
    let mut best = Reading { digit: 0, confidence: f32::NEG_INFINITY };
    for (digit, &confidence) in probabilities.iter().enumerate() {
        if confidence > best.confidence {
            best = Reading { digit, confidence };
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likeliest_digit_wins_and_the_smaller_of_equals() {
        assert_eq!(likeliest(&[0.1, 0.6, 0.3]), Reading { digit: 1, confidence: 0.6 });
        assert_eq!(likeliest(&[0.1, 0.4, 0.4]).digit, 1);
    }
}
