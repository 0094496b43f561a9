//! What a caller may choose, in the query: the parameters of silero-vad's own `get_speech_timestamps`,
//! with its names and defaults.

use std::ops::RangeInclusive;

use modelet_sdk::Problem;
use serde::Deserialize;

/// Where speech begins and ends. Probabilities are from 0 to 1.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// From this probability on, a window is speech.
    pub threshold: f64,
    /// Below this one, a window within speech is silence; by default 0.15 below `threshold`.
    pub neg_threshold: Option<f64>,
    /// Speech that is not longer is left out.
    pub min_speech_duration_ms: u32,
    /// Silence that is shorter does not end speech.
    pub min_silence_duration_ms: u32,
    /// How much is added before and after speech.
    pub speech_pad_ms: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            threshold: 0.5,
            neg_threshold: None,
            min_speech_duration_ms: 250,
            min_silence_duration_ms: 100,
            speech_pad_ms: 30,
        }
    }
}

impl Settings {
    const THRESHOLDS: RangeInclusive<f64> = 0.01..=1.0;
    const LONGEST_MS: u32 = 60_000;

    /// # Errors
    /// 422 with the parameter that is out of range.
    pub fn check(&self) -> Result<(), Problem> {
        if !Self::THRESHOLDS.contains(&self.threshold) {
            return Err(Problem::invalid("threshold", format!("must be 0.01 to 1, got {}", self.threshold)));
        }
        if !(0.0..=self.threshold).contains(&self.silence_threshold()) {
            let reason = format!("must be 0 to `threshold`, which is {}", self.threshold);
            return Err(Problem::invalid("neg_threshold", reason));
        }
        let durations = [
            ("min_speech_duration_ms", self.min_speech_duration_ms),
            ("min_silence_duration_ms", self.min_silence_duration_ms),
        ];
        for (name, value) in durations {
            if value > Self::LONGEST_MS {
                return Err(Problem::invalid(
                    name,
                    format!("must be 0 to {}, got {value}", Self::LONGEST_MS),
                ));
            }
        }
        // Two pieces of speech would share what is between them otherwise, and an end could only be told
        // once the next start is known.
        if self.speech_pad_ms > self.min_silence_duration_ms / 2 {
            let reason = "must be at most half of `min_silence_duration_ms`";
            return Err(Problem::invalid("speech_pad_ms", format!("{reason}, got {}", self.speech_pad_ms)));
        }
        Ok(())
    }

    /// The probability below which a window within speech is silence.
    pub fn silence_threshold(&self) -> f64 {
        self.neg_threshold.unwrap_or_else(|| (self.threshold - 0.15).max(0.01))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(settings: Settings) -> String {
        settings.check().unwrap_err().field.unwrap()
    }

    #[test]
    fn names_the_parameter_out_of_range() {
        let settings = Settings::default;
        assert_eq!(settings().check(), Ok(()));
        for threshold in [0.0, 1.5, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(refused(Settings { threshold, ..settings() }), "threshold");
        }
        for neg_threshold in [-0.1, 0.6, f64::NAN].map(Some) {
            assert_eq!(refused(Settings { neg_threshold, ..settings() }), "neg_threshold");
        }
        let min_speech_duration_ms = u32::MAX;
        assert_eq!(refused(Settings { min_speech_duration_ms, ..settings() }), "min_speech_duration_ms");
        let min_silence_duration_ms = 60_001;
        assert_eq!(refused(Settings { min_silence_duration_ms, ..settings() }), "min_silence_duration_ms");
        assert_eq!(refused(Settings { speech_pad_ms: 51, ..settings() }), "speech_pad_ms");
        assert_eq!(Settings { speech_pad_ms: 50, ..settings() }.check(), Ok(()));
    }

    #[test]
    fn silence_is_a_little_below_speech() {
        assert!((Settings::default().silence_threshold() - 0.35).abs() < 1e-12);
        let low = Settings { threshold: 0.05, ..Settings::default() };
        assert_eq!((low.silence_threshold(), low.check()), (0.01, Ok(())));
    }
}
