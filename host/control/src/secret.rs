//! Secrets of a function: set and removed, and then known to its next invocations.

use modelet_store::{Actor, Secret};
use modelet_types::{FunctionName, Problem, SecretName, SecretValue, TenantName};

use crate::Control;
use crate::control::to_the_end;

impl Control {
    /// Sets a secret; makes the function if it is not there. Invocations that begin from now on get the
    /// new value.
    ///
    /// # Errors
    /// If the function has as many secrets as it may have.
    pub async fn set_secret(
        &self,
        actor: &Actor,
        tenant: &TenantName,
        function: &FunctionName,
        name: SecretName,
        value: SecretValue,
    ) -> Result<Secret, Problem> {
        let (this, actor, tenant, function) = (self.clone(), actor.clone(), tenant.clone(), function.clone());
        to_the_end(async move {
            let secret = this.store().set_secret(&actor, &tenant, &function, &name, &value).await?;
            this.republish(&tenant, &function).await?;
            Ok(secret)
        })
        .await
    }

    /// Removes a secret that no revision with traffic needs.
    ///
    /// # Errors
    /// If there is no such secret, or it is needed.
    pub async fn delete_secret(
        &self,
        actor: &Actor,
        tenant: &TenantName,
        function: &FunctionName,
        name: SecretName,
    ) -> Result<(), Problem> {
        let (this, actor, tenant, function) = (self.clone(), actor.clone(), tenant.clone(), function.clone());
        to_the_end(async move {
            this.store().delete_secret(&actor, &tenant, &function, &name).await?;
            this.republish(&tenant, &function).await
        })
        .await
    }
}
