//! One revision on this host: its row, and the layers that come and go.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use modelet_engine::{Code, Engine, Handler};
use modelet_inference::{BackendId, SessionKey};
use modelet_keyvalue::Owner;
use modelet_observe::Metrics;
use modelet_observe::metrics::{Layer as MetricLayer, RevisionMetrics};
use modelet_types::manifest::{Batching, Device, Golden, RequestBody, ResponseCache, Reuse};
use modelet_types::outbound::OutboundRule;
use modelet_types::{
    Code as ErrorCode, Digest, FunctionName, Limits, ModelName, Problem, RevisionNumber, RevisionSpec,
    Secrets, Signature, TenantName,
};

use crate::Runtime;
use crate::admission::Admission;
use crate::gate::FunctionGate;
use crate::key_value::RevisionKeyValue;
use crate::layer::Layer;
use crate::models::RevisionModels;
use crate::routing::no_function;
use crate::statistics::Counters;
use crate::sweep::RevisionPin;

/// One revision, as it is published.
pub struct RevisionRow {
    /// Its number.
    pub number: RevisionNumber,
    /// Whether its handler takes HTTP requests. What does not takes tensors.
    pub takes_http: bool,
    /// The manifest.
    pub spec: RevisionSpec,
    /// Its models, as they were resolved at deploy.
    pub models: BTreeMap<ModelName, ModelRow>,
    /// The secrets that the manifest names.
    pub secrets: Secrets,
}

/// One model of a revision, resolved.
pub struct ModelRow {
    /// The model file's digest.
    pub artifact: Digest,
    /// Where the model file is.
    pub path: PathBuf,
    /// What runs it.
    pub backend: BackendId,
    /// Where it runs.
    pub device: Device,
    /// Threads for one run.
    pub threads: u32,
    /// What goes together into one run, if anything does.
    pub batching: Option<Batching>,
    /// Which answers are kept, if any are.
    pub response_cache: Option<ResponseCache>,
    /// Its inputs and outputs.
    pub signature: Signature,
    /// Memory that its session takes.
    pub memory_bytes: u64,
    /// Inputs to run each time that it is loaded.
    pub warm_up: Arc<[Golden]>,
}

/// A revision with what of it is loaded. Of its manifest it keeps what calls need: the rest, such as
/// golden data, can be megabytes, and most functions of a host are idle.
pub(crate) struct Revision {
    pub(crate) tenant: TenantName,
    pub(crate) function: FunctionName,
    pub(crate) number: RevisionNumber,
    /// The handler, unless it is a model alone.
    pub(crate) component: Option<Digest>,
    pub(crate) takes_http: bool,
    pub(crate) request_body: RequestBody,
    pub(crate) public: bool,
    /// Of its function.
    pub(crate) gate: Arc<FunctionGate>,
    reuse: Reuse,
    pub(crate) limits: Arc<Limits>,
    pub(crate) config: Arc<BTreeMap<String, String>>,
    pub(crate) outbound: Arc<[OutboundRule]>,
    /// As they are now; an invocation keeps those with which it began.
    pub(crate) secrets: ArcSwap<Secrets>,
    /// What the function keeps, if the manifest grants it.
    pub(crate) key_value: Option<Arc<RevisionKeyValue>>,
    pub(crate) admission: Admission,
    pub(crate) models: Arc<RevisionModels>,
    pub(crate) metrics: Arc<RevisionMetrics>,
    /// What a handler in tensors takes and gives.
    declared: Option<Box<Signature>>,
    /// Of calls in tensors.
    pub(crate) statistics: Counters,
    /// Compiled code, mapped from its file.
    pub(crate) code: Layer<Code>,
    /// The code linked with the host's functions, ready to make instances.
    pub(crate) handler: Layer<Handler>,
    /// Keeps it from going cold, if the manifest asks for that and the host has room for it.
    pin: Mutex<Option<RevisionPin>>,
    preloads: bool,
    /// Whether no new call will come.
    retired: AtomicBool,
    /// Whether the function is gone.
    deleted: Arc<AtomicBool>,
}

impl Revision {
    pub(crate) fn new(
        runtime: &Runtime,
        owner: Owner,
        row: RevisionRow,
        gate: Arc<FunctionGate>,
        deleted: Arc<AtomicBool>,
    ) -> Self {
        let RevisionRow { number, takes_http, spec, models, secrets } = row;
        let config = &runtime.config;
        let (tenant, function) = (&owner.tenant, &owner.function);
        let limits = Arc::new(spec.limits());
        let models =
            RevisionModels::new(config, tenant, function, models, &spec.scale, spec.concurrency.priority);
        let wanted = spec.scale.pins();
        let pin = if wanted { runtime.residents.pin(tenant).filter(|_| models.pin()) } else { None };
        if wanted && pin.is_none() {
            let revision = number.0;
            tracing::warn!(%tenant, %function, revision, "no room for `scale.min_scale`: it may go cold");
        }
        let idle_timeout = |timeout| if pin.is_some() { Duration::MAX } else { timeout };
        let key_value = spec.key_value.map(|granted| {
            let (stores, owner) = (config.key_values.clone(), owner.clone());
            let max_bytes = granted.max_bytes();
            Arc::new(RevisionKeyValue { stores, owner, max_bytes, deleted: deleted.clone() })
        });
        Self {
            tenant: tenant.clone(),
            function: function.clone(),
            number,
            component: spec.component,
            takes_http,
            request_body: spec.request_body.unwrap_or_default(),
            public: spec.public,
            gate,
            reuse: spec.reuse,
            limits,
            config: Arc::new(spec.config),
            outbound: spec.outbound.into(),
            secrets: ArcSwap::from_pointee(secrets),
            key_value,
            admission: Admission::new(spec.concurrency),
            models: Arc::new(models),
            metrics: config.metrics.revision(tenant, function, number),
            declared: spec.signature.map(|declared| Box::new(declared.signature())),
            statistics: Counters::default(),
            code: Layer::new(idle_timeout(spec.scale.handler_idle_timeout())),
            handler: Layer::new(idle_timeout(spec.scale.instance_idle_timeout())),
            preloads: spec.scale.preloads(),
            pin: Mutex::new(pin),
            retired: AtomicBool::new(false),
            deleted,
        }
    }

