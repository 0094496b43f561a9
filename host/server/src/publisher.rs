//! Where the two planes meet: what the control plane publishes becomes the data plane's table.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use modelet_control::{Publication, PublishedRevision, Publisher};
use modelet_runtime::{ModelRow, RevisionRow, RouteRow, Runtime};
use modelet_types::plan::Plan;
use modelet_types::{FunctionName, Problem, Quotas, TenantName, Usage};

/// Publishes to the data plane of the same host.
pub(crate) struct ToRuntime(pub(crate) Arc<Runtime>);

impl Publisher for ToRuntime {
    fn publish(&self, publication: Publication) {
        let Publication { tenant, function, revisions } = publication;
        let revisions = revisions.into_iter().map(revision_row).collect();
        self.0.publish(RouteRow {
            tenant,
            function: function.name,
            id: function.id,
            split: function.traffic,
            quotas: function.quotas,
            revisions,
        });
    }

    fn preload(
        &self,
        tenant: &TenantName,
        function: &FunctionName,
        published: PublishedRevision,
    ) -> BoxFuture<'static, Result<(), Problem>> {
        let (runtime, tenant, function) = (self.0.clone(), tenant.clone(), function.clone());
        async move { runtime.preload_models(&tenant, &function, revision_row(published)).await }.boxed()
    }

    fn set_quotas(&self, tenant: &TenantName, quotas: &Quotas, plan: Option<Plan>) {
        self.0.set_quotas(tenant, quotas, plan);
    }

    fn begin_with(&self, tenant: &TenantName, used: Usage) {
        self.0.begin_with(tenant, used);
    }

    fn begin_function_with(&self, tenant: &TenantName, function: &FunctionName, used: Usage) {
        self.0.begin_function_with(tenant, function, used);
    }

    fn retract(&self, tenant: &TenantName, function: &FunctionName) {
        self.0.retract(tenant, function);
    }
}

fn revision_row(published: PublishedRevision) -> RevisionRow {
    let PublishedRevision { revision, details, artifacts, secrets } = published;
    let models = details.models.into_iter().filter_map(|(name, checked)| {
        let spec = revision.spec.models.get(&name)?;
        let artifact = artifacts.get(&spec.artifact)?;
        let row = ModelRow {
            artifact: spec.artifact,
            path: artifact.path.clone(),
            backend: checked.backend,
            device: spec.device,
            threads: spec.threads,
            batching: spec.batching.clone(),
            response_cache: spec.response_cache.clone(),
            signature: checked.signature,
            // Deployed before it was measured: at least the file.
            memory_bytes: checked.memory_bytes.unwrap_or(artifact.size_bytes),
            warm_up: if spec.warm_up { spec.golden.as_slice().into() } else { Arc::default() },
        };
        Some((name, row))
    });
    let models = models.collect();
    let takes_http = details.kind.is_some();
    RevisionRow { number: revision.number, takes_http, models, spec: revision.spec, secrets }
}
