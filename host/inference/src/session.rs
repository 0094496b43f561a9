//! A loaded model and its runs: validated, then inline or on the pool, and never waited for beyond
//! the deadline.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use modelet_types::manifest::Priority;
use modelet_types::{Signature, TenantName, Tensor};
use tokio::sync::oneshot;

use crate::backend::{BackendId, BackendRun, BackendSession};
use crate::batch::{self, Place, Queue, Rule, Share};
use crate::pace::Pace;
use crate::pool::{Pool, Ticket};
use crate::response_cache::ResponseCache;
use crate::room::Taken;
use crate::stats::Counters;
use crate::unanswered::Watched;
use crate::{CacheStats, Control, InferenceError, Unanswered};

pub(crate) mod plan;
mod run;

use plan::{Names, Plan};
pub use run::{Execution, RunOutput, RunRequest};

/// A model in a backend, shared by all who run it.
pub struct Session {
    backend: BackendId,
    signature: Signature,
    names: Names,
    loaded: Box<dyn BackendSession>,
    queue: Queue,
    pace: Pace,
    made: Instant,
    /// When it last gave an answer, in microseconds since the session was made.
    last_run: AtomicU64,
    settings: Settings,
    poisoned: AtomicBool,
    /// Whether it was taken out of memory while somebody held it.
    unloaded: AtomicBool,
}

/// What a session takes from the service.
pub(crate) struct Settings {
    pub pool: Arc<Pool>,
    /// Whose session it is.
    pub tenant: TenantName,
    /// What goes together, if anything does.
    pub rule: Option<Rule>,
    /// Runs of one priority that may wait.
    pub queue: usize,
    pub counters: Arc<Counters>,
    /// Runs expected to be shorter than this are inline. Zero if none may be.
    pub inline_threshold: Duration,
    /// Whether this tenant's runs may be inline at all. Changes when the operator says so.
    pub is_trusted: Arc<AtomicBool>,
    /// The memory that the session takes, that of the answers it keeps included.
    pub memory: Taken,
    /// Answers that are kept.
    pub cache: Option<ResponseCache>,
    /// Called when a panic has left the session in an unknown state.
    pub on_poisoned: Box<dyn Fn() + Send + Sync>,
}

impl Session {
    pub(crate) fn new(
        backend: BackendId,
        signature: Signature,
        loaded: Box<dyn BackendSession>,
        settings: Settings,
    ) -> Self {
        Self {
            queue: Queue::default(),
            backend,
            names: Names::of(&signature),
            signature,
            loaded,
            pace: Pace::default(),
            made: Instant::now(),
            last_run: AtomicU64::new(0),
            settings,
            poisoned: AtomicBool::new(false),
            unloaded: AtomicBool::new(false),
        }
    }

    /// The declared inputs and outputs.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Whether whoever has it need not ask for another: it is the one in memory, as far as anybody has said.
    pub fn is_current(&self) -> bool {
        !self.unloaded.load(Ordering::Relaxed)
    }

    /// Says that it is to be used by nobody who does not use it already.
    pub(crate) fn unload(&self) {
        self.unloaded.store(true, Ordering::Relaxed);
    }

