//! One worker process, as everybody in the host may have it: who can end it, and see that it has ended.

use std::os::fd::OwnedFd;
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use modelet_types::TenantName;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, pidfd_send_signal};

use crate::cpu_time::ProcessClock;

/// How Rust and C++ announce that they end the process for want of memory. There is no other sign of it.
pub(super) const NO_MEMORY: [&str; 2] = ["memory allocation of ", "std::bad_alloc"];

/// Why the host ended a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// What it was to stop did not stop.
    Late,
    /// It answered what cannot be.
    Lied(String),
    /// It computed for nobody.
    Unasked,
    /// It is not needed any more.
    Unneeded,
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The host ended it.
    Killed(Why),
    /// It needed more memory than it may have.
    OutOfMemory,
    /// In another way, in the words of the system.
    Other(String),
}

impl Ending {
    /// What those are told whose runs are lost.
    pub(super) fn told(&self, memory_bytes: u64) -> String {
        match self {
            Self::Killed(Why::Late) => "it was ended, since a run in it did not stop at its deadline".into(),
            Self::Killed(Why::Lied(_)) => "it was ended, since it answered what cannot be".into(),
            Self::Killed(Why::Unasked) => "it was ended, since it computed for nobody".into(),
            Self::Killed(Why::Unneeded) => "it was ended".into(),
            Self::OutOfMemory => format!(
                "it needed more memory than it may have, {memory_bytes} bytes (inference.worker_memory_bytes)"
            ),
            Self::Other(how) => format!("it ended with {how}"),
        }
    }
}

/// A process.
pub(super) struct Process {
    handle: OwnedFd,
    clock: Option<ProcessClock>,
    killed: OnceLock<Why>,
    ended: Mutex<Option<Ending>>,
    changed: Condvar,
    /// Whose models it has; a spare one has nobody's yet.
    tenant: OnceLock<TenantName>,
}

impl Process {
    pub(super) fn new(handle: OwnedFd, clock: Option<ProcessClock>) -> Self {
        Self {
            handle,
            clock,
            killed: OnceLock::new(),
            ended: Mutex::default(),
            changed: Condvar::new(),
            tenant: OnceLock::new(),
        }
    }

    /// Says whose models are to be in it.
    pub(super) fn give_to(&self, tenant: &TenantName) {
        _ = self.tenant.set(tenant.clone());
    }

    pub(super) fn tenant(&self) -> Option<&TenantName> {
        self.tenant.get()
    }

    /// Ends it at once. The first reason is the one that counts.
    pub(super) fn kill(&self, why: Why) {
        _ = self.killed.set(why);
        // Fails only if it has ended.
        _ = pidfd_send_signal(&self.handle, Signal::KILL);
    }

    pub(super) fn killed(&self) -> Option<&Why> {
        self.killed.get()
    }

    /// CPU time that all its threads have used; none once it has ended.
    pub(super) fn cpu_time(&self) -> Option<Duration> {
        // Looked at afterwards: the number of a process that has ended may be another's.
        let time = self.clock.as_ref()?.read();
        self.lock().is_none().then_some(time)
    }

    /// Whether it may answer still.
    pub(super) fn is_alive(&self) -> bool {
        self.killed().is_none() && self.lock().is_none()
    }

    /// Waits for its end, and says whether it has come.
    pub(super) fn ends_within(&self, longest: Duration) -> bool {
        let mut ended = [PollFd::new(&self.handle, PollFlags::IN)];
        let timeout = Timespec::try_from(longest).ok();
        rustix::io::retry_on_intr(|| poll(&mut ended, timeout.as_ref())).is_ok_and(|count| count > 0)
    }

    /// Waits until it is known how it ended.
    pub(super) fn ending(&self, longest: Duration) -> Option<Ending> {
        let until = Instant::now() + longest;
        let mut ended = self.lock();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if ended.is_some() || left.is_zero() {
                return ended.clone();
            }
            ended =
                self.changed.wait_timeout(ended, left).map_or_else(|e| e.into_inner().0, |(lock, _)| lock);
        }
    }

    /// Says how it ended, and to all who wait. Before its number may be given to another process.
    pub(super) fn end(&self, ending: Ending) {
        *self.lock() = Some(ending);
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Option<Ending>> {
        // Nothing panics while it holds the lock.
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
