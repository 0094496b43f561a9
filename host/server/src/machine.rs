//! What the machine has, as far as this process may have it.

use std::fs;
use std::path::Path;

/// Where control groups are, in the second version of them.
const GROUPS: &str = "/sys/fs/cgroup";
/// Memory of a machine that does not say how much it has.
const MEMORY: u64 = 4 << 30;

/// The machine's memory, or what the process's control group and those above it may have of it.
pub(crate) fn memory() -> u64 {
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
pub(crate) fn number_in(path: impl AsRef<Path>) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_memory_is_read() {
        assert_eq!(total_memory("MemTotal:       16384 kB\nMemFree: 1 kB\n"), Some(16 << 20));
        assert_eq!(total_memory(""), None);
        assert!(memory() > 64 << 20);
    }
}