    /// Memory that is reckoned for it.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.settings.memory.bytes()
    }

    /// Whether it was loaded from what was prepared at the deploy.
    pub(crate) fn is_prepared(&self) -> bool {
        self.loaded.prepared_bytes().is_some()
    }

    pub(crate) fn cache_stats(&self) -> Option<CacheStats> {
        self.settings.cache.as_ref().map(ResponseCache::stats)
    }

    /// How long the session has run nothing.
    pub(crate) fn idle(&self, now: Instant) -> Duration {
        let last_run = Duration::from_micros(self.last_run.load(Ordering::Relaxed));
        now.saturating_duration_since(self.made + last_run)
    }

    /// Runs the model. Needs a tokio runtime with a timer.
    ///
    /// A trusted tenant's run that is expected to take less than the threshold takes place inside this future's first
    /// poll, if the backend can run on the caller's thread and every operator of the model does the
    /// same work whatever the values. It blocks that thread and cannot be stopped, which is why it must be short.
    /// Others wait for a worker, at most until the deadline, and where the manifest says so run together
    /// with those that wait too. Dropping the future takes a
    /// waiting run out of the queue and stops a running one, if the backend can be stopped; if it
    /// cannot (rten), the answer is given up and the run keeps its worker until it ends.
    ///
    /// # Errors
    /// `InvalidInput` before anything runs; `Overloaded` if as many runs wait as may wait;
    /// `DeadlineExceeded`; or what the backend reports.
    pub async fn run(self: &Arc<Self>, request: RunRequest) -> Result<RunOutput, InferenceError> {
        let plan = Plan::new(&self.signature, &self.names, request.inputs, &request.outputs)?;
        let RunRequest { deadline, max_output_bytes, priority, unanswered, .. } = request;
        let bounds = Bounds { deadline, max_output_bytes, priority, unanswered };
        let Some((cache, key)) =
            self.settings.cache.as_ref().and_then(|cache| Some((cache, cache.key(&plan)?)))
        else {
            return self.run_plan(plan, bounds).await;
        };
        let began = Instant::now();
        if let Some(outputs) = cache.get(&key) {
            self.used();
            self.settings.counters.cached.fetch_add(1, Ordering::Relaxed);
            let run = BackendRun { outputs: outputs.to_vec(), cpu_time: Duration::ZERO };
            let output = self.output(&plan, run, None, Duration::ZERO);
            return Ok(RunOutput { cache_time: Some(began.elapsed()), ..output });
        }
        let looking = began.elapsed();
        let output = self.run_plan(plan, bounds).await?;
        let began = Instant::now();
        let outputs: Vec<Tensor> = output.outputs.iter().map(|(_, output)| output.clone()).collect();
        cache.keep(key, &outputs);
        Ok(RunOutput { cache_time: Some(looking + began.elapsed()), ..output })
    }

    async fn run_plan(self: &Arc<Self>, plan: Plan, bounds: Bounds) -> Served {
        let is_short = |time| time < self.settings.inline_threshold;
        // Not even looked at where nothing may be inline.
        if !self.settings.inline_threshold.is_zero()
            && self.settings.is_trusted.load(Ordering::Relaxed)
            && self.pace.estimate(self.pace.shapes(&plan.inputs)).is_some_and(is_short)
        {
            let control = Control::unwatched(bounds.deadline);
            let (run, took) = self.run_here(&plan, &control).inspect_err(|_| {
                bounds.unanswered.iter().for_each(|unanswered| unanswered.add(control.cost().so_far()));
            })?;
            self.settings.counters.inline_runs.fetch_add(1, Ordering::Relaxed);
            let execution = Execution { rows: self.rows(&plan), took, is_first: true };
            let output = self.output(&plan, run, Some(execution), Duration::ZERO);
            return Ok(RunOutput { inline: true, ..output });
        }
        self.run_on_pool(plan, bounds).await
    }

    async fn run_on_pool(self: &Arc<Self>, plan: Plan, bounds: Bounds) -> Result<RunOutput, InferenceError> {
        let Bounds { deadline, max_output_bytes, priority, unanswered } = bounds;
        let control = Arc::new(Control::new(deadline).with_max_output_bytes(max_output_bytes));
        control.check()?;
        let progress = Arc::new(AtomicU8::new(WAITING));
        let (sender, receiver) = oneshot::channel();
        let run = QueuedRun {
            // What has no rows, or not the same number everywhere, is a run of its own.
            rows: batch::rows(&plan).unwrap_or(u32::MAX),
            plan,
            control: Arc::clone(&control),
            progress: Arc::clone(&progress),
            submitted: Instant::now(),
            sender,
        };
        let pushed = self.queue.push(run, priority, self.settings.queue);
        let (place, rows_waiting) = pushed.inspect_err(|_| {
            self.settings.counters.overloaded.fetch_add(1, Ordering::Relaxed);
        })?;
        let watched = unanswered.map(|unanswered| unanswered.watch(&control));
        let mut caller = Caller { session: self, place, ticket: None, control, progress };
        let served = self.served(&mut caller, rows_waiting, receiver);
        match tokio::time::timeout_at(deadline.into(), served).await {
            Ok(Ok(output)) => {
                watched.into_iter().for_each(Watched::answered);
                Ok(output)
            }
            Ok(Err(error)) => Err(error),
            Err(_) => {
                caller.control.expire();
                Err(InferenceError::DeadlineExceeded)
            }
        }
    }

    /// Waits until the run at hand has been served.
    async fn served(
        self: &Arc<Self>,
        caller: &mut Caller<'_>,
        rows_waiting: u64,
        mut result: oneshot::Receiver<Served>,
    ) -> Served {
        let ended = |result: Result<Served, oneshot::error::RecvError>| {
            result.unwrap_or_else(|_| {
                let reason = "the service is shutting down".into();
                Err(InferenceError::Host { context: "waiting for a run", reason })
            })
        };
        let delay =
            self.settings.rule.as_ref().filter(|rule| !rule.is_full(rows_waiting)).map(|rule| rule.delay);
        if let Some(delay) = delay.filter(|delay| !delay.is_zero())
            && let Ok(result) = tokio::time::timeout(delay, &mut result).await
        {
            return ended(result);
        }
        // Each run that waits has a job of its own, which goes on until that run is served: so none is
        // forgotten, whichever come first and whoever leaves.
        if self.queue.contains(caller.place) {
            caller.ticket = Some(self.submit(caller.place)?);
        }
        ended(result.await)
    }

    fn submit(self: &Arc<Self>, place: Place) -> Result<Ticket, InferenceError> {
        let session = Arc::clone(self);
        let Settings { pool, counters, tenant, .. } = &self.settings;
        let ticket = pool.submit(tenant, place.priority, Box::new(move || session.serve_until(place)));
        ticket.inspect_err(|_| _ = counters.overloaded.fetch_add(1, Ordering::Relaxed))
    }

    /// Runs what is first of its priority; and if the run at `place` is not among it, again when it is this
    /// tenant's turn.
    fn serve_until(self: &Arc<Self>, place: Place) {
        while self.queue.contains(place) {
            self.serve(place.priority);
            if !self.queue.contains(place) {
                return;
            }
            // Without a place in line it goes on here: none may be left without a job.
            if let Ok(ticket) = self.submit(place) {
                return ticket.detach();
            }
        }
    }

    /// Runs the first that waits of a priority, and what goes together with it.
    fn serve(&self, priority: Priority) {
        let batch = self.queue.take(priority, self.settings.rule.as_ref());
        let mut batch: Vec<QueuedRun> = batch.into_iter().filter_map(QueuedRun::begin).collect();
        if batch.len() > 1 {
            batch = self.serve_together(batch);
        }
        for queued in batch {
            self.settings.counters.single_runs.fetch_add(1, Ordering::Relaxed);
            let queue_time = queued.submitted.elapsed();
            // Its part of a run with others that failed.
            let before = queued.control.cost().so_far();
            let result = self.run_here(&queued.plan, &queued.control);
            let result = result.map(|(run, took)| {
                let run = BackendRun { cpu_time: run.cpu_time + before, ..run };
                let execution = Execution { rows: self.rows(&queued.plan), took, is_first: true };
                self.output(&queued.plan, run, Some(execution), queue_time)
            });
            self.end(queued, result);
        }
    }

    /// Runs several at once, and gives back those that this did not serve: if the run fails, each is to run
    /// alone, so that what is wrong with one of them is its own.
    fn serve_together(&self, batch: Vec<QueuedRun>) -> Vec<QueuedRun> {
        let plans: Vec<&Plan> = batch.iter().map(|queued| &queued.plan).collect();
        let Some(plan) = self.settings.rule.as_ref().and_then(|rule| rule.concat(&plans)) else {
            return batch;
        };
        let queue_times: Vec<_> = batch.iter().map(|queued| queued.submitted.elapsed()).collect();
        let controls: Vec<&Control> = batch.iter().map(|queued| &*queued.control).collect();
        let in_all = plans.iter().map(|plan| batch::bytes_of(plan)).sum();
        let shares: Vec<Share> =
            plans.iter().map(|plan| Share { of: batch::bytes_of(plan), in_all }).collect();
        let ran = batch::together(&controls, &shares, |control| self.run_here(&plan, control));
        let Ok((run, took)) = ran else { return batch };
        let all = batch.iter().map(|queued| queued.rows).sum();
        let mut first = 0;
        let parts = batch.iter().zip(shares).map(|(queued, share)| {
            let range = first..first + queued.rows;
            first = range.end;
            batch::part(&run, range, all, share)
        });
        let Ok(parts) = parts.collect::<Result<Vec<_>, _>>() else { return batch };
        let counters = &self.settings.counters;
        counters.batches.fetch_add(1, Ordering::Relaxed);
        counters.batched_runs.fetch_add(batch.len() as u64, Ordering::Relaxed);
        let mut execution = Execution { rows: all, took, is_first: true };
        for ((queued, part), queue_time) in batch.into_iter().zip(parts).zip(queue_times) {
            let output = self.output(&queued.plan, part, Some(execution), queue_time);
            // Who has left counts nothing.
            execution.is_first &= !self.end(queued, Ok(output));
        }
        Vec::new()
    }

    /// Answers a run, and says whether its caller is there still.
    fn end(&self, queued: QueuedRun, result: Served) -> bool {
        if queued.progress.swap(ENDED, Ordering::AcqRel) == ABANDONED {
            self.settings.counters.abandoned.fetch_sub(1, Ordering::Relaxed);
        }
        // Nobody to send to is the caller having left, and then there is no more to do.
        queued.sender.send(result).is_ok()
    }

    /// Runs on the calling thread, and says how long that took.
    fn run_here(&self, plan: &Plan, control: &Control) -> Result<(BackendRun, Duration), InferenceError> {
        if self.poisoned.load(Ordering::Acquire) {
            return Err(self.failed("an earlier run panicked, and the session was dropped".into()));
        }
        let began = Instant::now();
        // After a panic the session is not used again, so a broken invariant in it cannot show.
        let ran = catch_unwind(AssertUnwindSafe(|| self.loaded.run(&plan.inputs, &plan.outputs, control)));
        self.used();
        match ran {
            Ok(Ok(run)) => {
                if !self.settings.inline_threshold.is_zero() {
                    self.pace.record(self.pace.shapes(&plan.inputs), run.cpu_time);
                }
                Ok((run, began.elapsed()))
            }
            Ok(Err(error)) => {
                self.settings.counters.failed_runs.fetch_add(1, Ordering::Relaxed);
                Err(error)
            }
            Err(panic) => {
                self.poisoned.store(true, Ordering::Release);
                self.settings.counters.failed_runs.fetch_add(1, Ordering::Relaxed);
                (self.settings.on_poisoned)();
                Err(self.failed(format!("it panicked: {}", panic_message(&*panic))))
            }
        }
    }

    /// Begins the idle time anew.
    fn used(&self) {
        let now = u64::try_from(self.made.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.last_run.store(now, Ordering::Relaxed);
    }

    fn failed(&self, reason: String) -> InferenceError {
        InferenceError::Backend { backend: self.backend, reason }
    }

    /// The rows of a request, if requests are put together.
    fn rows(&self, plan: &Plan) -> u32 {
        self.settings.rule.as_ref().and_then(|_| batch::rows(plan)).unwrap_or(1)
    }

    fn output(
        &self,
        plan: &Plan,
        run: BackendRun,
        execution: Option<Execution>,
        queue_time: Duration,
    ) -> RunOutput {
        let names = plan.outputs.iter().map(|&output| self.signature.outputs[output].name.clone());
        RunOutput {
            outputs: names.zip(run.outputs).collect(),
            cpu_time: run.cpu_time,
            queue_time,
            inline: false,
            rows: self.rows(plan),
            execution,
            cache_time: None,
        }
    }
}

