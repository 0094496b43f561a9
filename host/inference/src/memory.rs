//! How much memory a model takes, and how much all that are loaded may take together.
//!
//! Knows no model: what is counted are bytes.
#![expect(unsafe_code, reason = "what the C library's allocator holds is told by a C function only")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The memory that sessions may have together.
#[derive(Debug)]
pub struct MemoryBudget {
    limit: u64,
    used: AtomicU64,
}

impl MemoryBudget {
    pub fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { limit, used: AtomicU64::new(0) })
    }

    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Bytes that are taken.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Bytes that are left.
    pub fn left(&self) -> u64 {
        self.limit.saturating_sub(self.used())
    }

    /// Takes `bytes`, if that many are left.
    pub fn take(self: &Arc<Self>, bytes: u64) -> Option<Charge> {
        let after = |used: u64| used.checked_add(bytes).filter(|after| *after <= self.limit);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, after).ok()?;
        Some(Charge { budget: Arc::clone(self), bytes })
    }
}

/// A part of a budget that is taken until this is dropped.
#[derive(Debug)]
pub struct Charge {
    budget: Arc<MemoryBudget>,
    bytes: u64,
}

impl Charge {
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// What the process has in memory of its own.
#[derive(Clone, Copy)]
pub struct Footprint {
    /// Pages that are no file's.
    anonymous: u64,
    /// What the C library's allocator has given out: ONNX Runtime takes all of its memory there.
    allocated: u64,
}

impl Footprint {
    /// As it is now.
    pub fn now() -> Self {
        Self { anonymous: anonymous(), allocated: allocated() }
    }

    /// How much there is more than there was. Pages alone do not tell: those that an allocator has kept
    /// are used again. What other threads do meanwhile is in it.
    pub fn since(self, before: Self) -> u64 {
        let more = |now: u64, before: u64| now.saturating_sub(before);
        more(self.anonymous, before.anonymous).max(more(self.allocated, before.allocated))
    }
}

/// `RssAnon` of proc_pid_status(5); zero where there is none.
fn anonymous() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).and_then(|kib| kib.parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

#[cfg(target_env = "gnu")]
fn allocated() -> u64 {
    // SAFETY: the function takes nothing and gives numbers.
    let info = unsafe { libc::mallinfo2() };
    (info.uordblks as u64).saturating_add(info.hblkhd as u64)
}

#[cfg(not(target_env = "gnu"))]
fn allocated() -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_is_left_and_gives_it_back() {
        let budget = MemoryBudget::new(10);
        let six = budget.take(6).unwrap();
        assert!(budget.take(5).is_none() && budget.take(u64::MAX).is_none());
        let four = budget.take(4).unwrap();
        assert_eq!((budget.used(), six.bytes(), four.bytes()), (10, 6, 4));
        drop(six);
        assert_eq!(budget.used(), 4);
    }

    #[test]
    fn a_footprint_grows_by_what_is_allocated_and_touched() {
        let before = Footprint::now();
        let held = vec![1_u8; 64 << 20];
        let grown = Footprint::now().since(before);
        assert!(held.len() as u64 <= grown, "{grown}");
    }
}
