//! The models of one revision, as its handler sees them: the engine's traits over inference.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwapWeak;
use futures::FutureExt;
use futures::future::BoxFuture;
use modelet_engine::{InferError, Inferred, Model, Models};
use modelet_inference::{
    Inference, InferenceError, ModelSource, Pin, RunOutput, RunRequest, Session, SessionKey, SessionState,
    Unanswered,
};
use modelet_observe::metrics::ModelMetrics;
use modelet_types::manifest::{Priority, Scale};
use modelet_types::{Code, FunctionName, ModelName, Signature, TenantName, Tensor};

use crate::revision::ModelRow;
use crate::timing::Timing;
use crate::{ModelFiles, RuntimeConfig};

/// The models of a revision by the names in its manifest.
pub(crate) struct RevisionModels {
    inference: Arc<Inference>,
    models: BTreeMap<ModelName, Arc<Binding>>,
    /// Of the function's runs.
    priority: Priority,
    /// Keep the sessions in memory, if the manifest asks for that.
    pins: Mutex<Vec<Pin>>,
}

/// One model, loaded or not.
struct Binding {
    name: ModelName,
    key: SessionKey,
    source: ModelSource,
    files: Arc<dyn ModelFiles>,
    signature: Signature,
    metrics: Arc<ModelMetrics>,
    /// The session that was used last, so that a warm call looks nothing up.
    session: ArcSwapWeak<Session>,
}

impl RevisionModels {
    pub(crate) fn new(
        config: &RuntimeConfig,
        tenant: &TenantName,
        function: &FunctionName,
        rows: BTreeMap<ModelName, ModelRow>,
        scale: &Scale,
        priority: Priority,
    ) -> Self {
        let idle_timeout = scale.session_idle_timeout();
        let bind = |(name, row): (ModelName, ModelRow)| {
            let ModelRow { artifact: model, backend, device, threads, batching, response_cache, .. } = row;
            let ModelRow { path, signature, memory_bytes, warm_up, .. } = row;
            let metrics = config.metrics.model(tenant, function, &name, backend.as_str());
            let key = SessionKey {
                tenant: tenant.clone(),
                model,
                backend,
                device,
                threads,
                batching,
                response_cache,
            };
            let source = ModelSource { path, idle_timeout, memory_bytes, warm_up };
            let binding = Binding {
                name: name.clone(),
                key,
                source,
                files: config.model_files.clone(),
                signature,
                metrics,
                session: ArcSwapWeak::default(),
            };
            (name, Arc::new(binding))
        };
        let models = rows.into_iter().map(bind).collect();
        Self { inference: config.inference.clone(), models, priority, pins: Mutex::default() }
    }

    /// Keeps the sessions in memory from when they are loaded until [`Self::unpin`]; says whether there is
    /// room for that.
    pub(crate) fn pin(&self) -> bool {
        let pin = |binding: &Arc<Binding>| self.inference.pin(&binding.key, &binding.source);
        let pins: Option<Vec<Pin>> = self.models.values().map(pin).collect();
        let is_room = pins.is_some();
        *self.pins.lock().unwrap_or_else(PoisonError::into_inner) = pins.unwrap_or_default();
        is_room
    }

    /// Lets the sessions go cold from now on.
    pub(crate) fn unpin(&self) {
        let pins = std::mem::take(&mut *self.pins.lock().unwrap_or_else(PoisonError::into_inner));
        drop(pins);
    }

    /// Of the function's runs, beside those of the tenant's others.
    pub(crate) fn priority(&self) -> Priority {
        self.priority
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = (&ModelName, &SessionKey)> {
        self.models.iter().map(|(name, binding)| (name, &binding.key))
    }

    /// Whether every model is loaded.
    pub(crate) fn is_resident(&self) -> bool {
        self.models.values().all(|binding| binding.session.load().strong_count() > 0)
    }

    /// Loads what is cold, all at once. What cannot be loaded is reported to the handler when it
    /// asks for it: it may not need it for this request.
    pub(crate) async fn wake(&self) {
        let loads = self.models.values().map(|binding| binding.session(&self.inference));
        futures::future::join_all(loads).await;
    }

    /// The first model, which is the only one where there is no handler: how it is run, and what it takes and
    /// gives.
    pub(crate) fn only(&self) -> Option<(&SessionKey, &Signature)> {
        self.models.values().next().map(|binding| (&binding.key, &binding.signature))
    }

    /// Memory of the sessions that are loaded; `None` if none is.
    pub(crate) fn memory_bytes(&self) -> Option<u64> {
        let memory = |binding: &Arc<Binding>| match self.inference.state(&binding.key) {
            SessionState::Ready { memory_bytes, .. } => Some(memory_bytes),
            SessionState::Cold | SessionState::Loading => None,
        };
        self.models.values().filter_map(memory).reduce(|sum, bytes| sum.saturating_add(bytes))
    }

    /// Loads what is cold.
    ///
    /// # Errors
    /// What kept the first from being loaded.
    pub(crate) async fn preload(&self) -> Result<(), InferenceError> {
        let loads = self.models.values().map(|binding| binding.session(&self.inference));
        futures::future::try_join_all(loads).await.map(drop)
    }

    /// Runs the only model.
    ///
    /// # Errors
    /// What [`Session::run`] or loading it reports.
    pub(crate) async fn run_only(
        &self,
        request: RunRequest,
        timing: Option<&Timing>,
    ) -> Result<RunOutput, InferenceError> {
        let binding = self.models.values().next().ok_or_else(|| InferenceError::Host {
            context: "running a model",
            reason: "the revision has none".into(),
        })?;
        // Loaded already, unless that failed or it has been unloaded since.
        let session = tokio::time::timeout_at(request.deadline.into(), binding.session(&self.inference));
        let session = session.await.map_err(|_| InferenceError::DeadlineExceeded)??;
        binding.run(&session, request, timing).await
    }

    /// What a handler is given for one invocation.
    pub(crate) fn within(
        self: &Arc<Self>,
        bounds: RunBounds,
        timing: Option<Arc<Timing>>,
    ) -> Arc<dyn Models> {
        Arc::new(InvocationModels { models: self.clone(), bounds, timing })
    }
}

/// What the runs of one invocation have in common.
#[derive(Clone)]
pub(crate) struct RunBounds {
    pub(crate) deadline: Instant,
    /// What the outputs of one run may be together.
    pub(crate) max_output_bytes: u64,
    /// Where the CPU time of runs is added that give no answer.
    pub(crate) unanswered: Arc<Unanswered>,
}

impl Binding {
    /// Runs the model in its session.
    async fn run(
        &self,
        session: &Arc<Session>,
        request: RunRequest,
        timing: Option<&Timing>,
    ) -> Result<RunOutput, InferenceError> {
        let began = Instant::now();
        let run = session.run(request).await?;
        let took = began.elapsed();
        self.metrics.record(took);
        if let Some(timing) = timing {
            timing.run(&self.name, took, run.queue_time, run.execution.is_none());
        }
        Ok(run)
    }

