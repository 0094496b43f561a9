//! How much may be awake at one time, by what the process may have.

use modelet_runtime::AwakeBudget;
use rustix::process::{Resource, getrlimit};

use crate::config::Config;
use crate::machine::{memory, number_in};

/// Mappings of memory that a revision needs: those of its code, and those of the instances that run.
const MAPPINGS_EACH: u64 = 8;
/// Mappings that a process may have where the system does not say: Linux's own default.
const MAPPINGS: u64 = 65_530;
/// Descriptors of everything else: files of what functions keep, connections that handlers make, the
/// store, the ledger, logs and uploads. Where there are few, half of what connections leave.
const OTHER_FILES: u64 = 1_024;
/// With room for fewer, hosts would do little but wake what they have just put to sleep.
const FEWEST: u64 = 16;
/// The part of the machine's memory that code may take: one in so many.
const MEMORY_SHARE: u64 = 4;

/// The budget that is configured; where nothing is, what the process has room for beside its
/// `connections`.
pub(crate) fn budget(config: &Config, connections: usize) -> AwakeBudget {
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let revisions = match u64::from(config.max_awake_revisions) {
        0 => revisions_within(descriptors.saturating_sub(connections as u64), mappings()),
        configured => configured,
    };
    let code_bytes = match config.max_awake_code_bytes {
        0 => memory() / MEMORY_SHARE,
        configured => configured,
    };
    AwakeBudget { revisions: usize::try_from(revisions).unwrap_or(usize::MAX), code_bytes }
}

fn revisions_within(descriptors: u64, mappings: u64) -> u64 {
    (descriptors - OTHER_FILES.min(descriptors / 2)).min(mappings / MAPPINGS_EACH).max(FEWEST)
}

fn mappings() -> u64 {
    number_in("/proc/sys/vm/max_map_count").unwrap_or(MAPPINGS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_scarcest_decides() {
        assert_eq!(revisions_within(256, 65_530), 128);
        assert_eq!(revisions_within(20_000, 65_530), 8_191);
        assert_eq!(revisions_within(0, 65_530), 16);
    }

    #[test]
    fn what_is_configured_counts() {
        let config = Config { max_awake_revisions: 7, max_awake_code_bytes: 1 << 20, ..Config::default() };
        assert_eq!(budget(&config, 100), AwakeBudget { revisions: 7, code_bytes: 1 << 20 });
        let derived = budget(&Config::default(), 0);
        assert!(derived.revisions >= 16 && derived.code_bytes > 1 << 20, "{derived:?}");
    }
}
