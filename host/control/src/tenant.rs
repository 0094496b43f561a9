//! Tenants and their keys: made, rotated, revoked, and then known to the next request.

use jiff::{SignedDuration, Timestamp};
use modelet_store::{
    Actor, ApiKey, NewApiKey, Page, Precondition, StoreError, Tenant, TenantSetting, hour_of,
};
use modelet_types::{ApiKeyText, Code, FunctionName, KeyId, Problem, Role, TenantName, Trust};

use crate::control::to_the_end;
use crate::{Authenticator, Control, Month};

/// The longest description of a key, in characters.
const MAX_DESCRIPTION_CHARS: usize = 200;
/// The longest life of a key that ends: a hundred years.
const MAX_LIFETIME_S: u64 = 100 * 365 * 24 * 3_600;
/// The most functions that a key is restricted to.
const MAX_FUNCTIONS: usize = 100;
/// The longest that a key which is rotated goes on.
const MAX_OVERLAP: SignedDuration = SignedDuration::from_hours(30 * 24);

/// A key that somebody asks for.
#[derive(Clone, Debug)]
pub struct KeySpec {
    /// What it is for.
    pub role: Role,
    /// The functions that it is for; `None`: all of them.
    pub functions: Option<Vec<FunctionName>>,
    /// What it is used for, in its owner's words.
    pub description: String,
    /// How long it can be used, in seconds; `None`: until it is revoked.
    pub lifetime_s: Option<u64>,
}

impl KeySpec {
    fn check(&self) -> Result<(), Problem> {
        let invalid = |field: &str, detail: String| Err(Problem::new(Code::InvalidInput, detail).at(field));
        let length = self.description.chars().count();
        if length > MAX_DESCRIPTION_CHARS {
            let detail = format!("at most {MAX_DESCRIPTION_CHARS} characters, got {length}");
            return invalid("description", detail);
        }
        if let Some(lifetime_s) = self.lifetime_s.filter(|seconds| !(1..=MAX_LIFETIME_S).contains(seconds)) {
            let detail = format!(
                "{lifetime_s} is out of range: use 1 to {MAX_LIFETIME_S}, or leave it out for a key that does \
                 not end"
            );
            return invalid("expires_in_s", detail);
        }
        match &self.functions {
            Some(names) if !self.role.can_be_restricted() => invalid(
                "functions",
                format!(
                    "a key of role `{}` is for all functions: leave this out, or choose `deployer` or \
                     `invoker` (got {} functions)",
                    self.role,
                    names.len()
                ),
            ),
            Some(names) if names.is_empty() || names.len() > MAX_FUNCTIONS => invalid(
                "functions",
                format!(
                    "name 1 to {MAX_FUNCTIONS} functions, or leave this out for all; got {}",
                    names.len()
                ),
            ),
            _ => Ok(()),
        }
    }
}

/// A key that was made, with the text that is shown this one time.
#[derive(Debug)]
pub struct MadeKey {
    /// What is known about it.
    pub key: ApiKey,
    /// The key.
    pub text: ApiKeyText,
}

pub(crate) fn new_text() -> Result<(KeyId, ApiKeyText), Problem> {
    let mut random = [0; ApiKeyText::RANDOM_BYTES];
    getrandom::fill(&mut random).map_err(|error| {
        tracing::error!(%error, "the system has no random numbers");
        Problem::new(Code::Internal, "the host has no random numbers to make a key of")
    })?;
    let text = ApiKeyText::from_random(&random);
    let id = ApiKeyText::id_of(text.expose()).expect("a key has an id");
    Ok((id, text))
}

/// The text of a key that the same request made before is nowhere: it was shown once.
fn made_before(error: StoreError) -> Problem {
    let was_made = matches!(error, StoreError::Repeated { .. });
    let problem = Problem::from(error);
    if !was_made {
        return problem;
    }
    let detail = format!(
        "{}, whose text was shown then and is not kept: if it did not arrive, revoke it and make another",
        problem.detail
    );
    Problem { detail: detail.into(), ..problem }
}

impl Control {
    /// Who tells whose key a request has.
    pub fn authenticator(&self) -> &dyn Authenticator {
        &*self.keyring
    }

    /// Whether there is such a tenant. Looks into no metastore.
    pub fn has_tenant(&self, tenant: &TenantName) -> bool {
        self.tenants.contains(tenant)
    }

