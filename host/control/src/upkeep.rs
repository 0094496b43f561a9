//! What the control plane does by itself: compiling after an upgrade, and collecting garbage.

use std::collections::BTreeSet;
use std::time::Duration;

use modelet_types::Problem;

use crate::Control;

/// How often garbage is collected.
const COLLECT_EVERY: Duration = Duration::from_secs(600);

/// How long an artifact that no revision names is kept, so that a deploy under way finds what it
/// has uploaded, and an interrupted upload can be resumed.
const GRACE: Duration = Duration::from_secs(24 * 3600);

impl Control {
    /// Compiles the handlers whose code this host does not have: after an upgrade of the engine,
    /// or when the folder of compiled code was lost. Their functions answer 503 until then.
    ///
    /// # Errors
    /// If the store fails. A handler that does not compile is logged, and its function stays as it
    /// is.
    pub async fn compile_missing(&self) -> Result<(), Problem> {
        let mut seen = BTreeSet::new();
        for route in self.store().all_routes().await? {
            for revision in route.revisions {
                let component = revision.spec.component;
                if !seen.insert(component) || self.config.engine.code().contains(&component) {
                    continue;
                }
                let artifact = self.artifact(&route.tenant, component, "component").await?;
                tracing::info!(function = %revision.function, %component, "compiling for this engine");
                if let Err(problem) = self.ensure_code(&artifact).await {
                    tracing::error!(function = %revision.function, %component, %problem, "cannot compile");
                }
            }
        }
        Ok(())
    }

    /// Collects garbage, again and again. Never returns.
    pub async fn collect_garbage_forever(&self) -> std::convert::Infallible {
        let mut interval = tokio::time::interval(COLLECT_EVERY);
        loop {
            interval.tick().await;
            match self.store().collect_garbage(GRACE).await {
                Ok(collected) if collected.bytes == 0 => {}
                Ok(collected) => tracing::info!(
                    artifacts = collected.artifacts,
                    blobs = collected.blobs,
                    uploads = collected.uploads,
                    bytes = collected.bytes,
                    "collected garbage"
                ),
                Err(error) => tracing::error!(%error, "cannot collect garbage"),
            }
        }
    }
}
