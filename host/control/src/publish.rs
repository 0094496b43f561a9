//! From what the store says to what the data plane reads.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use jiff::Timestamp;
use modelet_store::{Artifact, Function, Revision, Route, hour_of};
use modelet_types::plan::Plan;
use modelet_types::{Code, Digest, FunctionName, Problem, Quotas, Secrets, TenantName, Usage};

use crate::{Control, Month, RevisionDetails};

/// Whoever keeps the routing table.
pub trait Publisher: Send + Sync {
    /// Puts a function in place of what its name meant before.
    fn publish(&self, publication: Publication);

    /// Loads the models of a revision that is about to be published.
    fn preload(
        &self,
        tenant: &TenantName,
        function: &FunctionName,
        revision: PublishedRevision,
    ) -> BoxFuture<'static, Result<(), Problem>>;

    /// Says how much a tenant may use, and what it pays.
    fn set_quotas(&self, tenant: &TenantName, quotas: &Quotas, plan: Option<Plan>);

    /// Says what a tenant used in this month before the host started.
    fn begin_with(&self, tenant: &TenantName, used: Usage);

    /// The same of a function that is published.
    fn begin_function_with(&self, tenant: &TenantName, function: &FunctionName, used: Usage);

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
    /// The models' artifacts that it names. Their bytes may have to be fetched.
    pub artifacts: BTreeMap<Digest, Artifact>,
    /// The secrets that it names.
    pub secrets: Secrets,
}

impl Control {
    /// Publishes every function in the store, and says what each has used this month, as far as that is added up
    /// (`load_tenants`). Done once, after it and before the first request. A function that
    /// cannot be published is logged and left out, so that it does not keep the others from starting.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn publish_all(&self) -> Result<(), Problem> {
        for route in self.store().all_routes().await? {
            let (tenant, function) = (route.tenant.clone(), route.function.name.clone());
            if !self.config.ledger.records_usage() && route.function.quotas.has_months() {
                tracing::error!(
                    %tenant, %function,
                    "the function has quotas of a month, and none is ever reached while `ledger.durability` is `off`"
                );
            }
            let is_preloaded = route.revisions.iter().any(|revision| revision.spec.scale.preloads());
            if let Err(problem) = self.publish_route(route).await {
                tracing::error!(%tenant, %function, %problem, "cannot publish the function");
            } else if is_preloaded {
                // Beside the start, which does not wait for models.
                let this = self.clone();
                tokio::spawn(async move { this.preload(&tenant, &function).await });
            }
        }
        let month = Month::of(Timestamp::now()).start();
        for (tenant, function, used) in self.store().usage_by_function_since(hour_of(month)).await? {
            self.publisher.begin_function_with(&tenant, &function, used);
        }
        Ok(())
    }

    /// Loads the models of the revisions that are to be loaded before they are called. What cannot be
    /// loaded is logged, and told to the calls that need it.
    async fn preload(&self, tenant: &TenantName, name: &FunctionName) {
        let failed = |problem: Problem| {
            tracing::warn!(%tenant, function = %name, %problem, "cannot preload the models");
        };
        let (function, revisions) = match self.route(tenant, name).await {
            Ok(Some(route)) => (route.function, route.revisions),
            Ok(None) => return,
            Err(problem) => return failed(problem),
        };
        let preloaded = revisions.into_iter().filter(|revision| revision.spec.scale.preloads());
        let loads = preloaded.map(async |revision| {
            let published = self.published(tenant, &function, revision).await?;
            self.publisher.preload(tenant, name, published).await
        });
        let loaded = futures::future::join_all(loads).await;
        loaded.into_iter().filter_map(Result::err).for_each(failed);
    }

    /// As [`Self::republish`], where revisions may be given traffic: those that are to be loaded before their
    /// first call are. Not under the lock, which other functions wait for.
    pub(crate) async fn preload_and_republish(
        &self,
        tenant: &TenantName,
        name: &FunctionName,
    ) -> Result<(), Problem> {
        self.preload(tenant, name).await;
        self.republish(tenant, name).await
    }

    /// Publishes what the store says about one function now.
    pub(crate) async fn republish(&self, tenant: &TenantName, name: &FunctionName) -> Result<(), Problem> {
        // One at a time, and what is read is read inside: otherwise of two changes the earlier
        // could be published last.
        let _publishing = self.publishing.lock().await;
        match self.route(tenant, name).await? {
            Some(route) => self.publish_route(route).await,
            None => {
                self.publisher.retract(tenant, name);
                Ok(())
            }
        }
    }

    /// A function with the revisions that its split names.
    async fn route(&self, tenant: &TenantName, name: &FunctionName) -> Result<Option<Route>, Problem> {
        let Some(function) = self.store().function(tenant, name).await? else { return Ok(None) };
        let mut revisions = Vec::new();
        for share in function.traffic.shares() {
            if let Some(revision) = self.store().revision(tenant, name, share.revision).await? {
                revisions.push(revision);
            }
        }
        Ok(Some(Route { tenant: tenant.clone(), function, revisions }))
    }

    async fn publish_route(&self, route: Route) -> Result<(), Problem> {
        let Route { tenant, function, revisions } = route;
        let mut published = Vec::with_capacity(revisions.len());
        for revision in revisions {
            published.push(self.published(&tenant, &function, revision).await?);
        }
        self.publisher.publish(Publication { tenant, function, revisions: published });
        Ok(())
    }

    async fn published(
        &self,
        tenant: &TenantName,
        function: &Function,
        revision: Revision,
    ) -> Result<PublishedRevision, Problem> {
        let details = details_of(&revision)?;
        let mut artifacts = BTreeMap::new();
        for model in revision.spec.models.values() {
            let artifact = self.artifact(tenant, model.artifact, "models").await?;
            artifacts.insert(model.artifact, artifact);
        }
        let secrets = self.store().secret_values(tenant, function, &revision.spec.secrets).await?;
        Ok(PublishedRevision { revision, details, artifacts, secrets })
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
