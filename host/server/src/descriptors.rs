//! The file descriptors of the process, which connections share with everything that has a file.

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::config::InvalidSetting;

/// Descriptors that are left for files: the store, the ledger, logs, code that is mapped, uploads.
const FOR_FILES: u64 = 256;

/// More than this is not taken without being asked for: each may hold a request's headers.
const MOST: u64 = 65_536;

/// Raises the process's limit of descriptors to what the system lets it have. For `main`: a library
/// does not change its process.
pub fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "cannot raise the limit of file descriptors");
    }
}

/// How many connections may be open at one time; `configured` is 0 for as many as there is room for.
pub(crate) fn max_connections(configured: u32) -> Result<usize, InvalidSetting> {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    connections_within(limit, configured.into())
}

fn connections_within(limit: u64, configured: u64) -> Result<usize, InvalidSetting> {
    let for_files = FOR_FILES.min(limit / 2);
    let room = limit - for_files;
    if configured > room {
        let detail = format!(
            "{configured} is too many for a process that may have {limit} file descriptors: use at most \
             {room}, or raise its limit (`ulimit -n`)"
        );
        return Err(InvalidSetting::new("max_connections", detail));
    }
    let connections = if configured > 0 { configured } else { room.min(limit - limit / 4).clamp(1, MOST) };
    Ok(usize::try_from(connections).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_keep_a_share_of_the_descriptors() {
        let derived = |limit| connections_within(limit, 0).unwrap();
        assert_eq!(derived(80), 40);
        assert_eq!(derived(1_000), 744);
        assert_eq!(derived(20_000), 15_000);
        assert_eq!(derived(u64::MAX), 65_536);
        assert_eq!(connections_within(1_000, 744), Ok(744));
        assert_eq!(connections_within(1_000, 745).unwrap_err().key, "max_connections");
    }
}
