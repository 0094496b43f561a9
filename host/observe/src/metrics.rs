//! The host's metrics, in the OpenMetrics text format.
//!
//! Names follow Prometheus' conventions: base units, `_total` on counters. What each invocation
//! touches is resolved once per revision ([`RevisionMetrics`]) and recorded without a lock. The
//! number of series is bounded: a deleted function's go, and over [`MetricsConfig::max_series`]
//! handles new ones share `_other`. Knows nothing of the server that is scraped.

mod expose;
mod functions;
mod handles;
mod histogram;
mod process;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use jiff::Timestamp;
use modelet_types::{FunctionName, ModelName, RevisionNumber, TenantName};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::Registry;

pub use handles::{ModelMetrics, RevisionMetrics};
pub use histogram::DurationHistogram;

use crate::function_log::FunctionLogs;
use crate::ledger::Ledger;
use crate::sync::lock;
use expose::Exposition;
use functions::Functions;

/// The content type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How metrics are kept.
#[derive(Clone, Debug)]
pub struct MetricsConfig {
    /// The host's version, for `modelet_build_info`.
    pub version: &'static str,
    /// Revisions and models with series of their own. Default: 10,000.
    pub max_series: usize,
}

impl Default for MetricsConfig {
    fn default() -> Self {
        Self { version: env!("CARGO_PKG_VERSION"), max_series: 10_000 }
    }
}

macro_rules! labels {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])+ $variant:ident => $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum $name { $($(#[$variant_doc])+ $variant,)+ }

        impl $name {
            const ALL: &[Self] = &[$(Self::$variant),+];

            fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }
    };
}

labels! {
    /// A layer of a function that goes cold on its own.
    Layer {
        /// Compiled code, mapped from its file and linked.
        Code => "code",
        /// A model loaded in a backend.
        Session => "session",
    }
}

labels! {
    /// What a session is doing.
    SessionState {
        /// Being loaded.
        Loading => "loading",
        /// Loaded, and in use or waiting for use.
        Ready => "ready",
    }
}

labels! {
    /// How a request to a model is run.
    ModelRun {
        /// On the thread that asked.
        Inline => "inline",
        /// By a worker, as a run of its own.
        Single => "single",
        /// By a worker, with others.
        Together => "together",
    }
}

/// Something that only grows.
#[derive(Default, Debug)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `count`.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Relaxed);
    }

    /// Takes over a total that is counted elsewhere.
    pub fn set_total(&self, total: u64) {
        self.0.store(total, Relaxed);
    }

    /// The total.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Something that goes up and down.
#[derive(Default, Debug)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Adds `difference`, which may be negative.
    pub fn add(&self, difference: i64) {
        self.0.fetch_add(difference, Relaxed);
    }

    /// Sets the value.
    pub fn set(&self, value: i64) {
        self.0.store(value, Relaxed);
    }

    /// The value.
    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// The metrics of the host as a whole: record into the fields.
#[derive(Default, Debug)]
pub struct HostMetrics {
    /// Sessions loaded.
    pub model_loads: Counter,
    /// Those of them that took the form which was prepared.
    pub model_prepared_loads: Counter,
    /// Requests to models that were given an answer that had been kept.
    pub model_cached_answers: Counter,
    /// Sessions dropped so that others could be loaded.
    pub model_evictions: Counter,
    /// Bytes of memory of sessions.
    pub model_memory: Gauge,
    /// What that may be at most.
    pub model_memory_budget: Gauge,
    /// Runs of several requests together.
    pub model_batches: Counter,
    /// Requests to models that wait for a worker.
    pub model_runs_waiting: Gauge,
    /// Tenants whose models are in a process of their own.
    pub worker_processes: Gauge,
    /// Such processes that ended although they were needed.
    pub worker_processes_lost: Counter,
    /// Instances that run now.
    pub instances_running: Gauge,
    /// Revisions of which anything is loaded.
    pub revisions_awake: Gauge,
    /// Revisions put to sleep before their time, for want of room.
    pub evictions: Counter,
    /// Calls that were refused because a quota of their tenant or function is reached.
    pub quota_refusals: Counter,
    /// Usage records that a collector has taken.
    pub usage_export_records: Counter,
    /// Requests to it that failed.
    pub usage_export_failures: Counter,
    /// When the oldest record ended that it has not taken, in µs since 1970; 0: there is none.
    pub usage_export_oldest: Gauge,
    /// Compilations of handlers, with their duration.
    pub compilation: DurationHistogram,
    wakes: [DurationHistogram; Layer::ALL.len()],
    sessions: [Gauge; SessionState::ALL.len()],
    model_runs: [Counter; ModelRun::ALL.len()],
}

impl HostMetrics {
    /// Adds the waking of a layer.
    pub fn wake(&self, layer: Layer, duration: Duration) {
        self.wakes[layer as usize].observe(duration);
    }

