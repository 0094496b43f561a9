//! What a model, or a handler in tensors, is run on.

use crate::error::Error;
use crate::tensor::Tensor;

/// Tensors by the names of a model's inputs.
///
/// ```
/// use modelet_sdk::{Inputs, Tensor};
///
/// let ids = Tensor::new([1, 3], [101_i64, 7592, 102])?;
/// let inputs = Inputs::from([("input_ids", ids)]);
/// assert!(inputs.get("input_ids").is_some());
/// # Ok::<(), modelet_sdk::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct Inputs(Vec<(String, Tensor)>);

impl Inputs {
    /// No inputs yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, tensor: Tensor) -> Self {
        self.0.push((name.into(), tensor));
        self
    }

    /// The input of this name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.iter().find(|&(own, _)| own == name).map(|(_, tensor)| tensor)
    }

    /// The input of this name, where there has to be one.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] if there is none.
    pub fn required(&self, name: &str) -> Result<&Tensor, Error> {
        self.get(name).ok_or_else(|| Error::InvalidInput(format!("there is no input `{name}`")))
    }

    /// Names and tensors, in the order in which they were given.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.0.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }
}

impl<N: Into<String>, const COUNT: usize> From<[(N, Tensor); COUNT]> for Inputs {
    fn from(inputs: [(N, Tensor); COUNT]) -> Self {
        inputs.into_iter().collect()
    }
}

impl<N: Into<String>> FromIterator<(N, Tensor)> for Inputs {
    fn from_iter<I: IntoIterator<Item = (N, Tensor)>>(inputs: I) -> Self {
        Self(inputs.into_iter().map(|(name, tensor)| (name.into(), tensor)).collect())
    }
}
