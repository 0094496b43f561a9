//! One call of a function that takes and gives tensors, in order: a model alone, or a handler around models.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use http_body::Body;
use modelet_engine::{
    Failure, Handler, Invocation, Level, Reply as EngineReply, ReplyBody, RequestBody, Rest, Source,
    TensorRequest,
};
use modelet_inference::{RunRequest, match_inputs};
use modelet_observe::LogSink;
use modelet_types::{Code, InvocationId, Limits, Problem, Signature, Tensor};

use crate::Runtime;
use crate::account::Account;
use crate::admission::Permit;
use crate::answer::Answer;
use crate::body::{self, Bounds};
use crate::budget::Claim;
use crate::functions::Origin;
use crate::invoke::{Asked, BoxError, settle};
use crate::revision::Revision;
use crate::routing::Routed;
use crate::statistics::{Parts, Ran};

/// From here on, reading or writing a body takes long enough to hold up the connections of its thread.
pub const LARGE_BODY_BYTES: usize = 64 << 10;

/// One call in tensors. `B` is the request's body, not yet read.
pub struct TensorCall<B> {
    /// The body, from which the codec reads the tensors.
    pub body: TensorBody<B>,
    /// How long the caller waits, if it says.
    pub timeout: Option<Duration>,
    /// Whether the caller wants to know how long each stage took.
    pub timed: bool,
    /// The handler that makes the call; `None` if it comes from outside.
    pub origin: Option<Origin>,
}

/// Tensors by name.
type Tensors = Vec<(String, Tensor)>;

/// The body of a call in tensors.
pub enum TensorBody<B> {
    /// Not yet read.
    Coming(B),
    /// Read already, since it was not known before whose it is.
    Arrived(ArrivedBody),
}

/// A body that has arrived whole, and its part of the memory that the host has for bodies.
pub struct ArrivedBody {
    /// The body.
    pub bytes: Bytes,
    memory: Claim,
}

impl ArrivedBody {
    /// The same memory for a part of the body.
    #[must_use]
    pub fn with(self, bytes: Bytes) -> Self {
        Self { bytes, ..self }
    }
}

/// How a protocol writes tensors. It is made for one request: asked once to read it, and once to write the
/// response.
pub trait TensorCodec: Send + 'static {
    /// Whether the body is compressed, so that it is longer than it looks.
    fn is_compressed(&self) -> bool {
        false
    }

    /// Reads a request for a model with this signature. It makes no tensors of more than `limits` allow
    /// together.
    ///
    /// # Errors
    /// `InvalidInput` with the field, or `RequestTooLarge`.
    fn decode(
        &mut self,
        body: Bytes,
        signature: &Signature,
        limits: &Limits,
    ) -> Result<TensorRequest, Problem>;

    /// Writes a response of these outputs.
    ///
    /// # Errors
    /// `ResponseTooLarge` as soon as it is larger than `limits` allow, or if the protocol has no form for it.
    fn encode(&mut self, outputs: Vec<(String, Tensor)>, limits: &Limits) -> Result<Encoded, Problem>;
}

