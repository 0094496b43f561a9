//! A backend and its sessions whose real ones are in a worker process.
//!
//! A session outlives its process: when that has ended, the runs in it are lost, and the next run has the
//! model loaded in the next process. So whoever holds a session, or waits for a run, need not know.

use std::fs::File;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use modelet_types::manifest::Priority;
use modelet_types::{Tensor, TensorInfo};

use super::home::Home;
use super::worker::{Load, Unserved, Worker};
use crate::backend::{Backend, BackendRun, BackendSession, BackendStatus, LoadRequest};
use crate::pool::Pool;
use crate::{Control, InferenceError};

/// How long a run waits for its model to be loaded again: a thread waits with it.
const PATIENCE: Duration = Duration::from_millis(250);

/// How often a thread that waits for a load looks whether it is to stop.
const LOOK: Duration = Duration::from_millis(50);

/// A backend in the worker process of a tenant.
pub(crate) struct ApartBackend {
    pub(super) status: BackendStatus,
    pub(super) home: Arc<Home>,
    /// Where a model is loaded again.
    pub(super) loads: Weak<Pool>,
    pub(super) load_timeout: Duration,
    /// What ends a load early, if anything does.
    pub(super) control: Option<Arc<Control>>,
}

impl Backend for ApartBackend {
    fn status(&self) -> BackendStatus {
        self.status.clone()
    }

