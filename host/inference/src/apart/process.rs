//! One worker process, as everybody in the host may have it: who can end it, and see that it has ended.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use modelet_types::TenantName;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, pidfd_send_signal};

use crate::cpu_time::ProcessClock;

/// How Rust and C++ announce that they end the process for want of memory. There is no other sign of it.
pub(super) const NO_MEMORY: [&str; 2] = ["memory allocation of ", "std::bad_alloc"];

/// What [`Process::wanted`] is from when it is closed.
const CLOSED: usize = usize::MAX;

/// Why the host ended a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// What it was to stop did not stop.
    Late,
    /// It answered what cannot be.
    Lied(String),
    /// All that ran in it was of callers who have left, for long or while somebody waited for the threads.
    Left,
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
            Self::Killed(Why::Left) => "it was ended, since the callers of all its runs have left".into(),
            Self::Killed(Why::Unasked) => "it was ended, since it computed for nobody".into(),
            Self::Killed(Why::Unneeded) => "it was ended".into(),
            Self::OutOfMemory => format!(
                "it needed more memory than it may have, {memory_bytes} bytes (inference.worker_memory_bytes)"
            ),
            Self::Other(how) => format!("it ended with {how}"),
        }
    }
}

/// What is known of a process that has ended.
#[derive(Clone)]
struct Ended {
    ending: Ending,
    cpu_time: Option<Duration>,
}

/// A process.
pub(super) struct Process {
    handle: OwnedFd,
    clock: Option<ProcessClock>,
    killed: OnceLock<Why>,
    ended: Mutex<Option<Ended>>,
    changed: Condvar,
    /// Calls that somebody waits for.
    wanted: AtomicUsize,
    made: Instant,
    /// When it was last wanted, in milliseconds since it was made.
    last_wanted: AtomicU64,
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
            wanted: AtomicUsize::new(0),
            made: Instant::now(),
            last_wanted: AtomicU64::new(0),
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

    /// Begins a call that somebody waits for; `None` if it is closed.
    pub(super) fn want(&self) -> Option<Wanted<'_>> {
        let one_more = |wanted| (wanted != CLOSED).then(|| wanted + 1);
        self.wanted.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).ok()?;
        Some(Wanted { process: self, is_counted: true })
    }

    /// How long nobody has waited for anything in it; nothing while somebody does.
    pub(super) fn unwanted_for(&self, now: Instant) -> Duration {
        if self.wanted.load(Ordering::Acquire) > 0 {
            return Duration::ZERO;
        }
        let last = self.made + Duration::from_millis(self.last_wanted.load(Ordering::Relaxed));
        now.saturating_duration_since(last)
    }

    /// Ends it if nobody waits for anything in it, so that nobody loses anything; says whether it is ended.
    pub(super) fn kill_unwanted(&self, why: Why) -> bool {
        let closed = self.wanted.compare_exchange(0, CLOSED, Ordering::AcqRel, Ordering::Acquire);
        if closed.is_ok() {
            self.kill(why);
        }
        closed.is_ok()
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

    /// CPU time that all its threads have used, also once it has ended.
    pub(super) fn cpu_time(&self) -> Option<Duration> {
        let time = self.clock.as_ref()?.read();
        // Looked at afterwards: the number of a process that has ended may be another's.
        self.lock().as_ref().map_or(Some(time), |ended| ended.cpu_time)
    }

    /// Whether it may answer still.
    pub(super) fn is_alive(&self) -> bool {
        self.wanted.load(Ordering::Acquire) != CLOSED && self.killed().is_none() && self.lock().is_none()
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
                return ended.as_ref().map(|ended| ended.ending.clone());
            }
            ended =
                self.changed.wait_timeout(ended, left).map_or_else(|e| e.into_inner().0, |(lock, _)| lock);
        }
    }

    /// Says how it ended, and to all who wait. Before its number may be given to another process.
    pub(super) fn end(&self, ending: Ending) {
        let cpu_time = self.clock.as_ref().map(|clock| clock.read());
        *self.lock() = Some(Ended { ending, cpu_time });
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Option<Ended>> {
        // Nothing panics while it holds the lock.
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call, for as long as somebody waits for it.
pub(super) struct Wanted<'a> {
    process: &'a Process,
    is_counted: bool,
}

impl Wanted<'_> {
    /// Says that nobody waits for it any more.
    pub(super) fn leave(&mut self) {
        if std::mem::take(&mut self.is_counted) {
            let now = u64::try_from(self.process.made.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.process.last_wanted.store(now, Ordering::Relaxed);
            self.process.wanted.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::{PidfdFlags, getpid, pidfd_open};

    use super::*;

    #[test]
    fn what_nobody_wants_is_closed_to_all() {
        // Killing needs a process that has ended, which is not to be harmed.
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let handle = pidfd_open(rustix::process::Pid::from_child(&child), PidfdFlags::empty()).unwrap();
        let process = Process::new(handle, ProcessClock::of(getpid()));
        let mut wanted = process.want().unwrap();
        assert!(!process.kill_unwanted(Why::Left) && process.is_alive());
        wanted.leave();
        wanted.leave();
        let again = process.want().unwrap();
        drop(wanted);
        assert!(!process.kill_unwanted(Why::Left), "it was taken off once");
        drop(again);
        assert!(process.kill_unwanted(Why::Left) && !process.is_alive());
        assert!(process.want().is_none());
        child.wait().unwrap();
    }
}
