//! The service: backends, threads and residency put together.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use modelet_types::manifest::{ModelSpec, Priority};
use modelet_types::{Code, Digest, Problem, TenantName, Trust};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::apart::{Apart, Layers, WorkerConfig};
use crate::backend::onnxruntime::OnnxRuntime;
use crate::backend::rten::Rten;
use crate::backend::{Backend, BackendId, BackendStatus};
use crate::check::{self, CheckedModel};
use crate::load::{Loader, guarded, memory_of};
use crate::memory::MemoryBudget;
use crate::pin::{Pin, Pinned};
use crate::pool::Ticket;
use crate::pools::{Pair, Pools};
use crate::residency::{Landing, ModelSource, Residency, SessionKey, SessionState};
use crate::room::{self, Room, Wish};
use crate::stats::{Counters, Stats};
use crate::{Control, InferenceError, ModelFile, Session};

/// How the service is set up.
#[derive(Clone, Debug)]
pub struct InferenceConfig {
    /// Threads that run models.
    pub workers: usize,
    /// Runs of one tenant and priority that may wait for a worker; more are refused with `Overloaded`.
    pub queue: usize,
    /// The most threads for one run; a manifest that asks for more is refused.
    pub max_threads_per_session: usize,
    /// The shared library of ONNX Runtime; `None` looks where the system keeps libraries.
    pub onnxruntime: Option<PathBuf>,
    /// Runs that are expected to be shorter take place on the caller's thread. Zero: none do.
    pub inline_threshold: Duration,
    /// Models of one tenant that may wait to be loaded or checked; more are refused with `Overloaded`.
    pub load_queue: usize,
    /// The longest check of a model at deploy, and the longest load in a worker process.
    pub check_timeout: Duration,
    /// The longest that warming a model up may take: others wait for the thread, and nobody pays for it.
    pub warm_up_timeout: Duration,
    /// Memory that all sessions may have together. Those that are idle make room for others.
    pub memory_bytes: u64,
    /// The processes with the models of tenants that are not trusted.
    pub worker: WorkerConfig,
    /// Where models of trusted tenants are kept in the form that loads fastest; `None` if none are. It is for
    /// this service alone, and can be removed while there is none.
    pub prepared_dir: Option<PathBuf>,
    /// The smallest model that is prepared, in bytes. Smaller ones load as fast as they are.
    pub prepare_from_bytes: u64,
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
            warm_up_timeout: Duration::from_secs(5),
            memory_bytes: 4 << 30,
            worker: WorkerConfig::default(),
            prepared_dir: None,
            prepare_from_bytes: 64 << 10,
        }
    }
}

/// The inference service. Dropping it ends its threads after what they run.
pub struct Inference {
    config: InferenceConfig,
    backends: Arc<Backends>,
    residency: Arc<Residency>,
    room: Arc<Room>,
    pinned: Arc<Pinned>,
    pools: Pools,
    counters: Arc<Counters>,
    /// Whether a tenant's models may run in this process, and on the threads of connections.
    trust: DashMap<TenantName, Arc<AtomicBool>>,
}

impl Inference {
    /// Starts the threads and looks for ONNX Runtime. A host without it starts just as well, unless
    /// the configuration names it.
    ///
    /// # Errors
    /// If threads cannot be started, or the library or the folder that the configuration names cannot be used.
    pub fn start(config: InferenceConfig) -> Result<Arc<Self>, InferenceError> {
        let mut onnxruntime = OnnxRuntime::find(config.onnxruntime.as_deref())?;
        if let Some(dir) = &config.prepared_dir {
            onnxruntime = onnxruntime.preparing_models(dir, config.prepare_from_bytes)?;
        }
        let pools = Pools::start(&config)?;
        let residency = Arc::new(Residency::new());
        let file = onnxruntime.file().map(Path::to_owned);
        let apart = Apart::new(&config.worker, file, &pools.of(false).runs, &residency)?;
        let backends = Backends { rten: Rten::default(), onnxruntime, apart };
        let pinned = Pinned::within(config.memory_bytes, &residency);
        let room = Room::new(MemoryBudget::new(config.memory_bytes), Arc::clone(&residency));
        Ok(Arc::new(Self {
            backends: Arc::new(backends),
            residency,
            room: Arc::new(room),
            pinned,
            pools,
            counters: Arc::default(),
            trust: DashMap::new(),
            config,
        }))
    }

    /// Which backends can be used on this host, and what helps where one cannot.
    pub fn backends(&self) -> Vec<BackendStatus> {
        self.backends.statuses().into()
    }

    /// Starts a worker process as for the models of a tenant that is not trusted, and says what confines it.
    /// For the start of a host.
    ///
    /// # Errors
    /// If such models cannot run on this machine, or not confined as [`WorkerConfig`] requires.
    pub async fn check_worker(&self) -> Result<Layers, InferenceError> {
        let (sender, receiver) = oneshot::channel();
        let backends = Arc::clone(&self.backends);
        // Nobody to send to is the start having been given up.
        let job = move || _ = sender.send(backends.apart.check());
        let _ticket = self.pools.of(false).loads.submit(
            &TenantName::default_tenant(),
            Priority::Normal,
            Box::new(job),
        )?;
        receiver.await.unwrap_or_else(|_| Err(shutting_down()))
    }

