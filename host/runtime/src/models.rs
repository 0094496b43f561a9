//! The models of one revision, as its handler sees them: the engine's traits over inference.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapWeak;
use futures::FutureExt;
use futures::future::BoxFuture;
use modelet_engine::{InferError, Inferred, Model, Models};
use modelet_inference::{
    BackendId, Inference, InferenceError, ModelSource, RunOutput, RunRequest, Session, SessionKey,
};
use modelet_observe::metrics::ModelMetrics;
use modelet_types::{FunctionName, ModelName, Signature, TenantName, Tensor};

use crate::RuntimeConfig;
use crate::revision::ModelRow;

/// The models of a revision by the names in its manifest.
pub(crate) struct RevisionModels {
    inference: Arc<Inference>,
    models: BTreeMap<ModelName, Arc<Binding>>,
}

/// One model, loaded or not.
pub(crate) struct Binding {
    key: SessionKey,
    source: ModelSource,
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
        idle_timeout: Duration,
    ) -> Self {
        let bind = |(name, row): (ModelName, ModelRow)| {
            let ModelRow { artifact, path, backend, threads, batching, signature } = row;
            let metrics = config.metrics.model(tenant, function, &name, backend.as_str());
            let key = SessionKey { tenant: tenant.clone(), model: artifact, backend, threads, batching };
            let source = ModelSource { path, idle_timeout };
            let session = ArcSwapWeak::default();
            (name, Arc::new(Binding { key, source, signature, metrics, session }))
        };
        Self { inference: config.inference.clone(), models: rows.into_iter().map(bind).collect() }
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

    /// The first model, which is the only one where there is no handler.
    pub(crate) fn only(&self) -> Option<&Binding> {
        self.models.values().next().map(AsRef::as_ref)
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
    pub(crate) async fn run_only(&self, request: RunRequest) -> Result<RunOutput, InferenceError> {
        let binding = self.only().ok_or_else(|| InferenceError::Host {
            context: "running a model",
            reason: "the revision has none".into(),
        })?;
        // Loaded already, unless that failed or it has been unloaded since.
        let session = tokio::time::timeout_at(request.deadline.into(), binding.session(&self.inference));
        let session = session.await.map_err(|_| InferenceError::DeadlineExceeded)??;
        binding.run(&session, request).await
    }

    /// What a handler is given for one invocation.
    pub(crate) fn until(self: &Arc<Self>, deadline: Instant) -> Arc<dyn Models> {
        Arc::new(InvocationModels { models: self.clone(), deadline })
    }
}

impl Binding {
    /// What runs it, and its inputs and outputs, loaded or not.
    pub(crate) fn described(&self) -> (BackendId, &Signature) {
        (self.key.backend, &self.signature)
    }

    /// Runs the model in its session.
    async fn run(&self, session: &Arc<Session>, request: RunRequest) -> Result<RunOutput, InferenceError> {
        let began = Instant::now();
        let run = session.run(request).await?;
        self.metrics.record(began.elapsed());
        Ok(run)
    }

    async fn session(&self, inference: &Inference) -> Result<Arc<Session>, InferenceError> {
        if let Some(session) = self.session.load().upgrade() {
            return Ok(session);
        }
        let session = inference.session(&self.key, &self.source).await?;
        self.session.store(Arc::downgrade(&session));
        Ok(session)
    }
}

/// The models of a revision with the deadline of one invocation.
struct InvocationModels {
    models: Arc<RevisionModels>,
    deadline: Instant,
}

impl Models for InvocationModels {
    fn load(&self, name: &str) -> BoxFuture<'static, Result<Arc<dyn Model>, InferError>> {
        let deadline = self.deadline;
        let Some(binding) = self.models.models.get(name).cloned() else {
            let names: Vec<String> = self.models.models.keys().map(|name| format!("`{name}`")).collect();
            let there = if names.is_empty() { "none".into() } else { names.join(", ") };
            let shown: String = name.chars().take(80).collect();
            let detail = format!("this revision has no model `{shown}`; its manifest names {there}");
            return futures::future::ready(Err(InferError::NotFound(detail))).boxed();
        };
        let models = self.models.clone();
        async move {
            let session = binding.session(&models.inference).await.map_err(infer_error)?;
            let model: Arc<dyn Model> = Arc::new(InvocationModel { session, binding, deadline });
            Ok(model)
        }
        .boxed()
    }
}

/// A loaded model with the deadline of one invocation.
struct InvocationModel {
    session: Arc<Session>,
    binding: Arc<Binding>,
    deadline: Instant,
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
            let request = RunRequest { inputs, outputs, deadline: self.deadline };
            let run = self.binding.run(&self.session, request).await.map_err(infer_error)?;
            Ok(Inferred { outputs: run.outputs, cpu_time: run.cpu_time, inline: run.inline })
        }
        .boxed()
    }
}

fn infer_error(error: InferenceError) -> InferError {
    match error {
        InferenceError::InvalidInput(detail) => InferError::InvalidInput(detail),
        InferenceError::Overloaded { .. } => InferError::Overloaded(error.to_string()),
        InferenceError::DeadlineExceeded => InferError::DeadlineExceeded,
        InferenceError::Cancelled => InferError::Cancelled,
        InferenceError::InvalidModel(_)
        | InferenceError::BackendUnavailable { .. }
        | InferenceError::Backend { .. }
        | InferenceError::Host { .. } => InferError::Backend(error.to_string()),
    }
}
