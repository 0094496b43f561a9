//! The outlines of what is likely text in a map: of each piece that hangs together, and of each hole.
//!
//! OpenCV's `findContours` follows borders and gives their pixels in order. Here they are only wanted
//! for the smallest rectangle around them, so the ends of each row are enough, and pieces are put
//! together from rows, which takes one pass and no recursion.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::ops::Range;

use super::Map;
use crate::geometry::Pixel;

/// From this probability on there is text.
const LEAST_PROBABILITY: f32 = 0.3;

/// Pixels of one row that are alike.
struct Run {
    y: usize,
    start: usize,
    /// The first pixel behind it.
    end: usize,
    is_text: bool,
}

/// For each outline, pixels that have its hull; the `most` lowest ones, from the bottom up by their
/// highest pixel.
pub fn of(map: &Map, most: usize) -> Vec<Vec<Pixel>> {
    let (runs, mut pieces) = pieces(map);
    let mut is_outside = vec![false; runs.len()];
    for (index, run) in runs.iter().enumerate() {
        if !run.is_text && run.is_at_border(map) {
            is_outside[pieces.root(index)] = true;
        }
    }
    // A piece's root is its first run, so roots are in the order in which a scan meets the outlines.
    let roots = (0..runs.len()).rev().filter(|&index| pieces.parents[index] == index && !is_outside[index]);
    let places: HashMap<usize, usize> = roots.take(most).zip(0..).collect();
    let mut outlines = vec![Vec::new(); places.len()];
    for (index, run) in runs.iter().enumerate() {
        if let Some(&place) = places.get(&pieces.root(index)) {
            run.append_outline(&mut outlines[place]);
        }
    }
    outlines
}

impl Run {
    fn is_at_border(&self, map: &Map) -> bool {
        self.y == 0 || self.y + 1 == map.height || self.start == 0 || self.end == map.width
    }

    /// Of text: its own ends. Of a hole, whose outline is the text around it: the neighbours of its ends.
    fn append_outline(&self, outline: &mut Vec<Pixel>) {
        let (y, first, last) = (self.y as i32, self.start as i32, self.end as i32 - 1);
        if self.is_text {
            outline.extend([Pixel { x: first, y }, Pixel { x: last, y }]);
            return;
        }
        outline.extend([Pixel { x: first - 1, y }, Pixel { x: last + 1, y }]);
        for y in [y - 1, y + 1] {
            outline.extend([Pixel { x: first, y }, Pixel { x: last, y }]);
        }
    }
}

/// Which runs hang together: each knows another one of its piece, and the first one knows itself.
struct Pieces {
    parents: Vec<usize>,
}

impl Pieces {
    fn root(&mut self, mut index: usize) -> usize {
        while self.parents[index] != index {
            self.parents[index] = self.parents[self.parents[index]];
            index = self.parents[index];
        }
        index
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.parents[a.max(b)] = a.min(b);
    }
}

/// All runs from the top left on. Text hangs together by sides and corners, what is no text by sides.
fn pieces(map: &Map) -> (Vec<Run>, Pieces) {
    let mut runs = Vec::new();
    let mut pieces = Pieces { parents: Vec::new() };
    let mut above = 0..0;
    let mut row_above = vec![false; map.width];
    for (y, row) in map.probabilities.chunks_exact(map.width).enumerate() {
        let row: Vec<bool> = row.iter().map(|&probability| probability > LEAST_PROBABILITY).collect();
        let first = runs.len();
        let is_text = thickened(&row, &row_above);
        let mut start = 0;
        for alike in is_text.chunk_by(|a, b| a == b) {
            let end = start + alike.len();
            pieces.parents.push(runs.len());
            runs.push(Run { y, start, end, is_text: alike[0] });
            start = end;
        }
        let below = first..runs.len();
        join_rows(&runs, above, below.clone(), &mut pieces);
        (above, row_above) = (below, row);
    }
    (runs, pieces)
}

/// A row, each pixel of which is text if it or a neighbour above or to the left is.
fn thickened(row: &[bool], above: &[bool]) -> Vec<bool> {
    let either = |at: usize| row[at] || above[at];
    (0..row.len()).map(|at| either(at) || (at > 0 && either(at - 1))).collect()
}

fn join_rows(runs: &[Run], above: Range<usize>, below: Range<usize>, pieces: &mut Pieces) {
    let (mut upper, mut lower) = (above.start, below.start);
    while upper < above.end && lower < below.end {
        if runs[upper].is_text == runs[lower].is_text {
            pieces.join(upper, lower);
        }
        match runs[upper].end.cmp(&runs[lower].end) {
            Ordering::Less => upper += 1,
            Ordering::Greater => lower += 1,
            Ordering::Equal => {
                // Runs of a row alternate, so that what touches at this corner are two pairs of equals.
                let has_corner = upper + 1 < above.end && lower + 1 < below.end;
                if has_corner && runs[upper].is_text != runs[lower].is_text {
                    let (a, b) = if runs[upper].is_text { (upper, lower + 1) } else { (upper + 1, lower) };
                    pieces.join(a, b);
                }
                upper += 1;
                lower += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A map of what is text before it is thickened.
    fn outlines(rows: &[&str]) -> Vec<Vec<Pixel>> {
        let probabilities = rows.iter().flat_map(|row| row.chars().map(|c| if c == '#' { 0.9 } else { 0.1 }));
        let map = Map { width: rows[0].len(), height: rows.len(), probabilities: probabilities.collect() };
        of(&map, 100)
    }

    /// Left, top, right and bottom of each.
    fn bounds(rows: &[&str]) -> Vec<(i32, i32, i32, i32)> {
        let of_one = |outline: Vec<Pixel>| {
            let x = outline.iter().map(|pixel| pixel.x);
            let y = outline.iter().map(|pixel| pixel.y);
            (x.clone().min().unwrap(), y.clone().min().unwrap(), x.max().unwrap(), y.max().unwrap())
        };
        outlines(rows).into_iter().map(of_one).collect()
    }

    #[test]
    fn pieces_from_the_bottom_up_thickened_by_a_pixel() {
        let rows = ["......", ".#....", "......", "......", "....#.", "......"];
        assert_eq!(bounds(&rows), [(4, 4, 5, 5), (1, 1, 2, 2)]);
    }

    #[test]
    fn corners_hold_text_together() {
        // Thickened, both touch at a corner: one way, and the other.
        assert_eq!(bounds(&["#.....", "......", "..#...", "......"]), [(0, 0, 3, 3)]);
        assert_eq!(bounds(&["..#...", "......", "#.....", "......"]), [(0, 0, 3, 3)]);
        assert_eq!(bounds(&["#.....", "......", "......", "..#...", "......"]).len(), 2);
    }

    #[test]
    fn a_hole_has_the_outline_of_the_text_around_it() {
        let ring = ["........", ".######.", ".######.", ".##...#.", ".##...#.", ".######.", "........"];
        // Thickening leaves a hole of two pixels by one.
        assert_eq!(bounds(&ring), [(3, 3, 6, 5), (1, 1, 7, 6)]);
    }

    #[test]
    fn pieces_that_meet_lower_down_are_one() {
        assert_eq!(bounds(&["#....#..", "#....#..", "######..", "........"]).last(), Some(&(0, 0, 6, 3)));
    }

    #[test]
    fn only_as_many_as_are_wanted() {
        let map = Map { width: 4, height: 2, probabilities: vec![0.9, 0.1, 0.1, 0.9, 0.1, 0.1, 0.1, 0.1] };
        assert_eq!(of(&map, 1).len(), 1);
        assert_eq!(of(&map, 9).len(), 2);
    }
}
