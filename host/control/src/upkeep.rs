//! What the control plane does by itself: compiling after an upgrade, and collecting garbage.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use modelet_store::{Collected, Function, Revision};
use modelet_types::{Code, Problem, TenantName};

use crate::Control;

/// How often garbage is collected.
const COLLECT_EVERY: Duration = Duration::from_secs(600);

/// How long an artifact that no revision names is kept, so that a deploy under way finds what it
/// has uploaded, and an interrupted upload can be resumed.
const GRACE: Duration = Duration::from_secs(24 * 3600);

/// How often it is written down when keys were last used.
const WRITE_LAST_USED_EVERY: Duration = Duration::from_secs(60);

impl Control {
    /// Writes down when keys were last used, again and again. Never returns.
    pub async fn write_last_used_forever(&self) -> std::convert::Infallible {
        let mut interval = tokio::time::interval(WRITE_LAST_USED_EVERY);
        loop {
            interval.tick().await;
            if let Err(problem) = self.write_last_used().await {
                tracing::error!(%problem, "cannot write down when keys were last used");
            }
        }
    }

    /// Compiles the handlers whose code this host does not have: now, after an upgrade of the
    /// engine, and whenever a call finds code missing or damaged. Their functions answer 503 until
    /// then. Never returns.
    pub async fn compile_missing_forever(&self) -> std::convert::Infallible {
        loop {
            if let Err(problem) = self.compile_missing().await {
                tracing::error!(%problem, "cannot compile what is missing");
            }
            self.config.engine.code().missing().await;
        }
    }

    async fn compile_missing(&self) -> Result<(), Problem> {
        let mut seen = BTreeSet::new();
        for route in self.store().all_routes().await? {
            for revision in route.revisions.iter().filter(|revision| seen.insert(revision.spec.component)) {
                self.compile_if_missing(&route.tenant, revision).await;
            }
        }
        Ok(())
    }

    /// Compiles what a function's traffic split names, if this host does not have it: a revision
    /// that took no calls was left out when the engine was upgraded.
    pub(crate) async fn compile_routed(
        &self,
        tenant: &TenantName,
        function: &Function,
    ) -> Result<(), Problem> {
        for share in function.traffic.shares() {
            if let Some(revision) = self.store().revision(tenant, &function.name, share.revision).await? {
                self.compile_if_missing(tenant, &revision).await;
            }
        }
        Ok(())
    }

    /// A handler that does not compile is logged, its function stays as it is, and the next one has its
    /// turn.
    async fn compile_if_missing(&self, tenant: &TenantName, revision: &Revision) {
        let Some(component) = revision.spec.component else { return };
        if self.config.engine.code().contains(&component) {
            return;
        }
        tracing::info!(%tenant, function = %revision.function, %component, "compiling for this engine");
        let compiled = async {
            let artifact = self.artifact(tenant, component, "component").await?;
            self.ensure_code(&artifact).await
        };
        if let Err(problem) = compiled.await {
            tracing::error!(%tenant, function = %revision.function, %component, %problem, "cannot compile");
        }
    }

    /// Collects garbage, again and again. Never returns.
    pub async fn collect_garbage_forever(&self) -> std::convert::Infallible {
        let mut interval = tokio::time::interval(COLLECT_EVERY);
        loop {
            interval.tick().await;
            match self.collect_garbage().await {
                Ok(collected) if collected.bytes == 0 => {}
                Ok(collected) => tracing::info!(
                    artifacts = collected.artifacts,
                    blobs = collected.blobs,
                    uploads = collected.uploads,
                    bytes = collected.bytes,
                    "collected garbage"
                ),
                Err(problem) => tracing::error!(%problem, "cannot collect garbage"),
            }
        }
    }

    async fn collect_garbage(&self) -> Result<Collected, Problem> {
        // Each by itself: a bucket that is away must not keep the rest from being removed.
        let collected = self.store().collect_garbage(GRACE).await;
        let code = self.remove_unused_code().await;
        let prepared = self.remove_unused_prepared_models().await;
        let kept = self.remove_orphaned_key_values().await;
        let collected = collected?;
        code.and(prepared).and(kept).map(|()| collected)
    }

    /// Removes what functions kept that are gone: a host that was killed between the two leaves it behind,
    /// and so does an invocation that outlives its function.
    async fn remove_orphaned_key_values(&self) -> Result<(), Problem> {
        let failed = |error: io::Error| {
            Problem::new(Code::Internal, format!("cannot remove what deleted functions kept: {error}"))
        };
        // In this order: what is there belongs to a function that was there before, and no other function
        // gets its id.
        let stored = self.config.key_values.owners().await.map_err(failed)?;
        let functions = self.store().function_ids().await?;
        for owner in stored {
            if !functions.contains(&(owner.tenant.clone(), owner.id)) {
                tracing::info!(tenant = %owner.tenant, function = %owner.function, "removing what it kept");
                self.config.key_values.remove(&owner).await.map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Removes compiled code whose component nobody has any more: after the component itself, so
    /// that whatever is stored has its code.
    async fn remove_unused_code(&self) -> Result<(), Problem> {
        // Nothing is compiled meanwhile, so no code can be there before its component is seen.
        let _turn = self.compiling.acquire().await.expect("the semaphore of compilations is never closed");
        let stored = self.store().digests().await?;
        let engine = self.config.engine.clone();
        let work = move || -> io::Result<()> {
            let compiled = engine.code().components()?;
            compiled.iter().filter(|component| !stored.contains(component)).try_for_each(|component| {
                tracing::debug!(%component, "removing its compiled code");
                engine.code().remove(component)
            })
        };
        let removed = tokio::task::spawn_blocking(work).await.map_err(io::Error::other).flatten();
        removed.map_err(|error| Problem::new(Code::Internal, format!("cannot remove compiled code: {error}")))
    }

    /// Removes what was prepared of models that nobody has any more.
    async fn remove_unused_prepared_models(&self) -> Result<(), Problem> {
        let failed = |error: io::Error| {
            Problem::new(Code::Internal, format!("cannot remove prepared models: {error}"))
        };
        // In this order: the model of what is there was stored before.
        let inference = self.config.inference.clone();
        let read = tokio::task::spawn_blocking(move || inference.prepared_models()).await;
        let prepared = read.map_err(io::Error::other).flatten().map_err(failed)?;
        let stored = self.store().digests().await?;
        let inference = self.config.inference.clone();
        let work = move || -> io::Result<()> {
            prepared.iter().filter(|model| !stored.contains(model)).try_for_each(|model| {
                tracing::debug!(%model, "removing what was prepared of it");
                inference.remove_prepared(model)
            })
        };
        let removed = tokio::task::spawn_blocking(work).await;
        removed.map_err(io::Error::other).flatten().map_err(failed)
    }
}