/// A response as the protocol writes it.
#[derive(Debug)]
pub struct Encoded {
    /// Headers that describe the body.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Runtime {
    /// Answers one call in tensors. Dropping the future ends the invocation and records that the
    /// caller left.
    pub async fn infer<B>(&self, routed: Routed, call: TensorCall<B>, codec: impl TensorCodec) -> Answer
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let Routed(revision) = routed;
        let invocation = InvocationId::generate();
        let mut account = match Account::open(self, &revision, invocation) {
            Ok(account) => account,
            Err(problem) => return Answer::not_begun(invocation, &revision, problem),
        };
        // A handler takes it.
        let mut log = Some(self.sink(&revision, invocation));
        let began = Instant::now();
        let outcome = self.run_tensors(&revision, &mut account, invocation, &mut log, call, codec).await;
        let outcome = outcome.inspect_err(|failure| {
            revision.statistics.failed(began.elapsed());
            // The caller's own mistakes are for the caller alone, and overload would flood the log. What a
            // handler has done is in its log already.
            if let (Some(log), Failure::Host(problem)) = (&log, failure)
                && matches!(
                    problem.code,
                    Code::BackendFailed
                        | Code::InvalidModel
                        | Code::WallTimeExceeded
                        | Code::ResponseTooLarge
                        | Code::Internal
                )
            {
                log.line(Level::Error, Source::Host, &problem.to_string());
            }
        });
        let (wake, stages) = (account.wake_time, account.stages());
        let result = settle(account, outcome).await;
        Answer { invocation, revision: Some(revision.number), wake, stages, result }
    }

    /// Receives a body of at most `limit` bytes, where it is not known yet whose it is.
    ///
    /// # Errors
    /// If it is larger, comes too slowly, breaks off, or if there is no memory for it.
    pub async fn receive_ahead<B>(&self, body: B, limit: u64) -> Result<ArrivedBody, Problem>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>>,
    {
        let bounds = Bounds { limit, idle_timeout: self.config.body_idle_timeout };
        let (bytes, memory) = body::gather(body, bounds, &self.body_budget).await?;
        Ok(ArrivedBody { bytes, memory })
    }

    async fn run_tensors<B>(
        &self,
        revision: &Arc<Revision>,
        account: &mut Account,
        id: InvocationId,
        log: &mut Option<LogSink>,
        call: TensorCall<B>,
        codec: impl TensorCodec,
    ) -> Result<(EngineReply, Permit), Failure>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let TensorCall { body, timeout, timed, origin } = call;
        account.timing = timed.then(Arc::default);
        let (began, limits) = (Instant::now(), revision.limits.clone());

        // Receive: before a place is taken, so that a slow caller holds none.
        let (body, mut memory) = match body {
            TensorBody::Coming(body) => self.receive_whole(revision, account, body).await?,
            TensorBody::Arrived(ArrivedBody { bytes, memory }) => {
                account.request_bytes.store(bytes.len() as u64, Relaxed);
                self.bounds(revision).check(bytes.len() as u64)?;
                (bytes, memory)
            }
        };
        account.stage("receive", began);
        let is_large = codec.is_compressed() || body.len() > LARGE_BODY_BYTES;
        if codec.is_compressed() {
            // What it becomes is not known before; no more than this.
            let more = limits.request_body_bytes.saturating_sub(body.len() as u64);
            self.body_budget.take(&mut memory, usize::try_from(more).unwrap_or(usize::MAX)).await?;
        }
        let permit = self.admit(revision, account).await?;

        // Wake, and read the request meanwhile. Its memory and its place go with it, since it is read to the
        // end whether or not the caller stays.
        let decoding = off_the_loop(is_large, {
            let (revision, limits) = (revision.clone(), limits.clone());
            let mut codec = codec;
            move || {
                let began = Instant::now();
                let no_signature = || Problem::new(Code::Internal, "the function takes no tensors");
                let request = codec.decode(body, revision.signature().ok_or_else(no_signature)?, &limits)?;
                Ok((codec, request, memory, permit, began.elapsed()))
            }
        });
        let is_awake = revision.models.is_resident() && revision.component.is_none();
        let ((mut codec, request, memory, permit, input), handler) = if is_awake {
            (decoding.await?, None)
        } else if revision.component.is_none() {
            (self.wake_beside(revision, account, decoding).await?, None)
        } else {
            let handler = self.wake(revision, account).await?;
            (decoding.await?, Some(handler))
        };
        revision.check_not_deleted()?;

        // Handle. Waking does not count, but whoever calls may wait for less.
        let deadline = Instant::now() + limits.wall_time();
        let patience = timeout.and_then(|timeout| began.checked_add(timeout));
        let deadline = patience.map_or(deadline, |end| deadline.min(end));
        // Nobody waits for a call longer than for the one that made it.
        let deadline = origin.as_ref().map_or(deadline, |origin| deadline.min(origin.deadline));
        let (outputs, ran, rest) = match handler {
            None => self.run_model(revision, account, deadline, request).await?,
            Some(handler) => {
                let log = log.take().unwrap_or_else(|| self.sink(revision, id));
                let invocation = |account: &Account, body| {
                    let (method, path) = (Method::POST.as_str().to_owned(), "/".to_owned());
                    let asked = Asked { method, path, query: None, headers: HeaderMap::new(), body };
                    self.invocation(revision, account, id, log, origin, deadline, asked)
                };
                transform(revision, account, &handler, request, invocation).await?
            }
        };
        // The host's copies of the request are gone by now.
        drop(memory);
        let bytes: usize = outputs.iter().map(|(_, tensor)| tensor.byte_len()).sum();
        check_size("outputs have", bytes, limits.tensor_bytes, "tensor_bytes")?;
        let writing = Instant::now();
        let encoding = off_the_loop(bytes > LARGE_BODY_BYTES, move || {
            let encoded = codec.encode(outputs, &limits)?;
            check_size(
                "response has",
                encoded.body.len(),
                limits.response_body_bytes,
                "response_body_bytes",
            )?;
            Ok((encoded, permit))
        });
        let (Encoded { headers, body }, permit) = encoding.await?;
        let parts =
            Parts { all: began.elapsed(), queue: account.queue_time, input, output: writing.elapsed() };
        revision.statistics.answered(&parts, &ran);
        let body = ReplyBody::Bytes(body);
        Ok((EngineReply { status: StatusCode::OK, headers, body, rest }, permit))
    }

    /// Runs the model of a function without a handler.
    async fn run_model(
        &self,
        revision: &Revision,
        account: &Account,
        deadline: Instant,
        request: TensorRequest,
    ) -> Result<(Tensors, Ran, Rest), Problem> {
        let TensorRequest { inputs, outputs } = request;
        let request = RunRequest {
            inputs,
            outputs,
            deadline,
            max_output_bytes: revision.limits.tensor_bytes,
            priority: revision.models.priority(),
            unanswered: Some(account.unanswered.clone()),
        };
        let run = revision.models.run_only(request, account.timing.as_deref()).await?;
        account.meter.add_inference(run.cpu_time, run.inline);
        let ran = Ran::of(&run);
        Ok((run.outputs, ran, Rest::default()))
    }
}

