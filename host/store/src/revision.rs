//! Revisions: immutable, numbered in a sequence that outlives their function.

use std::collections::BTreeMap;

use jiff::Timestamp;
use modelet_types::{Digest, FunctionName, RevisionNumber, RevisionSpec, TenantName, TrafficSplit};
use serde::Serialize;
use serde_json::Value;

use crate::change::{self, Action, States};
use crate::database::{Connection, Row, Tx, json, next_number, now, parsed, signed, time, to_json, unsigned};
use crate::{Actor, Page, Precondition, Store, StoreError, artifact, function, request, secret, traffic};

/// An immutable snapshot of a function.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Revision {
    /// Which function it belongs to.
    pub function: FunctionName,
    /// Its number within the function.
    pub number: RevisionNumber,
    /// What the author asked for.
    pub spec: RevisionSpec,
    /// What the host found out about it at deploy. The store does not look into it.
    pub details: Value,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: Actor,
}

/// A revision to be made.
#[derive(Clone, Debug)]
pub struct NewRevision {
    /// What the author asks for.
    pub spec: RevisionSpec,
    /// What the host found out about it.
    pub details: Value,
    /// Whether it takes all calls at once, in the same transaction.
    pub activate: bool,
    /// What the function has to be before; one that is not there has no tag that fits.
    pub precondition: Precondition,
}

/// The columns of a revision, followed by what the caller wants of them.
macro_rules! select_revisions {
    ($rest:literal) => {
        concat!("SELECT function, number, spec, details, created_at, created_by FROM revisions ", $rest)
    };
}

impl Store {
    /// Makes the next revision, and the function with the first.
    ///
    /// # Errors
    /// [`StoreError::NoArtifact`] if the tenant has not uploaded what the spec names,
    /// [`StoreError::SecretNotSet`] if the function has no secret that it names,
    /// [`StoreError::Changed`], [`StoreError::Repeated`], or if the metastore fails.
    pub async fn create_revision(
        &self,
        actor: &Actor,
        tenant: &TenantName,
        function: &FunctionName,
        new: NewRevision,
    ) -> Result<Revision, StoreError> {
        let mut tx = self.database.write().await?;
        request::check(&mut tx, tenant, actor).await?;
        let present = function::find(&mut tx, tenant, function).await?;
        new.precondition.check(present.map(|function| function.tag()).unwrap_or_default())?;
        let artifacts = artifacts_of(&new.spec);
        for (&digest, field) in &artifacts {
            if !artifact::exists(&mut tx, tenant, digest).await? {
                return Err(StoreError::NoArtifact { field: field.clone(), digest });
            }
        }
        let present = function::find_or_create(&mut tx, actor, tenant, function).await?;
        secret::check_set(&mut tx, tenant, function, &new.spec.secrets).await?;
        let number = next_number(&mut tx, tenant, &format!("revisions/{function}")).await?;
        fail::fail_point!("store::revision::numbered");
        let revision = Revision {
            function: function.clone(),
            number: RevisionNumber(number.unsigned_abs()),
            spec: new.spec,
            details: new.details,
            created_at: now(),
            created_by: actor.clone(),
        };
        insert(&mut tx, tenant, &revision).await?;
        for digest in artifacts.keys() {
            insert_reference(&mut tx, tenant, &revision, *digest).await?;
        }
        let states = States { before: None, after: Some(&revision) };
        let subject = subject(function, revision.number);
        let version =
            change::record(&mut tx, tenant, actor, Action::RevisionCreate, &subject, states).await?;
        function::set_version(&mut tx, tenant, function, version).await?;
        fail::fail_point!("store::revision::recorded");
        if new.activate {
            let split = TrafficSplit::all_to(revision.number);
            traffic::set_or_ask(&mut tx, actor, tenant, &present, &split).await?;
            fail::fail_point!("store::revision::activated");
        }
        request::done(&mut tx, tenant, actor, &subject).await?;
        tx.commit().await?;
        fail::fail_point!("store::revision::committed");
        Ok(revision)
    }

    /// Revisions of a function, newest first.
    ///
    /// # Errors
    /// [`StoreError::NoFunction`], or if the metastore fails.
    pub async fn revisions(
        &self,
        tenant: &TenantName,
        function: &FunctionName,
        page: &Page<RevisionNumber>,
    ) -> Result<Vec<Revision>, StoreError> {
        let mut tx = self.database.snapshot().await?;
        function::get(&mut tx, tenant, function).await?;
        let rows = sqlx::query(select_revisions!(
            "WHERE tenant = $1 AND function = $2 AND number < $3 ORDER BY number DESC LIMIT $4"
        ))
        .bind(tenant.as_str())
        .bind(function.as_str())
        .bind(page.after.map_or(i64::MAX, |number| signed(number.0)))
        .bind(i64::from(page.limit))
        .fetch_all(&mut *tx)
        .await?;
        rows.iter().map(from_row).collect()
    }

    /// The revision, if the tenant's function has it.
    ///
    /// # Errors
    /// If the metastore fails.
    pub async fn revision(
        &self,
        tenant: &TenantName,
        function: &FunctionName,
        number: RevisionNumber,
    ) -> Result<Option<Revision>, StoreError> {
        let mut connection = self.database.reader().acquire().await?;
        find(&mut connection, tenant, function, number).await
    }

