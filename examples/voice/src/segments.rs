//! From the probabilities of windows to where speech begins and ends.
//!
//! The rules are those of silero-vad's `get_speech_timestamps`, which sees a recording as a whole; here
//! each edge is told with the first window from which nothing that follows can change it. Counts in
//! samples of 16 kHz. Knows nothing of sound and models.

use crate::detector::WINDOW;
use crate::resample::MODEL_RATE;
use crate::settings::Settings;

/// A place where speech begins or ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Edge {
    /// The first sample of speech.
    Start(u64),
    /// The first sample after it.
    End(u64),
}

/// Follows one stream.
pub struct Segments {
    threshold: f64,
    silence_threshold: f64,
    min_speech: u64,
    min_silence: u64,
    padding: u64,
    /// Where the next window begins.
    next: u64,
    speech: Option<Speech>,
    spoken: u64,
}

/// Speech that has not ended yet.
struct Speech {
    start: u64,
    /// Where the silence began that may be its end.
    silent_since: Option<u64>,
    /// Whether it has been long enough to tell of it.
    is_told: bool,
}

impl Segments {
    /// At the beginning of a stream. The settings have been checked.
    pub fn new(settings: &Settings) -> Self {
        let samples = |ms: u32| u64::from(ms) * u64::from(MODEL_RATE / 1000);
        Self {
            threshold: settings.threshold,
            silence_threshold: settings.silence_threshold(),
            min_speech: samples(settings.min_speech_duration_ms),
            min_silence: samples(settings.min_silence_duration_ms),
            padding: samples(settings.speech_pad_ms),
            next: 0,
            speech: None,
            spoken: 0,
        }
    }

    /// Samples of all speech that has ended, with what was added before and after it.
    pub fn spoken(&self) -> u64 {
        self.spoken
    }

    /// Takes the probability of the next window. `heard` is where its sound ends, which is the window's
    /// own end unless the stream ends within it.
    pub fn window(&mut self, probability: f32, heard: u64) -> Option<Edge> {
        let (window, probability) = (self.next, f64::from(probability));
        self.next += WINDOW as u64;
        let Some(speech) = &mut self.speech else {
            if probability < self.threshold {
                return None;
            }
            self.speech = Some(Speech { start: window, silent_since: None, is_told: false });
            return self.start_if_long(heard);
        };
        if probability >= self.threshold {
            speech.silent_since = None;
        } else if probability < self.silence_threshold {
            let silent_since = *speech.silent_since.get_or_insert(window);
            if window - silent_since >= self.min_silence {
                return self.end(silent_since + self.padding);
            }
        }
        self.start_if_long(heard)
    }

    /// Tells what was still open when the stream ended, `heard` samples long.
    pub fn finish(&mut self, heard: u64) -> impl Iterator<Item = Edge> {
        let start = match &mut self.speech {
            // Silence that was too short to be the end belongs to it.
            Some(speech) => {
                speech.silent_since = None;
                self.start_if_long(heard)
            }
            None => None,
        };
        start.into_iter().chain(self.end(heard))
    }

    /// Speech goes on for as long as it was heard, unless it has been silent since: then it may end there.
    fn start_if_long(&mut self, heard: u64) -> Option<Edge> {
        let speech = self.speech.as_mut()?;
        let is_long = heard - speech.start > self.min_speech;
        if speech.is_told || speech.silent_since.is_some() || !is_long {
            return None;
        }
        speech.is_told = true;
        Some(Edge::Start(speech.start.saturating_sub(self.padding)))
    }

    /// Ends the speech, and tells where if its start was told.
    fn end(&mut self, end: u64) -> Option<Edge> {
        let speech = self.speech.take().filter(|speech| speech.is_told)?;
        self.spoken += end - speech.start.saturating_sub(self.padding);
        Some(Edge::End(end))
    }
}

#[cfg(test)]
mod tests;
