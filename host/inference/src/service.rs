//! The service: backends, threads and residency put together.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use modelet_types::manifest::ModelSpec;
use modelet_types::{Code, Problem, TenantName, Trust};
use tokio::sync::oneshot;

use crate::backend::onnxruntime::OnnxRuntime;
use crate::backend::rten::{self, Rten};
use crate::backend::{Backend, BackendId, BackendStatus, LoadRequest};
use crate::batch::Rule;
use crate::check::{self, CheckedModel};
use crate::pool::Pool;
use crate::residency::{Landing, ModelSource, Residency, SessionKey, SessionState};
use crate::session::{Settings, panic_message};
use crate::{Control, InferenceError, ModelFile, Session, onnx};

/// How the service is set up.
#[derive(Clone, Debug)]
pub struct InferenceConfig {
    /// Threads that run models.
    pub workers: usize,
    /// Runs of one tenant that may wait for a worker; more are refused with `Overloaded`.
    pub queue: usize,
    /// The most threads for one run; a manifest that asks for more is refused.
    pub max_threads_per_session: usize,
    /// The shared library of ONNX Runtime; `None` looks where the system keeps libraries.
    pub onnxruntime: Option<PathBuf>,
    /// Runs that are expected to be shorter take place on the caller's thread. Zero: none do.
    pub inline_threshold: Duration,
    /// Models of one tenant that may wait to be loaded or checked; more are refused with `Overloaded`.
    pub load_queue: usize,
    /// The longest check of a model at deploy.
    pub check_timeout: Duration,
}

impl Default for InferenceConfig {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, Into::into);
        Self {
            workers: cores,
            queue: 1024,
            max_threads_per_session: cores,
            onnxruntime: None,
            inline_threshold: Duration::from_micros(200),
            load_queue: 1024,
            check_timeout: Duration::from_secs(60),
        }
    }
}

/// The inference service. Dropping it ends its threads after what they run.
pub struct Inference {
    config: InferenceConfig,
    backends: Arc<Backends>,
    residency: Arc<Residency>,
    runs: Arc<Pool>,
    /// Apart from `runs`, so that a cold start does not wait behind runs, nor a run behind it.
    loads: Pool,
    counters: Arc<Counters>,
    /// Whether a tenant's models may run on the threads of connections.
    trust: DashMap<TenantName, Arc<AtomicBool>>,
}

impl Inference {
    /// Starts the threads and looks for ONNX Runtime. A host without it starts just as well, unless
    /// the configuration names it.
    ///
    /// # Errors
    /// If threads cannot be started, or the library that the configuration names cannot be loaded.
    pub fn start(config: InferenceConfig) -> Result<Arc<Self>, InferenceError> {
        let workers = config.workers.max(1);
        let onnxruntime = OnnxRuntime::find(config.onnxruntime.as_deref())?;
        let backends = Backends { rten: Rten::default(), onnxruntime };
        Ok(Arc::new(Self {
            backends: Arc::new(backends),
            residency: Arc::new(Residency::new()),
            runs: Arc::new(Pool::start("model", workers, config.queue, rten::surround)?),
            loads: Pool::start("model-load", workers, config.load_queue, rten::surround)?,
            counters: Arc::default(),
            trust: DashMap::new(),
            config,
        }))
    }

    /// Which backends can be used on this host, and what helps where one cannot.
    pub fn backends(&self) -> Vec<BackendStatus> {
        vec![self.backends.rten.status(), self.backends.onnxruntime.status()]
    }

    /// Says how far a tenant is trusted, also for the sessions that it has. One of which nothing was said is
    /// not trusted.
    pub fn set_trust(&self, tenant: &TenantName, trust: Trust) {
        self.trust.entry(tenant.clone()).or_default().store(trust == Trust::Trusted, Ordering::Relaxed);
    }

