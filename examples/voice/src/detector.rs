//! The model over a stream: windows of sound in, the probability of speech in each out.
//!
//! What the model remembers from one window to the next is a tensor that stays in the host: an output of
//! one run is an input of the next, and its elements never enter the handler. It lives as long as the
//! invocation.

use modelet_sdk::{Error, Model, Problem, Tensor};

use crate::resample::MODEL_RATE;

/// Samples that the model judges at once: 32 ms.
pub const WINDOW: usize = 512;
/// Samples before them that it sees too.
const CONTEXT: usize = 64;
/// What it remembers: `[2, batch, 128] f32`.
const STATE: [usize; 3] = [2, 1, 128];

/// The model with what it remembers of this stream.
pub struct Detector {
    model: Model,
    rate: Tensor,
    state: Tensor,
    /// The end of the window before, and the next window as far as it was heard.
    input: Vec<f32>,
}

impl Detector {
    /// Loads the model, which remembers nothing yet.
    ///
    /// # Errors
    /// The host's, if it cannot.
    pub async fn load() -> Result<Self, Error> {
        let model = Model::load("silero").await?;
        let rate = Tensor::new([], [i64::from(MODEL_RATE)])?;
        let state = Tensor::new(STATE, vec![0.0_f32; STATE.iter().product()])?;
        let mut input = Vec::with_capacity(CONTEXT + WINDOW);
        input.resize(CONTEXT, 0.0);
        Ok(Self { model, rate, state, input })
    }

    /// Takes from the front of `sound` what is missing of the window. Gives the probability of speech in
    /// it when it is whole; nothing is left of `sound` otherwise.
    ///
    /// # Errors
    /// The host's, if the model cannot be run.
    pub async fn hear(&mut self, sound: &mut &[f32]) -> Result<Option<f32>, Problem> {
        let missing = CONTEXT + WINDOW - self.input.len();
        let (taken, rest) = sound.split_at(missing.min(sound.len()));
        self.input.extend_from_slice(taken);
        *sound = rest;
        if taken.len() < missing {
            return Ok(None);
        }
        self.judge().await.map(Some)
    }

    /// The probability of speech in what there is of a last window, with silence after it; `None` if there
    /// is none.
    ///
    /// # Errors
    /// As for [`Detector::hear`].
    pub async fn finish(mut self) -> Result<Option<f32>, Problem> {
        if self.input.len() == CONTEXT {
            return Ok(None);
        }
        self.input.resize(CONTEXT + WINDOW, 0.0);
        self.judge().await.map(Some)
    }

    async fn judge(&mut self) -> Result<f32, Problem> {
        let input = Tensor::new([1, self.input.len()], &self.input)?;
        self.input.drain(..WINDOW);
        let inputs = [("input", &input), ("state", &self.state), ("sr", &self.rate)];
        let mut outputs = self.model.infer(inputs).await?;
        self.state = outputs.take("stateN")?;
        let probability = outputs.take("output")?.to_scalar::<f32>()?;
        if (0.0..=1.0).contains(&probability) {
            return Ok(probability);
        }
        Err(Problem::internal(format!("the model gave a probability of {probability}")))
    }
}
