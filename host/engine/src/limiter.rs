//! Memory of one instance: linear memories and tables, summed.
//!
//! wasmtime's own `StoreLimits` counts per memory, so a handler with many memories would get its
//! limit many times over.

use std::sync::Arc;

use wasmtime::ResourceLimiter;

use crate::meter::Meter;

/// Bytes that one table element takes in the host, on 64-bit targets.
const TABLE_ELEMENT_BYTES: usize = 8;

pub(crate) struct MemoryLimiter {
    limit: usize,
    used: usize,
    /// What the last allowed growth added, to be given back if wasmtime then fails to grow.
    last_growth: usize,
    refused: bool,
    meter: Arc<Meter>,
}

impl MemoryLimiter {
    pub(crate) fn new(limit: u64, meter: Arc<Meter>) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Self { limit, used: 0, last_growth: 0, refused: false, meter }
    }

    /// Whether the handler asked for more than it may have.
    pub(crate) fn refused(&self) -> bool {
        self.refused
    }

    fn grow(&mut self, bytes: usize) -> bool {
        match self.used.checked_add(bytes).filter(|&used| used <= self.limit) {
            Some(used) => {
                self.used = used;
                self.last_growth = bytes;
                self.meter.saw_memory(used);
                true
            }
            None => {
                self.refused = true;
                false
            }
        }
    }

    fn undo(&mut self) {
        self.used -= std::mem::take(&mut self.last_growth);
    }
}

impl ResourceLimiter for MemoryLimiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        // A growth over the memory's own maximum fails in wasmtime and is not this limit's doing.
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        Ok(self.grow(desired.saturating_sub(current)))
    }

    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.undo();
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        Ok(self.grow(desired.saturating_sub(current).saturating_mul(TABLE_ELEMENT_BYTES)))
    }

    fn table_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.undo();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_over_memories_and_tables() {
        let meter = Arc::new(Meter::default());
        let mut limiter = MemoryLimiter::new(1_000, meter.clone());
        assert!(limiter.memory_growing(0, 400, None).unwrap());
        assert!(limiter.memory_growing(0, 400, None).unwrap());
        assert!(limiter.table_growing(0, 25, None).unwrap());
        assert!(!limiter.refused());
        assert!(!limiter.memory_growing(400, 401, None).unwrap());
        assert!(limiter.refused());
        assert_eq!(meter.memory_peak_bytes(), 1_000);
    }
}
