//! Points, quadrilaterals, hulls, and the smallest rectangle around a set of points.

/// A place, in pixels from the left and from the top.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    pub x: f32,
    pub y: f32,
}

/// Four corners in order around.
pub type Quad = [Point; 4];

impl Point {
    /// The distance to another one.
    pub fn distance(self, to: Self) -> f32 {
        let (x, y) = (self.x - to.x, self.y - to.y);
        (x * x + y * y).sqrt()
    }
}

/// A place in whole pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pixel {
    pub x: i32,
    pub y: i32,
}

/// A rectangle that need not be upright.
#[derive(Clone, Copy, Debug)]
pub struct Rectangle {
    pub corners: Quad,
    /// The length of its shorter sides.
    pub shorter: f32,
}

/// The rectangle of the smallest area around pixels, through their centres; `None` unless three of them
/// are not in line.
///
/// One of its sides lies on a side of the hull (Freeman and Shapira, 1975), so each is tried.
pub fn smallest_rectangle(pixels: Vec<Pixel>) -> Option<Rectangle> {
    let hull = hull(pixels);
    if hull.len() < 3 {
        return None;
    }
    let sides = hull.iter().zip(hull.iter().cycle().skip(1));
    let spans = sides.map(|(&from, &to)| Span::new(&hull, from, to));
    spans.min_by(|a, b| a.area().total_cmp(&b.area())).map(|span| span.rectangle())
}

/// How far points reach along a direction and across it.
struct Span {
    /// Of length 1.
    along: (f64, f64),
    least: (f64, f64),
    most: (f64, f64),
}

impl Span {
    fn new(hull: &[Pixel], from: Pixel, to: Pixel) -> Self {
        let (x, y) = (f64::from(to.x - from.x), f64::from(to.y - from.y));
        let length = x.hypot(y);
        let along = (x / length, y / length);
        let (mut least, mut most) = ((f64::MAX, f64::MAX), (f64::MIN, f64::MIN));
        for pixel in hull {
            let (x, y) = (f64::from(pixel.x), f64::from(pixel.y));
            let (forward, across) = (x * along.0 + y * along.1, y * along.0 - x * along.1);
            least = (least.0.min(forward), least.1.min(across));
            most = (most.0.max(forward), most.1.max(across));
        }
        Self { along, least, most }
    }

    fn area(&self) -> f64 {
        (self.most.0 - self.least.0) * (self.most.1 - self.least.1)
    }

    fn rectangle(&self) -> Rectangle {
        let corner = |forward: f64, across: f64| Point {
            x: (forward * self.along.0 - across * self.along.1) as f32,
            y: (forward * self.along.1 + across * self.along.0) as f32,
        };
        let (least, most) = (self.least, self.most);
        let corners = [
            corner(least.0, least.1),
            corner(most.0, least.1),
            corner(most.0, most.1),
            corner(least.0, most.1),
        ];
        Rectangle { corners, shorter: (most.0 - least.0).min(most.1 - least.1) as f32 }
    }
}

/// The corners of the convex hull, in order around (Andrew's monotone chain).
fn hull(mut pixels: Vec<Pixel>) -> Vec<Pixel> {
    pixels.sort_unstable();
    pixels.dedup();
    if pixels.len() < 3 {
        return pixels;
    }
    let mut hull = half(pixels.iter());
    hull.extend(half(pixels.iter().rev()));
    hull
}

/// One side of the hull, without its last point, with which the other side begins.
fn half<'a>(pixels: impl Iterator<Item = &'a Pixel>) -> Vec<Pixel> {
    let mut half: Vec<Pixel> = Vec::new();
    for &pixel in pixels {
        while let [.., before, last] = half[..]
            && turn(before, last, pixel) <= 0
        {
            half.pop();
        }
        half.push(pixel);
    }
    half.pop();
    half
}

/// Above 0 if the way over three pixels turns to one side, below 0 to the other, 0 if it goes straight.
fn turn(a: Pixel, b: Pixel, c: Pixel) -> i64 {
    let [ax, ay, bx, by, cx, cy] = [a.x, a.y, b.x, b.y, c.x, c.y].map(i64::from);
    (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pixels(places: &[(i32, i32)]) -> Vec<Pixel> {
        places.iter().map(|&(x, y)| Pixel { x, y }).collect()
    }

    #[test]
    fn what_lies_inside_does_not_matter() {
        let rectangle =
            smallest_rectangle(pixels(&[(2, 1), (9, 1), (9, 5), (2, 5), (4, 3), (2, 2)])).unwrap();
        let mut corners = rectangle.corners.map(|corner| (corner.x, corner.y));
        corners.sort_by(|a, b| a.partial_cmp(b).unwrap());
        assert_eq!(corners, [(2.0, 1.0), (2.0, 5.0), (9.0, 1.0), (9.0, 5.0)]);
        assert_eq!(rectangle.shorter, 4.0);
    }

    #[test]
    fn leans_with_what_it_is_around() {
        let rectangle = smallest_rectangle(pixels(&[(0, 0), (30, 30), (25, 35), (-5, 5)])).unwrap();
        let length = rectangle.corners[0].distance(rectangle.corners[1]);
        let width = rectangle.corners[1].distance(rectangle.corners[2]);
        assert!((length.max(width) - 1800_f32.sqrt()).abs() < 1e-4);
        assert!((rectangle.shorter - 50_f32.sqrt()).abs() < 1e-4);
    }

    #[test]
    fn a_line_has_none() {
        assert!(smallest_rectangle(pixels(&[(1, 1), (5, 5), (3, 3)])).is_none());
        assert!(smallest_rectangle(pixels(&[(1, 1), (1, 1)])).is_none());
        assert!(smallest_rectangle(Vec::new()).is_none());
    }
}
