//! Real images, what they show, and what the function says.

use std::fs;

use anyhow::Context as _;
use serde::Deserialize;

use super::EXAMPLE;
use super::calls::{self, Reading};
use super::host::DemoHost;
use crate::workspace;

/// Images in a row of the terminal.
const COLUMNS: usize = 5;
/// Images that are drawn; the others are only counted.
const DRAWN: usize = 2 * COLUMNS;
/// Pixels of a side.
const SIDE: usize = 8;
/// Full ink.
const FULL_INK: usize = 16;
/// From paper to ink.
const SHADES: [char; 5] = [' ', '░', '▒', '▓', '█'];

/// An image that the model was not trained on.
#[derive(Deserialize)]
pub struct Case {
    /// Ink from 0 to 16, row by row.
    pub pixels: Vec<u8>,
    /// What a person says that it shows.
    label: u8,
    /// What the model says, run elsewhere.
    pub digit: u8,
}

#[derive(Deserialize)]
struct Expected {
    cases: Vec<Case>,
}

/// The recorded images.
pub fn cases() -> anyhow::Result<Vec<Case>> {
    let path = workspace::root().join(EXAMPLE).join("expected.json");
    let text = fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let expected: Expected =
        serde_json::from_slice(&text).with_context(|| format!("`{}`", path.display()))?;
    Ok(expected.cases)
}

/// Sends every image, prints the answers, and returns how many were wrong.
pub fn call_with_all(host: &DemoHost) -> anyhow::Result<usize> {
    let cases = cases()?;
    let (drawn, others) = cases.split_at(DRAWN.min(cases.len()));
    let mut readings = Vec::new();
    for row in drawn.chunks(COLUMNS) {
        let answers = row.iter().map(|case| Ok(calls::one(host, &case.pixels)?.value));
        let answers: Vec<Reading> = answers.collect::<anyhow::Result<_>>()?;
        draw(row, &answers);
        readings.extend(answers);
    }
    let images: Vec<&[u8]> = others.iter().map(|case| case.pixels.as_slice()).collect();
    let batch = calls::several(host, &images)?;
    anyhow::ensure!(
        batch.value.len() == images.len(),
        "{} answers for {} images",
        batch.value.len(),
        images.len()
    );
    readings.extend(batch.value);

    let agree =
        |of: fn(&Case) -> u8| cases.iter().zip(&readings).filter(|(case, r)| of(case) == r.digit).count();
    let (right, true_labels) = (agree(|case| case.digit), agree(|case| case.label));
    let total = cases.len();
    println!("and {} more in one batch, answered in {:.1} ms", images.len(), batch.took.as_secs_f64() * 1e3);
    println!(
        "{right} of {total} answers are those of the model run by ONNX Runtime in Python (expected.json)"
    );
    println!("{true_labels} of {total} are what the image truly shows: the rest is the model's own mistake");
    Ok(total - right)
}

/// Draws images side by side, above their labels and answers.
fn draw(cases: &[Case], answers: &[Reading]) {
    for y in 0..SIDE {
        let rows = cases.iter().map(|case| shade(&case.pixels[y * SIDE..(y + 1) * SIDE]));
        println!("{}", rows.collect::<Vec<_>>().join("  ").trim_end());
    }
    let width = 2 * SIDE;
    let labels = cases.iter().map(|case| format!("{:<width$}", format!("shows {}", case.label)));
    println!("{}", labels.collect::<Vec<_>>().join("  ").trim_end());
    let answers = cases.iter().zip(answers).map(|(case, answer)| {
        let mark = if answer.digit == case.digit { '✓' } else { '✗' };
        format!("{:<width$}", format!("answer {} {mark} {:.2}", answer.digit, answer.confidence))
    });
    println!("{}\n", answers.collect::<Vec<_>>().join("  ").trim_end());
}

/// A row of pixels, two characters each, since characters are taller than wide.
fn shade(pixels: &[u8]) -> String {
    let shade = |ink: u8| SHADES[usize::from(ink).min(FULL_INK) * (SHADES.len() - 1) / FULL_INK];
    pixels.iter().flat_map(|&ink| [shade(ink); 2]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shades_go_from_paper_to_ink() {
        assert_eq!(shade(&[0, 4, 15, 16, 255]), "  ░░▓▓████");
    }

    #[test]
    fn the_recorded_images_are_whole() {
        let cases = cases().unwrap();
        assert!(cases.len() > DRAWN);
        assert!(cases.iter().all(|case| case.pixels.len() == SIDE * SIDE));
    }
}
