use std::collections::VecDeque;

/// A queue that drops its oldest value when it is full.
pub struct Ring<T> {
    values: VecDeque<T>,
    capacity: usize,
}

impl<T> Ring<T> {
    pub fn new(capacity: usize) -> Self {
        Self { values: VecDeque::with_capacity(capacity), capacity }
    }

    pub fn push(&mut self, value: T) -> Option<T> {
        let dropped = if self.values.len() == self.capacity { self.values.pop_front() } else { None };
        self.values.push_back(value);
        dropped
    }
}
