//! Calls that handlers make of other functions of their tenant: answered by the controller that answers those
//! from outside, with the rights of the tenant and without a connection.

use std::sync::{OnceLock, Weak};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::IntoResponse;
use futures::FutureExt;
use futures::future::BoxFuture;
use http_body_util::BodyExt;
use modelet_engine::Frames;
use modelet_runtime::{FunctionCalls, Origin};
use modelet_types::{Code, FunctionName, Problem};

use crate::caller::Caller;
use crate::context::{Context, Shared};
use crate::controllers::invoke;
use crate::problem::ProblemResponse;

/// Answers handlers' calls, once the host is put together.
#[derive(Default)]
pub(crate) struct ToController(OnceLock<Weak<Shared>>);

impl ToController {
    /// Says what the calls are answered with. Weak, since that is what the handlers run in.
    pub(crate) fn connect(&self, context: &Context) {
        // The host is put together once.
        _ = self.0.set(context.downgrade());
    }
}

impl FunctionCalls for ToController {
    fn call(
        &self,
        origin: Origin,
        function: FunctionName,
        request: http::Request<Frames>,
    ) -> BoxFuture<'static, http::Response<Frames>> {
        let context = self.0.get().and_then(Context::upgrade);
        async move {
            let response = match context {
                Some(context) => match addressed(&origin, &function, request) {
                    Ok(request) => {
                        let caller = Caller::handler_of(origin.tenant);
                        invoke::invoke(State(context), caller, request).await
                    }
                    Err(problem) => ProblemResponse::from(problem).into_response(),
                },
                None => {
                    let detail = "the host is shutting down";
                    ProblemResponse::from(Problem::new(Code::ShuttingDown, detail)).into_response()
                }
            };
            response.map(|body| body.map_err(Into::into).boxed_unsync())
        }
        .boxed()
    }
}

/// The request as it would come from outside.
fn addressed(
    origin: &Origin,
    function: &FunctionName,
    request: http::Request<Frames>,
) -> Result<Request, Problem> {
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let address = format!("/f/{}/{function}{path}", origin.tenant);
    parts.uri = address.parse().map_err(|_| {
        Problem::new(Code::InvalidInput, "the path and the query are no part of an address").at("path")
    })?;
    parts.extensions.insert(origin.clone());
    Ok(Request::from_parts(parts, Body::new(body)))
}
