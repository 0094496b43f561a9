//! From what the store says to what the data plane reads.

use std::collections::BTreeMap;
use std::path::PathBuf;

use modelet_store::{Function, Revision, Route};
use modelet_types::plan::Plan;
use modelet_types::{Code, Digest, FunctionName, Problem, Quotas, Secrets, TenantName, Usage};

use crate::{Control, RevisionDetails};

/// Whoever keeps the routing table.
pub trait Publisher: Send + Sync {
    /// Puts a function in place of what its name meant before.
    fn publish(&self, publication: Publication);

    /// Says how much a tenant may use, and what it pays.
    fn set_quotas(&self, tenant: &TenantName, quotas: Quotas, plan: Option<Plan>);

    /// Says what a tenant used in this month before the host started.
    fn begin_with(&self, tenant: &TenantName, used: Usage);

    /// Takes a function out.
    fn retract(&self, tenant: &TenantName, function: &FunctionName);
}

/// One function with everything that answering its calls needs.
pub struct Publication {
    /// Whose function it is.
    pub tenant: TenantName,
    /// The function with its traffic split.
    pub function: Function,
    /// The revisions that the split names.
    pub revisions: Vec<PublishedRevision>,
}

/// One revision of a [`Publication`].
pub struct PublishedRevision {
    /// The revision.
    pub revision: Revision,
    /// What was found out about it.
    pub details: RevisionDetails,
    /// Where the artifacts that it names are.
    pub paths: BTreeMap<Digest, PathBuf>,
    /// The secrets that it names.
    pub secrets: Secrets,
}

impl Control {
    /// Publishes every function in the store. Done once, before the first request. A function that
    /// cannot be published is logged and left out, so that it does not keep the others from starting.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn publish_all(&self) -> Result<(), Problem> {
        for route in self.store().all_routes().await? {
            let (tenant, function) = (route.tenant.clone(), route.function.name.clone());
            if let Err(problem) = self.publish_route(route).await {
                tracing::error!(%tenant, %function, %problem, "cannot publish the function");
            }
        }
        Ok(())
    }

    /// Publishes what the store says about one function now.
    pub(crate) async fn republish(&self, tenant: &TenantName, name: &FunctionName) -> Result<(), Problem> {
        // One at a time, and what is read is read inside: otherwise of two changes the earlier
        // could be published last.
        let _publishing = self.publishing.lock().await;
        let Some(function) = self.store().function(tenant, name).await? else {
            self.publisher.retract(tenant, name);
            return Ok(());
        };
        let mut revisions = Vec::new();
        for share in function.traffic.shares() {
            if let Some(revision) = self.store().revision(tenant, name, share.revision).await? {
                revisions.push(revision);
            }
        }
        self.publish_route(Route { tenant: tenant.clone(), function, revisions }).await
    }

    async fn publish_route(&self, route: Route) -> Result<(), Problem> {
        let Route { tenant, function, revisions } = route;
        let mut published = Vec::with_capacity(revisions.len());
        for revision in revisions {
            let details = details_of(&revision)?;
            let mut paths = BTreeMap::new();
            for model in revision.spec.models.values() {
                let artifact = self.artifact(&tenant, model.artifact, "models").await?;
                paths.insert(model.artifact, artifact.path);
            }
            let secrets = self.store().secret_values(&tenant, &function, &revision.spec.secrets).await?;
            published.push(PublishedRevision { revision, details, paths, secrets });
        }
        self.publisher.publish(Publication { tenant, function, revisions: published });
        Ok(())
    }
}

/// Reads back what `deploy` stored.
pub(crate) fn details_of(revision: &Revision) -> Result<RevisionDetails, Problem> {
    serde_json::from_value(revision.details.clone()).map_err(|error| {
        let detail = format!(
            "the details of revision {} of function `{}` cannot be read: {error}",
            revision.number, revision.function
        );
        Problem::new(Code::Internal, detail)
    })
}
