//! Artifacts: uploaded by digest, whole or in pieces.

use std::io;
use std::pin::pin;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures::TryStreamExt;
use http::header::{CONTENT_LENGTH, HeaderMap};
use http::{HeaderName, HeaderValue, StatusCode};
use http_body::Body as _;
use modelet_control::Identity;
use modelet_store::{StoreError, UploadRange, UploadState};
use modelet_types::{Code, Digest, Permission, Problem};
use serde::Serialize;
use utoipa::ToSchema;

use crate::caller::Caller;
use crate::context::Context;
use crate::extract::{Path, drain};
use crate::problem::{ProblemBody, ProblemResponse, Result};

/// Where the next byte goes, as in the draft for resumable uploads
/// (draft-ietf-httpbis-resumable-upload).
pub(crate) const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
/// The length of the whole.
pub(crate) const UPLOAD_LENGTH: HeaderName = HeaderName::from_static("upload-length");

/// An artifact that is there.
#[derive(Serialize, ToSchema)]
pub(crate) struct ArtifactBody {
    /// The SHA-256 of its bytes.
    digest: Digest,
    /// Its length in bytes.
    size: u64,
}

/// Whether an artifact is there, and where its upload goes on if not.
#[utoipa::path(get, path = "/api/v1/artifacts/{digest}", tag = "artifacts",
    params(("digest" = inline(Digest), Path)),
    responses(
        (status = 200, body = ArtifactBody),
        (status = 404, body = ProblemBody, description = "not there, or not whole", headers(("upload-offset" = u64))),
    ))]
pub(crate) async fn show(
    State(context): State<Context>,
    caller: Caller,
    Path(digest): Path<String>,
) -> Result<Response> {
    let identity = caller.may(Permission::Deploy)?;
    let digest = parse(&digest)?;
    match context.control.store().upload_offset(&identity.tenant, digest).await? {
        UploadState::Complete { size_bytes } => {
            Ok(Json(ArtifactBody { digest, size: size_bytes }).into_response())
        }
        UploadState::Partial { offset } => {
            let detail = format!("artifact {digest} is not there: {offset} bytes have been uploaded");
            let response = ProblemResponse::from(Problem::new(Code::NotFound, detail)).into_response();
            Ok(with_offset(response, offset))
        }
    }
}

/// Uploads an artifact whole.
#[utoipa::path(put, path = "/api/v1/artifacts/{digest}", tag = "artifacts",
    params(("digest" = inline(Digest), Path)),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
        (status = 201, body = ArtifactBody),
        (status = 400, body = ProblemBody, description = "not a digest, or a body without `content-length`"),
        (status = 409, body = ProblemBody, description = "another upload has begun: go on from its offset"),
        (status = 408, body = ProblemBody, description = "nothing came for too long", headers(("upload-offset" = u64))), (status = 422, body = ProblemBody),
    ))]
pub(crate) async fn upload(
    State(context): State<Context>,
    caller: Caller,
    Path(digest): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response> {
    let (identity, body) = uploader(&caller, &headers, body).await?;
    // A body that is known to be empty comes without the header.
    let total = match body.size_hint().exact() {
        Some(total) => total,
        None => number(&headers, &CONTENT_LENGTH)?,
    };
    store(&context, identity, parse(&digest)?, 0, total, &headers, body).await
}

/// Uploads the next piece of an artifact.
#[utoipa::path(patch, path = "/api/v1/artifacts/{digest}", tag = "artifacts",
    params(
        ("digest" = inline(Digest), Path),
        ("upload-offset" = u64, Header, description = "where the piece begins"),
        ("upload-length" = u64, Header, description = "the length of the whole"),
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
        (status = 201, body = ArtifactBody, description = "the artifact is whole"),
        (status = 204, description = "more is to come", headers(("upload-offset" = u64))),
        (status = 400, body = ProblemBody, description = "not a digest, or without offset or length"),
        (status = 409, body = ProblemBody, headers(("upload-offset" = u64))),
        (status = 408, body = ProblemBody, description = "nothing came for too long", headers(("upload-offset" = u64))), (status = 422, body = ProblemBody),
    ))]
pub(crate) async fn append(
    State(context): State<Context>,
    caller: Caller,
    Path(digest): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response> {
    let (identity, body) = uploader(&caller, &headers, body).await?;
    let (offset, total) = (number(&headers, &UPLOAD_OFFSET)?, number(&headers, &UPLOAD_LENGTH)?);
    store(&context, identity, parse(&digest)?, offset, total, &headers, body).await
}

/// Whoever may upload. What others send is read on for a while, so that they see why they may not.
async fn uploader<'c>(
    caller: &'c Caller,
    headers: &HeaderMap,
    body: Body,
) -> std::result::Result<(&'c Identity, Body), Problem> {
    match caller.may(Permission::Deploy) {
        Ok(identity) => Ok((identity, body)),
        Err(problem) => {
            drain(headers, body.into_data_stream()).await;
            Err(problem)
        }
    }
}

async fn store(
    context: &Context,
    identity: &Identity,
    digest: Digest,
    offset: u64,
    total: u64,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response> {
    let range = UploadRange { offset, total_bytes: total, max_bytes: context.config.max_artifact_bytes };
    let idle_timeout = context.config.body_idle_timeout();
    let bytes = tokio_stream::StreamExt::timeout(body.into_data_stream(), idle_timeout);
    let bytes = bytes.map_err(|_| io::Error::from(io::ErrorKind::TimedOut));
    let mut bytes = pin!(bytes.and_then(|piece| futures::future::ready(piece.map_err(io::Error::other))));
    let (store, tenant) = (context.control.store(), &identity.tenant);
    let appended = store.append_upload(&identity.actor, tenant, digest, range, bytes.as_mut()).await;
    // What is refused, or was there already, has not been read to its end.
    drain(headers, bytes).await;
    match appended {
        Ok(UploadState::Complete { size_bytes }) => {
            Ok((StatusCode::CREATED, Json(ArtifactBody { digest, size: size_bytes })).into_response())
        }
        Ok(UploadState::Partial { offset }) => {
            Ok(with_offset(StatusCode::NO_CONTENT.into_response(), offset))
        }
        Err(error @ StoreError::WrongOffset { expected, .. }) => {
            Ok(with_offset(ProblemResponse::from(error).into_response(), expected))
        }
        // What came is kept, and the client may still be there to go on from its end.
        Err(error @ StoreError::Interrupted(_)) => {
            let response = ProblemResponse::from(error).into_response();
            Ok(match store.upload_offset(tenant, digest).await {
                Ok(UploadState::Partial { offset }) => with_offset(response, offset),
                _ => response,
            })
        }
        Err(error) => Err(error.into()),
    }
}

pub(crate) fn parse(digest: &str) -> std::result::Result<Digest, Problem> {
    digest.parse().map_err(|error: modelet_types::digest::InvalidDigest| {
        Problem::new(Code::InvalidInput, error.to_string()).at("digest")
    })
}

pub(crate) fn number(headers: &HeaderMap, name: &HeaderName) -> std::result::Result<u64, Problem> {
    let value = headers.get(name).and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
    value.ok_or_else(|| {
        let detail = format!("the header `{name}` is missing or not a number of bytes");
        Problem::new(Code::InvalidInput, detail).at(name.as_str())
    })
}

fn with_offset(mut response: Response, offset: u64) -> Response {
    response.headers_mut().insert(UPLOAD_OFFSET, HeaderValue::from(offset));
    response
}
