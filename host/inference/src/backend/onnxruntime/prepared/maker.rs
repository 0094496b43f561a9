//! The thread that prepares models in the background: those that were loaded without having been prepared,
//! such as after an upgrade of the library.
//!
//! One at a time, and at the lowest priority: nobody waits for it.

use std::collections::HashSet;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

use modelet_types::Digest;

use super::Forms;
use crate::ModelFile;

/// Models that may wait. Of those beyond, the next load asks again.
const QUEUE: usize = 64;

/// How much lower the priority of the thread is than the host's (setpriority(2)).
const NICE: i32 = 19;

/// The thread, and what waits for it. Dropping it ends the thread after what it makes.
pub struct Maker {
    queue: Option<SyncSender<Wanted>>,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

struct Wanted {
    model: Digest,
    file: Arc<ModelFile>,
}

#[derive(Default)]
struct State {
    /// What waits or is being made.
    wanted: Mutex<HashSet<Digest>>,
    is_stopping: AtomicBool,
}

impl State {
    fn wanted(&self) -> MutexGuard<'_, HashSet<Digest>> {
        // Nothing panics while it holds the lock.
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Maker {
    /// Starts the thread.
    pub fn start(forms: Arc<Forms>) -> io::Result<Self> {
        let (queue, receiver) = sync_channel(QUEUE);
        let state = Arc::<State>::default();
        let work = {
            let state = Arc::clone(&state);
            move || make_all(&receiver, &state, &forms)
        };
        let thread = Builder::new().name("model-prepare".into()).spawn(work)?;
        Ok(Self { queue: Some(queue), state, thread: Some(thread) })
    }

    /// Has the form of a model made, if that is not on its way already.
    pub fn want(&self, model: &Digest, file: &Arc<ModelFile>) {
        if !self.state.wanted().insert(*model) {
            return;
        }
        let wanted = Wanted { model: *model, file: Arc::clone(file) };
        let is_queued = self.queue.as_ref().is_some_and(|queue| queue.try_send(wanted).is_ok());
        if !is_queued {
            self.state.wanted().remove(model);
        }
    }
}

fn make_all(queue: &Receiver<Wanted>, state: &State, forms: &Forms) {
    // Where that is not allowed, it competes.
    _ = rustix::process::nice(NICE);
    while let Ok(Wanted { model, file }) = queue.recv() {
        if state.is_stopping.load(Ordering::Relaxed) {
            return;
        }
        forms.make(&model, &file);
        state.wanted().remove(&model);
    }
}

impl Drop for Maker {
    fn drop(&mut self) {
        self.state.is_stopping.store(true, Ordering::Relaxed);
        self.queue = None;
        // Joined, since a library that still works while the process ends may crash it.
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
    }
}
