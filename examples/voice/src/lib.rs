//! Tells when somebody speaks, while the sound is still arriving.
//!
//! The body is a WAV file, of any length. The answer is lines of JSON, each written as soon as it is known:
//! `{"event":"start","at_ms":290}`, `{"event":"end","at_ms":1150}`, and at last
//! `{"event":"done","duration_ms":9963,"speech_ms":4528}`. The model is silero-vad.

mod detector;
mod event;
mod resample;
mod segments;
mod settings;
mod sound;
mod wav;

use modelet_sdk::{BodyStream, BodyWriter, Problem, Query, Response};

use detector::Detector;
use event::Event;
use segments::Segments;
pub use settings::Settings;
use sound::Sound;

/// Answers a request.
///
/// # Errors
/// 422 with the field at fault, if the query or the head of the file is not valid; the host's, if the
/// model cannot be loaded. What is wrong after that is the last line of the answer.
#[modelet_sdk::handler]
pub async fn voice(Query(settings): Query<Settings>, body: BodyStream) -> Result<Response, Problem> {
    settings.check()?;
    let sound = Sound::open(body).await?;
    let detector = Detector::load().await?;
    let listener = Listener { detector, segments: Segments::new(&settings), heard: 0 };
    let answer = Response::stream(async move |answer| {
        match listener.listen(sound, answer).await {
            // A caller who has left gets no line; the writer knows.
            Err(problem) => tell(answer, problem).await,
            Ok(()) => Ok(()),
        }
    });
    Ok(answer.with_header("content-type", "application/x-ndjson"))
}

/// One stream, from its first sample to its last.
struct Listener {
    detector: Detector,
    segments: Segments,
    /// Samples of 16 kHz.
    heard: u64,
}

impl Listener {
    async fn listen(mut self, mut sound: Sound, answer: &mut BodyWriter) -> Result<(), Problem> {
        let mut samples = Vec::new();
        loop {
            let more = sound.next(&mut samples).await;
            // What came before an error was heard.
            self.hear(&samples, answer).await?;
            if !more? {
                return self.finish(answer).await;
            }
        }
    }

    async fn hear(&mut self, mut samples: &[f32], answer: &mut BodyWriter) -> Result<(), Problem> {
        while !samples.is_empty() {
            let before = samples.len();
            let probability = self.detector.hear(&mut samples).await?;
            self.heard += (before - samples.len()) as u64;
            if let Some(edge) = probability.and_then(|p| self.segments.window(p, self.heard)) {
                tell(answer, edge).await?;
            }
        }
        Ok(())
    }

    async fn finish(mut self, answer: &mut BodyWriter) -> Result<(), Problem> {
        let last = self.detector.finish().await?.and_then(|p| self.segments.window(p, self.heard));
        for edge in last.into_iter().chain(self.segments.finish(self.heard)) {
            tell(answer, edge).await?;
        }
        tell(answer, Event::done(self.heard, self.segments.spoken())).await
    }
}

async fn tell(answer: &mut BodyWriter, event: impl Into<Event>) -> Result<(), Problem> {
    Ok(answer.write(event.into().line()?).await?)
}

#[cfg(test)]
mod tests;
