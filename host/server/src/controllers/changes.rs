//! The record of changes: who did what, when, from where; and whether it is as it was recorded.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use http::HeaderMap;
use modelet_control::Verification;
use modelet_store::{Actor, Anchor, ChainHead, Change, Page, PublicKey, Signed, State as Recorded, Verified};
use modelet_types::{Digest, Permission, TenantName};
use serde::{Deserialize, Serialize};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

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
    /// The subject's state before, as it was recorded to the letter; `null` if it was not there.
    #[schema(value_type = Option<serde_json::Value>)]
    before: Option<Recorded>,
    /// The same after; `null` if it is gone.
    #[schema(value_type = Option<serde_json::Value>)]
    after: Option<Recorded>,
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

/// The public key of a host.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct PublicKeyText(PublicKey);

impl PartialSchema for PublicKeyText {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some("^ed25519:[0-9a-f]{64}$"))
            .description(Some("The public key of a host, with which it signs hashes of changes."))
            .into()
    }
}

impl ToSchema for PublicKeyText {}

/// What to verify beside what the host remembers itself.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct VerifyBody {
    /// Changes that have to be there as they were.
    #[serde(default)]
    remembered: Vec<RememberedBody>,
    /// The only keys whose signatures count, and of which there has to be one; if there are none here, those that
    /// the host trusts.
    #[serde(default)]
    public_keys: Vec<PublicKeyText>,
}

/// Up to where changes were forgotten.
#[derive(Serialize, ToSchema)]
pub(crate) struct CheckpointBody {
    /// The last change that is gone; those before it are gone too, but for the first.
    id: u64,
    /// Its hash, to which the next change is chained.
    hash: Digest,
    /// When they were forgotten.
    #[schema(value_type = String, format = DateTime)]
    at: jiff::Timestamp,
    /// The key with which the host signed that.
    public_key: Option<PublicKeyText>,
}

impl From<Anchor> for CheckpointBody {
    fn from(anchor: Anchor) -> Self {
        let Anchor { id, hash, at, key, .. } = anchor;
        Self { id, hash, at, public_key: key.map(PublicKeyText) }
    }
}

/// What of the record is signed.
#[derive(Serialize, ToSchema)]
pub(crate) struct SignedBody {
    /// When a host signed it first.
    #[schema(value_type = String, format = DateTime)]
    since: jiff::Timestamp,
    /// The last change that a signature covers. The host signs once a minute.
    id: u64,
}

/// What came of it.
#[derive(Serialize, ToSchema)]
pub(crate) struct VerifiedBody {
    /// The tenant.
    tenant: TenantName,
    /// Whether every change is as it was recorded, and none is missing that was not forgotten.
    intact: bool,
    /// The id of the last change, to be remembered with its hash; `null` if it is not intact.
    id: Option<u64>,
    /// Its hash.
    hash: Option<Digest>,
    /// The first change that is not right; `null` if all are.
    broken_at: Option<u64>,
    /// What is wrong with it.
    reason: Option<String>,
    /// Up to where changes were forgotten; `null` if none were.
    checkpoint: Option<CheckpointBody>,
    /// What of the record is signed; `null` if nothing is, or it is not intact.
    signed: Option<SignedBody>,
    /// Hashes outside of the metastore that are not signed, because they are of a host before keys.
    unsigned_heads: usize,
    /// Changes that the request remembers and that nobody can compare, since they were forgotten.
    unchecked: Vec<u64>,
    /// The public key with which this host signs.
    public_key: PublicKeyText,
}

/// Whether the changes of the tenant are as they were recorded: none edited, left out or cut off, as far as
/// their hashes, the host's signed file of them, and what the request remembers can tell.
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
    let VerifyBody { remembered, public_keys } = context.json(&headers, body, MAX_BODY_BYTES).await?;
    let remembered: Vec<_> =
        remembered.into_iter().map(|RememberedBody { id, hash }| ChainHead { id, hash }).collect();
    let pinned: Vec<_> = public_keys.into_iter().map(|PublicKeyText(key)| key).collect();
    let verification = context.control.verify_changes(&identity.tenant, &remembered, &pinned).await?;
    let public_key = PublicKeyText(context.control.audit_public_key());
    Ok(Json(VerifiedBody::of(identity.tenant.clone(), verification, &remembered, public_key)))
}

impl VerifiedBody {
    fn of(
        tenant: TenantName,
        verification: Verification,
        remembered: &[ChainHead],
        public_key: PublicKeyText,
    ) -> Self {
        let Verification { outcome, signed, unsigned_heads } = verification;
        let body = Self {
            tenant,
            intact: false,
            id: None,
            hash: None,
            broken_at: None,
            reason: None,
            checkpoint: None,
            signed: None,
            unsigned_heads,
            unchecked: Vec::new(),
            public_key,
        };
        let Verified { last, checkpoint } = match outcome {
            Ok(verified) => verified,
            Err(broken) => {
                return Self { broken_at: Some(broken.id), reason: Some(broken.reason.into_owned()), ..body };
            }
        };
        // The first change stays.
        let is_forgotten =
            |id: &u64| checkpoint.as_ref().is_some_and(|checkpoint| (2..checkpoint.id).contains(id));
        Self {
            intact: true,
            id: Some(last.id),
            hash: Some(last.hash),
            unchecked: remembered.iter().map(|known| known.id).filter(is_forgotten).collect(),
            signed: signed.map(|Signed { since, id }| SignedBody { since, id }),
            checkpoint: checkpoint.map(Into::into),
            ..body
        }
    }
}
