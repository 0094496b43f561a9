//! From other sample rates to the model's 16 kHz, by windowed sinc filters in polyphase form.
//!
//! An output sample lies between input samples at one of a few phases, since both rates are whole
//! numbers; each phase has its filter, made once (Crochiere and Rabiner, "Multirate Digital Signal
//! Processing", 1983). Knows nothing of files. Holds a few milliseconds of sound, however long it lasts.

use std::f64::consts::PI;

use modelet_sdk::Problem;

/// Samples in a second that the model takes.
pub const MODEL_RATE: u32 = 16_000;
/// What there is a filter for.
const RATES: [u32; 9] = [8_000, 11_025, 12_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000];
/// Zero crossings of the sinc on each side. With the window below, aliases are 80 dB down from 8 kHz on,
/// and sound passes unchanged up to 6.7 kHz.
const ZERO_CROSSINGS: f64 = 32.0;
/// Where the filter has halved what passes, relative to the lower rate's half.
const CUTOFF: f64 = 0.92;
/// Of the Kaiser window.
const BETA: f64 = 7.86;

/// Resamples one channel.
pub struct Resampler {
    /// Phases between two input samples.
    phases: usize,
    /// How many of them one output sample is after another.
    step: usize,
    /// Input samples that one output sample is made of.
    taps: usize,
    /// Phase by phase.
    filters: Vec<f32>,
    /// Input samples from the first that the next output sample is made of.
    input: Vec<f32>,
    /// The next output sample's.
    phase: usize,
}

impl Resampler {
    /// From `rate` to the model's; `None` if they are the same.
    ///
    /// # Errors
    /// 422 if there is no filter for it.
    pub fn from_rate(rate: u32) -> Result<Option<Self>, Problem> {
        match rate {
            MODEL_RATE => Ok(None),
            rate if RATES.contains(&rate) => Ok(Some(Self::new(rate))),
            rate => {
                let others = RATES.map(|rate| rate.to_string()).join(", ");
                let reason = format!("must be {MODEL_RATE} or one of {others}; got {rate}");
                Err(Problem::invalid("fmt.sample_rate", reason))
            }
        }
    }

    fn new(rate: u32) -> Self {
        let common = greatest_common_divisor(rate, MODEL_RATE);
        let (phases, step) = ((MODEL_RATE / common) as usize, (rate / common) as usize);
        // Of sound that is slowed down, what the lower rate cannot hold must not pass.
        let narrowing = (phases as f64 / step as f64).min(1.0);
        let half = (ZERO_CROSSINGS / narrowing).ceil();
        let taps = 2 * half as usize;
        let filters = (0..phases)
            .flat_map(|phase| filter(phase as f64 / phases as f64, half, CUTOFF * narrowing))
            .collect();
        // The first output sample lies on the first input sample, with silence before.
        let input = vec![0.0; taps / 2 - 1];
        Self { phases, step, taps, filters, input, phase: 0 }
    }

    /// Takes input and adds the output that can be made of it to `output`.
    pub fn resample(&mut self, input: &[f32], output: &mut Vec<f32>) {
        self.input.extend_from_slice(input);
        let mut first = 0;
        while let Some(window) = self.input.get(first..first + self.taps) {
            let filter = &self.filters[self.phase * self.taps..][..self.taps];
            output.push(window.iter().zip(filter).map(|(sample, weight)| sample * weight).sum());
            self.phase += self.step;
            first += self.phase / self.phases;
            self.phase %= self.phases;
        }
        // A step is shorter than a filter, so what it leads to is there.
        self.input.drain(..first);
    }

    /// Adds the rest of the output: as many samples in all as the input's time holds, rounded up.
    pub fn finish(mut self, output: &mut Vec<f32>) {
        let silence = vec![0.0; self.taps / 2];
        self.resample(&silence, output);
    }
}

/// Weights of the input samples from `half - 1` before to `half` after, for an output sample that lies
/// `offset` behind one. They sum up to 1, so that a constant stays what it is at every phase.
fn filter(offset: f64, half: f64, cutoff: f64) -> Vec<f32> {
    let weights: Vec<f64> = (0..2 * half as usize)
        .map(|tap| {
            let distance = tap as f64 - (half - 1.0) - offset;
            sinc(cutoff * distance) * kaiser(distance / half)
        })
        .collect();
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| (weight / sum) as f32).collect()
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 { 1.0 } else { (PI * x).sin() / (PI * x) }
}

