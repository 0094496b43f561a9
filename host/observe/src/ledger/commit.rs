//! Group commit: many callers' frames, few writes.
//!
//! Callers put their frames into one buffer. In `Process` mode a caller that finds nobody writing
//! writes at once, on its own thread: about a microsecond into the page cache, with no one woken.
//! Callers that come meanwhile leave their frames and wait without holding a thread; the one that
//! writes takes them along, and after a few rounds leaves the rest to the ledger's own thread, so
//! that nobody writes for others for ever. In `Disk` mode the ledger's thread does it all, since a
//! sync takes milliseconds. Does not know what the frames say.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, OnceLock};

use tokio::sync::Notify;

use super::Position;
use super::segment::{Effect, Segment};
use crate::Error;
use crate::sync::lock;

/// How often a caller writes for others before it hands over.
const ROUNDS: usize = 4;

/// A spare buffer above this is given back to the allocator.
const SPARE_BYTES: usize = 1 << 20;

/// The fate of the frames that are written together.
#[derive(Default)]
struct Batch {
    result: OnceLock<Result<(), Error>>,
    done: Notify,
}

/// What waits for the next write.
#[derive(Default)]
struct Pending {
    frames: Vec<u8>,
    effects: Vec<Effect>,
    count: u64,
    batch: Option<Arc<Batch>>,
}

struct Queue {
    pending: Pending,
    /// Somebody writes, or the thread has been asked to. Whoever sets it sees that `pending` is
    /// taken.
    leading: bool,
    /// The thread is the one to write.
    handed_over: bool,
    stopping: bool,
}

/// Counters, since the ledger was opened.
#[derive(Default)]
pub(super) struct Counters {
    pub entries: AtomicU64,
    pub bytes: AtomicU64,
    pub writes: AtomicU64,
    pub failed: AtomicU64,
    pub open_streams: AtomicU64,
}

/// The shared buffer and what it is written to.
pub(super) struct Committer {
    queue: Mutex<Queue>,
    wake_thread: Condvar,
    /// Taken by whoever leads only, so never waited for.
    segment: Mutex<(Segment, Pending)>,
    committed: Mutex<Position>,
    max_pending_bytes: usize,
    inline: bool,
    pub counters: Counters,
}

/// Dropping it does not take the record back: one that is not waited for is written all the same,
/// and a failure is counted and logged.
#[must_use = "a record that could not be written is reported here"]
pub struct Receipt(State);

enum State {
    Done(Result<(), Error>),
    Waiting(Arc<Batch>),
}

impl Receipt {
    /// Of a record that is not to be written.
    pub(super) fn of_nothing() -> Self {
        Self(State::Done(Ok(())))
    }

    /// Waits until the frames are written, or cannot be.
    ///
    /// # Errors
    /// If they could not be written; none of them will be found in the ledger.
    pub async fn written(self) -> Result<(), Error> {
        let batch = match self.0 {
            State::Done(result) => return result,
            State::Waiting(batch) => batch,
        };
        loop {
            let mut done = std::pin::pin!(batch.done.notified());
            // Registered before the look, or a result in between would be missed.
            done.as_mut().enable();
            if let Some(result) = batch.result.get() {
                return result.clone();
            }
            done.await;
        }
    }
}

impl Committer {
    pub(super) fn new(segment: Segment, max_pending_bytes: usize, inline: bool) -> Self {
        let queue =
            Queue { pending: Pending::default(), leading: false, handed_over: false, stopping: false };
        Self {
            queue: Mutex::new(queue),
            wake_thread: Condvar::new(),
            committed: Mutex::new(segment.position()),
            segment: Mutex::new((segment, Pending::default())),
            max_pending_bytes,
            inline,
            counters: Counters::default(),
        }
    }

    /// Where the acknowledged entries end.
    pub(super) fn committed(&self) -> Position {
        *lock(&self.committed)
    }

    /// Swaps the file underneath, so that a test can make writes fail.
    #[cfg(test)]
    pub(super) fn replace_file(&self, file: std::fs::File) -> std::fs::File {
        lock(&self.segment).0.replace_file(file)
    }

