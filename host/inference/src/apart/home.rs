//! Where the models of a tenant are: one worker process at a time, started when it is needed, again when it
//! has ended, and not too often.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use modelet_types::TenantName;

use super::Apart;
use super::process::{Process, Why};
use super::worker::Worker;
use crate::InferenceError;

/// Processes that may end by themselves one after another before the next has to wait.
const BURST: u32 = 16;

/// How often one may be started in the long run.
const INTERVAL: Duration = Duration::from_secs(2);

/// The place of a tenant's models, or of one model that is tried.
pub(super) struct Home {
    apart: Weak<Apart>,
    tenant: TenantName,
    /// Whether one model is tried here, at deploy. Then it is the model's fault what becomes of the process.
    pub(super) is_trial: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    current: Option<Arc<Worker>>,
    /// Since when nobody but this has it.
    unused: Option<Instant>,
    restarts: Restarts,
}

impl Home {
    pub(super) fn new(apart: Weak<Apart>, tenant: TenantName, is_trial: bool) -> Self {
        Self { apart, tenant, is_trial, state: Mutex::default() }
    }

    pub(super) fn tenant(&self) -> &TenantName {
        &self.tenant
    }

    /// The process, which is started if there is none. It lives at least as long as anyone holds it.
    ///
    /// # Errors
    /// `WorkerLost` if too many have ended lately; `Host` if it cannot be started.
    pub(super) fn worker(&self) -> Result<Arc<Worker>, InferenceError> {
        let mut state = self.lock();
        let state = &mut *state;
        if let Some(worker) = &state.current {
            if worker.is_alive() {
                let worker = Arc::clone(worker);
                state.unused = None;
                return Ok(worker);
            }
            state.restarts.ended(worker.killed(), Instant::now());
            state.current = None;
        }
        if let Some(wait) = state.restarts.wait(Instant::now()) {
            let seconds = wait.as_secs_f64().ceil();
            return Err(InferenceError::WorkerLost {
                reason: format!(
                    "it has ended {BURST} times in short order, and is started again in {seconds} s"
                ),
            });
        }
        let apart = self.apart.upgrade().ok_or_else(|| InferenceError::Host {
            context: "starting a worker process for models",
            reason: "the service is shutting down".into(),
        })?;
        let started = apart.start_worker(&self.tenant, self.is_trial);
        let worker = Arc::new(started.inspect_err(|error| {
            // Where there are too many, none has ended.
            if !matches!(error, InferenceError::NoProcess { .. }) {
                state.restarts.note(Instant::now());
            }
        })?);
        state.current = Some(Arc::clone(&worker));
        state.unused = None;
        Ok(worker)
    }

    /// Lets the process go if nobody has had it for so long, and ends one that computes for nobody. Called by
    /// the keeper, and so it does not wait for whoever waits for the keeper to start one.
    pub(super) fn tidy(&self, now: Instant, idle_timeout: Duration) {
        let Ok(mut state) = self.state.try_lock() else { return };
        let state = &mut *state;
        let Some(worker) = &state.current else { return };
        if !worker.is_alive() {
            // Now rather than when the next is wanted: it has descriptors still.
            state.restarts.ended(worker.killed(), now);
            state.current = None;
            return;
        }
        worker.rest();
        if Arc::strong_count(worker) > 1 {
            state.unused = None;
            return;
        }
        let unused = now.saturating_duration_since(*state.unused.get_or_insert(now));
        if unused >= idle_timeout {
            state.current = None;
        }
    }

    /// The process, and for how long nobody has wanted anything of it; none while one is being started.
    pub(super) fn unwanted(&self, now: Instant) -> Option<(Duration, Arc<Process>)> {
        let state = self.state.try_lock().ok()?;
        let process = state.current.as_ref().filter(|worker| worker.is_alive())?.process();
        Some((process.unwanted_for(now), Arc::clone(process)))
    }

    /// Whether there is a process, or is about to be.
    pub(super) fn is_inhabited(&self) -> bool {
        let state = self.state.try_lock();
        state.map_or(true, |state| state.current.as_ref().is_some_and(|worker| worker.is_alive()))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // What a panic could leave is a process that is not known here, and ends with those who hold it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How often processes have ended: each moves on the time until which they have been paid for (the generic
/// cell rate algorithm), and the next waits once that is a burst away.
#[derive(Debug, Default)]
struct Restarts {
    paid_until: Option<Instant>,
}

impl Restarts {
    /// One has ended that the host has `killed`, or that has ended by itself.
    ///
    /// One that was ended for a run without end is no sign that the next would end too. It needs no bound here:
    /// it takes a run that has held a thread for a second after it was told to stop, so that no tenant brings
    /// about more than one such end in a second, and all together not more than there are threads.
    fn ended(&mut self, killed: Option<&Why>, now: Instant) {
        if !matches!(killed, Some(Why::Late | Why::Left | Why::Unneeded)) {
            self.note(now);
        }
    }

    /// One that counts has ended.
    fn note(&mut self, now: Instant) {
        self.paid_until = Some(self.paid_until.map_or(now, |until| until.max(now)) + INTERVAL);
    }

    /// How long the next has to wait.
    fn wait(&self, now: Instant) -> Option<Duration> {
        let ahead = self.paid_until?.checked_duration_since(now)?;
        ahead.checked_sub(INTERVAL * (BURST - 1)).filter(|wait| !wait.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_host_ends_for_its_runs_is_no_crash() {
        let (mut restarts, now) = (Restarts::default(), Instant::now());
        for why in [Why::Late, Why::Left, Why::Unneeded] {
            restarts.ended(Some(&why), now);
        }
        assert_eq!(restarts.paid_until, None);
        for _ in 0..BURST / 2 {
            restarts.ended(Some(&Why::Unasked), now);
            restarts.ended(None, now);
        }
        assert_eq!(restarts.wait(now), Some(INTERVAL));
    }

    #[test]
    fn a_burst_of_restarts_is_free_and_a_storm_is_slowed_down() {
        let (mut restarts, begin) = (Restarts::default(), Instant::now());
        assert_eq!(restarts.wait(begin), None);
        for _ in 0..BURST - 1 {
            restarts.note(begin);
            assert_eq!(restarts.wait(begin), None);
        }
        restarts.note(begin);
        assert_eq!(restarts.wait(begin), Some(INTERVAL));
        assert_eq!(restarts.wait(begin + INTERVAL), None);
        // However long it goes on, one is started in each interval.
        let mut now = begin;
        let mut started = 0;
        while now < begin + INTERVAL * 100 {
            if restarts.wait(now).is_none() {
                restarts.note(now);
                started += 1;
            }
            now += Duration::from_millis(100);
        }
        assert!((99..=101).contains(&started), "{started}");
        let later = now + INTERVAL * BURST;
        assert_eq!(restarts.wait(later), None);
    }
}
