//! The mean of a map within a quadrilateral.

use super::Map;
use crate::geometry::Quad;

/// The mean probability of the pixels within the corners and on the lines between them.
///
/// OpenCV's `fillPoly` draws the border with a line of its own making; here a row ends at the pixels
/// nearest to where the sides cross it. That moves the mean by less than a hundredth, and it is only held
/// against a threshold.
pub fn mean(map: &Map, corners: &Quad) -> f32 {
    let corners = corners.map(|corner| (corner.x.trunc(), corner.y.trunc()));
    let bound = |value: f32, length: usize| value.clamp(0.0, (length - 1) as f32) as usize;
    let top = corners.iter().map(|corner| corner.1).fold(f32::MAX, f32::min);
    let bottom = corners.iter().map(|corner| corner.1).fold(f32::MIN, f32::max);
    let (mut sum, mut count) = (0.0_f64, 0_usize);
    for y in bound(top, map.height)..=bound(bottom, map.height) {
        let (mut left, mut right) = (f32::MAX, f32::MIN);
        for (from, to) in corners.iter().zip(corners.iter().cycle().skip(1)) {
            for x in crossings(*from, *to, y as f32) {
                left = left.min(x);
                right = right.max(x);
            }
        }
        if left <= right {
            let (first, last) = (bound(left.round(), map.width), bound(right.round(), map.width));
            let row = &map.probabilities[y * map.width..][first..=last];
            sum += row.iter().map(|&probability| f64::from(probability)).sum::<f64>();
            count += row.len();
        }
    }
    (sum / count.max(1) as f64) as f32
}

/// Where a side meets a row: not at all, at one place, or along it from one place to another.
fn crossings(from: (f32, f32), to: (f32, f32), y: f32) -> impl Iterator<Item = f32> {
    let is_met = from.1.min(to.1) <= y && y <= from.1.max(to.1);
    let ends = if from.1 == to.1 {
        [from.0, to.0]
    } else {
        [from.0 + (to.0 - from.0) * (y - from.1) / (to.1 - from.1); 2]
    };
    ends.into_iter().filter(move |_| is_met)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Point;

    fn quad(corners: [(f32, f32); 4]) -> Quad {
        corners.map(|(x, y)| Point { x, y })
    }

    #[test]
    fn takes_what_is_within_and_on_the_border() {
        let probabilities = (0..5 * 4).map(|at| if (1..=3).contains(&(at % 5)) { 1.0 } else { 0.0 });
        let map = Map { width: 5, height: 4, probabilities: probabilities.collect() };
        assert_eq!(mean(&map, &quad([(1.0, 0.0), (3.0, 0.0), (3.0, 3.0), (1.0, 3.0)])), 1.0);
        assert_eq!(mean(&map, &quad([(0.0, 0.0), (4.0, 0.0), (4.0, 3.0), (0.0, 3.0)])), 0.6);
        // A rhombus has one pixel in its first row, three in the next.
        let rhombus = quad([(2.0, 0.0), (3.0, 1.0), (2.0, 2.0), (1.0, 1.0)]);
        assert_eq!(mean(&map, &rhombus), 1.0);
    }

    #[test]
    fn what_lies_beyond_the_map_is_left_out() {
        let map = Map { width: 2, height: 2, probabilities: vec![0.5; 4] };
        assert_eq!(mean(&map, &quad([(-5.0, -5.0), (9.0, -5.0), (9.0, 9.0), (-5.0, 9.0)])), 0.5);
    }
}
