//! A part of a long list.

/// Which part of a list is asked for.
#[derive(Clone, Debug)]
pub struct Page<K> {
    /// What comes after this one, in the order of the list; `None`: from its beginning.
    pub after: Option<K>,
    /// How many at most.
    pub limit: u32,
}

impl<K> Page<K> {
    /// The whole list.
    pub const fn whole() -> Self {
        Self { after: None, limit: u32::MAX }
    }
}
