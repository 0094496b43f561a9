//! A fixed number of plain threads and one bounded queue.
//!
//! Knows nothing of models. What waits can be taken out again at no cost, so a caller that leaves
//! does not hold a place in the queue.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::InferenceError;

type Job = Box<dyn FnOnce() + Send>;

/// Runs `work` in the surroundings that the jobs of a thread need; called once on each thread.
pub type Surround = fn(work: &mut (dyn FnMut() + Send));

/// A pool of threads. Dropping it drops what waits and lets the threads end after their last job.
pub struct Pool {
    shared: Arc<Shared>,
    capacity: usize,
}

struct Shared {
    queue: Mutex<Queue>,
    ready: Condvar,
}

#[derive(Default)]
struct Queue {
    /// By number, so that the first is the oldest and any can be taken out.
    waiting: BTreeMap<u64, Job>,
    next: u64,
    busy: usize,
    closed: bool,
}

impl Pool {
    /// Starts `workers` threads. At most `capacity` jobs wait; more are refused.
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub fn start(
        name: &str,
        workers: usize,
        capacity: usize,
        surround: Surround,
    ) -> Result<Self, InferenceError> {
        let shared = Arc::new(Shared { queue: Mutex::default(), ready: Condvar::new() });
        // Made first, so that an error below ends the threads that were already started.
        let pool = Self { shared, capacity };
        for index in 0..workers {
            let shared = Arc::clone(&pool.shared);
            std::thread::Builder::new()
                .name(format!("{name}-{index}"))
                .spawn(move || surround(&mut || shared.work()))
                .map_err(|e| InferenceError::Host { context: "starting a worker", reason: e.to_string() })?;
        }
        Ok(pool)
    }

    /// Adds a job. Dropping the ticket takes it out if it has not begun.
    ///
    /// # Errors
    /// `Overloaded` if the queue is full.
    pub fn submit(&self, job: Job) -> Result<Ticket, InferenceError> {
        let mut queue = self.shared.queue();
        if queue.waiting.len() >= self.capacity {
            return Err(InferenceError::Overloaded { waiting: queue.waiting.len() });
        }
        let number = queue.next;
        queue.next += 1;
        queue.waiting.insert(number, job);
        drop(queue);
        self.shared.ready.notify_one();
        Ok(Ticket { shared: Arc::clone(&self.shared), number: Some(number) })
    }

    /// The number of jobs that wait and of those that run.
    pub fn load(&self) -> (usize, usize) {
        let queue = self.shared.queue();
        (queue.waiting.len(), queue.busy)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut queue = self.shared.queue();
        queue.closed = true;
        let dropped = std::mem::take(&mut queue.waiting);
        drop(queue);
        self.shared.ready.notify_all();
        // Outside the lock: what a job owns may come back here when it is dropped.
        drop(dropped);
    }
}

/// A place in the queue.
pub struct Ticket {
    shared: Arc<Shared>,
    number: Option<u64>,
}

impl Ticket {
    /// Lets the job keep its place, whatever becomes of the caller.
    pub fn detach(mut self) {
        self.number = None;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        // Dropped after the lock is released: what a job owns may come back here.
        let job = self.shared.queue().waiting.remove(&number);
        drop(job);
    }
}

impl Shared {
    fn work(&self) {
        while let Some(job) = self.next_job() {
            let done = Done(self);
            // Jobs report their own panics; one that does not must not cost the pool a thread.
            if std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).is_err() {
                tracing::error!("a job of the pool panicked");
            }
            drop(done);
        }
    }

    fn next_job(&self) -> Option<Job> {
        let mut queue = self.queue();
        loop {
            if let Some((_, job)) = queue.waiting.pop_first() {
                queue.busy += 1;
                return Some(job);
            }
            if queue.closed {
                return None;
            }
            queue = self.ready.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing panics while it holds the lock; if something did, the map is still whole.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Done<'a>(&'a Shared);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.queue().busy -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn pool(capacity: usize) -> Pool {
        Pool::start("test", 1, capacity, |work| work()).unwrap()
    }

    /// Keeps the only worker busy until the sender is dropped.
    fn block(pool: &Pool) -> (Ticket, mpsc::Sender<()>) {
        let (release, wait) = mpsc::channel::<()>();
        let (begun, begins) = mpsc::channel();
        let job = move || {
            begun.send(()).unwrap();
            _ = wait.recv();
        };
        let ticket = pool.submit(Box::new(job)).unwrap();
        begins.recv().unwrap();
        (ticket, release)
    }

    #[test]
    fn a_full_queue_refuses_and_a_dropped_ticket_makes_room() {
        let pool = pool(1);
        let (_running, release) = block(&pool);
        let (sender, receiver) = mpsc::channel();
        let waiting = pool.submit(Box::new(move || sender.send(()).unwrap())).unwrap();
        assert!(matches!(
            pool.submit(Box::new(|| ())).err(),
            Some(InferenceError::Overloaded { waiting: 1 })
        ));
        assert_eq!(pool.load(), (1, 1));
        drop(waiting);
        assert!(receiver.recv().is_err(), "what the job owned is dropped with the ticket");
        let (sender, receiver) = mpsc::channel();
        let _last = pool.submit(Box::new(move || sender.send(()).unwrap())).unwrap();
        drop(release);
        receiver.recv().unwrap();
    }

    #[test]
    fn a_panic_costs_no_thread() {
        let pool = pool(8);
        let _first = pool.submit(Box::new(|| panic!("on purpose"))).unwrap();
        let (sender, receiver) = mpsc::channel();
        let _second = pool.submit(Box::new(move || sender.send(()).unwrap())).unwrap();
        receiver.recv().unwrap();
    }
}
