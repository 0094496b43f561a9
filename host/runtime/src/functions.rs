//! A handler's calls of other functions of its tenant.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Instant;

use futures::FutureExt;
use futures::future::BoxFuture;
use modelet_engine::{CallError, Frames, Functions};
use modelet_types::{FunctionName, TenantName};
use tokio::task::JoinSet;

/// How deep functions call one another. One that calls itself ends there.
const MAX_DEPTH: u32 = 8;
/// Calls of functions that one call from outside may lead to, at whatever depth.
pub(crate) const MAX_CALLS: u32 = 1_000;

/// Where a call comes from that a handler makes.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Whose handler it is.
    pub tenant: TenantName,
    /// How many handlers wait for the answer.
    pub depth: u32,
    /// When the first of them is stopped.
    pub deadline: Instant,
    /// Calls that may still be made, by all of them together.
    pub calls_left: Arc<AtomicU32>,
}

impl Origin {
    /// When a call is stopped that would be at `deadline`: nobody waits for it longer than for the one that made it.
    pub(crate) fn limit(origin: Option<&Self>, deadline: Instant) -> Instant {
        origin.map_or(deadline, |origin| deadline.min(origin.deadline))
    }
}

/// Whoever answers requests to functions, as if they came from outside.
pub trait FunctionCalls: Send + Sync {
    /// Calls a function of the origin's tenant.
    fn call(
        &self,
        origin: Origin,
        function: FunctionName,
        request: http::Request<Frames>,
    ) -> BoxFuture<'static, http::Response<Frames>>;
}

/// The functions that one invocation may call.
pub(crate) struct InvocationFunctions {
    pub(crate) calls: Arc<dyn FunctionCalls>,
    pub(crate) origin: Origin,
}

impl Functions for InvocationFunctions {
    fn call(
        &self,
        function: FunctionName,
        request: http::Request<Frames>,
    ) -> BoxFuture<'static, Result<http::Response<Frames>, CallError>> {
        if self.origin.depth > MAX_DEPTH {
            return futures::future::ready(Err(CallError::TooDeep)).boxed();
        }
        let one_less = |left: u32| left.checked_sub(1);
        if self.origin.calls_left.fetch_update(Relaxed, Relaxed, one_less).is_err() {
            return futures::future::ready(Err(CallError::TooMany)).boxed();
        }
        let call = self.calls.call(self.origin.clone(), function, request);
        // In a task of its own, so that its CPU time is not the caller's too; a set of one, which aborts it
        // when nobody waits any more.
        let mut task = JoinSet::new();
        task.spawn(call);
        async move {
            match task.join_next().await {
                Some(Ok(response)) => Ok(response),
                _ => Err(CallError::Failed),
            }
        }
        .boxed()
    }
}
