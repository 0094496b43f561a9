//! CPU time of runs that gave no answer: what an invocation is charged for those that failed, were stopped, or
//! go on although nobody waits for them.
//!
//! A run that gave an answer says with it what it took. Of one that did not, it is known from here: also while
//! it goes on, since an invocation is charged when it ends, and not when the last of its runs has found out.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::Control;

type Read = Arc<dyn Fn() -> Duration + Send + Sync>;

/// CPU time of one run, or of several one after another under one control.
#[derive(Default)]
pub(crate) struct Cost(Mutex<Parts>);

#[derive(Default)]
struct Parts {
    ended: Duration,
    /// What says how much the one has used that goes on.
    going: Option<Read>,
}

impl Cost {
    /// Measures a run until what is returned is dropped. `read` says how much it has used, on any thread.
    pub fn measure(&self, read: impl Fn() -> Duration + Send + Sync + 'static) -> Measured<'_> {
        self.parts().going = Some(Arc::new(read));
        Measured(self)
    }

    /// Adds what a run has used that was not measured.
    pub fn add(&self, used: Duration) {
        self.parts().ended += used;
    }

    /// What was used until now.
    pub fn so_far(&self) -> Duration {
        let parts = self.parts();
        let (ended, going) = (parts.ended, parts.going.clone());
        // Not under the lock, since it may have to wait for others'.
        drop(parts);
        ended + going.map_or(Duration::ZERO, |read| read())
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        // Nothing panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A run that is measured.
pub(crate) struct Measured<'a>(&'a Cost);

impl Measured<'_> {
    /// Ends it, with what is known better of it.
    pub fn end(self, used: Duration) {
        let mut parts = self.0.parts();
        parts.going = None;
        parts.ended += used;
    }
}

impl Drop for Measured<'_> {
    fn drop(&mut self) {
        let Some(read) = self.0.parts().going.clone() else { return };
        let used = read();
        let mut parts = self.0.parts();
        // In one step, so that whoever asks never sees less than before.
        if parts.going.take().is_some() {
            parts.ended += used;
        }
    }
}

/// CPU time of an invocation's runs that gave it no answer.
#[derive(Default)]
pub struct Unanswered(Mutex<Runs>);

#[derive(Default)]
struct Runs {
    ended: Duration,
    /// Those that have not answered yet.
    going: Vec<Arc<Control>>,
}

impl Unanswered {
    /// What they have used until now. What one uses that goes on after that is nobody's.
    pub fn cpu_time(&self) -> Duration {
        let runs = self.runs();
        runs.ended + runs.going.iter().map(|control| control.cost().so_far()).sum::<Duration>()
    }

    pub(crate) fn add(&self, used: Duration) {
        self.runs().ended += used;
    }

    /// Counts a run until it answers, or for good if it does not.
    pub(crate) fn watch(self: Arc<Self>, control: &Arc<Control>) -> Watched {
        self.runs().going.push(Arc::clone(control));
        Watched { unanswered: self, control: Arc::clone(control), has_answered: false }
    }

    fn runs(&self) -> MutexGuard<'_, Runs> {
        // Nothing panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Unanswered").field(&self.cpu_time()).finish()
    }
}

/// A run that is waited for.
pub(crate) struct Watched {
    unanswered: Arc<Unanswered>,
    control: Arc<Control>,
    has_answered: bool,
}

impl Watched {
    /// The answer says what it took.
    pub fn answered(mut self) {
        self.has_answered = true;
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let used = if self.has_answered { Duration::ZERO } else { self.control.cost().so_far() };
        let mut runs = self.unanswered.runs();
        runs.going.retain(|control| !Arc::ptr_eq(control, &self.control));
        runs.ended += used;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Instant;

    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn control() -> Arc<Control> {
        Arc::new(Control::new(Instant::now() + Duration::from_secs(60)))
    }

    #[test]
    fn what_goes_on_is_charged_until_now_and_what_answers_is_not() {
        let unanswered = Arc::new(Unanswered::default());
        let (answers, leaves) = (control(), control());
        let used = Arc::new(AtomicU64::new(5));
        let read = {
            let used = Arc::clone(&used);
            move || ms(used.load(Ordering::Relaxed))
        };
        let watched = [&answers, &leaves].map(|control| Arc::clone(&unanswered).watch(control));
        let [first, second] = watched;
        let (of_first, of_second) = (answers.cost().measure(read.clone()), leaves.cost().measure(read));
        assert_eq!(unanswered.cpu_time(), ms(10));
        used.store(7, Ordering::Relaxed);
        drop(of_first);
        first.answered();
        assert_eq!(unanswered.cpu_time(), ms(7), "of the other, which goes on");
        drop(second);
        used.store(100, Ordering::Relaxed);
        assert_eq!(unanswered.cpu_time(), ms(7), "what it uses now is nobody's");
        drop(of_second);
        unanswered.add(ms(1));
        assert_eq!(unanswered.cpu_time(), ms(8));
    }

    #[test]
    fn runs_under_one_control_add_up() {
        let cost = Cost::default();
        drop(cost.measure(|| ms(3)));
        cost.measure(|| ms(100)).end(ms(2));
        cost.add(ms(1));
        let _going = cost.measure(|| ms(4));
        assert_eq!(cost.so_far(), ms(10));
    }
}
