//! How the calls of a function are divided among its revisions.

use serde::{Deserialize, Serialize};

use crate::RevisionNumber;

/// One revision's share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// Which revision.
    pub revision: RevisionNumber,
    /// Its weight relative to the other shares; at least 1.
    #[cfg_attr(feature = "openapi", schema(minimum = 1))]
    pub weight: u32,
}

/// The most revisions that calls are divided among.
pub const MAX_SHARES: usize = 16;

/// Shares that are not a split.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSplit {
    /// More than [`MAX_SHARES`].
    #[error("at most {MAX_SHARES} revisions share the calls, got {0}")]
    TooMany(usize),
    /// A share of nothing.
    #[error("the weight of revision {0} is 0: leave the revision out, or use at least 1")]
    Weightless(RevisionNumber),
    /// Two shares of one revision.
    #[error("revision {0} is named twice")]
    Twice(RevisionNumber),
}

/// Weights over revisions. Empty: no revision is active.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(try_from = "Vec<Share>", into = "Vec<Share>")]
pub struct TrafficSplit(Vec<Share>);

impl TryFrom<Vec<Share>> for TrafficSplit {
    type Error = InvalidSplit;

    fn try_from(shares: Vec<Share>) -> Result<Self, InvalidSplit> {
        if shares.len() > MAX_SHARES {
            return Err(InvalidSplit::TooMany(shares.len()));
        }
        for (index, share) in shares.iter().enumerate() {
            if share.weight == 0 {
                return Err(InvalidSplit::Weightless(share.revision));
            }
            if shares[..index].iter().any(|other| other.revision == share.revision) {
                return Err(InvalidSplit::Twice(share.revision));
            }
        }
        Ok(Self(shares))
    }
}

impl From<TrafficSplit> for Vec<Share> {
    fn from(split: TrafficSplit) -> Self {
        split.0
    }
}

impl TrafficSplit {
    /// Every call to one revision.
    pub fn all_to(revision: RevisionNumber) -> Self {
        Self(vec![Share { revision, weight: 1 }])
    }

    /// The shares.
    pub fn shares(&self) -> &[Share] {
        &self.0
    }

    /// Whether the revision has a share.
    pub fn names(&self, revision: RevisionNumber) -> bool {
        self.0.iter().any(|share| share.revision == revision)
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

    #[test]
    fn refuses_shares_of_nothing_and_shares_named_twice() {
        let read = |text: &str| serde_json::from_str::<TrafficSplit>(text).map_err(|e| e.to_string());
        assert!(read(r#"[{"revision":1,"weight":0}]"#).unwrap_err().contains("weight of revision 1"));
        let twice = r#"[{"revision":2,"weight":1},{"revision":2,"weight":3}]"#;
        assert!(read(twice).unwrap_err().contains("revision 2 is named twice"));
        let many: Vec<_> = (1..=17).map(|n| Share { revision: RevisionNumber(n), weight: 1 }).collect();
        assert_eq!(TrafficSplit::try_from(many), Err(InvalidSplit::TooMany(17)));
        assert!(read("[]").unwrap().shares().is_empty());
    }
}
