//! One invocation, in order.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use bytes::Bytes;
use futures::StreamExt;
use http_body::Body;
use modelet_engine::{
    Failure, Handler, HttpRequest, Invocation, KeyValue, Reply as EngineReply, ReplyBody, RequestBody, Rest,
};
use modelet_observe::Outcome;
use modelet_observe::metrics::Layer as MetricLayer;
use modelet_types::manifest::RequestBody as RequestBodyMode;
use modelet_types::{Code, InvocationId, Problem};

use crate::account::Account;
use crate::admission::Permit;
use crate::answer::{Answer, AnswerBody, Reply};
use crate::body::Bounds;
use crate::budget::Claim;
use crate::functions::{InvocationFunctions, MAX_CALLS, Origin};
use crate::log::InvocationLog;
use crate::models::RunBounds;
use crate::revision::Revision;
use crate::routing::Routed;
use crate::sweep::Added;
use crate::{Call, Runtime, body, stream};

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl Runtime {
    /// Answers one call of a handler. Dropping the future ends the invocation and records that the caller
    /// left.
    pub async fn invoke<B>(&self, routed: Routed, call: Call<B>) -> Answer
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let Routed(revision) = routed;
        let invocation = InvocationId::generate();
        let mut account = match Account::open(self, &revision, invocation) {
            Ok(account) => account,
            Err(problem) => return Answer::not_begun(invocation, &revision, problem),
        };
        let outcome = self.run(&revision, &mut account, invocation, call).await;
        let (wake, stages) = (account.wake_time, account.stages());
        let result = settle(account, outcome).await;
        Answer { invocation, revision: Some(revision.number), wake, stages, result }
    }

    async fn run<B>(
        &self,
        revision: &Arc<Revision>,
        account: &mut Account,
        id: InvocationId,
        call: Call<B>,
    ) -> Result<(EngineReply, Permit), Failure>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let Call { method, path, query, headers, body, timed, origin } = call;
        account.timing = timed.then(Arc::default);
        // Before the looks at whether the function is still there: a sink that was made after the
        // deletion would write into the log of the next function of that name.
        let log = self.log(revision, id);

        // Receive: before a place is taken, so that a slow caller holds none.
        let began = Instant::now();
        let (body, memory) = self.receive(revision, account, body).await?;
        account.stage("receive", began);
        let permit = self.admit(revision, account).await?;

        // Wake.
        let handler = self.wake(revision, account).await?;
        revision.check_not_deleted()?;

        // Handle.
        let began = Instant::now();
        let deadline = began + revision.limits.wall_time();
        let invocation = self.invocation(revision, account, id, log, origin, deadline);
        let request = HttpRequest { method: method.as_str().to_owned(), path, query, headers, body };
        let reply = handler.invoke(invocation, request).await;
        account.stage("handler", began);
        // The host's copy of the body is gone by now.
        drop(memory);
        // Idle time begins when the work ends.
        revision.handler.renew();
        revision.code.renew();
        Ok((reply?, permit))
    }

    /// What a handler needs for one invocation, which ends at `deadline` or with the call that it is a part of.
    pub(crate) fn invocation(
        &self,
        revision: &Revision,
        account: &Account,
        id: InvocationId,
        log: Arc<InvocationLog>,
        origin: Option<Origin>,
        deadline: Instant,
    ) -> Invocation {
        let deadline = Origin::limit(origin.as_ref(), deadline);
        let (depth, calls_left) = origin
            .map_or_else(|| (0, Arc::new(MAX_CALLS.into())), |origin| (origin.depth, origin.calls_left));
        let origin = Origin { tenant: revision.tenant.clone(), depth: depth + 1, deadline, calls_left };
        let bounds = RunBounds {
            deadline,
            max_output_bytes: revision.limits.tensor_bytes,
            unanswered: account.unanswered.clone(),
        };
        Invocation {
            id,
            tenant: revision.tenant.clone(),
            function: revision.function.clone(),
            revision: revision.number,
            deadline,
            limits: revision.limits.clone(),
            config: revision.config.clone(),
            outbound: revision.outbound.clone(),
            key_value: revision.key_value.clone().map(|kept| kept as Arc<dyn KeyValue>),
            models: revision.models.within(bounds, account.timing.clone()),
            functions: Arc::new(InvocationFunctions { calls: self.config.functions.clone(), origin }),
            secrets: log.secrets().clone(),
            log,
            meter: account.meter.clone(),
        }
    }

    /// Where an invocation's log lines go, without the secrets that it begins with.
    pub(crate) fn log(&self, revision: &Revision, id: InvocationId) -> Arc<InvocationLog> {
        let Revision { tenant, function, number, limits, .. } = revision;
        let sink = self.config.logs.sink(tenant, function, *number, id, limits.log_bytes);
        Arc::new(InvocationLog::new(sink, revision.secrets.load_full()))
    }

    async fn receive<B>(
        &self,
        revision: &Revision,
        account: &Account,
        body: B,
    ) -> Result<(RequestBody, Claim), Problem>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        match revision.request_body {
            RequestBodyMode::Bytes => {
                let (bytes, memory) = self.receive_whole(revision, account, body).await?;
                Ok((RequestBody::Bytes(bytes), memory))
            }
            RequestBodyMode::Stream => {
                let bounds = self.bounds(revision);
                bounds.check_announced(&body)?;
                let stream = body::stream_on(body, bounds, account.request_bytes.clone());
                Ok((RequestBody::Stream(stream), Claim::default()))
            }
        }
    }

    /// A body all at once, with its part of the memory that bodies may take.
    pub(crate) async fn receive_whole<B>(
        &self,
        revision: &Revision,
        account: &Account,
        body: B,
    ) -> Result<(Bytes, Claim), Problem>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let (bytes, memory) = body::gather(body, self.bounds(revision), &self.body_budget).await?;
        account.request_bytes.store(bytes.len() as u64, Relaxed);
        Ok((bytes, memory))
    }

    pub(crate) fn bounds(&self, revision: &Revision) -> Bounds {
        let limit = revision.limits.request_body_bytes;
        Bounds { limit, idle_timeout: self.config.body_idle_timeout }
    }

    /// Waits for a place.
    pub(crate) async fn admit(&self, revision: &Revision, account: &mut Account) -> Result<Permit, Problem> {
        // A caller that was slow with its body may come after the end.
        revision.check_not_deleted()?;
        let waiting = Instant::now();
        let may_wait = || {
            account.wait().inspect_err(|_| {
                self.config.metrics.host().quota_refusals.add(1);
            })
        };
        let admitted = revision.admission.enter(may_wait).await;
        account.queue_time = waiting.elapsed();
        account.stage("queue", waiting);
        let permit = admitted?;
        revision.check_not_deleted()?;
        Ok(permit)
    }

    pub(crate) async fn wake(
        &self,
        revision: &Arc<Revision>,
        account: &mut Account,
    ) -> Result<Arc<Handler>, Problem> {
        let warm = revision.handler.get();
        if let (Some(handler), true) = (&warm, revision.models.is_resident()) {
            return Ok(handler.clone());
        }
        let handler = revision.wake_handler(&self.config.engine, &self.config.metrics);
        self.wake_beside(revision, account, handler).await
    }

    /// Does `work`, such as waking the handler, while whatever model is cold is loaded: side by side, so that
    /// a cold start costs the longest of them and not the sum.
    pub(crate) async fn wake_beside<T>(
        &self,
        revision: &Arc<Revision>,
        account: &mut Account,
        work: impl Future<Output = Result<T, Problem>>,
    ) -> Result<T, Problem> {
        let began = Instant::now();
        account.added = Some(self.residents.add(revision));
        let metrics = &self.config.metrics;
        let both = async {
            let models = async {
                let began = Instant::now();
                if !revision.models.is_resident() {
                    revision.models.wake().await;
                    metrics.host().wake(MetricLayer::Session, began.elapsed());
                }
            };
            futures::join!(work, models).0
        };
        let woken = tokio::time::timeout(self.config.wake_timeout, both).await;
        account.wake_time = Some(began.elapsed());
        account.stage("wake", began);
        woken.unwrap_or_else(|_| {
            let detail = format!("the function did not wake within {} s", self.config.wake_timeout.as_secs());
            Err(Problem::new(Code::Overloaded, detail))
        })
    }
}

