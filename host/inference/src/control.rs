//! Stopping a run from outside: one flag, and a hook for backends that can be interrupted.
//!
//! There is no thread that watches deadlines: the future that waits for a run has a timer, and it
//! stops the run when the timer fires or when it is dropped.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::InferenceError;
use crate::unanswered::Cost;

type Hook = Arc<dyn Fn() + Send + Sync>;

/// The deadline of a run and the means to stop it.
pub struct Control {
    deadline: Instant,
    max_output_bytes: u64,
    watched: bool,
    cost: Cost,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    stopped: Option<Stopped>,
    hook: Option<Hook>,
}

#[derive(Clone, Copy)]
enum Stopped {
    Cancelled,
    DeadlineExceeded,
}

impl Control {
    /// Control of one run, or of several one after another, that end by `deadline`.
    pub fn new(deadline: Instant) -> Self {
        Self {
            deadline,
            max_output_bytes: u64::MAX,
            watched: true,
            cost: Cost::default(),
            state: Mutex::default(),
        }
    }

    /// The same for runs whose outputs are of no use if they are larger together.
    #[must_use]
    pub fn with_max_output_bytes(self, max_output_bytes: u64) -> Self {
        Self { max_output_bytes, ..self }
    }

    /// What the outputs of a run may be together. A backend in this process has made them before it is known;
    /// what comes from another process is not taken.
    pub fn max_output_bytes(&self) -> u64 {
        self.max_output_bytes
    }

    /// Control of a run that blocks the thread which would stop it, so that preparing for that
    /// would be in vain.
    pub fn unwatched(deadline: Instant) -> Self {
        Self { watched: false, ..Self::new(deadline) }
    }

    /// Whether anyone may stop the run before it ends by itself.
    pub fn is_watched(&self) -> bool {
        self.watched
    }

    /// CPU time of what runs under it.
    pub(crate) fn cost(&self) -> &Cost {
        &self.cost
    }

    /// When the answer is of no more use.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Stops the run because nobody waits for its answer.
    pub fn cancel(&self) {
        self.stop(Stopped::Cancelled);
    }

    /// Stops the run because its time is over.
    pub fn expire(&self) {
        self.stop(Stopped::DeadlineExceeded);
    }

    fn stop(&self, why: Stopped) {
        let hook = {
            let mut state = self.state();
            state.stopped.get_or_insert(why);
            state.hook.clone()
        };
        if let Some(hook) = hook {
            hook();
        }
    }

    /// Whether the run should go on.
    ///
    /// # Errors
    /// The reason to stop.
    pub fn check(&self) -> Result<(), InferenceError> {
        match self.state().stopped {
            Some(Stopped::Cancelled) => Err(InferenceError::Cancelled),
            Some(Stopped::DeadlineExceeded) => Err(InferenceError::DeadlineExceeded),
            None if Instant::now() >= self.deadline => Err(InferenceError::DeadlineExceeded),
            None => Ok(()),
        }
    }

    /// Calls `hook` on another thread when the run is to stop, until the guard is dropped. It may
    /// be called more than once, and just after the guard is dropped, so it must own what it uses.
    ///
    /// # Errors
    /// If the run was stopped already; the hook is then not called.
    pub fn on_stop(&self, hook: Arc<dyn Fn() + Send + Sync>) -> Result<HookGuard<'_>, InferenceError> {
        self.check()?;
        let mut state = self.state();
        match state.stopped {
            None => state.hook = Some(hook),
            // Stopped between the check and the lock.
            Some(_) => {
                drop(state);
                self.check()?;
            }
        }
        Ok(HookGuard(self))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A flag and a pointer are whole whatever happened to a thread that held the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes the hook when dropped.
pub struct HookGuard<'a>(&'a Control);

impl Drop for HookGuard<'_> {
    fn drop(&mut self) {
        self.0.state().hook = None;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use super::*;

    #[test]
    fn calls_the_hook_while_it_is_set() {
        let calls = Arc::new(AtomicU32::new(0));
        let hook: Hook = Arc::new({
            let calls = Arc::clone(&calls);
            move || _ = calls.fetch_add(1, Ordering::Relaxed)
        });
        let control = Control::new(Instant::now() + Duration::from_secs(60));
        drop(control.on_stop(Arc::clone(&hook)).unwrap());
        let guard = control.on_stop(Arc::clone(&hook)).unwrap();
        control.cancel();
        assert_eq!(calls.load(Ordering::Relaxed), 1);
        drop(guard);
        assert_eq!(control.on_stop(hook).err(), Some(InferenceError::Cancelled));
        control.expire();
        assert_eq!(calls.load(Ordering::Relaxed), 1);
        assert_eq!(control.check(), Err(InferenceError::Cancelled), "the first reason stays");
    }

    #[test]
    fn a_deadline_stops_without_anyone() {
        let control = Control::new(Instant::now());
        assert_eq!(control.check(), Err(InferenceError::DeadlineExceeded));
    }
}