    /// Checks a model when it is deployed: chooses its backend, loads it, and runs its golden
    /// outputs. `field` is the model's path in the manifest, such as `models.digits`.
    ///
    /// # Errors
    /// `InvalidModel`, `InvalidManifest`, `GoldenMismatch` or `BackendUnavailable`, at the field;
    /// `InvalidManifest` for more threads than [`InferenceConfig::max_threads_per_session`].
    /// `WallTimeExceeded` after [`InferenceConfig::check_timeout`]; `Overloaded`.
    pub async fn check(
        &self,
        tenant: &TenantName,
        file: &Path,
        spec: &ModelSpec,
        field: &str,
    ) -> Result<CheckedModel, Problem> {
        let most = self.max_threads();
        if spec.threads > most {
            let detail = format!("{} is out of range: use 1 to {most} on this host", spec.threads);
            return Err(Problem::new(Code::InvalidManifest, detail).at(format!("{field}.threads")));
        }
        let deadline = Instant::now() + self.config.check_timeout;
        let control = Arc::new(Control::new(deadline));
        let (sender, receiver) = oneshot::channel();
        let job = {
            let (backends, control) = (Arc::clone(&self.backends), Arc::clone(&control));
            let (path, spec, field) = (file.to_owned(), spec.clone(), field.to_owned());
            move || {
                let result = guarded(|| {
                    let file = ModelFile::open(&path).map(Arc::new);
                    Ok(file
                        .map_err(|e| Problem::from(e).at(&field))
                        .and_then(|file| check::check(&backends, &file, &spec, &field, &control)))
                });
                let result = result.unwrap_or_else(|error| Err(Problem::from(error).at(&field)));
                // Nobody to send to is the deploy having been given up.
                _ = sender.send(result);
            }
        };
        let _ticket = self.loads.submit(tenant, Box::new(job)).map_err(Problem::from)?;
        let _stop = StopOnDrop(&control);
        match tokio::time::timeout_at(deadline.into(), receiver).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(shutting_down().into()),
            Err(_) => {
                control.expire();
                Err(Problem::from(InferenceError::DeadlineExceeded).at(field))
            }
        }
    }

    /// The session for `key`: loaded once for all who wait, and the load goes on if they leave.
    /// Renews the idle time.
    ///
    /// Hold it for an invocation, not longer: what is held is never dropped for being idle.
    ///
    /// # Errors
    /// What kept the model from being loaded; the next call tries again. `Overloaded` if as many
    /// loads wait as may wait.
    pub async fn session(
        &self,
        key: &SessionKey,
        source: &ModelSource,
    ) -> Result<Arc<Session>, InferenceError> {
        if let Some(session) = self.residency.get(key, source.idle_timeout) {
            return Ok(session);
        }
        let flight = self.residency.get_or_load(key, source.idle_timeout, |landing| {
            let loader = Loader {
                backends: Arc::clone(&self.backends),
                residency: Arc::clone(&self.residency),
                runs: Arc::clone(&self.runs),
                counters: Arc::clone(&self.counters),
                inline_threshold: self.config.inline_threshold,
                is_trusted: self.trust.entry(key.tenant.clone()).or_default().clone(),
                max_threads: self.max_threads(),
                queue: self.config.queue,
            };
            let path = source.path.clone();
            self.loads.submit(&key.tenant, Box::new(move || loader.load(&path, landing)))?.detach();
            Ok(())
        })?;
        flight.await
    }

    /// The session for `key`, if it is in memory. Renews the idle time.
    pub fn resident(&self, key: &SessionKey) -> Option<Arc<Session>> {
        self.residency.get(key, Duration::ZERO)
    }

    fn max_threads(&self) -> u32 {
        u32::try_from(self.config.max_threads_per_session.max(1)).unwrap_or(u32::MAX)
    }

    /// Whether the session is in memory.
    pub fn state(&self, key: &SessionKey) -> SessionState {
        self.residency.state(key, Instant::now())
    }

    /// Drops a session from memory. Runs in progress end as they would.
    pub fn evict(&self, key: &SessionKey) {
        self.residency.remove(key);
    }

    /// Drops the sessions that are not in use and were idle for their timeouts at `now`; says how
    /// many. Freeing a large model takes milliseconds, so this is not for an async thread.
    pub fn sweep(&self, now: Instant) -> usize {
        self.residency.sweep(now)
    }

    /// How long it takes until [`Self::sweep`] may have something to drop, if nobody asks for a session
    /// meanwhile; `None` if there is no session.
    pub fn due(&self, now: Instant) -> Option<Duration> {
        self.residency.due(now)
    }

    /// What was counted so far, and how things stand.
    pub fn stats(&self) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (runs_waiting, workers_busy) = self.runs.load();
        let (loads_waiting, _) = self.loads.load();
        let (sessions, sessions_loading) = self.residency.count();
        Stats {
            loads: read(&self.counters.loads),
            failed_loads: read(&self.counters.failed_loads),
            inline_runs: read(&self.counters.inline_runs),
            single_runs: read(&self.counters.single_runs),
            batches: read(&self.counters.batches),
            batched_runs: read(&self.counters.batched_runs),
            failed_runs: read(&self.counters.failed_runs),
            overloaded: read(&self.counters.overloaded),
            abandoned: read(&self.counters.abandoned),
            sessions,
            sessions_loading,
            runs_waiting,
            workers_busy,
            loads_waiting,
        }
    }
}

/// The backends, by id.
pub(crate) struct Backends {
    rten: Rten,
    onnxruntime: OnnxRuntime,
}