    /// Puts a frame in line, and writes the line if nobody does.
    pub(super) fn submit(&self, frame: &[u8], effect: Effect) -> Receipt {
        let mut queue = lock(&self.queue);
        let waiting = queue.pending.frames.len();
        if queue.stopping || waiting + frame.len() > self.max_pending_bytes {
            let error = if queue.stopping { Error::Stopped } else { Error::Full(waiting) };
            drop(queue);
            self.counters.failed.fetch_add(1, Relaxed);
            return Receipt(State::Done(Err(error)));
        }
        queue.pending.frames.extend_from_slice(frame);
        queue.pending.effects.push(effect);
        queue.pending.count += 1;
        if self.inline && !queue.leading {
            queue.leading = true;
            drop(queue);
            return Receipt(State::Done(self.lead()));
        }
        let batch = Arc::clone(queue.pending.batch.get_or_insert_default());
        if !queue.leading {
            queue.leading = true;
            queue.handed_over = true;
            self.wake_thread.notify_one();
        }
        Receipt(State::Waiting(batch))
    }

    /// Writes what is pending, a few times over; the result is that of the first write, which is
    /// the one with the caller's own frame.
    fn lead(&self) -> Result<(), Error> {
        let mut own = None;
        for _ in 0..ROUNDS {
            match self.write_pending() {
                Some(result) => own = own.or(Some(result)),
                None => return own.unwrap_or(Ok(())),
            }
        }
        let mut queue = lock(&self.queue);
        if queue.pending.frames.is_empty() {
            queue.leading = false;
        } else {
            queue.handed_over = true;
            self.wake_thread.notify_one();
        }
        own.unwrap_or(Ok(()))
    }

    /// Writes all that is pending; `None`, and leading no more, if that is nothing.
    fn write_pending(&self) -> Option<Result<(), Error>> {
        let mut guard = lock(&self.segment);
        let (segment, work) = &mut *guard;
        {
            let mut queue = lock(&self.queue);
            if queue.pending.frames.is_empty() {
                queue.leading = false;
                return None;
            }
            std::mem::swap(&mut queue.pending, work);
        }
        let result = segment.write(&work.frames, work.effects.drain(..));
        let counters = &self.counters;
        match &result {
            Ok(()) => {
                *lock(&self.committed) = segment.position();
                counters.entries.fetch_add(work.count, Relaxed);
                counters.bytes.fetch_add(work.frames.len() as u64, Relaxed);
                counters.writes.fetch_add(1, Relaxed);
                counters.open_streams.store(segment.open_streams() as u64, Relaxed);
            }
            Err(error) => {
                let before = counters.failed.fetch_add(work.count, Relaxed);
                // Said at the first failure and then once in a while: a full disk fails every
                // invocation, and its log has no room for that.
                if before == 0 || before / 10_000 != (before + work.count) / 10_000 {
                    let cause: &dyn std::error::Error = error;
                    tracing::error!(error = cause, failed = before + work.count, "usage not recorded");
                }
            }
        }
        let batch = work.batch.take();
        work.frames.clear();
        work.frames.shrink_to(SPARE_BYTES);
        work.effects.shrink_to(SPARE_BYTES / size_of::<Effect>());
        work.count = 0;
        drop(guard);
        if let Some(batch) = batch {
            // Set by the one who took the batch out of the queue, so it is empty here.
            let _ = batch.result.set(result.clone());
            batch.done.notify_waiters();
        }
        Some(result)
    }

    /// The ledger's thread: writes what it is asked to until it is stopped and nothing is left.
    pub(super) fn run(&self) {
        loop {
            {
                let mut queue = lock(&self.queue);
                while !queue.handed_over {
                    if queue.stopping {
                        return;
                    }
                    queue = self.wake_thread.wait(queue).unwrap_or_else(std::sync::PoisonError::into_inner);
                }
                queue.handed_over = false;
            }
            while self.write_pending().is_some() {}
        }
    }

    /// Refuses further frames and lets the thread end.
    pub(super) fn stop(&self) {
        lock(&self.queue).stopping = true;
        self.wake_thread.notify_one();
    }
}
