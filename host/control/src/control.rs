//! What the control plane consists of, and the changes that are one step.

use std::sync::Arc;
use std::time::Duration;

use dashmap::DashSet;
use modelet_engine::Engine;
use modelet_inference::Inference;
use modelet_keyvalue::{KeyValueStores, Owner};
use modelet_observe::{FunctionLogs, Ledger, Metrics, Position};
use modelet_store::{Actor, Artifact, Function, Precondition, Store, StoreError};
use modelet_types::{Ceiling, Code, Digest, FunctionName, Problem, RevisionNumber, TenantName, TrafficSplit};
use tokio::sync::{Mutex, Semaphore};

use crate::audit::{AuditConfig, Remembered};
use crate::identity::Keyring;
use crate::usage_export::Exporter;
use crate::{Billing, Publisher, UsageExport};

/// Components that are compiled at one time. Cranelift uses every core for one.
const COMPILATIONS: usize = 1;

/// What the control plane stands on, and its settings.
pub struct ControlConfig {
    /// Keeps functions, revisions and artifacts.
    pub store: Arc<Store>,
    /// Compiles handlers.
    pub engine: Engine,
    /// Checks models.
    pub inference: Arc<Inference>,
    /// Keeps what handlers say; a deleted function's log goes with it.
    pub logs: Arc<FunctionLogs>,
    /// Keeps what handlers keep; a deleted function's goes with it.
    pub key_values: Arc<KeyValueStores>,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// What invocations used, which is added up.
    pub ledger: Arc<Ledger>,
    /// How long records are kept after that; `None`: for ever.
    pub ledger_retention: Option<Duration>,
    /// Where records are sent; `None`: nowhere.
    pub usage_export: Option<UsageExport>,
    /// How the record of changes is kept.
    pub audit: AuditConfig,
    /// What usage costs.
    pub billing: Billing,
    /// The most that a manifest may ask for.
    pub ceiling: Ceiling,
}

/// The control plane of one host. Cloning shares it.
#[derive(Clone)]
pub struct Control {
    pub(crate) config: Arc<ControlConfig>,
    pub(crate) publisher: Arc<dyn Publisher>,
    pub(crate) publishing: Arc<Mutex<()>>,
    pub(crate) compiling: Arc<Semaphore>,
    /// How far the ledger has been added up; `None` until the store was asked.
    pub(crate) usage_cursor: Arc<Mutex<Option<Position>>>,
    /// Sends usage records, if they are to be sent.
    pub(crate) exporter: Option<Arc<Mutex<Exporter>>>,
    /// What the file of hashes has, or had while this host ran; `None` until it was read.
    pub(crate) remembered: Arc<Mutex<Option<Remembered>>>,
    /// Held by whoever verifies the record of changes.
    pub(crate) verifying: Arc<Mutex<()>>,
    pub(crate) keyring: Arc<Keyring>,
    /// Every tenant, for requests that name one.
    pub(crate) tenants: Arc<DashSet<TenantName>>,
}

impl Control {
    /// The control plane that publishes to `publisher`.
    pub fn new(config: ControlConfig, publisher: Arc<dyn Publisher>) -> Self {
        let exporter = config.usage_export.clone().map(|export| {
            let (store, ledger) = (config.store.clone(), config.ledger.clone());
            Arc::new(Mutex::new(Exporter::new(store, ledger, config.metrics.clone(), export)))
        });
        Self {
            config: Arc::new(config),
            publisher,
            publishing: Arc::default(),
            compiling: Arc::new(Semaphore::new(COMPILATIONS)),
            usage_cursor: Arc::default(),
            exporter,
            remembered: Arc::default(),
            verifying: Arc::default(),
            keyring: Arc::default(),
            tenants: Arc::default(),
        }
    }

    /// What is stored: for reading, and for uploads, which change nothing that is published. Every
    /// other change goes through this type.
    pub fn store(&self) -> &Arc<Store> {
        &self.config.store
    }

    /// Divides a function's calls anew, or lets that wait for a second person, where the function needs one.
    ///
    /// # Errors
    /// If there is no such function or revision, or it is not what `precondition` says.
    pub async fn set_traffic(
        &self,
        actor: &Actor,
        tenant: &TenantName,
        function: &FunctionName,
        split: TrafficSplit,
        precondition: Precondition,
    ) -> Result<Function, Problem> {
        let (this, actor, tenant, function) = (self.clone(), actor.clone(), tenant.clone(), function.clone());
        to_the_end(async move {
            let changed = this.store().set_traffic(&actor, &tenant, &function, split, &precondition).await;
            this.routed(&tenant, &function, changed).await
        })
        .await
    }

