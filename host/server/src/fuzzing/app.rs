//! Addresses like those of `routes.rs`, whose controllers do what the real ones do before they turn to
//! the host: there is none.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::{any, get, patch, post, put};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, PROXY_AUTHORIZATION};
use http::{HeaderMap, StatusCode};
use modelet_control::Identity;
use modelet_types::{Code, RevisionSpec, SecretName, TrafficSplit};

use super::WAIT;
use crate::caller::Identification;
use crate::context::{function_name, name as name_in};
use crate::controllers::artifacts::{self, UPLOAD_LENGTH, UPLOAD_OFFSET};
use crate::controllers::logs::LogParams;
use crate::controllers::revisions::{CreateParams, revision_number};
use crate::controllers::secrets::value_of;
use crate::controllers::{health, invoke};
use crate::extract::{Path, Query, drain, from_json, json_body};
use crate::middleware::App;
use crate::problem::Result;

const MAX_BODY_BYTES: usize = 4 << 10;

pub(super) fn app() -> App {
    let router = Router::new()
        .route("/api/v1/artifacts/{digest}", patch(append))
        .route("/api/v1/functions/{function}/revisions", post(create))
        .route("/api/v1/functions/{function}/revisions/{revision}", get(show))
        .route("/api/v1/functions/{function}/traffic", put(set_traffic))
        .route("/api/v1/functions/{function}/secrets/{name}", put(set_secret))
        .route("/api/v1/functions/{function}/logs", get(read_logs))
        .route("/f/{tenant}/{function}", any(call))
        .route("/f/{tenant}/{function}/", any(call))
        .route("/f/{tenant}/{function}/{*path}", any(call))
        .fallback(health::not_found)
        .method_not_allowed_fallback(health::method_not_allowed)
        .layer(map_response(is_an_answer));
    let identification = Identification::None(Arc::new(Identity::local()), None);
    App::new(router, &["models.example.com".into()], identification)
}

/// What leaves the host says what it is, and that the host is not at fault.
async fn is_an_answer(response: Response) -> Response {
    let status = response.status();
    assert!(!status.is_server_error(), "{status}");
    let is_problem = response.headers().get(CONTENT_TYPE).is_some_and(|is| is == "application/problem+json");
    assert_eq!(status.is_client_error(), is_problem, "{response:?}");
    response
}

async fn append(Path(digest): Path<String>, headers: HeaderMap, body: Body) -> Result<Bytes> {
    let (offset, length) =
        (artifacts::number(&headers, &UPLOAD_OFFSET)?, artifacts::number(&headers, &UPLOAD_LENGTH)?);
    let digest = artifacts::parse(&digest)?;
    drain(&headers, body.into_data_stream()).await;
    Ok(format!("{digest} {offset} {length}").into())
}

async fn create(
    Path(name): Path<String>,
    Query(_): Query<CreateParams>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode> {
    function_name(&name)?;
    let manifest = json_body(&headers, body, MAX_BODY_BYTES, WAIT).await?;
    assert!(manifest.len() <= MAX_BODY_BYTES);
    let _: RevisionSpec = from_json(&manifest, Code::InvalidManifest)?;
    Ok(StatusCode::CREATED)
}

async fn show(Path((name, number)): Path<(String, String)>) -> Result<String> {
    let (name, number) = (function_name(&name)?, revision_number(&number)?);
    Ok(format!("{name} {number}"))
}

async fn set_traffic(Path(name): Path<String>, headers: HeaderMap, body: Body) -> Result<Vec<u8>> {
    function_name(&name)?;
    let bytes = json_body(&headers, body, MAX_BODY_BYTES, WAIT).await?;
    let split: TrafficSplit = from_json(&bytes, Code::InvalidInput)?;
    for point in [0, u64::MAX / 2, u64::MAX] {
        let picked = split.pick(point);
        assert_eq!(picked.is_some(), !split.shares().is_empty());
        assert!(picked.is_none_or(|revision| split.names(revision)));
    }
    let written = serde_json::to_vec(&split).expect("it can be written");
    assert_eq!(serde_json::from_slice::<TrafficSplit>(&written).expect("it was written"), split);
    Ok(written)
}

async fn set_secret(
    Path((function, name)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode> {
    function_name(&function)?;
    name_in::<SecretName>(&name, "name")?;
    let value = value_of(&json_body(&headers, body, MAX_BODY_BYTES, WAIT).await?)?;
    assert!(!value.expose().is_empty());
    Ok(StatusCode::NO_CONTENT)
}

async fn read_logs(Path(name): Path<String>, Query(_): Query<LogParams>) -> Result<StatusCode> {
    function_name(&name)?;
    Ok(StatusCode::NO_CONTENT)
}

/// What a handler gets is the address in its parts, and nobody's credentials.
async fn call(request: Request) -> Bytes {
    let address = request.uri().path().to_owned();
    let (tenant, function, path) = invoke::split_address(&address);
    let whole = format!("/f/{tenant}/{function}{path}");
    assert!(whole == address || whole.strip_suffix('/') == Some(&address), "{address} became {whole}");
    assert!(!tenant.contains('/') && !function.contains('/') && path.starts_with('/'));
    let call = invoke::call(request, path.to_owned());
    assert!(!call.headers.contains_key(AUTHORIZATION) && !call.headers.contains_key(PROXY_AUTHORIZATION));
    axum::body::to_bytes(call.body, MAX_BODY_BYTES).await.unwrap_or_default()
}
