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
    refused: bool,
    meter: Arc<Meter>,
}

impl MemoryLimiter {
    pub(crate) fn new(limit: u64, meter: Arc<Meter>) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Self { limit, used: 0, refused: false, meter }
    }

    /// Counts for another invocation, which begins with the memory that the instance has.
    pub(crate) fn begin(&mut self, meter: Arc<Meter>) {
        meter.saw_memory(self.used);
        self.meter = meter;
        self.refused = false;
    }

    /// Bytes of what was allowed to grow.
    pub(crate) fn used(&self) -> usize {
        self.used
    }

    /// Whether the handler asked for more than it may have.
    pub(crate) fn refused(&self) -> bool {
        self.refused
    }

    fn grow(&mut self, bytes: usize) -> bool {
        match self.used.checked_add(bytes).filter(|&used| used <= self.limit) {
            Some(used) => {
                self.used = used;
                self.meter.saw_memory(used);
                true
            }
            None => {
                self.refused = true;
                false
            }
        }
    }
}

// A growth that was allowed and then fails stays counted. wasmtime also reports failures of growths that
// it never asked about, so giving back at a failure would let a guest lower its count at will.
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

    #[test]
    fn a_failure_gives_nothing_back() {
        let mut limiter = MemoryLimiter::new(1_000, Arc::new(Meter::default()));
        assert!(limiter.memory_growing(0, 900, None).unwrap());
        limiter.table_grow_failed(wasmtime::Error::msg("overflow")).unwrap();
        limiter.memory_grow_failed(wasmtime::Error::msg("overflow")).unwrap();
        assert!(!limiter.memory_growing(900, 1_001, None).unwrap());
    }
}
