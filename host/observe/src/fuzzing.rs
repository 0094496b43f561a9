//! What is promised of a segment of the ledger, for any bytes; see docs/fuzzing.md.
//!
//! No tenant writes these files. But a host that was killed, or a disk, may leave anything in them, and
//! bills are made of what is read back.

use crate::ledger;

/// Reads bytes as the content of a segment, and as a single entry.
///
/// # Panics
/// If a byte is neither in an entry nor counted as damage, or an entry is not read back from what is
/// written of it.
pub fn ledger(data: &[u8]) {
    ledger::check_segment(data);
    ledger::check_entry(data);
}

#[cfg(test)]
mod tests {
    use modelet_corpora::replay;

    use super::*;

    #[test]
    fn segments_of_the_corpus() {
        replay("ledger", ledger);
    }
}
