//! The thread that advances the epoch, so that running handlers yield.
//!
//! It sleeps on a kernel timer that is armed when a handler begins to run and disarmed a few ticks
//! after the last one has ended: an idle host causes no wake-ups, and a call that is shorter than a
//! tick wakes no thread. Waking one instead of arming a timer would cost the caller an interrupt to
//! an idle processor.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

/// Ticks without a running handler after which the timer is disarmed: arming it for every one of many
/// short calls would cost more than a few ticks too many.
const IDLE_TICKS: u32 = 3;

struct Shared {
    timer: OwnedFd,
    tick: Duration,
    running: AtomicUsize,
    armed: AtomicBool,
    stopped: AtomicBool,
}

/// Advances an engine's epoch while at least one [`Running`] lives.
pub(crate) struct Ticker(Arc<Shared>);

/// Keeps the ticker awake.
pub(crate) struct Running(Arc<Shared>);

impl Ticker {
    pub(crate) fn start(engine: wasmtime::EngineWeak, tick: Duration) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            timer: timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)?,
            tick,
            running: AtomicUsize::new(0),
            armed: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
        });
        thread::Builder::new().name("modelet-ticker".into()).spawn({
            let shared = shared.clone();
            move || shared.run(&engine)
        })?;
        Ok(Self(shared))
    }

    /// Says that a handler is about to run.
    pub(crate) fn enter(&self) -> Running {
        self.0.running.fetch_add(1, Ordering::SeqCst);
        self.0.arm();
        Running(self.0.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.0.stopped.store(true, Ordering::SeqCst);
        self.0.set(Duration::from_nanos(1));
    }
}

impl Shared {
    fn run(&self, engine: &wasmtime::EngineWeak) {
        let mut idle = 0;
        let mut ticks = [0; 8];
        // Interrupted reads are tried again; any other error would come again, too, without a pause.
        while !self.stopped.load(Ordering::SeqCst)
            && rustix::io::retry_on_intr(|| rustix::io::read(&self.timer, &mut ticks)).is_ok()
        {
            let Some(engine) = engine.upgrade() else { return };
            engine.increment_epoch();
            idle = if self.running.load(Ordering::SeqCst) > 0 { 0 } else { idle + 1 };
            if idle >= IDLE_TICKS {
                idle = 0;
                self.disarm();
            }
        }
    }

    fn arm(&self) {
        if !self.armed.swap(true, Ordering::SeqCst) {
            self.set(self.tick);
        }
    }

    fn disarm(&self) {
        self.set(Duration::ZERO);
        self.armed.store(false, Ordering::SeqCst);
        // Whoever came after the timer was stopped and before the flag was cleared has not armed it;
        // the order (count, then flag) there mirrors the one here, so that one of the two sees the
        // other.
        if self.running.load(Ordering::SeqCst) > 0 {
            self.arm();
        }
    }

    fn set(&self, interval: Duration) {
        let interval = Timespec::try_from(interval).expect("a tick is not longer than a timer can be");
        let spec = Itimerspec { it_interval: interval, it_value: interval };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &spec)
            .expect("the descriptor is a timer's and the time is valid");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_armed_while_something_runs_and_not_for_long_after() {
        let mut config = wasmtime::Config::new();
        config.epoch_interruption(true);
        let engine = wasmtime::Engine::new(&config).unwrap();
        let ticker = Ticker::start(engine.weak(), Duration::from_millis(1)).unwrap();
        let is_armed = || ticker.0.armed.load(Ordering::SeqCst);
        assert!(!is_armed());
        for _ in 0..3 {
            let running = [ticker.enter(), ticker.enter()];
            assert!(is_armed());
            drop(running);
            while is_armed() {
                thread::yield_now();
            }
        }
    }
}
