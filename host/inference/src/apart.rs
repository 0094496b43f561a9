//! Models of tenants that are not trusted: each tenant's in a worker process of its own, never in the host.
//!
//! Backends are native code, or run for as long as a model says; and a model file is whatever a tenant has
//! uploaded. So the host starts its own program once more (`keeper.rs`), which confines itself before it has
//! a byte of a tenant's (`inside.rs`), and gets the tenant's models as open files and tensors in messages or
//! shared memory. For the service it looks like any other backend (`session.rs`).
//!
//! - A model that takes too much memory, or crashes its backend, ends its tenant's process. The runs in it
//!   fail with `WorkerLost`; those that wait, and all that follow, run in the next process (`home.rs`).
//! - A run that does not stop at its deadline is stopped by ending the process (`call.rs`). So no run keeps
//!   a thread of the host for longer than that. One whose caller has left may go on until then.
//! - A model is tried at deploy in a process of its own, which ends with the check. What it does there costs
//!   the functions that run nothing.
//! - A process that is taken over reaches no file, no network and no other process, has nothing of another
//!   tenant in it, and can lie: about outputs, which are the tenant's own, and about CPU time, which is
//!   checked against the kernel's clock (`meter.rs`). What it answers is checked before it is used
//!   (`wire.rs`, `tensors.rs`, `memory.rs`).
//!
//! A process has one tenant's models, lives while one of them is loaded, and a moment longer. There is a bound on
//! how many there are: beyond it, the one that nobody has wanted the longest goes for the next.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use dashmap::DashMap;
pub use modelet_confinement::Layers;
use modelet_types::TenantName;

use crate::backend::BackendStatus;
use crate::pool::Pool;
use crate::residency::Residency;
use crate::{Control, InferenceError};
use home::Home;
use inside::Orders;
pub use inside::model_worker_if_asked;
use keeper::{Keeper, NotStarted};
use process::{Process, Why};
pub(crate) use session::ApartBackend;
#[cfg(any(test, fuzzing))]
pub(crate) use wire::check as check_answer;
use worker::{InTheWay, Worker};

mod broke;
mod call;
mod home;
mod inside;
mod keeper;
mod memory;
mod meter;
mod process;
mod session;
mod socket;
mod tensors;
mod wire;
mod worker;

/// How long a tenant waits for a process while there are as many as there may be.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often it is looked whether there is room, which nothing tells.
const LOOK: Duration = Duration::from_millis(20);

/// How long nobody has wanted anything of a process that is ended for another tenant's: long enough that one that
/// was just started is not ended before its first load.
const UNWANTED: Duration = Duration::from_millis(200);

/// The processes that have models of tenants that are not trusted.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// The program, whose `main` begins with [`model_worker_if_asked`].
    pub program: PathBuf,
    /// The most of them at one time, those that try a model included; beside these there is a spare one.
    pub processes: usize,
    /// Memory that each may write to.
    pub memory_bytes: u64,
    /// Whether no model runs in a process that cannot be confined in full.
    pub require_confinement: bool,
    /// How long a process is kept that has no model.
    pub idle_timeout: Duration,
}

impl Default for WorkerConfig {
    fn default() -> Self {
        Self {
            // The file that this process was started from, also when another one has its name by now.
            program: PathBuf::from("/proc/self/exe"),
            processes: 64,
            memory_bytes: 2 << 30,
            require_confinement: false,
            idle_timeout: Duration::from_secs(10),
        }
    }
}

/// The worker processes of all tenants.
pub(crate) struct Apart {
    config: WorkerConfig,
    orders: Orders,
    homes: DashMap<TenantName, Arc<Home>>,
    keeper: OnceLock<Keeper>,
    ended: Arc<AtomicU64>,
    /// Where runs wait for threads.
    runs: Weak<Pool>,
    residency: Arc<Residency>,
}

impl Apart {
    /// Starts the keeper, and no process yet.
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub fn new(
        config: &WorkerConfig,
        onnxruntime: Option<PathBuf>,
        runs: &Arc<Pool>,
        residency: &Arc<Residency>,
    ) -> Result<Arc<Self>, InferenceError> {
        let orders = Orders { parent: std::process::id(), memory_bytes: config.memory_bytes, onnxruntime };
        let apart = Arc::new(Self {
            config: config.clone(),
            orders: orders.clone(),
            homes: DashMap::new(),
            keeper: OnceLock::new(),
            ended: Arc::default(),
            runs: Arc::downgrade(runs),
            residency: Arc::clone(residency),
        });
        let kept = Arc::downgrade(&apart);
        let tick = move || {
            if let Some(apart) = kept.upgrade() {
                apart.tidy(Instant::now());
            }
        };
        let keeper = Keeper::start(config, orders, Arc::clone(&apart.ended), tick)?;
        _ = apart.keeper.set(keeper);
        Ok(apart)
    }

    /// A backend in the tenant's process, where its models are that run.
    pub fn backend(
        self: &Arc<Self>,
        tenant: &TenantName,
        status: BackendStatus,
        loads: &Weak<Pool>,
        load_timeout: Duration,
    ) -> ApartBackend {
        let home = self.homes.entry(tenant.clone());
        let home = home.or_insert_with(|| Arc::new(Home::new(Arc::downgrade(self), tenant.clone(), false)));
        ApartBackend {
            status,
            home: Arc::clone(&home),
            loads: Weak::clone(loads),
            load_timeout,
            control: None,
        }
    }

