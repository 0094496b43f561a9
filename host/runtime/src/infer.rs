//! One call of a function that takes and gives tensors, in order: a model alone, or a handler around models.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::Body;
use modelet_engine::{
    Failure, Handler, Invocation, Level, Log as _, NamedTensors, Reply as EngineReply, ReplyBody, Rest,
    Source, TensorRequest,
};
use modelet_inference::{RunRequest, match_inputs};
use modelet_types::{Code, InvocationId, Limits, Problem, Signature, Tensor, TensorInfo};

use crate::Runtime;
use crate::account::Account;
use crate::admission::Permit;
use crate::answer::Answer;
use crate::body::{self, Bounds};
use crate::budget::Claim;
use crate::functions::Origin;
use crate::invoke::{BoxError, settle};
use crate::log::InvocationLog;
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
        let log = self.log(&revision, invocation);
        let began = Instant::now();
        let outcome = self.run_tensors(&revision, &mut account, invocation, &log, call, codec).await;
        let outcome = outcome.inspect_err(|_| revision.statistics.failed(began.elapsed()));
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
        log: &Arc<InvocationLog>,
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

        // Wake, and read the request. Its memory and its place go with it, since it is read to the
        // end whether or not the caller stays.
        let decoding = off_the_loop(is_large, {
            let (revision, limits) = (revision.clone(), limits.clone());
            let mut codec = codec;
            move || {
                let began = Instant::now();
                let request = codec.decode(body, signature_of(&revision)?, &limits)?;
                Ok((codec, request, memory, permit, began.elapsed()))
            }
        });
        let ((mut codec, request, memory, permit, input), handler) =
            match (revision.component, revision.models.is_resident()) {
                (None, true) => (decoding.await?, None),
                (None, false) => (self.wake_beside(revision, account, decoding).await?, None),
                // What cannot be read wakes no handler.
                (Some(_), _) => {
                    let decoded = decoding.await?;
                    (decoded, Some(self.wake(revision, account).await?))
                }
            };
        revision.check_not_deleted()?;

        // Handle. Waking does not count, but whoever calls may wait for less.
        let deadline = Instant::now() + limits.wall_time();
        let patience = timeout.and_then(|timeout| began.checked_add(timeout)).filter(|end| *end < deadline);
        let (outputs, ran, rest) = match handler {
            None => {
                let deadline = patience.unwrap_or(deadline);
                let deadline = Origin::limit(origin.as_ref(), deadline);
                self.run_model(revision, account, deadline, request)
                    .await
                    .map_err(|problem| told(log, problem))?
            }
            Some(handler) => {
                let invocation = self.invocation(revision, account, id, log.clone(), origin, deadline);
                let answer = transform(revision, account, &handler, invocation, request);
                match patience {
                    None => answer.await?,
                    Some(end) => {
                        tokio::time::timeout_at(end.into(), answer).await.map_err(|_| too_late())??
                    }
                }
            }
        };
        // The host's copies of the request are gone by now.
        drop(memory);
        let bytes: usize = outputs.iter().map(|(_, tensor)| tensor.byte_len()).sum();
        check_size("outputs have", bytes, limits.tensor_bytes, "tensor_bytes")
            .map_err(|problem| told(log, problem))?;
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
        let (Encoded { headers, body }, permit) = encoding.await.map_err(|problem| told(log, problem))?;
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
    ) -> Result<(NamedTensors, Ran, Rest), Problem> {
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

/// Has a handler in tensors answer, and holds that to what its manifest declares.
async fn transform(
    revision: &Revision,
    account: &Account,
    handler: &Arc<Handler>,
    invocation: Invocation,
    request: TensorRequest,
) -> Result<(NamedTensors, Ran, Rest), Failure> {
    let TensorRequest { inputs, outputs: wanted } = request;
    let signature = signature_of(revision)?;
    let inputs = match_inputs(signature, inputs, &wanted).map_err(Problem::from)?;
    let (log, began) = (invocation.log.clone(), Instant::now());
    let answer = handler.transform(invocation, TensorRequest { inputs, outputs: wanted.clone() }).await;
    let took = began.elapsed();
    account.stage("handler", began);
    // Idle time begins when the work ends.
    revision.handler.renew();
    revision.code.renew();
    let (given, rest) = answer?;
    let outputs = chosen(given, &signature.outputs, &wanted)
        .inspect_err(|problem| log.line(Level::Error, Source::Host, &problem.to_string()))?;
    Ok((outputs, Ran::by_handler(took), rest))
}

/// The outputs that are wanted, in their order, if they are as they are declared.
fn chosen(
    mut given: NamedTensors,
    declared: &[TensorInfo],
    wanted: &[String],
) -> Result<NamedTensors, Problem> {
    let invalid = |detail: String| Problem::new(Code::InvalidResponse, detail);
    let is_wanted = |info: &&TensorInfo| wanted.is_empty() || wanted.contains(&info.name);
    let mut outputs = NamedTensors::new();
    for info in declared.iter().filter(is_wanted) {
        let index = given.iter().position(|(name, _)| *name == info.name);
        let index = index.ok_or_else(|| invalid(format!("the handler gave no output `{}`", info.name)))?;
        let (name, tensor) = given.swap_remove(index);
        if let Some(difference) = info.difference(&tensor) {
            return Err(invalid(format!(
                "the manifest declares the handler's output `{name}` with {difference}"
            )));
        }
        outputs.push((name, tensor));
    }
    outputs.sort_by_key(|(name, _)| wanted.iter().position(|wanted| wanted == name));
    Ok(outputs)
}

/// The caller's own time is over, which says nothing of the handler.
fn too_late() -> Problem {
    Problem::new(Code::WallTimeExceeded, "the time that the caller waits is over (grpc-timeout)")
}

/// What a revision takes and gives, which is tensors: others are not routed here.
fn signature_of(revision: &Revision) -> Result<&Signature, Problem> {
    let none = || Problem::new(Code::Internal, "the function takes no tensors");
    revision.signature().ok_or_else(none)
}

/// Writes a problem to the function's log that is for its author. The caller's own mistakes are for the caller
/// alone, and overload would flood the log.
fn told(log: &InvocationLog, problem: Problem) -> Problem {
    if matches!(
        problem.code,
        Code::BackendFailed
            | Code::InvalidModel
            | Code::WallTimeExceeded
            | Code::ResponseTooLarge
            | Code::Internal
    ) {
        log.line(Level::Error, Source::Host, &problem.to_string());
    }
    problem
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