    /// Removes a revision that takes no calls. Its number stays used.
    ///
    /// # Errors
    /// [`StoreError::NoFunction`], [`StoreError::NoRevision`], [`StoreError::RevisionActive`], or if
    /// the metastore fails.
    pub async fn delete_revision(
        &self,
        actor: &Actor,
        tenant: &TenantName,
        function: &FunctionName,
        number: RevisionNumber,
    ) -> Result<(), StoreError> {
        let mut tx = self.database.write().await?;
        let present = function::get(&mut tx, tenant, function).await?;
        let revision = get(&mut tx, tenant, function, number).await?;
        if present.traffic.names(number) {
            return Err(StoreError::RevisionActive(function.clone(), number));
        }
        release_artifacts(&mut tx, tenant, function, Some(number)).await?;
        sqlx::query("DELETE FROM revisions WHERE tenant = $1 AND function = $2 AND number = $3")
            .bind(tenant.as_str())
            .bind(function.as_str())
            .bind(signed(number.0))
            .execute(&mut *tx)
            .await?;
        let states = States { before: Some(&revision), after: None };
        let subject = subject(function, number);
        let version =
            change::record(&mut tx, tenant, actor, Action::RevisionDelete, &subject, states).await?;
        function::set_version(&mut tx, tenant, function, version).await?;
        Ok(tx.commit().await?)
    }
}

/// How the record of changes names a revision.
fn subject(function: &FunctionName, number: RevisionNumber) -> String {
    format!("{}/revisions/{number}", function::subject(function))
}

/// What the spec names, with the entry that names it; the first if there are several.
fn artifacts_of(spec: &RevisionSpec) -> BTreeMap<Digest, String> {
    let component = spec.component.map(|digest| (digest, "component".to_owned()));
    let mut artifacts: BTreeMap<_, _> = component.into_iter().collect();
    for (name, model) in &spec.models {
        artifacts.entry(model.artifact).or_insert_with(|| format!("models.{name}.artifact"));
    }
    artifacts
}

async fn insert(tx: &mut Tx, tenant: &TenantName, revision: &Revision) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO revisions (tenant, function, number, spec, details, created_at, created_by)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(tenant.as_str())
    .bind(revision.function.as_str())
    .bind(signed(revision.number.0))
    .bind(to_json(&revision.spec))
    .bind(to_json(&revision.details))
    .bind(revision.created_at.as_microsecond())
    .bind(revision.created_by.to_string())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

async fn insert_reference(
    tx: &mut Tx,
    tenant: &TenantName,
    revision: &Revision,
    digest: Digest,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO revision_artifacts (tenant, function, revision, digest) VALUES ($1, $2, $3, $4)",
    )
    .bind(tenant.as_str())
    .bind(revision.function.as_str())
    .bind(signed(revision.number.0))
    .bind(digest.to_string())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Lets go of the artifacts of one revision, or of all of a function. Their grace period begins
/// anew, because what runs now may still read them.
pub(crate) async fn release_artifacts(
    tx: &mut Tx,
    tenant: &TenantName,
    function: &FunctionName,
    number: Option<RevisionNumber>,
) -> Result<(), StoreError> {
    let number = number.map(|number| signed(number.0));
    sqlx::query(
        "UPDATE artifacts SET used_at = $4 WHERE tenant = $1 AND digest IN
             (SELECT digest FROM revision_artifacts
              WHERE tenant = $1 AND function = $2 AND revision = COALESCE($3, revision))",
    )
    .bind(tenant.as_str())
    .bind(function.as_str())
    .bind(number)
    .bind(now().as_microsecond())
    .execute(&mut **tx)
    .await?;
    sqlx::query(
        "DELETE FROM revision_artifacts
         WHERE tenant = $1 AND function = $2 AND revision = COALESCE($3, revision)",
    )
    .bind(tenant.as_str())
    .bind(function.as_str())
    .bind(number)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// The revision, if it is there.
pub(crate) async fn find(
    connection: &mut Connection,
    tenant: &TenantName,
    function: &FunctionName,
    number: RevisionNumber,
) -> Result<Option<Revision>, StoreError> {
    let row = sqlx::query(select_revisions!("WHERE tenant = $1 AND function = $2 AND number = $3"))
        .bind(tenant.as_str())
        .bind(function.as_str())
        .bind(signed(number.0))
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(from_row).transpose()
}

/// The revision, which must be there.
pub(crate) async fn get(
    connection: &mut Connection,
    tenant: &TenantName,
    function: &FunctionName,
    number: RevisionNumber,
) -> Result<Revision, StoreError> {
    find(connection, tenant, function, number)
        .await?
        .ok_or_else(|| StoreError::NoRevision(function.clone(), number))
}

fn from_row(row: &Row) -> Result<Revision, StoreError> {
    Ok(Revision {
        function: parsed(row, "function")?,
        number: RevisionNumber(unsigned(row, "number")?),
        spec: json(row, "spec")?,
        details: json(row, "details")?,
        created_at: time(row, "created_at")?,
        created_by: change::actor(row, "created_by")?,
    })
}