    /// Says how far a tenant is trusted. One of which nothing was said is not trusted. Where that changes, the
    /// sessions that it has are dropped at once, and the next use loads the model where it belongs; only the
    /// invocations that hold one end with it, no longer inline.
    pub fn set_trust(&self, tenant: &TenantName, trust: Trust) {
        let is_trusted = trust == Trust::Trusted;
        let was_trusted = self.trust.entry(tenant.clone()).or_default().swap(is_trusted, Ordering::Relaxed);
        if was_trusted != is_trusted
            && let Some(removed) = self.residency.remove_all_of(tenant)
        {
            // Freeing a model takes milliseconds. Where the queue is full, this thread does it after all.
            let freed =
                self.pools.of(false).loads.submit(tenant, Priority::Low, Box::new(move || drop(removed)));
            freed.into_iter().for_each(Ticket::detach);
        }
    }

    /// Says how much of the threads a tenant gets while others want them too, as it stands to theirs: a tenant of
    /// weight 3 has three times the time of one of weight 1, which one is of which nothing was said.
    pub fn set_weight(&self, tenant: &TenantName, weight: u32) {
        self.pools.set_weight(tenant, weight);
    }

    /// Checks a model when it is deployed: chooses its backend, loads it, and runs its golden
    /// outputs. `field` is the model's path in the manifest, such as `models.digits`.
    ///
    /// # Errors
    /// `InvalidModel`, also for one that is larger than [`InferenceConfig::memory_bytes`] lets it be,
    /// `InvalidManifest`, `GoldenMismatch` or `BackendUnavailable`, at the field; `InvalidManifest` for more
    /// threads than [`InferenceConfig::max_threads_per_session`].
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
        let is_trusted = self.is_trusted(tenant).load(Ordering::Relaxed);
        let deadline = Instant::now() + self.config.check_timeout;
        let control = Arc::new(Control::new(deadline));
        let (sender, receiver) = oneshot::channel();
        let job = {
            let (backends, control) = (Arc::clone(&self.backends), Arc::clone(&control));
            let tenant = tenant.clone();
            let (path, spec, field) = (file.to_owned(), spec.clone(), field.to_owned());
            let limit = self.room.limit(is_trusted);
            move || {
                let result = guarded(|| {
                    let file = ModelFile::open(&path).map(Arc::new);
                    let checked = file
                        .map_err(|e| Problem::from(e).at(&field))
                        .and_then(|file| backends.check(&tenant, is_trusted, &file, &spec, &field, &control));
                    Ok(checked.and_then(|checked| {
                        let bytes =
                            memory_of(checked.memory_bytes.unwrap_or(0), spec.response_cache.as_ref());
                        if bytes > limit {
                            return Err(Problem::from(room::too_large(bytes, limit)).at(&field));
                        }
                        Ok(checked)
                    }))
                });
                let result = result.unwrap_or_else(|error| Err(Problem::from(error).at(&field)));
                // Nobody to send to is the deploy having been given up.
                _ = sender.send(result);
            }
        };
        let checks = &self.pools.of(is_trusted).loads;
        let _ticket = checks.submit(tenant, Priority::Normal, Box::new(job)).map_err(Problem::from)?;
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
    /// loads wait as may wait, `NoMemory` if the memory for it is in use by others.
    pub async fn session(
        &self,
        key: &SessionKey,
        source: &ModelSource,
    ) -> Result<Arc<Session>, InferenceError> {
        if let Some(session) = self.residency.get(key, source.idle_timeout) {
            return Ok(session);
        }
        let flight = self.residency.get_or_load(key, source.idle_timeout, |landing| {
            let is_trusted = self.is_trusted(&key.tenant);
            let trusted_now = is_trusted.load(Ordering::Relaxed);
            let Pair { runs, loads } = self.pools.of(trusted_now);
            let loader = Loader {
                backends: Arc::clone(&self.backends),
                residency: Arc::clone(&self.residency),
                runs: Arc::clone(runs),
                loads: Arc::downgrade(loads),
                counters: Arc::clone(&self.counters),
                inline_threshold: self.config.inline_threshold,
                is_trusted,
                load_timeout: self.config.check_timeout,
                max_threads: self.max_threads(),
                queue: self.config.queue,
                warm_up_timeout: self.config.warm_up_timeout,
                timers: Handle::current(),
            };
            let wish = Wish {
                tenant: key.tenant.clone(),
                is_trusted: trusted_now,
                bytes: memory_of(source.memory_bytes, key.response_cache.as_ref()),
            };
            let (source, key) = (source.clone(), key.clone());
            match self.room.free(&wish) {
                Some(memory) => {
                    let job = move || landing.land(loader.load(&source, &key, memory));
                    loads.submit(&wish.tenant, Priority::Normal, Box::new(job)).map(Ticket::detach)
                }
                None => {
                    self.load_once_there_is_room(loader, source, landing, wish);
                    Ok(())
                }
            }
        })?;
        flight.await
    }

