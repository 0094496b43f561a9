//! What a guest holds handles to: tensors and models. Each goes when the guest drops its handle, and
//! all of them go with the invocation.
//!
//! An instance may outlive an invocation, and so may a handle that the guest has forgotten to drop. It
//! must not come to mean what the next invocation holds, so every invocation has numbers of its own.

use std::sync::Arc;

use modelet_types::Tensor;

use crate::ports::Model;

/// Something that a guest has a handle to.
pub(super) enum Held {
    Tensor(Tensor),
    Model(Arc<dyn Model>),
}

/// Everything that a guest has a handle to.
pub(crate) struct Holdings {
    /// The number of the first slot. Lower numbers are of earlier invocations.
    first: u32,
    slots: Vec<Option<Held>>,
    /// Slots that can be used again.
    free: Vec<u32>,
    capacity: usize,
    tensor_bytes: u64,
    /// Handles of earlier invocations that the guest still has.
    left_behind: usize,
}

/// As many handles are held as may be.
#[derive(Debug)]
pub(super) struct Full;

impl Holdings {
    /// With room for `capacity` handles.
    pub(crate) fn new(capacity: u64) -> Self {
        let capacity = usize::try_from(capacity).unwrap_or(usize::MAX);
        Self { first: 0, slots: Vec::new(), free: Vec::new(), capacity, tensor_bytes: 0, left_behind: 0 }
    }

    /// Bytes of the tensors that are held.
    pub(super) fn tensor_bytes(&self) -> u64 {
        self.tensor_bytes
    }

    /// Holds something and gives its number.
    pub(super) fn push(&mut self, held: Held) -> Result<u32, Full> {
        if self.slots.len() - self.free.len() >= self.capacity {
            return Err(Full);
        }
        if let Held::Tensor(tensor) = &held {
            self.tensor_bytes += tensor.byte_len() as u64;
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).expect("a limit of handles is far below 2^32")
        });
        self.slots[slot as usize] = Some(held);
        Ok(self.first + slot)
    }

    /// The tensor with this number.
    pub(super) fn tensor(&self, number: u32) -> wasmtime::Result<&Tensor> {
        match self.get(number) {
            Some(Held::Tensor(tensor)) => Ok(tensor),
            _ => Err(gone()),
        }
    }

    /// The model with this number.
    pub(super) fn model(&self, number: u32) -> wasmtime::Result<&Arc<dyn Model>> {
        match self.get(number) {
            Some(Held::Model(model)) => Ok(model),
            _ => Err(gone()),
        }
    }

    /// Lets go of what has this number. Of an earlier invocation nothing is held any more: a guest whose
    /// garbage is collected late drops such handles.
    pub(super) fn remove(&mut self, number: u32) -> wasmtime::Result<()> {
        let Some(slot) = number.checked_sub(self.first) else {
            self.left_behind = self.left_behind.saturating_sub(1);
            return Ok(());
        };
        let held = self.slots.get_mut(slot as usize).and_then(Option::take).ok_or_else(gone)?;
        if let Held::Tensor(tensor) = held {
            self.tensor_bytes -= tensor.byte_len() as u64;
        }
        self.free.push(slot);
        Ok(())
    }

    /// Lets go of everything, as at the end of an invocation.
    pub(crate) fn clear(&mut self) {
        self.left_behind += self.slots.len() - self.free.len();
        self.first = self.first.saturating_add(u32::try_from(self.slots.len()).unwrap_or(u32::MAX));
        self.slots.clear();
        self.free.clear();
        self.tensor_bytes = 0;
    }

    /// Whether there is room for another invocation: numbers, and handles of the guest's, of which it may
    /// have left behind as many as one invocation may hold.
    pub(crate) fn has_room(&self) -> bool {
        let has_numbers = u64::from(self.first) + (self.capacity as u64) < u64::from(u32::MAX);
        has_numbers && self.left_behind <= self.capacity
    }

    fn get(&self, number: u32) -> Option<&Held> {
        let slot = number.checked_sub(self.first)?;
        self.slots.get(slot as usize)?.as_ref()
    }
}

fn gone() -> wasmtime::Error {
    wasmtime::Error::msg("the handle is one of an earlier invocation, and what it stood for ended with that")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(elements: usize) -> Held {
        Held::Tensor(Tensor::from_vec(&[elements], vec![0_u8; elements]).unwrap())
    }

    #[test]
    fn numbers_are_used_again_within_an_invocation_only() {
        let mut holdings = Holdings::new(2);
        let (a, b) = (holdings.push(tensor(1)).unwrap(), holdings.push(tensor(2)).unwrap());
        assert!(holdings.push(tensor(3)).is_err());
        holdings.remove(a).unwrap();
        assert!(holdings.remove(a).is_err());
        assert_eq!(holdings.push(tensor(4)).unwrap(), a);
        assert_eq!(holdings.tensor_bytes(), 6);

        holdings.clear();
        assert_eq!(holdings.tensor_bytes(), 0);
        let c = holdings.push(tensor(8)).unwrap();
        assert!(c != a && c != b && holdings.tensor(a).is_err());
        holdings.remove(b).unwrap();
        assert_eq!((holdings.tensor(c).unwrap().byte_len(), holdings.tensor_bytes()), (8, 8));
    }

    #[test]
    fn an_instance_ends_before_its_numbers_do() {
        let mut holdings = Holdings::new(1);
        holdings.first = u32::MAX - 2;
        assert!(holdings.has_room());
        holdings.push(tensor(1)).unwrap();
        holdings.clear();
        assert!(!holdings.has_room());
    }

    #[test]
    fn an_instance_ends_that_leaves_handles_behind_again_and_again() {
        let mut holdings = Holdings::new(2);
        let first = holdings.push(tensor(1)).unwrap();
        for _ in 0..2 {
            holdings.push(tensor(1)).unwrap();
            holdings.clear();
        }
        assert!(!holdings.has_room());
        holdings.remove(first).unwrap();
        assert!(holdings.has_room(), "dropped late");
    }
}