/// Has a handler in tensors answer.
async fn transform(
    revision: &Revision,
    account: &Account,
    handler: &Arc<Handler>,
    request: TensorRequest,
    invocation: impl FnOnce(&Account, RequestBody) -> Invocation,
) -> Result<(Tensors, Ran, Rest), Failure> {
    let TensorRequest { inputs, outputs } = request;
    let no_signature = || Problem::new(Code::Internal, "the function takes no tensors");
    let signature = revision.signature().ok_or_else(no_signature)?;
    let inputs = match_inputs(signature, inputs, &outputs).map_err(Problem::from)?;
    let began = Instant::now();
    let body = RequestBody::Tensors(TensorRequest { inputs, outputs });
    let reply = handler.invoke(invocation(account, body)).await;
    let took = began.elapsed();
    account.stage("handler", began);
    // Idle time begins when the work ends.
    revision.handler.renew();
    revision.code.renew();
    let EngineReply { body, rest, .. } = reply?;
    match body {
        ReplyBody::Tensors(outputs) => Ok((outputs, Ran::by_handler(took), rest)),
        _ => Err(Problem::new(Code::Internal, "a handler in tensors answered in bytes").into()),
    }
}

/// Does `work` here, or if it is long on a thread on which nobody else waits.
async fn off_the_loop<T: Send + 'static>(
    is_long: bool,
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    if !is_long {
        return work();
    }
    let failed = |error| Problem::new(Code::Internal, format!("reading or writing tensors failed: {error}"));
    tokio::task::spawn_blocking(work).await.map_err(failed)?
}

fn check_size(what: &str, bytes: usize, limit: u64, name: &str) -> Result<(), Problem> {
    if bytes as u64 <= limit {
        return Ok(());
    }
    let detail = format!("the {what} {bytes} bytes, over the limit of {limit} (limits.{name})");
    Err(Problem::new(Code::ResponseTooLarge, detail))
}