    fn load_once_there_is_room(&self, loader: Loader, source: ModelSource, landing: Landing, wish: Wish) {
        let key = landing.key().clone();
        let (room, loads) = (Arc::clone(&self.room), Arc::clone(&self.pools.of(wish.is_trusted).loads));
        tokio::spawn(async move {
            let load = async {
                let memory = room.make(&wish).await?;
                let (sender, receiver) = oneshot::channel();
                // Nobody to send to is the host shutting down.
                let job = move || _ = sender.send(loader.load(&source, &key, memory));
                loads.submit(&wish.tenant, Priority::Normal, Box::new(job))?.detach();
                receiver.await.unwrap_or_else(|_| Err(shutting_down()))
            };
            landing.land(load.await);
        });
    }

    /// Keeps a session in memory, once it is loaded, until the pin is dropped. `None` if there is not as
    /// much memory for sessions that stay: then it goes and comes as others do.
    pub fn pin(&self, key: &SessionKey, source: &ModelSource) -> Option<Pin> {
        self.pinned.pin(key, memory_of(source.memory_bytes, key.response_cache.as_ref()))
    }

    /// The session for `key`, if it is in memory. Renews the idle time.
    pub fn resident(&self, key: &SessionKey) -> Option<Arc<Session>> {
        self.residency.get(key, Duration::ZERO)
    }

    /// The models of which something is kept in [`InferenceConfig::prepared_dir`]. Reads the folder, as
    /// [`Self::remove_prepared`] does: not for an async thread.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn prepared_models(&self) -> io::Result<BTreeSet<Digest>> {
        self.backends.onnxruntime.prepared_models()
    }

    /// Removes what was prepared of a model that nobody has any more. Sessions that use it go on.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub fn remove_prepared(&self, model: &Digest) -> io::Result<()> {
        self.backends.onnxruntime.remove_prepared(model)
    }

    fn is_trusted(&self, tenant: &TenantName) -> Arc<AtomicBool> {
        self.trust.entry(tenant.clone()).or_default().clone()
    }

    fn max_threads(&self) -> u32 {
        u32::try_from(self.config.max_threads_per_session.max(1)).unwrap_or(u32::MAX)
    }

    /// Whether the session is in memory.
    pub fn state(&self, key: &SessionKey) -> SessionState {
        self.residency.state(key, Instant::now())
    }

    /// Drops a session from memory, used or not. Runs in progress end as they would.
    pub fn unload(&self, key: &SessionKey) {
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
        let (runs_waiting, workers_busy) = self.pools.load(|pair| &pair.runs);
        let (loads_waiting, _) = self.pools.load(|pair| &pair.loads);
        let (sessions, sessions_loading) = self.residency.count();
        let (worker_processes, worker_processes_lost) = self.backends.apart.count();
        Stats {
            loads: read(&self.counters.loads),
            prepared_loads: read(&self.counters.prepared_loads),
            failed_loads: read(&self.counters.failed_loads),
            inline_runs: read(&self.counters.inline_runs),
            cached: read(&self.counters.cached),
            single_runs: read(&self.counters.single_runs),
            batches: read(&self.counters.batches),
            batched_runs: read(&self.counters.batched_runs),
            failed_runs: read(&self.counters.failed_runs),
            overloaded: read(&self.counters.overloaded),
            abandoned: read(&self.counters.abandoned),
            evictions: self.residency.evictions(),
            memory_bytes: self.room.budget().used(),
            memory_budget_bytes: self.room.budget().limit(),
            sessions,
            sessions_loading,
            runs_waiting,
            workers_busy,
            loads_waiting,
            worker_processes,
            worker_processes_lost,
        }
    }
}

/// The backends, by id, in this process; and the processes that have them for others.
pub(crate) struct Backends {
    rten: Rten,
    onnxruntime: OnnxRuntime,
    pub apart: Arc<Apart>,
}

impl Backends {
    pub fn get(&self, backend: BackendId) -> &dyn Backend {
        match backend {
            BackendId::Rten => &self.rten,
            BackendId::Onnxruntime => &self.onnxruntime,
        }
    }

    fn statuses(&self) -> [BackendStatus; 2] {
        [self.rten.status(), self.onnxruntime.status()]
    }

    fn check(
        &self,
        tenant: &TenantName,
        is_trusted: bool,
        file: &Arc<ModelFile>,
        spec: &ModelSpec,
        field: &str,
        control: &Arc<Control>,
    ) -> Result<CheckedModel, Problem> {
        if is_trusted {
            return check::check(|backend| self.get(backend), file, spec, field, control);
        }
        let [rten, onnxruntime] = self.apart.trial(tenant, self.statuses(), control);
        let get = |backend| -> &dyn Backend {
            match backend {
                BackendId::Rten => &rten,
                BackendId::Onnxruntime => &onnxruntime,
            }
        };
        check::check(get, file, spec, field, control)
    }
}

pub(crate) fn shutting_down() -> InferenceError {
    InferenceError::Host { context: "loading a model", reason: "the service is shutting down".into() }
}

struct StopOnDrop<'a>(&'a Control);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.cancel();
    }
}