    fn load(&self, request: &LoadRequest<'_>) -> Result<Box<dyn BackendSession>, InferenceError> {
        let backend = self.status.backend;
        if let Some(reason) = self.status.unavailable.clone() {
            return Err(InferenceError::BackendUnavailable { backend, reason });
        }
        let threads = u32::try_from(request.threads).unwrap_or(u32::MAX);
        let model = Arc::new(Model {
            file: request.file.reopen()?,
            load: Load { backend, threads, may_narrow: request.may_narrow },
            outputs: request.facts.signature.outputs.clone(),
            home: Arc::clone(&self.home),
            load_timeout: self.load_timeout,
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let loaded = match &self.control {
            Some(control) => model.load(control),
            None => model.load_for_long(),
        };
        model.lock().loaded = Some(loaded.map_err(|error| model.explain(error))?);
        Ok(Box::new(ApartSession { model, loads: Weak::clone(&self.loads) }))
    }
}

struct ApartSession {
    model: Arc<Model>,
    loads: Weak<Pool>,
}

/// A model, and where it is loaded.
struct Model {
    /// Open, so that it can be loaded again whatever becomes of its name.
    file: File,
    load: Load,
    outputs: Vec<TensorInfo>,
    home: Arc<Home>,
    load_timeout: Duration,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    loaded: Option<Arc<Loaded>>,
    /// Whether it is being loaded again.
    is_loading: bool,
    /// What came of that, if it failed.
    failed: Option<InferenceError>,
}

/// A session in a process, which is forgotten there when this is dropped.
struct Loaded {
    worker: Arc<Worker>,
    number: u64,
}

impl Drop for Loaded {
    fn drop(&mut self) {
        self.worker.unload(self.number);
    }
}

impl BackendSession for ApartSession {
    fn run(
        &self,
        inputs: &[Tensor],
        outputs: &[usize],
        control: &Control,
    ) -> Result<BackendRun, InferenceError> {
        let model = &self.model;
        loop {
            control.check()?;
            let loaded = self.loaded(control)?;
            let Loaded { worker, number } = &*loaded;
            match worker.run(*number, model.load.backend, inputs, outputs, &model.outputs, control) {
                Ok(run) => return Ok(run),
                Err(Unserved::Closed) => model.forget(&loaded),
                Err(Unserved::Failed(error, is_gone)) => {
                    if is_gone {
                        model.forget(&loaded);
                    }
                    return Err(model.explain(error));
                }
            }
        }
    }

    fn runs_on_caller(&self) -> bool {
        false
    }

    // The process has it, mapped or as weights of its own: what this one measures is neither.
    fn keeps_file(&self) -> bool {
        true
    }
}

impl ApartSession {
    /// The session in its process, once it is there again.
    fn loaded(&self, control: &Control) -> Result<Arc<Loaded>, InferenceError> {
        let model = &self.model;
        let mut state = model.lock();
        if let Some(loaded) = state.alive() {
            return Ok(loaded);
        }
        if model.home.is_trial {
            // The model has ended the process that tries it, and is not given another.
            return Err(model.explain(InferenceError::WorkerLost { reason: "a run has ended it".into() }));
        }
        if !state.is_loading {
            state.is_loading = true;
            state.failed = None;
            drop(state);
            self.load_again()?;
            state = model.lock();
        }
        let patience = Instant::now() + PATIENCE;
        loop {
            if let Some(loaded) = state.alive() {
                return Ok(loaded);
            }
            if let Some(error) = state.failed.clone().filter(|_| !state.is_loading) {
                return Err(error);
            }
            control.check()?;
            if Instant::now() > patience {
                let reason = "the model is being loaded again".into();
                return Err(InferenceError::WorkerLost { reason });
            }
            let left = control.deadline().saturating_duration_since(Instant::now());
            let waited = model.changed.wait_timeout(state, left.min(LOOK));
            state = waited.map_or_else(|e| e.into_inner().0, |(state, _)| state);
        }
    }

    /// Has the model loaded where all loads take place, whoever waits for it still. Not with its lock held: a
    /// load that is refused ends at once.
    fn load_again(&self) -> Result<(), InferenceError> {
        let mut landing = Landing { model: Arc::clone(&self.model), outcome: Err(shutting_down()) };
        let loads = self.loads.upgrade().ok_or_else(shutting_down)?;
        let job = move || landing.outcome = landing.model.load_for_long();
        loads.submit(self.model.home.tenant(), Priority::Normal, Box::new(job))?.detach();
        Ok(())
    }
}

impl Model {
    fn load(&self, control: &Control) -> Result<Arc<Loaded>, InferenceError> {
        loop {
            let worker = self.home.worker()?;
            match worker.load(self.load, &self.file, control) {
                Ok(number) => return Ok(Arc::new(Loaded { worker, number })),
                Err(Unserved::Closed) => control.check()?,
                Err(Unserved::Failed(error, _)) => return Err(error),
            }
        }
    }

    fn load_for_long(&self) -> Result<Arc<Loaded>, InferenceError> {
        self.load(&Control::new(Instant::now() + self.load_timeout))
    }

    /// Forgets where it was loaded, unless it is loaded elsewhere by now.
    fn forget(&self, loaded: &Arc<Loaded>) {
        let mut state = self.lock();
        // Bound, so that the process is told after the lock.
        let _gone = state.loaded.take_if(|known| Arc::ptr_eq(known, loaded));
        drop(state);
    }

    /// What ends the process of a trial is wrong with the model; elsewhere it may be another's fault.
    fn explain(&self, error: InferenceError) -> InferenceError {
        match error {
            InferenceError::WorkerLost { reason } if self.home.is_trial => {
                InferenceError::InvalidModel(format!("the process that tried the model is gone: {reason}"))
            }
            other => other,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a load with what came of it, also where it was given up before it began.
struct Landing {
    model: Arc<Model>,
    outcome: Result<Arc<Loaded>, InferenceError>,
}

impl Drop for Landing {
    fn drop(&mut self) {
        let mut state = self.model.lock();
        match &self.outcome {
            Ok(loaded) => state.loaded = Some(Arc::clone(loaded)),
            Err(error) => state.failed = Some(error.clone()),
        }
        state.is_loading = false;
        drop(state);
        self.model.changed.notify_all();
    }
}

impl State {
    fn alive(&self) -> Option<Arc<Loaded>> {
        self.loaded.as_ref().filter(|loaded| loaded.worker.is_alive()).cloned()
    }
}

fn shutting_down() -> InferenceError {
    InferenceError::Host { context: "loading a model again", reason: "the service is shutting down".into() }
}
