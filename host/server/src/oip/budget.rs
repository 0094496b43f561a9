//! The bytes that the inputs of one request may take together.

use modelet_types::tensor::extent;
use modelet_types::{Code, ElementType, Problem, Tensor};

/// What is left of them.
pub(super) struct TensorBudget {
    left: u64,
    limit: u64,
}

impl TensorBudget {
    pub(super) fn new(limit: u64) -> Self {
        Self { left: limit, limit }
    }

    /// Makes a tensor, if there is room for it: what `shape` needs is taken before any memory is.
    ///
    /// # Errors
    /// `RequestTooLarge`, or what `make` reports.
    pub(super) fn spend(
        &mut self,
        shape: &[usize],
        element_type: ElementType,
        field: &str,
        make: impl FnOnce() -> Result<Tensor, Problem>,
    ) -> Result<Tensor, Problem> {
        // A shape without elements counts as if it had some: a model may make something of the rest of it.
        let count = extent(shape).map_err(|error| {
            Problem::new(Code::InvalidInput, error.to_string()).at(format!("{field}.shape"))
        })?;
        let each = element_type.size_bytes().unwrap_or(size_of::<Box<str>>());
        let bytes = (count as u64).saturating_mul(each as u64);
        self.take(bytes, field)?;
        let tensor = make()?;
        // Of texts it was not known before.
        self.take((tensor.byte_len() as u64).saturating_sub(bytes), field)?;
        Ok(tensor)
    }

    fn take(&mut self, bytes: u64, field: &str) -> Result<(), Problem> {
        self.left = self.left.checked_sub(bytes).ok_or_else(|| {
            let detail =
                format!("the inputs have more bytes than the limit of {} (limits.tensor_bytes)", self.limit);
            Problem::new(Code::RequestTooLarge, detail).at(field)
        })?;
        Ok(())
    }
}
