//! What the data plane consists of.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use dashmap::DashMap;
use modelet_engine::Engine;
use modelet_inference::Inference;
use modelet_keyvalue::KeyValueStores;
use modelet_observe::{FunctionLogs, Ledger, Metrics};
use modelet_types::plan::Plan;
use modelet_types::{Code, FunctionName, Quotas, TenantName, Usage};

use crate::budget::BodyBudget;
use crate::functions::FunctionCalls;
use crate::gate::{InUse, TenantGate};
use crate::model_files::ModelFiles;
use crate::routing::RoutingTable;
use crate::sweep::{AwakeBudget, Residents, Sweeper};

/// What the data plane stands on, and its settings.
pub struct RuntimeConfig {
    /// Runs handlers.
    pub engine: Engine,
    /// Runs models.
    pub inference: Arc<Inference>,
    /// Keeps one record per invocation.
    pub ledger: Arc<Ledger>,
    /// Keeps what handlers say.
    pub logs: Arc<FunctionLogs>,
    /// Keeps what handlers keep.
    pub key_values: Arc<KeyValueStores>,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// The longest that a caller waits for a cold function to wake.
    pub wake_timeout: Duration,
    /// The longest pause in a request's body.
    pub body_idle_timeout: Duration,
    /// Bytes of the requests' bodies that are gathered at one time, of all functions together. A
    /// body holds its part until its handler has answered; without any left, calls are refused.
    pub request_body_budget_bytes: u64,
    /// Has the files of models.
    pub model_files: Arc<dyn ModelFiles>,
    /// Answers the calls that handlers make of other functions.
    pub functions: Arc<dyn FunctionCalls>,
    /// How much may be awake at one time.
    pub awake: AwakeBudget,
    /// The status number that the protocol in front gives a code, for the usage record.
    pub status_of: fn(Code) -> u16,
}

impl RuntimeConfig {
    /// 512 MiB: 64 bodies of the default limit.
    pub const DEFAULT_REQUEST_BODY_BUDGET_BYTES: u64 = 512 << 20;
}

/// The data plane of one host.
pub struct Runtime {
    pub(crate) config: RuntimeConfig,
    pub(crate) routes: RoutingTable,
    pub(crate) residents: Arc<Residents>,
    pub(crate) body_budget: BodyBudget,
    /// Those of every tenant of which anything was said or published. A function's is in its route.
    gates: DashMap<TenantName, Arc<TenantGate>>,
    /// Whether new invocations are refused.
    pub(crate) draining: AtomicBool,
    _sweeper: Sweeper,
}

impl Runtime {
    /// Starts the data plane with an empty routing table. Must be called within a tokio runtime.
    pub fn start(config: RuntimeConfig) -> Arc<Self> {
        let residents = Arc::new(Residents::new(config.awake));
        let sweeper = Sweeper::start(residents.clone(), config.inference.clone());
        // Weak, since what is awake keeps its counters, and they those who show them.
        let counted = Arc::downgrade(&residents);
        config.metrics.before_scrape(move |host| {
            let Some(residents) = counted.upgrade() else { return };
            host.revisions_awake.set(i64::try_from(residents.count()).unwrap_or(i64::MAX));
            host.evictions.set_total(residents.evictions());
        });
        Arc::new(Self {
            body_budget: BodyBudget::new(config.request_body_budget_bytes),
            gates: DashMap::new(),
            config,
            routes: RoutingTable::default(),
            residents,
            draining: AtomicBool::new(false),
            _sweeper: sweeper,
        })
    }

    /// The gate of a tenant's invocations.
    pub(crate) fn gate(&self, tenant: &TenantName) -> Arc<TenantGate> {
        self.gates.entry(tenant.clone()).or_insert_with(|| Arc::new(TenantGate::new(tenant.clone()))).clone()
    }

    /// Sets how much a tenant may use, and what it pays. What it uses now and has used this month stays.
    pub fn set_quotas(&self, tenant: &TenantName, quotas: &Quotas, plan: Option<Plan>) {
        self.config.engine.set_weight(tenant, quotas.cpu_weight());
        self.config.inference.set_weight(tenant, quotas.cpu_weight());
        self.gate(tenant).set(quotas, plan);
    }

    /// Says what a tenant used in this month before the host started.
    pub fn begin_with(&self, tenant: &TenantName, used: Usage) {
        self.gate(tenant).begin_with(used);
    }

    /// Says what a published function used in this month before the host started, which its tenant's usage has
    /// too.
    pub fn begin_function_with(&self, tenant: &TenantName, function: &FunctionName, used: Usage) {
        if let Some(route) = self.routes.find(tenant.as_str(), function.as_str()) {
            route.gate.begin_with(used);
        }
    }

    /// What a tenant uses now, and has used this month.
    pub fn in_use(&self, tenant: &TenantName) -> InUse {
        self.gate(tenant).in_use()
    }

    /// The same of one function; `None` if it is not published.
    pub fn in_use_by(&self, tenant: &TenantName, function: &FunctionName) -> Option<InUse> {
        Some(self.routes.find(tenant.as_str(), function.as_str())?.gate.in_use())
    }

    /// Refuses new invocations from now on; those that run go on.
    pub fn drain(&self) {
        self.draining.store(true, Relaxed);
    }
}
