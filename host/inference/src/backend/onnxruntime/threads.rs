//! Threads of sessions that use several, so that what they cost is charged to the runs.

use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use ort::environment::ThreadManager;

use crate::cpu_time::SharedMeter;

/// Starts a session's threads with their clocks on its meter.
pub struct MeteredThreads(pub Arc<SharedMeter>);

impl ThreadManager for MeteredThreads {
    type Thread = JoinHandle<()>;

    fn create(&self, work: impl FnOnce() + Send + 'static) -> ort::Result<Self::Thread> {
        let meter = Arc::clone(&self.0);
        Builder::new()
            .name("onnxruntime".into())
            .spawn(move || {
                meter.add_this_thread();
                work();
            })
            .map_err(ort::Error::wrap)
    }

    fn join(thread: Self::Thread) -> ort::Result<()> {
        thread.join().map_err(|_| ort::Error::new("a thread of the session panicked"))
    }
}
