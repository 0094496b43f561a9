//! Which lines are read together, and how wide they are then.
//!
//! The model's answer depends a little on how far a line is filled up at its right, so widths are those
//! of the Python package: of six lines of similar shape, that of the longest. How many of the six run at
//! once changes nothing, and is what keeps very long lines within bounds.

use super::HEIGHT;

/// Lines that have one width.
const GROUP: usize = 6;
/// The least width, for which the model was trained.
const LEAST_WIDTH: usize = 320;
/// The most pixels of all rows of a batch side by side, and of one row: its probabilities take 13 MB. A
/// line that is longer yet is pressed together.
const MAX_WIDTH: usize = 3840;

/// Lines that run together.
#[derive(Debug, PartialEq)]
pub struct Batch {
    /// Their places among all lines.
    pub lines: Vec<usize>,
    /// What each is filled up to.
    pub width: usize,
}

/// Puts lines together, given how many times as wide as high each is.
pub fn batches(aspects: &[f64]) -> Vec<Batch> {
    let mut order: Vec<usize> = (0..aspects.len()).collect();
    order.sort_by(|&a, &b| aspects[a].total_cmp(&aspects[b]));
    let mut batches = Vec::new();
    for group in order.chunks(GROUP) {
        let least = LEAST_WIDTH as f64 / HEIGHT as f64;
        let widest = group.iter().map(|&line| aspects[line]).fold(least, f64::max);
        let width = ((HEIGHT as f64 * widest) as usize).min(MAX_WIDTH);
        let parts = group.chunks(MAX_WIDTH / width);
        batches.extend(parts.map(|lines| Batch { lines: lines.to_vec(), width }));
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_lines_have_the_least_width() {
        assert_eq!(batches(&[3.0, 1.0]), [Batch { lines: vec![1, 0], width: 320 }]);
        assert!(batches(&[]).is_empty());
    }

    #[test]
    fn six_of_similar_shape_have_the_width_of_the_longest() {
        let aspects = [20.0, 1.0, 2.0, 10.0, 3.0, 4.0, 5.0];
        let found = batches(&aspects);
        assert_eq!(found[0], Batch { lines: vec![1, 2, 4, 5, 6, 3], width: 480 });
        assert_eq!(found[1], Batch { lines: vec![0], width: 960 });
    }

    #[test]
    fn no_batch_is_wider_than_the_bound() {
        let found = batches(&[25.0, 30.0, 35.0, 500.0]);
        assert!(found.iter().all(|batch| batch.lines.len() * batch.width <= MAX_WIDTH));
        assert_eq!(found.iter().map(|batch| batch.lines.len()).sum::<usize>(), 4);
        assert_eq!(batches(&[25.0, 30.0]), [Batch { lines: vec![0, 1], width: 1440 }]);
    }
}