    /// Backends in a process of their own, which is started when it is needed, and ends with them and their
    /// sessions. `control` ends loads as well as runs.
    pub fn trial<const N: usize>(
        self: &Arc<Self>,
        tenant: &TenantName,
        statuses: [BackendStatus; N],
        control: &Arc<Control>,
    ) -> [ApartBackend; N] {
        let home = Arc::new(Home::new(Arc::downgrade(self), tenant.clone(), true));
        statuses.map(|status| ApartBackend {
            status,
            home: Arc::clone(&home),
            loads: Weak::new(),
            load_timeout: Duration::ZERO,
            control: Some(Arc::clone(control)),
        })
    }

    /// Starts a process as for a tenant, and says what confines it.
    ///
    /// # Errors
    /// If it does not become ready, or is not confined as is required.
    pub fn check(&self) -> Result<Layers, InferenceError> {
        let tenant = TenantName::default_tenant();
        self.start(&tenant, false, Box::new(|| true)).map(|worker| worker.layers())
    }

    /// How many tenants have a process, and how many processes have ended that were needed still.
    pub fn count(&self) -> (usize, u64) {
        let running = self.homes.iter().filter(|home| home.is_inhabited()).count();
        (running, self.ended.load(Ordering::Relaxed))
    }

    /// Starts a process for a tenant, and keeps a spare one for the next from then on.
    fn start_worker(&self, tenant: &TenantName, is_trial: bool) -> Result<Worker, InferenceError> {
        let (runs, name) = (Weak::clone(&self.runs), tenant.clone());
        let is_in_the_way: InTheWay = match is_trial {
            // It has one thing to do, and nothing to lose.
            true => Box::new(|| true),
            false => Box::new(move || runs.upgrade().is_some_and(|runs| runs.lacks_threads(&name))),
        };
        self.start(tenant, true, is_in_the_way)
    }

    fn start(
        &self,
        tenant: &TenantName,
        keeps_spare: bool,
        is_in_the_way: InTheWay,
    ) -> Result<Worker, InferenceError> {
        let failed = |reason: String| {
            tracing::error!(program = %self.config.program.display(), reason, "cannot start a worker process");
            let reason = "the host's log has the reason".into();
            InferenceError::Host { context: "starting a worker process for models", reason }
        };
        let keeper = self.keeper.get().ok_or_else(|| failed("there is no keeper".into()))?;
        let give_up = Instant::now() + PATIENCE;
        let started = loop {
            match keeper.take(tenant, keeps_spare) {
                Ok(started) => break started,
                Err(NotStarted::Failed(error)) => return Err(failed(error.to_string())),
                Err(NotStarted::Full) => match self.end_unwanted() {
                    Some(ended) => _ = ended.ends_within(PATIENCE),
                    None if Instant::now() > give_up => {
                        return Err(InferenceError::NoProcess { most: self.config.processes });
                    }
                    None => std::thread::sleep(LOOK),
                },
            }
        };
        Worker::of(started, self.orders.memory_bytes, self.config.require_confinement, is_in_the_way)
    }

    /// Ends the process that nobody has wanted the longest, so that another tenant can have one, with its
    /// sessions: the next call loads what it needs as any cold one does. Not one with a model that stays, unless more than half of all have one.
    fn end_unwanted(&self) -> Option<Arc<Process>> {
        let now = Instant::now();
        let mut unwanted: Vec<(Duration, Arc<Process>, Arc<Home>)> = self
            .homes()
            .into_iter()
            .filter_map(|home| home.unwanted(now).map(|(time, process)| (time, process, home)))
            .filter(|(time, ..)| *time >= UNWANTED)
            .collect();
        unwanted.sort_unstable_by_key(|(time, ..)| std::cmp::Reverse(*time));
        let has_pinned = |home: &Arc<Home>| self.residency.has_pinned(home.tenant());
        // Of so many that half of all processes stay for those who pin nothing.
        let pinned = self.homes().iter().filter(|home| home.is_inhabited() && has_pinned(home)).count();
        let stays = |home: &Arc<Home>| pinned * 2 <= self.config.processes && has_pinned(home);
        let ends = |(_, process, home): &(Duration, Arc<Process>, Arc<Home>)| {
            !stays(home) && process.kill_unwanted(Why::Unneeded)
        };
        let (unwanted_for, process, home) = unwanted.into_iter().find(ends)?;
        let (tenant, unwanted_ms) = (home.tenant(), unwanted_for.as_millis());
        tracing::info!(%tenant, %unwanted_ms, "worker process ended for another tenant's");
        drop(self.residency.remove_all_of(tenant));
        Some(process)
    }

    /// Collected, so that whatever is dropped is dropped outside of the map's locks.
    fn homes(&self) -> Vec<Arc<Home>> {
        self.homes.iter().map(|home| Arc::clone(&home)).collect()
    }

    fn tidy(&self, now: Instant) {
        let homes = self.homes();
        homes.iter().for_each(|home| home.tidy(now, self.config.idle_timeout));
    }
}
