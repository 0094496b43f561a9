//! One load of a model: its file read, a backend's session made of it, and warmed up.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use modelet_types::manifest::{self, Golden};
use modelet_types::{Problem, Signature};
use tokio::runtime::Handle;

use crate::backend::{Backend as _, BackendSession, LoadRequest};
use crate::batch::Rule;
use crate::pool::Pool;
use crate::residency::{ModelSource, Residency, SessionKey};
use crate::response_cache::ResponseCache;
use crate::room::Taken;
use crate::service::Backends;
use crate::session::{Settings, panic_message};
use crate::stats::Counters;
use crate::{Control, InferenceError, ModelFile, Session, check, onnx};

/// What a session takes: the model, and the answers that are kept.
pub(crate) fn memory_of(model_bytes: u64, cache: Option<&manifest::ResponseCache>) -> u64 {
    model_bytes.saturating_add(cache.map_or(0, |cache| cache.max_bytes))
}

/// What a load needs, on the thread that does it.
pub(crate) struct Loader {
    pub backends: Arc<Backends>,
    pub residency: Arc<Residency>,
    pub runs: Arc<Pool>,
    pub counters: Arc<Counters>,
    pub inline_threshold: Duration,
    pub is_trusted: Arc<AtomicBool>,
    pub loads: Weak<Pool>,
    pub load_timeout: Duration,
    pub max_threads: u32,
    pub queue: usize,
    pub warm_up_timeout: Duration,
    /// Where the time of warming up runs out, since the thread that does it cannot look.
    pub timers: Handle,
}

impl Loader {
    pub fn load(
        self,
        source: &ModelSource,
        key: &SessionKey,
        memory: Taken,
    ) -> Result<Arc<Session>, InferenceError> {
        let begin = Instant::now();
        let counters = Arc::clone(&self.counters);
        let outcome = guarded(|| self.session(source, key, memory));
        match &outcome {
            Ok(session) => {
                counters.loads.fetch_add(1, Ordering::Relaxed);
                let (load_ms, memory_bytes) = (begin.elapsed().as_millis(), session.memory_bytes());
                let prepared = session.is_prepared();
                if prepared {
                    counters.prepared_loads.fetch_add(1, Ordering::Relaxed);
                }
                tracing::debug!(
                    tenant = %key.tenant, model = %key.model, %load_ms, memory_bytes, prepared,
                    "session loaded"
                );
            }
            Err(_) => _ = counters.failed_loads.fetch_add(1, Ordering::Relaxed),
        }
        outcome
    }

    fn session(
        self,
        source: &ModelSource,
        key: &SessionKey,
        memory: Taken,
    ) -> Result<Arc<Session>, InferenceError> {
        let file = Arc::new(ModelFile::open(&source.path)?);
        let facts = onnx::read(&file)?;
        // A revision may have been deployed on a host that allowed more.
        let threads = usize::try_from(key.threads.clamp(1, self.max_threads)).unwrap_or(1);
        // The manifest was checked at deploy: what is narrowed here was asked for there.
        let request = LoadRequest {
            file: &file,
            facts: &facts,
            device: key.device,
            threads,
            may_narrow: true,
            digest: Some(&key.model),
        };
        let here = self.backends.get(key.backend);
        let loaded = if self.is_trusted.load(Ordering::Relaxed) {
            here.load(&request)?
        } else {
            let Backends { apart, .. } = &*self.backends;
            apart.backend(&key.tenant, here.status(), &self.loads, self.load_timeout).load(&request)?
        };
        if !source.warm_up.is_empty() {
            // It ran at the deploy. What fails here is told to the requests that it fails too.
            if let Err(problem) = self.warm_up(&*loaded, &facts.signature, &source.warm_up) {
                tracing::warn!(tenant = %key.tenant, model = %key.model, %problem, "warming up failed");
            }
        }
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
            memory,
            cache: key.response_cache.as_ref().map(ResponseCache::new),
            on_poisoned: Box::new(move || {
                if let Some(residency) = residency.upgrade() {
                    residency.remove(&poisoned);
                }
            }),
        };
        Ok(Arc::new(Session::new(key.backend, facts.signature, loaded, settings)))
    }

    fn warm_up(
        &self,
        session: &dyn BackendSession,
        signature: &Signature,
        golden: &[Golden],
    ) -> Result<(), Problem> {
        let deadline = Instant::now() + self.warm_up_timeout;
        let control = Arc::new(Control::new(deadline));
        let expiring = Arc::clone(&control);
        let timer = self.timers.spawn(async move {
            tokio::time::sleep_until(deadline.into()).await;
            expiring.expire();
        });
        let warmed = check::warm_up(session, signature, golden, &control);
        timer.abort();
        warmed
    }
}

/// Turns a panic of a backend into an error.
pub(crate) fn guarded<T>(work: impl FnOnce() -> Result<T, InferenceError>) -> Result<T, InferenceError> {
    // What a load was making is dropped with the panic, so nothing half made is seen.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let message = panic_message(&*panic);
        Err(InferenceError::InvalidModel(format!("the backend panicked on the model: {message}")))
    })
}