    /// Goes back to the traffic split before the present one; not again if the same request did so before.
    ///
    /// # Errors
    /// If there is no such function, nothing to go back to, or it is not what `precondition`
    /// says.
    pub async fn rollback(
        &self,
        actor: &Actor,
        tenant: &TenantName,
        function: &FunctionName,
        precondition: Precondition,
    ) -> Result<Function, Problem> {
        let (this, actor, tenant, function) = (self.clone(), actor.clone(), tenant.clone(), function.clone());
        to_the_end(async move {
            let changed = this.store().rollback(&actor, &tenant, &function, &precondition).await;
            this.routed(&tenant, &function, changed).await
        })
        .await
    }

    /// Removes a function with all its revisions and secrets, what it keeps, its log and its series.
    ///
    /// # Errors
    /// If there is no such function.
    pub async fn delete_function(
        &self,
        actor: &Actor,
        tenant: &TenantName,
        function: &FunctionName,
        precondition: Precondition,
    ) -> Result<(), Problem> {
        let (this, actor, tenant, function) = (self.clone(), actor.clone(), tenant.clone(), function.clone());
        to_the_end(async move {
            let deleted = this.store().delete_function(&actor, &tenant, &function, &precondition).await;
            let deleted = this.settled(&tenant, &function, deleted).await?;
            this.republish(&tenant, &function).await?;
            this.config.metrics.remove_function(&tenant, &function);
            if let Err(error) = this.config.logs.remove(&tenant, &function).await {
                tracing::warn!(%tenant, %function, %error, "cannot remove the function's log");
            }
            let owner = Owner { tenant, function, id: deleted.id };
            if let Err(error) = this.config.key_values.remove(&owner).await {
                // The next collection tries again.
                let Owner { tenant, function, .. } = &owner;
                tracing::warn!(%tenant, %function, %error, "cannot remove what the function kept");
            }
            Ok(())
        })
        .await
    }

    /// Removes a revision that takes no calls.
    ///
    /// # Errors
    /// If there is no such revision, or it takes calls.
    pub async fn delete_revision(
        &self,
        actor: &Actor,
        tenant: &TenantName,
        function: &FunctionName,
        revision: RevisionNumber,
    ) -> Result<(), Problem> {
        let (this, actor, tenant, function) = (self.clone(), actor.clone(), tenant.clone(), function.clone());
        to_the_end(async move {
            this.store().delete_revision(&actor, &tenant, &function, revision).await?;
            this.config.metrics.remove_revision(&tenant, &function, revision);
            Ok(())
        })
        .await
    }

    /// What a change of a function gave. If it failed, what the store says is published all the same: a change
    /// whose answer was lost may have been made, and then says "no such function" to whoever tries again.
    pub(crate) async fn settled<T>(
        &self,
        tenant: &TenantName,
        function: &FunctionName,
        changed: Result<T, StoreError>,
    ) -> Result<T, Problem> {
        if changed.is_err() {
            self.republish(tenant, function).await?;
        }
        Ok(changed?)
    }

    /// The artifact that `field` of a manifest names.
    pub(crate) async fn artifact(
        &self,
        tenant: &TenantName,
        digest: Digest,
        field: &str,
    ) -> Result<Artifact, Problem> {
        self.store().artifact(tenant, digest).await?.ok_or_else(|| {
            Problem::new(Code::NotFound, format!("artifact {digest} is not there: upload it first")).at(field)
        })
    }
}

/// Runs a change to its end even if whoever asked for it leaves: what the store has committed must
/// also be published.
pub(crate) async fn to_the_end<T: Send + 'static>(
    change: impl Future<Output = Result<T, Problem>> + Send + 'static,
) -> Result<T, Problem> {
    tokio::spawn(change).await.unwrap_or_else(|error| {
        tracing::error!(%error, "a change panicked");
        Err(Problem::new(
            Code::Internal,
            "the change failed on the way; look at the present state before trying again",
        ))
    })
}
