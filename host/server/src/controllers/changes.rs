//! The record of changes: who did what, when, from where; and whether it is as it was recorded.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use http::HeaderMap;
use modelet_store::{Actor, ChainHead, Change, Page};
use modelet_types::{Digest, Permission, TenantName};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::caller::Caller;
use crate::context::Context;
use crate::extract::Query;
use crate::extract::page::{self, PageParams};
use crate::problem::Result;

const MAX_BODY_BYTES: usize = 64 << 10;

/// One change.
#[derive(Serialize, ToSchema)]
pub(crate) struct ChangeBody {
    /// Its place in the tenant's sequence, which has no gaps; 1 is the first.
    id: u64,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    at: jiff::Timestamp,
    /// Who made it: a key by its id, or the host itself.
    #[schema(value_type = String)]
    actor: Actor,
    /// The address from which it was asked for; `null` if the host did it by itself.
    origin: Option<String>,
    /// What was done, such as `revision.create`.
    action: String,
    /// What it was done to, such as `functions/digits/revisions/3`.
    subject: String,
    /// The subject's state before; `null` if it was not there.
    before: Option<serde_json::Value>,
    /// The subject's state after; `null` if it is gone.
    after: Option<serde_json::Value>,
    /// SHA-256 of all of it and of the hash before it.
    hash: Digest,
}

impl From<Change> for ChangeBody {
    fn from(change: Change) -> Self {
        let Change { id, at, actor, origin, action, subject, before, after, hash } = change;
        Self { id, at, actor, origin, action, subject, before, after, hash }
    }
}

/// Changes of a tenant.
#[derive(Serialize, ToSchema)]
pub(crate) struct ChangesBody {
    /// The oldest first.
    changes: Vec<ChangeBody>,
    /// What to ask for next with `after`; `null` if these are the last.
    next: Option<u64>,
}

/// The changes of the tenant, the oldest first.
#[utoipa::path(get, path = "/api/v1/changes", tag = "changes", params(PageParams<u64>),
    responses((status = 200, body = ChangesBody)))]
pub(crate) async fn list(
    State(context): State<Context>,
    caller: Caller,
    Query(params): Query<PageParams<u64>>,
) -> Result<Json<ChangesBody>> {
    let identity = caller.may(Permission::Audit)?;
    let Page { after, limit } = params.page()?;
    let store = context.control.store();
    let mut changes = store.changes(&identity.tenant, after.unwrap_or(0), limit + 1).await?;
    let next = page::cut(&mut changes, limit, |change| change.id);
    Ok(Json(ChangesBody { changes: changes.into_iter().map(Into::into).collect(), next }))
}

/// A change that somebody remembers.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RememberedBody {
    /// Its id.
    id: u64,
    /// Its hash.
    hash: Digest,
}

/// What to verify beside what the host remembers itself.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct VerifyBody {
    /// Changes that have to be there as they were.
    #[serde(default)]
    remembered: Vec<RememberedBody>,
}

/// What came of it.
#[derive(Serialize, ToSchema)]
pub(crate) struct VerifiedBody {
    /// The tenant.
    tenant: TenantName,
    /// Whether every change is as it was recorded, and none is missing.
    intact: bool,
    /// The id of the last change, to be remembered with its hash; `null` if it is not intact.
    id: Option<u64>,
    /// Its hash.
    hash: Option<Digest>,
    /// The first change that is not right; `null` if all are.
    broken_at: Option<u64>,
    /// What is wrong with it.
    reason: Option<&'static str>,
}

/// Whether the changes of the tenant are as they were recorded: none edited, left out or cut off, as far as
/// their hashes, the host's file of them, and what the request remembers can tell.
#[utoipa::path(post, path = "/api/v1/changes/verify", tag = "changes", request_body = VerifyBody,
    responses(
        (status = 200, body = VerifiedBody),
    ))]
pub(crate) async fn verify(
    State(context): State<Context>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<VerifiedBody>> {
    let identity = caller.may(Permission::Audit)?;
    let VerifyBody { remembered } = context.json(&headers, body, MAX_BODY_BYTES).await?;
    let remembered: Vec<_> =
        remembered.into_iter().map(|RememberedBody { id, hash }| ChainHead { id, hash }).collect();
    let tenant = identity.tenant.clone();
    let verified = context.control.verify_changes(&tenant, &remembered).await?;
    Ok(Json(match verified {
        Ok(ChainHead { id, hash }) => VerifiedBody {
            tenant,
            intact: true,
            id: Some(id),
            hash: Some(hash),
            broken_at: None,
            reason: None,
        },
        Err(broken) => VerifiedBody {
            tenant,
            intact: false,
            id: None,
            hash: None,
            broken_at: Some(broken.id),
            reason: Some(broken.reason),
        },
    }))
}
