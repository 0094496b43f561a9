//! API keys: made, listed, rotated, revoked. A key itself is shown once, in the answer that makes it.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use http::header::CACHE_CONTROL;
use http::request::Parts;
use http::{HeaderName, StatusCode};
use jiff::{SignedDuration, Timestamp};
use modelet_control::{Identity, KeySpec, MadeKey};
use modelet_store::{Actor, ApiKey, StoreError};
use modelet_types::{Code, FunctionName, KeyId, Permission, Problem, Role, TenantName};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::caller::Caller;
use crate::context::Context;
use crate::extract::Path;
use crate::extract::conditional::IdempotencyKey;
use crate::problem::{ProblemBody, Result};

const MAX_BODY_BYTES: usize = 16 << 10;

/// A key, without what would let anybody use it.
#[derive(Serialize, ToSchema)]
pub(crate) struct KeyBody {
    /// What it is found by: the part of the key between `mk_` and the next `_`.
    id: KeyId,
    /// The first of the keys that it was rotated from, or itself: those of one line are one person's.
    person: KeyId,
    /// Whose it is.
    tenant: TenantName,
    /// What it is for.
    role: Role,
    /// The functions that it is for; `null`: all of them.
    functions: Option<Vec<FunctionName>>,
    /// What it is used for, in its owner's words.
    description: String,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Who made it.
    #[schema(value_type = String)]
    created_by: Actor,
    /// When it ends; `null`: never.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// When it was last used; up to a minute behind.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Timestamp>,
}

impl From<ApiKey> for KeyBody {
    fn from(key: ApiKey) -> Self {
        let ApiKey {
            tenant,
            id,
            person,
            role,
            functions,
            description,
            created_at,
            created_by,
            expires_at,
            last_used_at,
            lifetime_s: _,
        } = key;
        Self {
            id,
            person,
            tenant,
            role,
            functions,
            description,
            created_at,
            created_by,
            expires_at,
            last_used_at,
        }
    }
}

/// The keys of a tenant.
#[derive(Serialize, ToSchema)]
pub(crate) struct KeysBody {
    /// The oldest first.
    keys: Vec<KeyBody>,
}

/// A key that was made.
#[derive(Serialize, ToSchema)]
pub(crate) struct MadeKeyBody {
    #[serde(flatten)]
    about: KeyBody,
    /// The key. It is shown this once.
    key: String,
}

/// An answer that no cache may keep.
type Made = (StatusCode, [(HeaderName, &'static str); 1], Json<MadeKeyBody>);

fn made(made: MadeKey) -> Made {
    let body = MadeKeyBody { key: made.text.expose().to_owned(), about: made.key.into() };
    (StatusCode::CREATED, [(CACHE_CONTROL, "no-store")], Json(body))
}

/// A key that is to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewKeyBody {
    /// What it is for.
    role: Role,
    /// The functions that it is for, if it is one of role `deployer` or `invoker`; left out: all of them.
    #[serde(default)]
    #[schema(min_items = 1, max_items = 100)]
    functions: Option<Vec<FunctionName>>,
    /// What it is used for.
    #[serde(default)]
    #[schema(max_length = 200)]
    description: String,
    /// In how many seconds it ends; left out: never.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 3_153_600_000_u64)]
    expires_in_s: Option<u64>,
}

/// How a key is rotated.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RotateBody {
    /// For how many seconds the old key goes on: at most 30 days, and a day if it is left out.
    #[serde(default = "day")]
    #[schema(maximum = 2_592_000)]
    overlap_s: u32,
}

const fn day() -> u32 {
    24 * 3_600
}

/// The keys of the tenant.
#[utoipa::path(get, path = "/api/v1/keys", tag = "keys",
    responses((status = 200, body = KeysBody)))]
pub(crate) async fn list(State(context): State<Context>, caller: Caller) -> Result<Json<KeysBody>> {
    let identity = caller.may(Permission::Audit)?;
    // What was used a moment ago is shown as such.
    context.control.write_last_used().await?;
    let keys = context.control.store().api_keys(&identity.tenant).await?;
    Ok(Json(KeysBody { keys: keys.into_iter().map(Into::into).collect() }))
}

