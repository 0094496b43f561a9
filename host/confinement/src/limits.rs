//! Limits that every kernel has (getrlimit(2)).

use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::{env, io};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::Work;

/// The standard descriptors, and none beside them.
const STANDARD_DESCRIPTORS: u64 = 3;

/// Address space beside the memory that may be written to: the program itself, and what allocators
/// reserve and do not use, which is 1 GiB at once for some.
const RESERVED_BYTES: u64 = 4 << 30;

/// Sets the limits of memory. Where the program was started without them, it is started over, with the
/// same arguments and once: with their first allocation some allocators take 1 GiB, which counts in
/// full, and less only where there is less.
pub(crate) fn start_within(memory_bytes: u64) -> io::Result<()> {
    if getrlimit(Resource::Data).current.is_some_and(|most| most <= memory_bytes) {
        return Ok(());
    }
    // Counts what is private and can be written to. Other memory is refused by `calls.rs`, and is
    // bounded by the address space where that is missing.
    set(Resource::Data, both(memory_bytes))?;
    set(Resource::As, both(memory_bytes.saturating_add(RESERVED_BYTES)))?;
    Err(Command::new("/proc/self/exe").args(env::args_os().skip(1)).env_clear().exec())
}

/// Sets all the others.
pub(crate) fn set_others(work: Work) -> io::Result<()> {
    let (descriptors, file_bytes) = match work {
        // A file that it was given cannot grow either.
        Work::Pipes { .. } => (STANDARD_DESCRIPTORS, 0),
        Work::Messages { descriptors, file_bytes } => (descriptors.max(STANDARD_DESCRIPTORS), file_bytes),
    };
    for (resource, limit) in [
        (Resource::Core, 0),
        (Resource::Fsize, file_bytes),
        (Resource::Memlock, 0),
        (Resource::Msgqueue, 0),
        (Resource::Nofile, descriptors),
    ] {
        set(resource, both(limit))?;
    }
    if let Work::Pipes { cpu_seconds } = work {
        // At the first limit comes SIGXCPU, which tells why; at the second, SIGKILL.
        let limit = Rlimit { current: Some(cpu_seconds), maximum: Some(cpu_seconds.saturating_add(1)) };
        set(Resource::Cpu, limit)?;
    }
    Ok(())
}

fn both(limit: u64) -> Rlimit {
    Rlimit { current: Some(limit), maximum: Some(limit) }
}

/// Sets `wanted`, or what is in force already where that is lower: a limit cannot be raised.
fn set(resource: Resource, wanted: Rlimit) -> io::Result<()> {
    let there = getrlimit(resource);
    let least = |one: Option<u64>, other: Option<u64>| match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    };
    let maximum = least(wanted.maximum, there.maximum);
    Ok(setrlimit(resource, Rlimit { current: least(wanted.current, maximum), maximum })?)
}
