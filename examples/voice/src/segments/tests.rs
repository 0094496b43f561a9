//! The rules against the reference's own, on probabilities and settings drawn at random (`expected.json`).

use serde::Deserialize;

use super::*;
use crate::tests::recording::expected;

#[derive(Deserialize)]
struct Rule {
    settings: Settings,
    /// Probabilities of windows, in hundredths.
    percents: Vec<u8>,
    length: u64,
    segments: Vec<(u64, u64)>,
}

/// Every edge, with the number of windows after which it was told.
fn edges(settings: &Settings, probabilities: &[f32], length: u64) -> (Vec<(usize, Edge)>, u64) {
    let mut segments = Segments::new(settings);
    let mut told = Vec::new();
    for (index, &probability) in probabilities.iter().enumerate() {
        let heard = length.min(((index + 1) * WINDOW) as u64);
        told.extend(segments.window(probability, heard).map(|edge| (index + 1, edge)));
    }
    told.extend(segments.finish(length).map(|edge| (probabilities.len() + 1, edge)));
    (told, segments.spoken())
}

#[test]
fn edges_are_where_the_reference_has_them() {
    let rules: Vec<Rule> = expected("rules");
    assert!(rules.len() >= 50);
    for (index, rule) in rules.iter().enumerate() {
        assert_eq!(rule.settings.check(), Ok(()));
        let probabilities: Vec<f32> =
            rule.percents.iter().map(|&percent| (f64::from(percent) / 100.0) as f32).collect();
        let (told, spoken) = edges(&rule.settings, &probabilities, rule.length);
        let told: Vec<Edge> = told.into_iter().map(|(_, edge)| edge).collect();
        let expected: Vec<Edge> =
            rule.segments.iter().flat_map(|&(start, end)| [Edge::Start(start), Edge::End(end)]).collect();
        assert_eq!(told, expected, "rule {index}");
        assert_eq!(spoken, rule.segments.iter().map(|(start, end)| end - start).sum::<u64>(), "rule {index}");
    }
}

#[test]
fn an_edge_is_told_as_soon_as_it_is_certain() {
    let mut probabilities = vec![0.0; 10];
    probabilities.extend([0.9; 20]);
    probabilities.extend([0.0; 10]);
    let (told, _) = edges(&Settings::default(), &probabilities, 40 * WINDOW as u64);
    let pad = 30 * 16;
    // Eight windows of speech are more than 250 ms; silence of 100 ms has passed with the fifth window.
    let window = WINDOW as u64;
    assert_eq!(told, [(18, Edge::Start(10 * window - pad)), (35, Edge::End(30 * window + pad))]);
}

#[test]
fn a_start_that_was_told_has_an_end() {
    let mut segments = Segments::new(&Settings::default());
    let told: Vec<_> = (1..=8).filter_map(|window| segments.window(0.9, window * WINDOW as u64)).collect();
    assert_eq!(told, [Edge::Start(0)]);
    assert_eq!(segments.finish(8 * 512).collect::<Vec<_>>(), [Edge::End(8 * 512)]);
    assert_eq!(segments.finish(8 * 512).count(), 0);
}
