//! What a function's owner says of it, its quotas and whether its traffic needs a second person, and what that
//! person says.

use modelet_store::{Actor, Function, FunctionSetting, Precondition, StoreError};
use modelet_types::{FunctionName, Problem, TenantName};

use crate::Control;
use crate::control::to_the_end;

impl Control {
    /// Sets what a function's owner says of it, from its next invocation on.
    ///
    /// # Errors
    /// If there is no such function, the quotas make no sense, or it is not what `precondition` says.
    pub async fn set_function(
        &self,
        actor: &Actor,
        tenant: &TenantName,
        function: &FunctionName,
        setting: FunctionSetting,
        precondition: Precondition,
    ) -> Result<Function, Problem> {
        if let FunctionSetting::Quotas(quotas) = &setting {
            quotas.check()?;
        }
        let (this, actor, tenant, function) = (self.clone(), actor.clone(), tenant.clone(), function.clone());
        to_the_end(async move {
            let changed = this.store().set_function(&actor, &tenant, &function, setting, &precondition).await;
            let changed = this.settled(&tenant, &function, changed).await?;
            this.republish(&tenant, &function).await?;
            Ok(changed)
        })
        .await
    }

    /// Makes an activation that waits for a second person, who is `actor`; not again if the same request did so
    /// before.
    ///
    /// # Errors
    /// If no such activation waits, `actor` asked for it, or a revision of it cannot take calls.
    pub async fn approve_activation(
        &self,
        actor: &Actor,
        tenant: &TenantName,
        function: &FunctionName,
        id: u64,
    ) -> Result<Function, Problem> {
        let (this, actor, tenant, function) = (self.clone(), actor.clone(), tenant.clone(), function.clone());
        to_the_end(async move {
            let changed = this.store().approve_activation(&actor, &tenant, &function, id).await;
            this.routed(&tenant, &function, changed).await
        })
        .await
    }

    /// Does away with an activation that waits; not again if the same request did so before.
    ///
    /// # Errors
    /// If no such activation waits.
    pub async fn reject_activation(
        &self,
        actor: &Actor,
        tenant: &TenantName,
        function: &FunctionName,
        id: u64,
    ) -> Result<Function, Problem> {
        let (this, actor, tenant, function) = (self.clone(), actor.clone(), tenant.clone(), function.clone());
        to_the_end(async move {
            let changed = this.store().reject_activation(&actor, &tenant, &function, id).await;
            this.once(&tenant, &function, changed).await
        })
        .await
    }

    /// A function whose traffic was changed, ready for its calls: compiled, loaded and published.
    pub(crate) async fn routed(
        &self,
        tenant: &TenantName,
        function: &FunctionName,
        changed: Result<Function, StoreError>,
    ) -> Result<Function, Problem> {
        let changed = self.once(tenant, function, changed).await?;
        self.compile_routed(tenant, &changed).await?;
        self.preload_and_republish(tenant, function).await?;
        Ok(changed)
    }

    /// As [`Self::settled`]; the function as it is now if the same request made the change before.
    async fn once(
        &self,
        tenant: &TenantName,
        function: &FunctionName,
        changed: Result<Function, StoreError>,
    ) -> Result<Function, Problem> {
        if !matches!(changed, Err(StoreError::Repeated { .. })) {
            return self.settled(tenant, function, changed).await;
        }
        self.republish(tenant, function).await?;
        let present = self.store().function(tenant, function).await?;
        present.ok_or_else(|| StoreError::NoFunction(function.clone()).into())
    }
}
