//! CPU time of runs, from the threads' own clocks, so that it is exact however busy the host is.
#![expect(unsafe_code, reason = "the clock of another thread is reached through libc only")]

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::Pid;
use rustix::time::{ClockId, clock_gettime};

/// CPU time that the calling thread has used since it began.
pub fn of_this_thread() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    to_duration(time.tv_sec, time.tv_nsec)
}

fn to_duration(seconds: i64, nanoseconds: i64) -> Duration {
    // The kernel never gives a negative time; if it did, nothing would be charged.
    Duration::new(u64::try_from(seconds).unwrap_or(0), u32::try_from(nanoseconds).unwrap_or(0))
}

/// The CPU clock of one thread, readable from any other.
#[derive(Clone, Copy)]
pub struct ThreadClock(libc::clockid_t);

impl ThreadClock {
    /// The clock of the calling thread.
    pub fn of_this_thread() -> Option<Self> {
        let mut clock = 0;
        // SAFETY: `pthread_self` is always valid for the thread that calls it, and `clock` is a
        // place for the one value that is written.
        let status = unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &raw mut clock) };
        (status == 0).then_some(Self(clock))
    }

    /// CPU time of the thread so far; zero once it has ended.
    pub fn read(self) -> Duration {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` is a place for the one value that is written. The clock of a thread that
        // has ended is refused with an error, and `time` stays zero.
        unsafe { libc::clock_gettime(self.0, &raw mut time) };
        to_duration(time.tv_sec, time.tv_nsec)
    }
}

/// What says on any thread how much the calling one has used since `begin`, while it goes on.
pub fn since(begin: Duration) -> impl Fn() -> Duration + Send + Sync + use<> {
    let clock = ThreadClock::of_this_thread();
    move || clock.map_or(Duration::ZERO, |clock| clock.read().saturating_sub(begin))
}

/// The CPU clock of another process, all its threads together.
#[derive(Clone, Copy)]
pub struct ProcessClock(libc::clockid_t);

impl ProcessClock {
    /// The clock of a process that is there.
    pub fn of(process: Pid) -> Option<Self> {
        let mut clock = 0;
        // SAFETY: `clock` is a place for the one value that is written.
        let status = unsafe { libc::clock_getcpuclockid(process.as_raw_pid(), &raw mut clock) };
        (status == 0).then_some(Self(clock))
    }

    /// CPU time of the process so far; zero once it has ended.
    pub fn read(self) -> Duration {
        ThreadClock(self.0).read()
    }
}

/// Divides the CPU time of threads that several runs share among those runs.
///
/// What the threads use while `n` runs are active is charged to each of them as one `n`th, so that
/// the charges add up to what was used.
#[derive(Default)]
pub struct SharedMeter(Mutex<Shares>);

#[derive(Default)]
struct Shares {
    threads: Vec<ThreadClock>,
    /// CPU time of all threads at the last beginning or end of a run.
    seen: Duration,
    active: u32,
    /// What a run that had been active from the start would owe.
    per_run: Duration,
}

impl SharedMeter {
    /// Adds a thread of the pool. Called by the thread itself.
    pub fn add_this_thread(&self) {
        if let Some(clock) = ThreadClock::of_this_thread() {
            self.shares().threads.push(clock);
        }
    }

    /// Begins to charge a run, until the [`Charge`] is dropped.
    pub fn begin(self: &Arc<Self>) -> Charge {
        let mut shares = self.shares();
        shares.settle();
        shares.active += 1;
        Charge { meter: Arc::clone(self), from: shares.per_run }
    }

    /// A run's part of what the threads used that has been charged `from` then on.
    fn since(&self, from: Duration) -> Duration {
        let mut shares = self.shares();
        shares.settle();
        shares.per_run.saturating_sub(from)
    }

    fn shares(&self) -> MutexGuard<'_, Shares> {
        // A panic while the lock is held can lose one run's charge, not more.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shares {
    fn settle(&mut self) {
        let now = self.threads.iter().map(|thread| thread.read()).sum();
        let used = Duration::saturating_sub(now, self.seen);
        self.seen = now;
        if let Some(share) = used.checked_div(self.active) {
            self.per_run += share;
        }
    }
}

/// A run that is being charged. Dropping it ends the charge.
pub struct Charge {
    meter: Arc<SharedMeter>,
    from: Duration,
}

impl Charge {
    /// This run's part of what the threads used.
    pub fn so_far(&self) -> Duration {
        self.meter.since(self.from)
    }

    /// What says the same on any thread, while the run goes on.
    pub fn reader(&self) -> impl Fn() -> Duration + Send + Sync + use<> {
        let (meter, from) = (Arc::clone(&self.meter), self.from);
        move || meter.since(from)
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let mut shares = self.meter.shares();
        shares.settle();
        shares.active -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn burn(time: Duration) {
        let begin = of_this_thread();
        while of_this_thread() - begin < time {
            std::hint::black_box(0);
        }
    }

    #[test]
    fn overlapping_runs_share_what_was_used() {
        let meter = Arc::new(SharedMeter::default());
        meter.add_this_thread();
        burn(Duration::from_millis(5));
        let began = of_this_thread();
        let first = meter.begin();
        burn(Duration::from_millis(4));
        let second = meter.begin();
        burn(Duration::from_millis(4));
        let (one, two) = (first.so_far(), second.so_far());
        assert!(one >= Duration::from_millis(6) && two >= Duration::from_millis(2), "{one:?} {two:?}");
        assert!(one >= two + Duration::from_millis(4), "{one:?} {two:?}");
        let used = of_this_thread() - began;
        assert!(one + two <= used, "what was used before is nobody's: {one:?} {two:?} of {used:?}");
    }
}
