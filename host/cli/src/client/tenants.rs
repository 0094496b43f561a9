//! What operators ask of a host: tenants, how far they are trusted, what they may use and what they pay.

use modelet_types::{Quotas, TenantName, Trust};
use reqwest::Method;

use super::answers::{Tenant, Tenants};
use super::{Answer, Client};
use crate::error::Error;

impl Client {
    /// The host's tenants.
    ///
    /// # Errors
    /// If the host cannot be reached or refuses, or its answer is not understood.
    pub async fn tenants(&self) -> Result<Answer<Tenants>, Error> {
        self.list("/api/v1/tenants", "tenants").await
    }

    /// Makes a tenant.
    ///
    /// # Errors
    /// If the host cannot be reached or refuses, or its answer is not understood.
    pub async fn create_tenant(&self, name: &TenantName, trust: Trust) -> Result<Answer<Tenant>, Error> {
        let body = serde_json::json!({ "tenant": name, "trust": trust });
        self.json(self.request(Method::POST, "/api/v1/tenants")?.json(&body)).await
    }

    /// Says how far a tenant is trusted.
    ///
    /// # Errors
    /// If the host cannot be reached or refuses, or its answer is not understood.
    pub async fn set_trust(&self, name: &TenantName, trust: Trust) -> Result<Answer<Tenant>, Error> {
        let request = self.request(Method::PUT, &format!("/api/v1/tenants/{name}/trust"))?;
        self.json(request.json(&serde_json::json!({ "trust": trust }))).await
    }

    /// Sets a tenant's quotas.
    ///
    /// # Errors
    /// If the host cannot be reached or refuses, or its answer is not understood.
    pub async fn set_quotas(&self, name: &TenantName, quotas: &Quotas) -> Result<Answer<Tenant>, Error> {
        let request = self.request(Method::PUT, &format!("/api/v1/tenants/{name}/quotas"))?;
        self.json(request.json(quotas)).await
    }

    /// Gives a tenant a plan.
    ///
    /// # Errors
    /// If the host cannot be reached or refuses, or its answer is not understood.
    pub async fn set_plan(&self, name: &TenantName, plan: &str) -> Result<Answer<Tenant>, Error> {
        let request = self.request(Method::PUT, &format!("/api/v1/tenants/{name}/plan"))?;
        self.json(request.json(&serde_json::json!({ "plan": plan }))).await
    }

    /// Deletes a tenant.
    ///
    /// # Errors
    /// If the host cannot be reached or refuses.
    pub async fn delete_tenant(&self, name: &TenantName) -> Result<(), Error> {
        self.send(self.request(Method::DELETE, &format!("/api/v1/tenants/{name}"))?).await.map(drop)
    }
}