/// Makes a key for the tenant. Only an operator makes one of role `operator`.
#[utoipa::path(post, path = "/api/v1/keys", tag = "keys", request_body = NewKeyBody,
    params(IdempotencyKey),
    responses(
        (status = 201, body = MadeKeyBody), (status = 409, body = ProblemBody),
    ))]
pub(crate) async fn create(
    State(context): State<Context>,
    caller: Caller,
    parts: Parts,
    body: Body,
) -> Result<Made> {
    let identity = caller.may(Permission::Manage)?;
    let (new, actor) = context.json_once(&identity.actor, &parts, body, MAX_BODY_BYTES).await?;
    let NewKeyBody { role, functions, description, expires_in_s } = new;
    if role == Role::Operator {
        caller.may(Permission::Operate)?;
    }
    let spec = KeySpec { role, functions, description, lifetime_s: expires_in_s };
    Ok(made(context.control.create_key(&actor, &identity.tenant, spec).await?))
}

/// Makes the successor of a key, which may do the same; the old one goes on for a while.
#[utoipa::path(post, path = "/api/v1/keys/{id}/rotate", tag = "keys",
    params(("id" = inline(KeyId), Path), IdempotencyKey),
    request_body = RotateBody,
    responses(
        (status = 201, body = MadeKeyBody),
        (status = 404, body = ProblemBody), (status = 409, body = ProblemBody),
    ))]
pub(crate) async fn rotate(
    State(context): State<Context>,
    caller: Caller,
    Path(key): Path<String>,
    parts: Parts,
    body: Body,
) -> Result<Made> {
    let (identity, id) = manage(&context, &caller, &key).await?;
    let (body, actor) = context.json_once(&identity.actor, &parts, body, MAX_BODY_BYTES).await?;
    let RotateBody { overlap_s } = body;
    let overlap = SignedDuration::from_secs(overlap_s.into());
    Ok(made(context.control.rotate_key(&actor, &identity.tenant, id, overlap).await?))
}

/// Revokes a key: it cannot be used any more.
#[utoipa::path(delete, path = "/api/v1/keys/{id}", tag = "keys",
    params(("id" = inline(KeyId), Path)),
    responses((status = 204),
        (status = 404, body = ProblemBody)))]
pub(crate) async fn revoke(
    State(context): State<Context>,
    caller: Caller,
    Path(key): Path<String>,
) -> Result<StatusCode> {
    let (identity, id) = manage(&context, &caller, &key).await?;
    context.control.revoke_key(&identity.actor, &identity.tenant, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Whoever may change the key that an address names. An operator's key is changed by operators alone: an
/// owner who rotated it would have one.
async fn manage<'c>(context: &Context, caller: &'c Caller, key: &str) -> Result<(&'c Identity, KeyId)> {
    let identity = caller.may(Permission::Manage)?;
    let id: KeyId = key.parse().map_err(|error: modelet_types::access::InvalidKeyId| {
        Problem::new(Code::InvalidInput, error.to_string()).at("key")
    })?;
    let stored = context.control.store().stored_key(&identity.tenant, id).await?;
    let stored = stored.ok_or(StoreError::NoKey(id))?;
    if stored.key.role == Role::Operator {
        caller.may(Permission::Operate)?;
    }
    Ok((identity, id))
}

/// Who makes the request.
#[derive(Serialize, ToSchema)]
pub(crate) struct IdentityBody {
    /// The tenant for which they act.
    tenant: TenantName,
    /// What the record of changes calls them.
    #[schema(value_type = String)]
    actor: Actor,
    /// What they may do.
    role: Role,
    /// The functions that they may have to do with; `null`: all of the tenant's.
    functions: Option<Vec<FunctionName>>,
}

/// Who makes the request, by its key.
#[utoipa::path(get, path = "/api/v1/identity", tag = "keys",
    responses((status = 200, body = IdentityBody)))]
pub(crate) async fn identity(caller: Caller) -> Result<Json<IdentityBody>> {
    let Identity { tenant, actor, role, functions } = caller.known()?.clone();
    Ok(Json(IdentityBody { tenant, actor, role, functions }))
}