impl Backends {
    pub fn get(&self, backend: BackendId) -> &dyn Backend {
        match backend {
            BackendId::Rten => &self.rten,
            BackendId::Onnxruntime => &self.onnxruntime,
        }
    }
}

/// What sessions and loads count.
#[derive(Default)]
pub(crate) struct Counters {
    pub loads: AtomicU64,
    pub failed_loads: AtomicU64,
    pub inline_runs: AtomicU64,
    pub single_runs: AtomicU64,
    pub batches: AtomicU64,
    pub batched_runs: AtomicU64,
    pub failed_runs: AtomicU64,
    pub overloaded: AtomicU64,
    pub abandoned: AtomicU64,
}

/// Counters since the start, and gauges.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stats {
    /// Models loaded to be run.
    pub loads: u64,
    /// Loads that failed.
    pub failed_loads: u64,
    /// Runs on the caller's thread.
    pub inline_runs: u64,
    /// Runs on the pool of one request.
    pub single_runs: u64,
    /// Runs on the pool of several requests together.
    pub batches: u64,
    /// The requests of those.
    pub batched_runs: u64,
    /// Runs that ended in an error.
    pub failed_runs: u64,
    /// Runs refused because the queue was full.
    pub overloaded: u64,
    /// Runs in progress whose caller has left. They hold a worker each.
    pub abandoned: u64,
    /// Sessions in memory.
    pub sessions: usize,
    /// Sessions being loaded, or waiting for that.
    pub sessions_loading: usize,
    /// Runs that wait for a worker.
    pub runs_waiting: usize,
    /// Workers that run a model.
    pub workers_busy: usize,
    /// Models that wait to be loaded or checked.
    pub loads_waiting: usize,
}

/// What a load needs, on the thread that does it.
struct Loader {
    backends: Arc<Backends>,
    residency: Arc<Residency>,
    runs: Arc<Pool>,
    counters: Arc<Counters>,
    inline_threshold: Duration,
    is_trusted: Arc<AtomicBool>,
    max_threads: u32,
    queue: usize,
}

impl Loader {
    fn load(self, path: &Path, landing: Landing) {
        let begin = Instant::now();
        let key = landing.key().clone();
        let counters = Arc::clone(&self.counters);
        let outcome = guarded(|| self.session(path, &key));
        match &outcome {
            Ok(_) => {
                counters.loads.fetch_add(1, Ordering::Relaxed);
                let load_ms = begin.elapsed().as_millis();
                tracing::debug!(tenant = %key.tenant, model = %key.model, %load_ms, "session loaded");
            }
            Err(_) => _ = counters.failed_loads.fetch_add(1, Ordering::Relaxed),
        }
        landing.land(outcome);
    }

    fn session(self, path: &Path, key: &SessionKey) -> Result<Arc<Session>, InferenceError> {
        let file = Arc::new(ModelFile::open(path)?);
        let facts = onnx::read(&file)?;
        // A revision may have been deployed on a host that allowed more.
        let threads = usize::try_from(key.threads.clamp(1, self.max_threads)).unwrap_or(1);
        let loaded = self.backends.get(key.backend).load(&LoadRequest {
            file: &file,
            facts: &facts,
            threads,
            // The manifest was checked at deploy: what is narrowed here was asked for there.
            may_narrow: true,
        })?;
        let (residency, poisoned) = (Arc::downgrade(&self.residency), key.clone());
        let rule = key.batching.as_ref().map(|batching| Rule::new(batching, &facts.signature, "batching"));
        let rule = rule.transpose().map_err(|problem| InferenceError::InvalidModel(problem.to_string()))?;
        let settings = Settings {
            tenant: key.tenant.clone(),
            rule: rule.filter(Rule::is_used),
            queue: self.queue,
            pool: self.runs,
            counters: self.counters,
            inline_threshold: if facts.cost_follows_shapes && loaded.runs_on_caller() {
                self.inline_threshold
            } else {
                Duration::ZERO
            },
            is_trusted: self.is_trusted,
            on_poisoned: Box::new(move || {
                if let Some(residency) = residency.upgrade() {
                    residency.remove(&poisoned);
                }
            }),
        };
        Ok(Arc::new(Session::new(key.backend, facts.signature, loaded, settings)))
    }
}

/// Turns a panic of a backend into an error.
fn guarded<T>(work: impl FnOnce() -> Result<T, InferenceError>) -> Result<T, InferenceError> {
    // What a load was making is dropped with the panic, so nothing half made is seen.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let message = panic_message(&*panic);
        Err(InferenceError::InvalidModel(format!("the backend panicked on the model: {message}")))
    })
}

fn shutting_down() -> InferenceError {
    InferenceError::Host { context: "checking a model", reason: "the service is shutting down".into() }
}

struct StopOnDrop<'a>(&'a Control);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.cancel();
    }
}
