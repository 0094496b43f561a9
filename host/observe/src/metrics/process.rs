//! The host's own process, in the names that Prometheus clients agree on.

use std::fmt;
use std::fs;

use rustix::param::page_size;
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::expose::Exposition;

/// Writes what the kernel says now. What it does not say (no `/proc`) is left out.
pub(super) fn expose(out: &mut Exposition<'_>, started_at: jiff::Timestamp) -> fmt::Result {
    let started = started_at.as_microsecond() as f64 / 1e6;
    out.gauge("process_start_time_seconds", "When the host started, since 1970", |out| {
        out.put(&[], started)
    })?;
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    out.counter("process_cpu_seconds", "CPU time of the host's process", |out| {
        out.put_seconds(&[], cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9)
    })?;
    if let Some([virtual_bytes, resident_bytes]) = memory_bytes() {
        out.gauge("process_virtual_memory_bytes", "Address space of the host's process", |out| {
            out.put(&[], virtual_bytes as f64)
        })?;
        out.gauge("process_resident_memory_bytes", "Resident memory of the host's process", |out| {
            out.put(&[], resident_bytes as f64)
        })?;
    }
    if let Ok(descriptors) = fs::read_dir("/proc/self/fd") {
        // One of them is the listing itself.
        let open = descriptors.count().saturating_sub(1);
        out.gauge("process_open_fds", "Open descriptors", |out| out.put(&[], open as f64))?;
    }
    if let Some(max) = getrlimit(Resource::Nofile).current {
        out.gauge("process_max_fds", "The limit on open descriptors", |out| out.put(&[], max as f64))?;
    }
    Ok(())
}

/// Virtual and resident size (proc(5), `statm`).
fn memory_bytes() -> Option<[u64; 2]> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let mut pages = text.split_ascii_whitespace().map(|field| field.parse::<u64>().ok());
    let page = page_size() as u64;
    Some([pages.next()?? * page, pages.next()?? * page])
}