    /// How many sessions are in a state.
    pub fn sessions(&self, state: SessionState) -> &Gauge {
        &self.sessions[state as usize]
    }

    /// Requests to models that were run in a way.
    pub fn model_runs(&self, how: ModelRun) -> &Counter {
        &self.model_runs[how as usize]
    }
}

type BeforeScrape = Box<dyn Fn(&HostMetrics) + Send + Sync>;

/// What a scrape reads.
struct Sources {
    host: HostMetrics,
    functions: Functions,
    ledger: OnceLock<Arc<Ledger>>,
    logs: OnceLock<Arc<FunctionLogs>>,
    version: &'static str,
    started_at: Timestamp,
}

/// All metrics of this host.
pub struct Metrics {
    registry: Registry,
    sources: Arc<Sources>,
    before_scrape: Mutex<Vec<BeforeScrape>>,
}

impl Metrics {
    /// Makes the metrics of a host that starts now.
    pub fn new(config: MetricsConfig) -> Arc<Self> {
        let sources = Arc::new(Sources {
            host: HostMetrics::default(),
            functions: Functions::new(config.max_series),
            ledger: OnceLock::new(),
            logs: OnceLock::new(),
            version: config.version,
            started_at: Timestamp::now(),
        });
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Scrape(Arc::clone(&sources))));
        Arc::new(Self { registry, sources, before_scrape: Mutex::default() })
    }

    /// Shows a ledger's figures. The first one given counts.
    pub fn watch_ledger(&self, ledger: Arc<Ledger>) {
        let _ = self.sources.ledger.set(ledger);
    }

    /// Shows the function logs' figures. The first ones given count.
    pub fn watch_function_logs(&self, logs: Arc<FunctionLogs>) {
        let _ = self.sources.logs.set(logs);
    }

    /// Calls `refresh` before each scrape, for values that are kept elsewhere. It must not block.
    pub fn before_scrape(&self, refresh: impl Fn(&HostMetrics) + Send + Sync + 'static) {
        lock(&self.before_scrape).push(Box::new(refresh));
    }

    /// The metrics of the host as a whole.
    pub fn host(&self) -> &HostMetrics {
        &self.sources.host
    }

    /// The counters of a revision, to be kept with it.
    pub fn revision(
        &self,
        tenant: &TenantName,
        function: &FunctionName,
        revision: RevisionNumber,
    ) -> Arc<RevisionMetrics> {
        self.sources.functions.revision(tenant, function, revision)
    }

    /// The counters of a function's model on a backend, to be kept with its session.
    pub fn model(
        &self,
        tenant: &TenantName,
        function: &FunctionName,
        model: &ModelName,
        backend: &'static str,
    ) -> Arc<ModelMetrics> {
        self.sources.functions.model(tenant, function, model, backend)
    }

    /// Ends the series of a deleted function.
    pub fn remove_function(&self, tenant: &TenantName, function: &FunctionName) {
        self.sources.functions.remove(tenant, function);
    }

    /// Ends the series of a deleted revision.
    pub fn remove_revision(&self, tenant: &TenantName, function: &FunctionName, revision: RevisionNumber) {
        self.sources.functions.remove_revision(tenant, function, revision);
    }

    /// All metrics now, as text of type [`CONTENT_TYPE`].
    pub fn encode(&self) -> String {
        for refresh in lock(&self.before_scrape).iter() {
            refresh(self.host());
        }
        let mut text = String::new();
        text::encode(&mut text, &self.registry).expect("writing to a string does not fail");
        text
    }
}

struct Scrape(Arc<Sources>);

impl fmt::Debug for Scrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scrape").finish_non_exhaustive()
    }
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let out = &mut Exposition::new(encoder);
        let sources = &*self.0;
        out.info("modelet_build", "The host's version", &[("version", sources.version)])?;
        sources.functions.expose(out)?;
        expose_host(out, &sources.host)?;
        if let Some(ledger) = sources.ledger.get() {
            expose_ledger(out, ledger)?;
        }
        if let Some(logs) = sources.logs.get() {
            let stats = logs.stats();
            out.counter("modelet_log_lines", "Lines written to function logs", |out| {
                out.put(&[], stats.lines)
            })?;
            let help = "Lines of functions over their limit, or faster than they can be written";
            out.counter("modelet_log_lines_dropped", help, |out| out.put(&[], stats.dropped_lines))?;
        }
        process::expose(out, sources.started_at)
    }
}

