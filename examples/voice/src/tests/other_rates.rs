//! Sound of other rates, made of the recording by a filter that has nothing in common with the handler's.

use serde_json::Value;

use super::recording::{Recording, wav};
use super::{host, lines, send};

/// `sound` of 16 kHz at another rate, by the sum of a sinc over 128 samples on each side under a Hann
/// window, slowly and in double precision.
fn at_rate(sound: &[f32], rate: u32) -> Vec<f32> {
    const HALF: i64 = 128;
    let ratio = 16_000.0 / f64::from(rate);
    // Half of the lower rate, as a part of 16 kHz' half.
    let cutoff = (1.0 / ratio).min(1.0);
    let length = (sound.len() as f64 / ratio).ceil() as usize;
    let sample = |index: usize| {
        let time = index as f64 * ratio;
        let middle = time.floor() as i64;
        let sum: f64 = (middle - HALF + 1..=middle + HALF)
            .filter_map(|at| Some((at, f64::from(*sound.get(usize::try_from(at).ok()?)?))))
            .map(|(at, value)| {
                let distance = std::f64::consts::PI * (time - at as f64);
                let sinc =
                    if distance == 0.0 { 1.0 } else { (cutoff * distance).sin() / (cutoff * distance) };
                let window = 0.5 + 0.5 * (distance / HALF as f64).cos();
                value * cutoff * sinc * window
            })
            .sum();
        sum as f32
    };
    (0..length).map(sample).collect()
}

/// Milliseconds of each line but the last.
fn edges(lines: &[Value]) -> Vec<i64> {
    let (last, edges) = lines.split_last().unwrap();
    assert_eq!(last["event"], "done", "{last}");
    edges.iter().map(|line| line["at_ms"].as_i64().unwrap()).collect()
}

#[test]
fn speech_is_found_at_every_rate() {
    let recording = Recording::with_speech();
    // The first two seconds, with one piece of speech and the beginning of another.
    let sound = &recording.samples()[..32_000];
    let data: Vec<u8> = sound.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    let here = edges(&lines(&send(&host(), "/", &wav(3, 1, 16_000, 32, &data), 4096)));
    assert!(here.len() >= 2, "{here:?}");

    for rate in [8_000, 11_025, 12_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000] {
        let other = at_rate(sound, rate);
        let data: Vec<u8> = other.iter().flat_map(|sample| [*sample; 2]).flat_map(f32::to_le_bytes).collect();
        let told = lines(&send(&host(), "/", &wav(3, 2, rate, 32, &data), 4099));
        assert_eq!(told.last().unwrap()["duration_ms"], 2000, "{rate}");
        let there = edges(&told);
        assert_eq!(there.len(), here.len(), "{rate}: {there:?} is not {here:?}");
        // Two windows: sound of a lower rate lacks what tells consonants from silence.
        for (there, here) in there.iter().zip(&here) {
            assert!((there - here).abs() <= 64, "{rate}: {there} is not {here}");
        }
    }
}
