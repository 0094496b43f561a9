//! The thread that advances the epoch, so that running handlers yield.
//!
//! It sleeps for good while nothing runs: an idle host causes no wake-ups.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

struct Shared {
    running: AtomicUsize,
    parked: AtomicBool,
    stopped: AtomicBool,
}

/// Advances an engine's epoch while at least one [`Running`] lives.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
}

/// Keeps the ticker awake.
pub(crate) struct Running(Arc<Shared>);

impl Ticker {
    pub(crate) fn start(engine: wasmtime::EngineWeak, tick: Duration) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            running: AtomicUsize::new(0),
            parked: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
        });
        let handle = thread::Builder::new().name("modelet-ticker".into()).spawn({
            let shared = shared.clone();
            move || run(&shared, &engine, tick)
        })?;
        Ok(Self { shared, thread: handle.thread().clone() })
    }

    /// Says that a handler is about to run.
    pub(crate) fn enter(&self) -> Running {
        self.shared.running.fetch_add(1, Ordering::SeqCst);
        // The order (count, then flag) mirrors the ticker's (flag, then count), so that one of the
        // two sees the other and no wake-up is lost.
        if self.shared.parked.swap(false, Ordering::SeqCst) {
            self.thread.unpark();
        }
        Running(self.shared.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

fn run(shared: &Shared, engine: &wasmtime::EngineWeak, tick: Duration) {
    // A few idle ticks are cheaper than parking and unparking between two requests.
    const IDLE_TICKS: u32 = 20;
    let mut idle = 0;
    while !shared.stopped.load(Ordering::SeqCst) {
        thread::sleep(tick);
        let Some(engine) = engine.upgrade() else { return };
        engine.increment_epoch();
        idle = if shared.running.load(Ordering::SeqCst) > 0 { 0 } else { idle + 1 };
        if idle < IDLE_TICKS {
            continue;
        }
        shared.parked.store(true, Ordering::SeqCst);
        while shared.running.load(Ordering::SeqCst) == 0
            && shared.parked.load(Ordering::SeqCst)
            && !shared.stopped.load(Ordering::SeqCst)
        {
            thread::park();
        }
        shared.parked.store(false, Ordering::SeqCst);
        idle = 0;
    }
}
