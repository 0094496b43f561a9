//! What a call comes to.

use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use http::{HeaderMap, StatusCode};
use http_body::Frame;
use modelet_engine::Failure;
use modelet_types::{InvocationId, Problem, RevisionNumber};

use crate::revision::Revision;
use crate::timing::Stage;

/// The outcome of one call, in HTTP or in tensors. By the time it is there, its usage record is in the ledger.
pub struct Answer {
    /// The invocation.
    pub invocation: InvocationId,
    /// The revision that answered; `None` if the call did not get that far.
    pub revision: Option<RevisionNumber>,
    /// How long the caller waited for a cold function to wake; `None` if it was awake.
    pub wake: Option<Duration>,
    /// How long each stage took, up to the response's first byte, if the caller asked.
    pub stages: Vec<Stage>,
    /// The response, or why there is none.
    pub result: Result<Reply, Failure>,
}

impl Answer {
    /// That of a call that could not be routed.
    pub fn refused(problem: Problem) -> Self {
        let invocation = InvocationId::generate();
        Self { invocation, revision: None, wake: None, stages: Vec::new(), result: Err(problem.into()) }
    }

    /// That of a call that was routed and could not begin.
    pub(crate) fn not_begun(invocation: InvocationId, revision: &Revision, problem: Problem) -> Self {
        let revision = Some(revision.number);
        Self { invocation, revision, wake: None, stages: Vec::new(), result: Err(problem.into()) }
    }
}

/// The response.
pub struct Reply {
    /// From 200 to 599.
    pub status: StatusCode,
    /// Headers, without those of the connection.
    pub headers: HeaderMap,
    /// The body.
    pub body: AnswerBody,
}

/// A response's body.
pub enum AnswerBody {
    /// All at once.
    Bytes(Bytes),
    /// As it is made, trailers included. An error means that the connection must be broken off.
    Stream(BoxStream<'static, Result<Frame<Bytes>, Failure>>),
}
