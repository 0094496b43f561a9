//! How the calls of a function are divided among its revisions.

use serde::{Deserialize, Serialize};

use crate::RevisionNumber;

/// One revision's share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// Which revision.
    pub revision: RevisionNumber,
    /// Its weight relative to the other shares; at least 1.
    pub weight: u32,
}

/// Weights over revisions. Empty: no revision is active.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TrafficSplit(Vec<Share>);

impl TrafficSplit {
    /// Every call to one revision.
    pub fn all_to(revision: RevisionNumber) -> Self {
        Self(vec![Share { revision, weight: 1 }])
    }

    /// The shares.
    pub fn shares(&self) -> &[Share] {
        &self.0
    }

    /// The share that `point`, a number drawn evenly from all of `u64`, falls on.
    pub fn pick(&self, point: u64) -> Option<RevisionNumber> {
        let total: u64 = self.0.iter().map(|share| u64::from(share.weight)).sum();
        // The high half of the product scales `point` to 0..total without the bias of a remainder.
        let mut rest = ((u128::from(point) * u128::from(total)) >> 64) as u64;
        self.0.iter().find_map(|share| {
            let weight = u64::from(share.weight);
            if rest < weight {
                return Some(share.revision);
            }
            rest -= weight;
            None
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picks_by_weight() {
        let share = |revision, weight| Share { revision: RevisionNumber(revision), weight };
        let split = TrafficSplit(vec![share(1, 1), share(2, 3)]);
        assert_eq!(split.pick(0), Some(RevisionNumber(1)));
        assert_eq!(split.pick(u64::MAX / 4 - 1), Some(RevisionNumber(1)));
        assert_eq!(split.pick(u64::MAX / 4 + 2), Some(RevisionNumber(2)));
        assert_eq!(split.pick(u64::MAX), Some(RevisionNumber(2)));
        assert_eq!(TrafficSplit::default().pick(7), None);
    }
}
