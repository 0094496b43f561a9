//! What somebody takes a subject to be when they change it: two who read the same and change it both do not
//! overwrite each other unseen.

use crate::StoreError;

/// A condition on a change: the subject's tag is still one of those that the caller has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Precondition(Option<Vec<String>>);

impl Precondition {
    /// The change is made whatever the subject has become.
    pub const NONE: Self = Self(None);

    /// The subject's tag must be among these.
    pub fn one_of(tags: Vec<String>) -> Self {
        Self(Some(tags))
    }

    /// Checks it against what the subject is, within the transaction of the change.
    pub(crate) fn check(&self, tag: String) -> Result<(), StoreError> {
        match &self.0 {
            Some(tags) if !tags.contains(&tag) => Err(StoreError::Changed { tag }),
            _ => Ok(()),
        }
    }
}