/// The window at `x` from -1 to 1, up to a factor.
fn kaiser(x: f64) -> f64 {
    bessel_i0(BETA * (1.0 - x * x).max(0.0).sqrt())
}

/// The modified Bessel function of order 0, by its power series.
fn bessel_i0(x: f64) -> f64 {
    let quarter = x * x / 4.0;
    let (mut sum, mut term, mut k) = (1.0, 1.0, 1.0);
    while term > sum * 1e-12 {
        term *= quarter / (k * k);
        sum += term;
        k += 1.0;
    }
    sum
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resampled(rate: u32, input: &[f32], piece: usize) -> Vec<f32> {
        let mut resampler = Resampler::from_rate(rate).unwrap().unwrap();
        let mut output = Vec::new();
        for piece in input.chunks(piece) {
            resampler.resample(piece, &mut output);
        }
        resampler.finish(&mut output);
        output
    }

    fn sine(hertz: f64, rate: u32, samples: usize) -> Vec<f32> {
        (0..samples).map(|at| (2.0 * PI * hertz * at as f64 / f64::from(rate)).sin() as f32).collect()
    }

    /// The level of what `other` differs from `signal` by, in dB of full scale, without the edges.
    fn error_db(signal: &[f32], other: &[f32]) -> f64 {
        let inner = 200..signal.len() - 200;
        let power: f64 = inner.clone().map(|at| f64::from(signal[at] - other[at]).powi(2)).sum();
        10.0 * (2.0 * power / inner.len() as f64).log10()
    }

    #[test]
    fn what_both_rates_hold_stays_as_it_is() {
        for rate in RATES {
            let highest = 0.8 * f64::from(rate.min(MODEL_RATE)) / 2.0;
            for hertz in [60.0, 440.0, 2500.0, highest] {
                let output = resampled(rate, &sine(hertz, rate, rate as usize / 4), 1000);
                assert!(output.len().abs_diff(MODEL_RATE as usize / 4) <= 1, "{rate}: {}", output.len());
                let error = error_db(&sine(hertz, MODEL_RATE, output.len()), &output);
                assert!(error < -75.0, "{hertz} Hz at {rate}: {error} dB");
            }
        }
    }

    #[test]
    fn what_is_too_high_does_not_come_back_as_something_else() {
        for rate in RATES.into_iter().filter(|&rate| rate > MODEL_RATE) {
            for hertz in [8100.0, 10_000.0, 0.49 * f64::from(rate)] {
                let output = resampled(rate, &sine(hertz, rate, rate as usize / 4), 1000);
                let error = error_db(&vec![0.0; output.len()], &output);
                assert!(error < -75.0, "{hertz} Hz at {rate}: {error} dB");
            }
        }
    }

    #[test]
    fn it_does_not_matter_where_the_sound_is_cut() {
        let input = sine(1000.0, 44_100, 3000);
        let whole = resampled(44_100, &input, input.len());
        assert_eq!(whole.len(), (3000 * 160_usize).div_ceil(441));
        for piece in [1, 2, 63, 500] {
            assert_eq!(resampled(44_100, &input, piece), whole);
        }
    }

    #[test]
    fn little_is_held_however_long_it_lasts() {
        let mut resampler = Resampler::from_rate(48_000).unwrap().unwrap();
        let mut output = Vec::new();
        for _ in 0..1000 {
            resampler.resample(&[0.1; 480], &mut output);
            assert!(resampler.input.len() < resampler.taps);
        }
        assert!(output.len().abs_diff(160_000) < 100, "{}", output.len());
    }

    #[test]
    fn no_sound_at_all_has_no_output() {
        assert!(resampled(22_050, &[], 1).is_empty());
        assert_eq!(resampled(8_000, &[0.5], 1).len(), 2);
    }

    #[test]
    fn refuses_a_rate_without_a_filter() {
        assert!(Resampler::from_rate(MODEL_RATE).unwrap().is_none());
        for rate in [0, 1, 15_999, u32::MAX] {
            let problem = Resampler::from_rate(rate).err().unwrap();
            assert_eq!(problem.field.as_deref(), Some("fmt.sample_rate"));
        }
    }
}
