//! How long runs of a session take, by the shapes of their inputs: what decides between inline and
//! off-thread.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use modelet_types::Tensor;

/// Shapes that are remembered. Those that meet in one place take turns, at the cost of a run that
/// could have been inline.
const PLACES: usize = 64;

/// The shapes of a run's inputs, as a hash.
#[derive(Clone, Copy, Debug)]
pub struct Shapes(u64);

/// Moving averages of measured run times. Nothing but the same shapes says how long a run takes: of
/// two matrices of equal size, one may be a row and make a product of one number, the other a column.
pub struct Pace {
    /// The upper half of the shapes' hash, then nanoseconds. Zero if there is none.
    places: [AtomicU64; PLACES],
    /// Keyed, so that nobody can choose shapes that pass for others.
    hasher: RandomState,
}

impl Default for Pace {
    fn default() -> Self {
        Self { places: std::array::from_fn(|_| AtomicU64::new(0)), hasher: RandomState::new() }
    }
}

impl Pace {
    /// The shapes of these inputs, which are in the order of the signature.
    pub fn shapes(&self, inputs: &[Tensor]) -> Shapes {
        Shapes(self.hasher.hash_one(Key(inputs)))
    }

    /// The expected time of a run, once one of the same shapes was measured.
    pub fn estimate(&self, shapes: Shapes) -> Option<Duration> {
        let nanos = shapes.nanos_in(self.place(shapes).load(Ordering::Relaxed))?;
        Some(Duration::from_nanos(nanos))
    }

    /// Takes a measured run into account.
    pub fn record(&self, shapes: Shapes, took: Duration) {
        let took = took.as_nanos().clamp(1, u128::from(u32::MAX)) as u64;
        let place = self.place(shapes);
        // A weight of one eighth follows a change within some ten runs, yet one slow run, such as
        // one that was preempted, does not move a session off the caller's thread. The first run
        // is the slowest, so it is forgotten quickly: lower values count half.
        let new = match shapes.nanos_in(place.load(Ordering::Relaxed)) {
            None => took,
            Some(old) if took < old => old - (old - took) / 2,
            Some(old) => old + (took - old) / 8,
        };
        // Two runs that end at once may lose one of the two measurements; another will follow.
        place.store(shapes.mark() | new.max(1), Ordering::Relaxed);
    }

    fn place(&self, shapes: Shapes) -> &AtomicU64 {
        &self.places[shapes.0 as usize % PLACES]
    }
}

impl Shapes {
    fn mark(self) -> u64 {
        self.0 & !u64::from(u32::MAX)
    }

    /// The nanoseconds in a place, if they are of these shapes.
    fn nanos_in(self, place: u64) -> Option<u64> {
        let nanos = place & u64::from(u32::MAX);
        (nanos > 0 && place & !u64::from(u32::MAX) == self.mark()).then_some(nanos)
    }
}

/// Hashes shapes, and no values.
struct Key<'a>(&'a [Tensor]);

impl std::hash::Hash for Key<'_> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.iter().for_each(|tensor| tensor.shape().hash(state));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shapes(pace: &Pace, rows: usize, columns: usize) -> Shapes {
        pace.shapes(&[Tensor::from_vec(&[rows, columns], vec![0.0_f32; rows * columns]).unwrap()])
    }

    #[test]
    fn keeps_shapes_apart_and_follows_changes() {
        let pace = Pace::default();
        let row = shapes(&pace, 1, 64);
        assert_eq!(pace.estimate(row), None);
        pace.record(row, Duration::from_micros(900));
        for _ in 0..10 {
            pace.record(row, Duration::from_micros(10));
        }
        assert!(pace.estimate(row).unwrap() < Duration::from_micros(15));
        pace.record(row, Duration::from_micros(500));
        assert!(pace.estimate(shapes(&pace, 1, 64)).unwrap() < Duration::from_micros(100), "one outlier");
        let column = shapes(&pace, 64, 1);
        assert_eq!(pace.estimate(column), None, "as many bytes, and not the same work");
        pace.record(column, Duration::MAX);
        assert!(pace.estimate(column).unwrap() > Duration::from_secs(4));
    }
}
