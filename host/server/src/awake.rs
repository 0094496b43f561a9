//! How much may be awake at one time, by what the process may have.

use std::fs;
use std::path::Path;

use modelet_runtime::AwakeBudget;
use rustix::process::{Resource, getrlimit};

use crate::config::Config;

/// Mappings of memory that a revision needs: those of its code, and those of the instances that run.
const MAPPINGS_EACH: u64 = 8;
/// Mappings that a process may have where the system does not say: Linux's own default.
const MAPPINGS: u64 = 65_530;
/// Where control groups are, in the second version of them.
const GROUPS: &str = "/sys/fs/cgroup";
/// Memory of a machine that does not say how much it has.
const MEMORY: u64 = 4 << 30;
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

/// The machine's memory, or what the process's control group and those above it may have of it.
fn memory() -> u64 {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total_memory(&text));
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let group = Path::new(GROUPS).join(group);
    let above = group.ancestors().take_while(|path| path.starts_with(GROUPS));
    let limits = above.filter_map(|path| number_in(path.join("memory.max")));
    machine.into_iter().chain(limits).min().unwrap_or(MEMORY)
}

/// The first line of `/proc/meminfo`.
fn total_memory(text: &str) -> Option<u64> {
    let kib = text.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse::<u64>().ok()?;
    Some(kib * 1024)
}

/// The number that is all of a file; `None` if there is no such file, or it says `max`.
fn number_in(path: impl AsRef<Path>) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
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
    fn the_machines_memory_is_read() {
        assert_eq!(total_memory("MemTotal:       16384 kB\nMemFree: 1 kB\n"), Some(16 << 20));
        assert_eq!(total_memory(""), None);
        assert!(memory() > 64 << 20);
    }

    #[test]
    fn what_is_configured_counts() {
        let config = Config { max_awake_revisions: 7, max_awake_code_bytes: 1 << 20, ..Config::default() };
        assert_eq!(budget(&config, 100), AwakeBudget { revisions: 7, code_bytes: 1 << 20 });
        let derived = budget(&Config::default(), 0);
        assert!(derived.revisions >= 16 && derived.code_bytes > 1 << 20, "{derived:?}");
    }
}