/// What a run is held to.
struct Bounds {
    deadline: Instant,
    max_output_bytes: u64,
    priority: Priority,
    unanswered: Option<Arc<Unanswered>>,
}

const WAITING: u8 = 0;
const RUNNING: u8 = 1;
const ENDED: u8 = 2;
const ABANDONED: u8 = 3;

/// What a run came to.
type Served = Result<RunOutput, InferenceError>;

/// A run that waits for a worker.
pub(crate) struct QueuedRun {
    pub(crate) plan: Plan,
    /// Rows along the first dimension.
    pub(crate) rows: u32,
    pub(crate) control: Arc<Control>,
    progress: Arc<AtomicU8>,
    submitted: Instant,
    sender: oneshot::Sender<Served>,
}

impl QueuedRun {
    /// Says that it runs now, unless its caller has left or its time is over.
    fn begin(self) -> Option<Self> {
        match self.control.check() {
            Ok(()) => {
                self.progress.store(RUNNING, Ordering::Release);
                Some(self)
            }
            Err(error) => {
                _ = self.sender.send(Err(error));
                None
            }
        }
    }
}

/// A caller that waits. Dropping it takes the run out of the queue, or stops it.
struct Caller<'a> {
    session: &'a Session,
    place: Place,
    ticket: Option<Ticket>,
    control: Arc<Control>,
    progress: Arc<AtomicU8>,
}

impl Drop for Caller<'_> {
    fn drop(&mut self) {
        // Stopped first: a run that still begins after this finds out before its backend does.
        self.control.cancel();
        drop(self.session.queue.remove(self.place));
        drop(self.ticket.take());
        let abandoned = &self.session.settings.counters.abandoned;
        // Counted before it is certain, so that a run that ends now cannot be taken off first.
        abandoned.fetch_add(1, Ordering::Relaxed);
        let is_abandoned =
            self.progress.compare_exchange(RUNNING, ABANDONED, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if !is_abandoned {
            abandoned.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// What a panic said.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests;
