//! Secrets of a function: set, listed by name, deleted. There is no way to read one.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use http::{HeaderMap, StatusCode};
use modelet_store::{Actor, Secret};
use modelet_types::secret::MAX_SECRET_BYTES;
use modelet_types::{Code, FunctionName, Permission, Problem, SecretName, SecretValue};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use crate::caller::Caller;
use crate::context::{self, Context};
use crate::extract::{Path, json_body};
use crate::problem::{ProblemBody, Result};

/// The largest body: each byte of a value as an escape, and what stands around it.
const MAX_BODY_BYTES: usize = 6 * MAX_SECRET_BYTES + (1 << 10);

/// A secret, without its value.
#[derive(Serialize, ToSchema)]
pub(crate) struct SecretBody {
    /// Its name.
    name: SecretName,
    /// When it was last set.
    #[schema(value_type = String, format = DateTime)]
    set_at: jiff::Timestamp,
    /// Who set it.
    #[schema(value_type = String)]
    set_by: Actor,
}

impl From<Secret> for SecretBody {
    fn from(secret: Secret) -> Self {
        let Secret { name, set_at, set_by } = secret;
        Self { name, set_at, set_by }
    }
}

/// The secrets of a function.
#[derive(Serialize, ToSchema)]
pub(crate) struct SecretsBody {
    /// By name.
    secrets: Vec<SecretBody>,
}

/// A new value.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ValueBody {
    /// 1 to 16384 bytes of text.
    #[schema(value_type = String, min_length = 1, max_length = 16_384)]
    #[serde(deserialize_with = "wiped")]
    value: Zeroizing<String>,
}

/// A text whose memory is wiped when it is dropped.
fn wiped<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Zeroizing<String>, D::Error> {
    String::deserialize(deserializer).map(Zeroizing::new)
}

/// The secrets of a function by name, and when each was set. Never their values.
#[utoipa::path(get, path = "/api/v1/functions/{function}/secrets", tag = "secrets",
    params(("function" = inline(FunctionName), Path)),
    responses((status = 200, body = SecretsBody), (status = 404, body = ProblemBody)))]
pub(crate) async fn list(
    State(context): State<Context>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Json<SecretsBody>> {
    let (identity, name) = caller.may_with(Permission::Read, &name)?;
    let secrets = context.control.store().secrets(&identity.tenant, &name).await?;
    Ok(Json(SecretsBody { secrets: secrets.into_iter().map(Into::into).collect() }))
}

/// Sets a secret; makes the function if it is not there. Invocations that begin from now on get the value.
#[utoipa::path(put, path = "/api/v1/functions/{function}/secrets/{name}", tag = "secrets",
    params(("function" = inline(FunctionName), Path), ("name" = inline(SecretName), Path)),
    request_body = ValueBody,
    responses(
        (status = 200, body = SecretBody), (status = 409, body = ProblemBody),
    ))]
pub(crate) async fn set(
    State(context): State<Context>,
    caller: Caller,
    Path((function, name)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<SecretBody>> {
    let (identity, function) = caller.may_with(Permission::Deploy, &function)?;
    let name = context::name(&name, "name")?;
    let bytes = json_body(&headers, body, MAX_BODY_BYTES, context.config.body_idle_timeout()).await?;
    let value = value_of(&bytes)?;
    let secret =
        context.control.set_secret(&identity.actor, &identity.tenant, &function, name, value).await?;
    Ok(Json(secret.into()))
}

/// Deletes a secret that no active revision names.
#[utoipa::path(delete, path = "/api/v1/functions/{function}/secrets/{name}", tag = "secrets",
    params(("function" = inline(FunctionName), Path), ("name" = inline(SecretName), Path)),
    responses((status = 204), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub(crate) async fn delete(
    State(context): State<Context>,
    caller: Caller,
    Path((function, name)): Path<(String, String)>,
) -> Result<StatusCode> {
    let (identity, function) = caller.may_with(Permission::Deploy, &function)?;
    let name = context::name(&name, "name")?;
    context.control.delete_secret(&identity.actor, &identity.tenant, &function, name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Reads the value. What is wrong with the body is not told in serde's words, which would repeat some of it.
pub(crate) fn value_of(body: &[u8]) -> std::result::Result<SecretValue, Problem> {
    let body: ValueBody = serde_json::from_slice(body).map_err(|_| {
        let detail = "the body is not of the form {\"value\": TEXT}";
        Problem::new(Code::InvalidInput, detail).at("body")
    })?;
    SecretValue::new(body.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_does_not_repeat_what_was_sent() {
        assert_eq!(value_of(br#"{"value": "hunter2"}"#).unwrap().expose(), "hunter2");
        for body in
            [r#""hunter2""#, r#"{"value": ["hunter2"]}"#, r#"{"hunter2": 1}"#, "hunter2", r#"{"value": ""}"#]
        {
            let problem = value_of(body.as_bytes()).unwrap_err();
            assert_eq!(problem.code, Code::InvalidInput);
            assert!(!problem.to_string().contains("hunter2"), "{problem}");
        }
    }
}