    /// Reads every tenant and key of the store, and what tenants have used this month. Done once, before the
    /// first request.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn load_tenants(&self) -> Result<(), Problem> {
        for tenant in self.store().tenants(&Page::whole()).await? {
            if let Some(plan) = tenant.plan.as_deref().filter(|plan| self.check_plan(plan).is_err()) {
                tracing::error!(
                    tenant = %tenant.name,
                    plan,
                    "the tenant's plan is not in `billing.plans`: it is charged nothing until it is"
                );
            }
            if !self.config.ledger.records_usage() && tenant.quotas.of_invocations().has_months() {
                tracing::error!(
                    tenant = %tenant.name,
                    "the tenant has quotas of a month, and none is ever reached while `ledger.durability` is `off`"
                );
            }
            self.know_tenant(&tenant);
        }
        for stored in self.store().stored_keys().await? {
            self.keyring.insert(stored);
        }
        if let Err(problem) = self.add_up_usage().await {
            // A host whose disk is full has to start, so that somebody can make room.
            tracing::error!(%problem, "cannot add up usage: quotas of this month begin with less than was used");
        }
        let month = Month::of(Timestamp::now()).start();
        for (tenant, used) in self.store().usage_since(hour_of(month)).await? {
            self.publisher.begin_with(&tenant, used);
        }
        Ok(())
    }

    fn know_tenant(&self, tenant: &Tenant) {
        self.tenants.insert(tenant.name.clone());
        self.config.inference.set_trust(&tenant.name, tenant.trust);
        let plan = self.plan_of(tenant).map(|(_, plan)| plan.clone());
        self.publisher.set_quotas(&tenant.name, &tenant.quotas, plan);
    }

    /// Makes a tenant.
    ///
    /// # Errors
    /// If there is, or was, one of this name.
    pub async fn create_tenant(
        &self,
        actor: &Actor,
        name: &TenantName,
        trust: Trust,
    ) -> Result<Tenant, Problem> {
        let (this, actor, name) = (self.clone(), actor.clone(), name.clone());
        to_the_end(async move {
            let _publishing = this.publishing.lock().await;
            let tenant = match this.store().create_tenant(&actor, &name, trust).await {
                // The same request did it before.
                Err(StoreError::Repeated { .. }) => return Ok(this.store().tenant(&name).await?),
                made => made?,
            };
            this.know_tenant(&tenant);
            Ok(tenant)
        })
        .await
    }

    /// Sets what the operator says of a tenant, from its next invocation on; of a plan, its statements follow
    /// the prices, those of months that have ended too.
    ///
    /// # Errors
    /// If there is no such tenant or plan, the quotas make no sense, or the tenant is not what `precondition`
    /// says.
    pub async fn set_tenant(
        &self,
        actor: &Actor,
        name: &TenantName,
        setting: TenantSetting,
        precondition: Precondition,
    ) -> Result<Tenant, Problem> {
        match &setting {
            TenantSetting::Trust(_) => {}
            TenantSetting::Plan(plan) => self.check_plan(plan)?,
            TenantSetting::Quotas(quotas) => quotas.check()?,
        }
        let (this, actor, name) = (self.clone(), actor.clone(), name.clone());
        to_the_end(async move {
            let _publishing = this.publishing.lock().await;
            let tenant = this.store().set_tenant(&actor, &name, setting, &precondition).await?;
            this.know_tenant(&tenant);
            Ok(tenant)
        })
        .await
    }

    /// Deletes a tenant that has no functions, with its keys.
    ///
    /// # Errors
    /// If there is no such tenant, it has functions, it is the one that every host has, or it is not what
    /// `precondition` says.
    pub async fn delete_tenant(
        &self,
        actor: &Actor,
        name: &TenantName,
        precondition: Precondition,
    ) -> Result<(), Problem> {
        if *name == TenantName::default_tenant() {
            let detail = "the tenant `default` is the host's own, and cannot be deleted";
            return Err(Problem::new(Code::Conflict, detail).at("tenant"));
        }
        let (this, actor, name) = (self.clone(), actor.clone(), name.clone());
        to_the_end(async move {
            let _publishing = this.publishing.lock().await;
            match this.store().delete_tenant(&actor, &name, &precondition).await {
                // It may have been deleted by a request that never got the answer.
                Ok(()) | Err(StoreError::NoTenant(_)) if this.tenants.contains(&name) => {
                    this.tenants.remove(&name);
                    this.keyring.remove_tenant(&name);
                    Ok(())
                }
                deleted => Ok(deleted?),
            }
        })
        .await
    }

    /// Makes a key.
    ///
    /// # Errors
    /// If the specification makes no sense, or the tenant has too many keys.
    pub async fn create_key(
        &self,
        actor: &Actor,
        tenant: &TenantName,
        spec: KeySpec,
    ) -> Result<MadeKey, Problem> {
        let (id, text) = new_text()?;
        self.create_key_with(actor, tenant, spec, id, text).await
    }

    /// Makes a key of which whoever asks has the text already.
    pub(crate) async fn create_key_with(
        &self,
        actor: &Actor,
        tenant: &TenantName,
        spec: KeySpec,
        id: KeyId,
        text: ApiKeyText,
    ) -> Result<MadeKey, Problem> {
        spec.check()?;
        let KeySpec { role, functions, description, lifetime_s } = spec;
        let digest = ApiKeyText::digest_of(text.expose());
        let new = NewApiKey { id, digest, role, functions, description, lifetime_s };
        let (this, actor, tenant) = (self.clone(), actor.clone(), tenant.clone());
        let key = to_the_end(async move {
            let made = this.store().create_api_key(&actor, &tenant, new).await;
            this.republish_key(&tenant, id).await?;
            made.map_err(made_before)
        });
        Ok(MadeKey { key: key.await?, text })
    }

    /// Makes a key that may do what another one may, and lets that one end after `overlap`.
    ///
    /// # Errors
    /// If there is no such key, it has ended, or the overlap is too long.
    pub async fn rotate_key(
        &self,
        actor: &Actor,
        tenant: &TenantName,
        id: KeyId,
        overlap: SignedDuration,
    ) -> Result<MadeKey, Problem> {
        if overlap > MAX_OVERLAP {
            let detail = format!("at most {} s, which are 30 days", MAX_OVERLAP.as_secs());
            return Err(Problem::new(Code::InvalidInput, detail).at("overlap_s"));
        }
        let (new_id, text) = new_text()?;
        let digest = ApiKeyText::digest_of(text.expose());
        let successor = move |old: ApiKey| {
            let ApiKey { role, functions, description, lifetime_s, .. } = old;
            NewApiKey { id: new_id, digest, role, functions, description, lifetime_s }
        };
        let (this, actor, tenant) = (self.clone(), actor.clone(), tenant.clone());
        let key = to_the_end(async move {
            let ends_at = Timestamp::now() + overlap;
            let made = this.store().rotate_api_key(&actor, &tenant, id, ends_at, successor).await;
            this.republish_key(&tenant, id).await?;
            this.republish_key(&tenant, new_id).await?;
            made.map_err(made_before)
        });
        Ok(MadeKey { key: key.await?, text })
    }

    /// Revokes a key: no request that begins from now on can use it.
    ///
    /// # Errors
    /// If there is no such key.
    pub async fn revoke_key(&self, actor: &Actor, tenant: &TenantName, id: KeyId) -> Result<(), Problem> {
        let (this, actor, tenant) = (self.clone(), actor.clone(), tenant.clone());
        to_the_end(async move {
            let revoked = this.store().revoke_api_key(&actor, &tenant, id).await;
            // Also if there is no such key: it may have been revoked by a request that could not make it known.
            this.republish_key(&tenant, id).await?;
            Ok(revoked?)
        })
        .await
    }

    /// Makes known what the store says about one key now.
    async fn republish_key(&self, tenant: &TenantName, id: KeyId) -> Result<(), Problem> {
        // One at a time, and what is read is read inside, as for functions.
        let _publishing = self.publishing.lock().await;
        match self.store().stored_key(tenant, id).await? {
            Some(stored) => self.keyring.insert(stored),
            None => self.keyring.remove(id),
        }
        Ok(())
    }

    /// Writes down when keys were last used.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn write_last_used(&self) -> Result<(), Problem> {
        let used = self.keyring.take_used();
        if !used.is_empty() {
            self.store().set_last_used(&used).await?;
        }
        Ok(())
    }
}