    /// What it takes and gives, if that is tensors: as its model has it, or as its manifest declares it.
    pub(crate) fn signature(&self) -> Option<&Signature> {
        match self.component {
            None => self.models.only().map(|(_, signature)| signature),
            Some(_) => self.declared.as_deref(),
        }
    }

    /// Whether it is to be loaded before it is called.
    pub(crate) fn preloads(&self) -> bool {
        self.preloads
    }

    /// Whether it is kept from going cold.
    pub(crate) fn is_pinned(&self) -> bool {
        self.pin.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// The handler, mapped and linked if it was cold. Never compiles.
    pub(crate) async fn wake_handler(
        &self,
        engine: &Engine,
        metrics: &Metrics,
    ) -> Result<Arc<Handler>, Problem> {
        self.handler
            .get_or_load(async || {
                let began = Instant::now();
                let code = self.code.get_or_load(async || self.load_code(engine).await).await?;
                let handler = engine.link(&code, self.reuse.clone())?;
                metrics.host().wake(MetricLayer::Code, began.elapsed());
                Ok(handler)
            })
            .await
    }

    async fn load_code(&self, engine: &Engine) -> Result<Code, Problem> {
        let Some(component) = self.component else {
            return Err(Problem::new(ErrorCode::Internal, "a revision without a handler has no code"));
        };
        let (missing, engine) = (engine, engine.clone());
        // Mapping what was checked takes less time than handing it to another thread and back.
        let loaded = if engine.code().is_checked(&component) {
            engine.code().load(&component)
        } else {
            tokio::task::spawn_blocking(move || engine.code().load(&component)).await.map_err(|error| {
                Problem::new(ErrorCode::Internal, format!("loading compiled code failed: {error}"))
            })?
        };
        loaded?.ok_or_else(|| {
            missing.code().report_missing();
            Problem::new(ErrorCode::Overloaded, "the handler is being compiled for this host; try again soon")
        })
    }

    /// Stops a call that was routed here before the function was deleted. A revision that has only
    /// lost its traffic answers what it was given.
    ///
    /// # Errors
    /// `NotFound` if the function has been deleted.
    pub(crate) fn check_not_deleted(&self) -> Result<(), Problem> {
        if self.deleted.load(Relaxed) { Err(no_function(self.function.as_str())) } else { Ok(()) }
    }

    /// Says that no new call will come, so that nothing is kept for the next.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Relaxed);
        self.models.unpin();
        let pin = self.pin.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(pin);
    }

    /// Drops what has been idle for its time; everything that is not in use if retired. Says when to
    /// look again; `None` if nothing is left.
    pub(crate) fn sweep(&self, now: Instant) -> Option<Duration> {
        // Also while it wakes, when nothing is resident yet: what is swept out now would stay for
        // ever once it is.
        if self.admission.running() > 0 {
            self.handler.peek().and_then(|handler| handler.sweep(now));
            return Some(Duration::ZERO);
        }
        if self.retired.load(Relaxed) {
            self.put_to_sleep();
            return None;
        }
        // The linked handler holds the code, so the code cannot go first.
        let layer = self.handler.drop_if_idle(now).or_else(|| self.code.drop_if_idle(now));
        let instance = self.handler.peek().and_then(|handler| handler.sweep(now));
        [layer, instance].into_iter().flatten().min()
    }

    /// Drops what is loaded. A call that uses it keeps what it has found.
    pub(crate) fn put_to_sleep(&self) {
        self.handler.drop_now();
        self.code.drop_now();
    }

    /// Whether nothing is loaded or about to be.
    pub(crate) fn is_asleep(&self) -> bool {
        self.admission.running() == 0 && !self.handler.is_resident() && !self.code.is_resident()
    }

    /// How long no call has used what is loaded; `None` while one does.
    pub(crate) fn idle_time(&self, now: Instant) -> Option<Duration> {
        (self.admission.running() == 0).then(|| self.handler.idle_time(now).min(self.code.idle_time(now)))
    }

    /// Bytes of the code that is loaded.
    pub(crate) fn code_bytes(&self) -> u64 {
        self.code.peek().map_or(0, |code| code.size_bytes())
    }

    /// Instances that have answered and wait for the next invocation.
    pub(crate) fn idle_instances(&self) -> usize {
        self.handler.peek().map_or(0, |handler| handler.idle_instances())
    }

    /// The sessions that this revision uses.
    pub(crate) fn sessions(&self) -> impl Iterator<Item = (&ModelName, &SessionKey)> {
        self.models.keys()
    }
}
