//! Loading before a call needs it, and unloading before idle time is over: when a revision is about to be
//! published, when it has been, and when a protocol asks.

use std::sync::Arc;

use modelet_engine::Engine;
use modelet_observe::Metrics;
use modelet_types::{Code, FunctionName, Problem, TenantName};
use tokio::time::error::Elapsed;

use crate::Runtime;
use crate::models::RevisionModels;
use crate::revision::{Revision, RevisionRow};
use crate::routing::Routed;
use crate::sweep::Added;

impl Runtime {
    /// Loads the models of a revision, and its handler if it has one, if they are cold.
    ///
    /// # Errors
    /// What kept them from being loaded.
    pub async fn load_now(&self, routed: &Routed) -> Result<(), Problem> {
        let revision = &routed.0;
        let added = self.residents.add(revision);
        let loading = async {
            revision.models.preload().await?;
            if revision.component.is_some() {
                revision.wake_handler(&self.config.engine, &self.config.metrics).await?;
            }
            Ok::<_, Problem>(())
        };
        let loaded = tokio::time::timeout(self.config.wake_timeout, loading).await;
        // Whoever swept meanwhile has found it asleep, and forgotten it.
        added.again(revision);
        loaded.map_err(late)??;
        self.residents.changed();
        Ok(())
    }

    /// Loads the models of a revision that is about to be published, so that its first call finds them.
    ///
    /// # Errors
    /// What kept the first from being loaded.
    pub async fn preload_models(
        &self,
        tenant: &TenantName,
        function: &FunctionName,
        row: RevisionRow,
    ) -> Result<(), Problem> {
        let priority = row.spec.concurrency.priority;
        let models =
            RevisionModels::new(&self.config, tenant, function, row.models, &row.spec.scale, priority);
        let loading = tokio::time::timeout(self.config.wake_timeout, models.preload());
        loading.await.map_err(late)??;
        self.residents.changed();
        Ok(())
    }

    /// Drops the models of a revision from memory, without waiting for their idle time.
    /// Calls that use it end as they would.
    ///
    /// # Errors
    /// If that panics.
    pub async fn unload(&self, routed: &Routed) -> Result<(), Problem> {
        let keys: Vec<_> = routed.0.models.keys().map(|(_, key)| key.clone()).collect();
        let inference = self.config.inference.clone();
        // Freeing a model takes milliseconds.
        let unloading =
            tokio::task::spawn_blocking(move || keys.iter().for_each(|key| inference.unload(key)));
        let failed = |error| Problem::new(Code::Internal, format!("unloading the model failed: {error}"));
        unloading.await.map_err(failed)
    }
}

fn late(_: Elapsed) -> Problem {
    Problem::new(Code::Overloaded, "the model is not loaded yet; it goes on")
}

impl Revision {
    /// Loads what a revision that was published is to have before it is called. What fails is tried again by
    /// the first call.
    pub(crate) async fn preload(self: Arc<Self>, engine: Engine, metrics: Arc<Metrics>, added: Added) {
        // Mostly loaded already; now this revision knows where.
        self.models.wake().await;
        if self.component.is_some()
            && let Err(problem) = self.wake_handler(&engine, &metrics).await
        {
            let (tenant, function, revision) = (&self.tenant, &self.function, self.number.0);
            tracing::warn!(%tenant, %function, revision, %problem, "cannot preload the handler");
        }
        // Whoever swept meanwhile has found it asleep, and forgotten it.
        added.again(&self);
    }
}