    async fn session(&self, inference: &Inference) -> Result<Arc<Session>, InferenceError> {
        if let Some(session) = self.session.load().upgrade().filter(|session| session.is_current()) {
            return Ok(session);
        }
        // Only a load reads the file, which may have to be fetched for it, and must stay until it is open.
        let _file = match inference.state(&self.key) {
            SessionState::Ready { .. } => None,
            SessionState::Cold | SessionState::Loading => {
                let held = self.files.hold(&self.key.tenant, self.key.model).await;
                Some(held.map_err(InferenceError::File)?)
            }
        };
        let session = inference.session(&self.key, &self.source).await?;
        self.session.store(Arc::downgrade(&session));
        Ok(session)
    }
}

/// The models of a revision with the bounds of one invocation.
struct InvocationModels {
    models: Arc<RevisionModels>,
    bounds: RunBounds,
    timing: Option<Arc<Timing>>,
}

impl Models for InvocationModels {
    fn load(&self, name: &str) -> BoxFuture<'static, Result<Arc<dyn Model>, InferError>> {
        let Some(binding) = self.models.models.get(name).cloned() else {
            let names: Vec<String> = self.models.models.keys().map(|name| format!("`{name}`")).collect();
            let there = if names.is_empty() { "none".into() } else { names.join(", ") };
            let shown: String = name.chars().take(80).collect();
            let detail = format!("this revision has no model `{shown}`; its manifest names {there}");
            return futures::future::ready(Err(InferError::NotFound(detail))).boxed();
        };
        let (models, bounds, timing) = (self.models.clone(), self.bounds.clone(), self.timing.clone());
        async move {
            let session = binding.session(&models.inference).await.map_err(infer_error)?;
            let priority = models.priority;
            let model: Arc<dyn Model> =
                Arc::new(InvocationModel { session, binding, bounds, priority, timing });
            Ok(model)
        }
        .boxed()
    }
}

/// A loaded model with the bounds of one invocation.
struct InvocationModel {
    session: Arc<Session>,
    binding: Arc<Binding>,
    bounds: RunBounds,
    priority: Priority,
    timing: Option<Arc<Timing>>,
}

impl Model for InvocationModel {
    fn signature(&self) -> &Signature {
        self.session.signature()
    }

    fn infer(
        self: Arc<Self>,
        inputs: Vec<(String, Tensor)>,
        outputs: Vec<String>,
    ) -> BoxFuture<'static, Result<Inferred, InferError>> {
        async move {
            let RunBounds { deadline, max_output_bytes, unanswered } = self.bounds.clone();
            let (priority, unanswered) = (self.priority, Some(unanswered));
            let request = RunRequest { inputs, outputs, deadline, max_output_bytes, priority, unanswered };
            let run = self.binding.run(&self.session, request, self.timing.as_deref()).await;
            let run = run.map_err(infer_error)?;
            Ok(Inferred { outputs: run.outputs, cpu_time: run.cpu_time, inline: run.inline })
        }
        .boxed()
    }
}

fn infer_error(error: InferenceError) -> InferError {
    match error {
        InferenceError::InvalidInput(detail) => InferError::InvalidInput(detail),
        // A handler is told the same of all of them: later, the same may succeed.
        InferenceError::Overloaded { .. }
        | InferenceError::NoMemory { .. }
        | InferenceError::NoProcess { .. }
        | InferenceError::WorkerLost { .. } => InferError::Overloaded(error.to_string()),
        InferenceError::File(ref problem) if problem.code == Code::StorageUnavailable => {
            InferError::Overloaded(error.to_string())
        }
        InferenceError::DeadlineExceeded => InferError::DeadlineExceeded,
        InferenceError::Cancelled => InferError::Cancelled,
        InferenceError::InvalidModel(_)
        | InferenceError::BackendUnavailable { .. }
        | InferenceError::Backend { .. }
        | InferenceError::File(_)
        | InferenceError::Host { .. } => InferError::Backend(error.to_string()),
    }
}