fn expose_host(out: &mut Exposition<'_>, host: &HostMetrics) -> fmt::Result {
    let layers = || Layer::ALL.iter().map(|layer| (layer.as_str(), &host.wakes[*layer as usize]));
    out.counter("modelet_wakes", "Cold layers woken", |out| {
        layers().try_for_each(|(layer, wakes)| out.put(&[("layer", layer)], wakes.count()))
    })?;
    out.histogram("modelet_wake_duration_seconds", "Waking a cold layer", |out| {
        layers().try_for_each(|(layer, wakes)| out.put(&[("layer", layer)], wakes))
    })?;
    out.gauge("modelet_sessions", "Models in a backend", |out| {
        SessionState::ALL
            .iter()
            .try_for_each(|state| out.put(&[("state", state.as_str())], host.sessions(*state).get() as f64))
    })?;
    out.counter("modelet_model_loads", "Sessions loaded", |out| out.put(&[], host.model_loads.get()))?;
    out.counter("modelet_model_prepared_loads", "Sessions loaded as their models were prepared", |out| {
        out.put(&[], host.model_prepared_loads.get())
    })?;
    out.counter("modelet_model_cached_answers", "Requests to models answered from a cache", |out| {
        out.put(&[], host.model_cached_answers.get())
    })?;
    out.counter("modelet_model_evictions", "Sessions dropped so that others could be loaded", |out| {
        out.put(&[], host.model_evictions.get())
    })?;
    out.gauge("modelet_model_memory_bytes", "Memory of sessions", |out| {
        out.put(&[], host.model_memory.get() as f64)
    })?;
    out.gauge("modelet_model_memory_budget_bytes", "What sessions may take together", |out| {
        out.put(&[], host.model_memory_budget.get() as f64)
    })?;
    out.counter("modelet_model_runs", "Requests to models that were run", |out| {
        ModelRun::ALL
            .iter()
            .try_for_each(|how| out.put(&[("how", how.as_str())], host.model_runs(*how).get()))
    })?;
    out.counter("modelet_model_batches", "Runs of several requests together", |out| {
        out.put(&[], host.model_batches.get())
    })?;
    out.gauge("modelet_model_runs_waiting", "Requests to models that wait for a worker", |out| {
        out.put(&[], host.model_runs_waiting.get() as f64)
    })?;
    out.gauge("modelet_worker_processes", "Tenants whose models are in a process of their own", |out| {
        out.put(&[], host.worker_processes.get() as f64)
    })?;
    out.counter("modelet_worker_processes_lost", "Such processes that ended although needed", |out| {
        out.put(&[], host.worker_processes_lost.get())
    })?;
    out.gauge("modelet_instances_running", "Instances that run now", |out| {
        out.put(&[], host.instances_running.get() as f64)
    })?;
    out.gauge("modelet_revisions_awake", "Revisions of which anything is loaded", |out| {
        out.put(&[], host.revisions_awake.get() as f64)
    })?;
    out.counter(
        "modelet_quota_refusals",
        "Calls refused because a quota of their tenant or function is reached",
        |out| out.put(&[], host.quota_refusals.get()),
    )?;
    out.counter("modelet_evictions", "Revisions put to sleep before their time, for want of room", |out| {
        out.put(&[], host.evictions.get())
    })?;
    out.counter("modelet_usage_export_records", "Usage records that a collector has taken", |out| {
        out.put(&[], host.usage_export_records.get())
    })?;
    out.counter("modelet_usage_export_failures", "Requests to it that failed", |out| {
        out.put(&[], host.usage_export_failures.get())
    })?;
    let oldest = Some(host.usage_export_oldest.get()).filter(|at| *at > 0);
    let lag = oldest.map_or(0, |at| (Timestamp::now().as_microsecond() - at).max(0));
    out.gauge("modelet_usage_export_lag_seconds", "Age of the oldest record that it has not taken", |out| {
        out.put(&[], lag as f64 / 1e6)
    })?;
    out.counter("modelet_compilations", "Handlers compiled", |out| out.put(&[], host.compilation.count()))?;
    out.histogram("modelet_compilation_duration_seconds", "Compiling a handler", |out| {
        out.put(&[], &host.compilation)
    })
}

fn expose_ledger(out: &mut Exposition<'_>, ledger: &Ledger) -> fmt::Result {
    let stats = ledger.stats();
    let counters = [
        ("modelet_ledger_entries", "Entries written to the usage ledger", stats.entries),
        ("modelet_ledger_bytes", "Bytes of them", stats.bytes),
        ("modelet_ledger_writes", "Writes that it took", stats.writes),
        ("modelet_ledger_failed_entries", "Entries that could not be written", stats.failed),
        ("modelet_ledger_interrupted_streams", "Streams that a killed host left open", stats.interrupted),
        ("modelet_ledger_torn_bytes", "Bytes of unfinished entries cut at opening", stats.torn_bytes),
    ];
    for (name, help, value) in counters {
        out.counter(name, help, |out| out.put(&[], value))?;
    }
    out.gauge("modelet_ledger_open_streams", "Streams without a record yet", |out| {
        out.put(&[], stats.open_streams as f64)
    })
}