/// Account, then answer.
pub(crate) async fn settle(
    mut account: Account,
    outcome: Result<(EngineReply, Permit), Failure>,
) -> Result<Reply, Failure> {
    let (reply, permit) = match outcome {
        Ok(handled) => handled,
        Err(failure) => {
            let status = match &failure {
                Failure::Handler(problem) => problem.status,
                Failure::Host(problem) => account.status_of(problem.code),
            };
            account.close(status, Outcome::Failed(failure.code())).await?;
            return Err(failure);
        }
    };
    let EngineReply { status, headers, body, rest } = reply;
    let body = match body {
        ReplyBody::Bytes(bytes) => {
            // The next invocation need not wait for this one's record.
            drop(permit);
            account.response_bytes.store(bytes.len() as u64, Relaxed);
            account.close(status.as_u16(), Outcome::Ok).await?;
            tidy_up(rest, account.added.take());
            AnswerBody::Bytes(bytes)
        }
        ReplyBody::Stream(body) => {
            if let Err(problem) = account.open_stream(status.as_u16()).await {
                // The host is at fault, and not a caller who left, as it would look otherwise.
                let status = account.status_of(problem.code);
                _ = account.close(status, Outcome::Failed(problem.code)).await;
                return Err(problem.into());
            }
            AnswerBody::Stream(stream::start(body, account, permit, status.as_u16()).boxed())
        }
    };
    Ok(Reply { status, headers, body })
}

/// Drops what an answered call has left behind once this thread has nothing more urgent to do, such as
/// sending the answer. One task for all of it, since a second would wake another thread.
fn tidy_up(rest: Rest, added: Option<Added>) {
    if !rest.is_empty() || added.is_some() {
        tokio::spawn(async move { drop((rest, added)) });
    }
}
