//! The body as the model takes it: one channel of 16 kHz, made of the pieces in which a WAV file arrives.

use modelet_sdk::{BodyStream, Problem};

use crate::resample::Resampler;
use crate::wav::HeadReader;
use crate::wav::samples::Samples;

/// A body whose head has been read.
pub struct Sound {
    body: BodyStream,
    /// What came along with the head.
    first: Vec<u8>,
    samples: Samples,
    /// `None` if the file has the model's rate.
    resampler: Option<Resampler>,
    mono: Vec<f32>,
    has_ended: bool,
}

impl Sound {
    /// Waits for the head of the file.
    ///
    /// # Errors
    /// 422 with the field at fault, if the body is no WAV file of a kind that is read here.
    pub async fn open(mut body: BodyStream) -> Result<Self, Problem> {
        let mut head = HeadReader::new();
        while let Some(piece) = body.next().await {
            let mut rest = piece.as_slice();
            if let Some(head) = head.read(&mut rest)? {
                return Ok(Self {
                    resampler: Resampler::from_rate(head.format.sample_rate)?,
                    samples: Samples::new(head),
                    first: rest.to_vec(),
                    body,
                    mono: Vec::new(),
                    has_ended: false,
                });
            }
        }
        Err(head.ended())
    }

    /// Waits for the next piece and puts its sound in place of what is in `sound`. Gives false at the end.
    ///
    /// # Errors
    /// 422 if what came is no sound, or the body ended too early. What is in `sound` came before that.
    pub async fn next(&mut self, sound: &mut Vec<f32>) -> Result<bool, Problem> {
        sound.clear();
        if self.has_ended {
            return Ok(false);
        }
        let piece = match std::mem::take(&mut self.first) {
            first if first.is_empty() => self.body.next().await,
            first => Some(first),
        };
        let Some(piece) = piece else {
            self.has_ended = true;
            self.samples.finish()?;
            if let Some(resampler) = self.resampler.take() {
                resampler.finish(sound);
            }
            return Ok(true);
        };
        self.mono.clear();
        let decoded = self.samples.decode(&piece, &mut self.mono);
        match &mut self.resampler {
            Some(resampler) => resampler.resample(&self.mono, sound),
            None => std::mem::swap(sound, &mut self.mono),
        }
        decoded.map(|()| true)
    }
}
