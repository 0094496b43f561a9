//! One call of a function that is a model alone, in order: tensors in, tensors out.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::Body;
use http_body_util::Full;
use modelet_engine::{Failure, Level, Reply as EngineReply, ReplyBody, Rest, Source};
use modelet_inference::RunRequest;
use modelet_types::{Code, InvocationId, Limits, Problem, Signature, Tensor};

use crate::Runtime;
use crate::account::Account;
use crate::admission::Permit;
use crate::answer::Answer;
use crate::body::{self, Bounds};
use crate::budget::Claim;
use crate::invoke::{BoxError, admit, settle};
use crate::revision::Revision;
use crate::routing::Routed;

/// From here on, reading or writing a body takes long enough to hold up the connections of its thread.
const LARGE_BYTES: usize = 64 << 10;

/// One call in tensors. `B` is the request's body, not yet read.
pub struct TensorCall<B> {
    /// The request's headers.
    pub headers: HeaderMap,
    /// The body, from which the codec reads the tensors.
    pub body: TensorBody<B>,
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

/// How a protocol writes tensors. It is asked once to read, and once to write.
pub trait TensorCodec: Send + 'static {
    /// Reads a request for a model with this signature. It makes no tensors of more than `limits` allow
    /// together.
    ///
    /// # Errors
    /// `InvalidInput` with the field, or `RequestTooLarge`.
    fn decode(
        &mut self,
        headers: &HeaderMap,
        body: Bytes,
        signature: &Signature,
        limits: &Limits,
    ) -> Result<TensorRequest, Problem>;

    /// Writes a response.
    ///
    /// # Errors
    /// If the protocol has no form for it.
    fn encode(&mut self, response: TensorResponse) -> Result<Encoded, Problem>;
}

/// What a request asks of a model.
#[derive(Debug)]
pub struct TensorRequest {
    /// The inputs by name, in any order.
    pub inputs: Vec<(String, Tensor)>,
    /// The outputs wanted, in order; empty means all.
    pub outputs: Vec<String>,
}

/// What a model gave.
#[derive(Debug)]
pub struct TensorResponse {
    /// The outputs by name.
    pub outputs: Vec<(String, Tensor)>,
}

/// A response as the protocol writes it.
#[derive(Debug)]
pub struct Encoded {
    /// Headers that describe the body.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl ArrivedBody {
    /// The same memory for a part of the body.
    #[must_use]
    pub fn with(self, bytes: Bytes) -> Self {
        Self { bytes, ..self }
    }
}

impl Runtime {
    /// Answers one call of a model alone. Dropping the future ends the invocation and records that the
    /// caller left.
    pub async fn infer<B>(&self, routed: Routed, call: TensorCall<B>, codec: impl TensorCodec) -> Answer
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let Routed(revision) = routed;
        let invocation = InvocationId::generate();
        let mut account = Account::open(self, &revision, invocation);
        let log = self.sink(&revision, invocation);
        let outcome = self.run_alone(&revision, &mut account, call, codec).await;
        let outcome = outcome.map_err(|problem| {
            // The caller's own mistakes are for the caller alone.
            if !matches!(problem.code, Code::InvalidInput | Code::RequestTooLarge) {
                log.line(Level::Error, Source::Host, &problem.to_string());
            }
            Failure::Host(problem)
        });
        let wake = account.wake_time;
        let result = settle(account, outcome).await;
        Answer { invocation, revision: Some(revision.number), wake, result }
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
        bounds.check_announced(&body)?;
        let (bytes, memory) = body::gather(body, bounds, &self.body_budget).await?;
        Ok(ArrivedBody { bytes, memory })
    }

    /// Loads the model of a revision that has no handler, if it is cold.
    ///
    /// # Errors
    /// What kept it from being loaded.
    pub async fn preload(&self, routed: &Routed) -> Result<(), Problem> {
        routed.0.models.preload().await?;
        self.residents.changed();
        Ok(())
    }

    /// Drops the model of a revision that has no handler from memory, without waiting for its idle time.
    /// Calls that use it end as they would.
    pub fn unload(&self, routed: &Routed) {
        for (_, key) in routed.0.models.keys() {
            self.config.inference.evict(key);
        }
    }

    async fn run_alone<B>(
        &self,
        revision: &Arc<Revision>,
        account: &mut Account,
        call: TensorCall<B>,
        mut codec: impl TensorCodec,
    ) -> Result<(EngineReply, Permit), Problem>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let TensorCall { headers, body } = call;

        // Receive: before a place is taken, so that a slow caller holds none.
        let (body, memory) = match body {
            TensorBody::Coming(body) => self.receive_whole(revision, account, body).await?,
            TensorBody::Arrived(ArrivedBody { bytes, memory }) => {
                account.request_bytes.store(bytes.len() as u64, Relaxed);
                self.bounds(revision).check_announced(&Full::new(bytes.clone()))?;
                (bytes, memory)
            }
        };
        let permit = admit(revision, account).await?;
        let deadline = Instant::now() + revision.limits.wall_time();

        // Read the request while the model wakes.
        let decoding = {
            let (models, limits) = (revision.models.clone(), revision.limits.clone());
            let is_large = body.len() > LARGE_BYTES;
            off_the_loop(is_large, move || {
                let signature = models.alone().map(|model| model.described().1);
                let request =
                    codec.decode(&headers, body, signature.unwrap_or(&Signature::default()), &limits);
                request.map(|request| (codec, request))
            })
        };
        let (mut codec, request) = if revision.models.is_resident() {
            decoding.await?
        } else {
            self.wake_beside(revision, account, decoding).await?
        };

        // Handle.
        let request = RunRequest { inputs: request.inputs, outputs: request.outputs, deadline };
        let run = revision.models.run_alone(request).await?;
        // The host's copies of the request are gone by now.
        drop(memory);
        account.meter.add_inference(run.cpu_time, run.inline);
        let bytes: usize = run.outputs.iter().map(|(_, tensor)| tensor.byte_len()).sum();
        check_outputs(bytes, &revision.limits)?;
        let response = TensorResponse { outputs: run.outputs };
        let Encoded { headers, body } =
            off_the_loop(bytes > LARGE_BYTES, move || codec.encode(response)).await?;
        check_body(body.len(), &revision.limits)?;
        let body = ReplyBody::Bytes(body);
        Ok((EngineReply { status: StatusCode::OK, headers, body, rest: Rest::default() }, permit))
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

fn check_outputs(bytes: usize, limits: &Limits) -> Result<(), Problem> {
    if bytes as u64 <= limits.tensor_bytes {
        return Ok(());
    }
    let detail = format!(
        "the outputs have {bytes} bytes, over the limit of {} (limits.tensor_bytes)",
        limits.tensor_bytes
    );
    Err(Problem::new(Code::ResponseTooLarge, detail))
}

fn check_body(bytes: usize, limits: &Limits) -> Result<(), Problem> {
    if bytes as u64 <= limits.response_body_bytes {
        return Ok(());
    }
    let detail = format!(
        "the response has {bytes} bytes, over the limit of {} (limits.response_body_bytes)",
        limits.response_body_bytes
    );
    Err(Problem::new(Code::ResponseTooLarge, detail))
}
