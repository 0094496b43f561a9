//! A fixed number of plain threads, and a bounded queue for each tenant.
//!
//! Knows nothing of models. What waits can be taken out again at no cost, so a caller that leaves
//! does not hold a place in the queue. Whose job is next is decided by start-time fair queueing (Goyal, Vin,
//! Cheng, 1996) over the time that jobs took, as for handlers in `host/engine/src/schedule/turns.rs`: a
//! tenant with a thousand jobs does not make another's first one wait for them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use modelet_types::TenantName;

use crate::InferenceError;

type Job = Box<dyn FnOnce() + Send>;

/// Runs `work` in the surroundings that the jobs of a thread need; called once on each thread.
pub type Surround = fn(work: &mut (dyn FnMut() + Send));

/// A pool of threads. Dropping it drops what waits and lets the threads end after their last job.
pub struct Pool {
    shared: Arc<Shared>,
    capacity: usize,
}

/// How many threads a pool has, and for whom.
#[derive(Clone, Copy)]
pub struct Threads {
    pub all: usize,
    /// Of one tenant at one time, whether or not the others do anything.
    pub most_of_one: usize,
}

struct Shared {
    queue: Mutex<Queue>,
    ready: Condvar,
    most_of_one: usize,
}

#[derive(Default)]
struct Queue {
    lines: HashMap<TenantName, Line>,
    /// The clock of the tenant that was served last.
    now: Duration,
    waiting: usize,
    next: u64,
    busy: usize,
    closed: bool,
}

/// The jobs of one tenant.
#[derive(Default)]
struct Line {
    /// By number, so that the first is the oldest and any can be taken out.
    jobs: BTreeMap<u64, Job>,
    /// Time that its jobs took, and would have taken if it had always had some.
    clock: Duration,
    /// Jobs that run.
    busy: usize,
}

impl Queue {
    /// Takes the first job of the tenant whose clock is furthest behind, of those that have threads left.
    fn pop(&mut self, most_of_one: usize) -> Option<(TenantName, Job)> {
        let may_run = |line: &Line| !line.jobs.is_empty() && line.busy < most_of_one;
        let lines = self.lines.iter_mut().filter(|(_, line)| may_run(line));
        let (tenant, line) = lines
            .min_by_key(|(_, line)| (line.clock, line.jobs.first_key_value().map(|(number, _)| *number)))?;
        let (_, job) = line.jobs.pop_first()?;
        line.busy += 1;
        self.now = self.now.max(line.clock);
        self.waiting -= 1;
        Some((tenant.clone(), job))
    }

    /// Moves on the clock of a tenant whose job took so long.
    fn charge(&mut self, tenant: &TenantName, took: Duration) {
        let now = self.now;
        let line = self.lines.entry(tenant.clone());
        let line = line.or_insert_with(|| Line { clock: now, ..Line::default() });
        line.clock += took;
        line.busy = line.busy.saturating_sub(1);
        // Whoever has nothing to do and no debt is the same as one who was never here.
        self.lines.retain(|_, line| !line.jobs.is_empty() || line.busy > 0 || line.clock > now);
    }
}

impl Pool {
    /// Starts the threads. At most `capacity` jobs of each tenant wait; more are refused.
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub fn start(
        name: &str,
        threads: Threads,
        capacity: usize,
        surround: Surround,
    ) -> Result<Self, InferenceError> {
        let Threads { all, most_of_one } = threads;
        let shared = Arc::new(Shared { queue: Mutex::default(), ready: Condvar::new(), most_of_one });
        // Made first, so that an error below ends the threads that were already started.
        let pool = Self { shared, capacity };
        for index in 0..all {
            let shared = Arc::clone(&pool.shared);
            std::thread::Builder::new()
                .name(format!("{name}-{index}"))
                .spawn(move || surround(&mut || shared.work()))
                .map_err(|e| InferenceError::Host { context: "starting a worker", reason: e.to_string() })?;
        }
        Ok(pool)
    }

    /// Adds a tenant's job. Dropping the ticket takes it out if it has not begun.
    ///
    /// # Errors
    /// `Overloaded` if the tenant's queue is full.
    pub fn submit(&self, tenant: &TenantName, job: Job) -> Result<Ticket, InferenceError> {
        let mut queue = self.shared.queue();
        let (now, number) = (queue.now, queue.next);
        let line = queue.lines.entry(tenant.clone()).or_default();
        if line.jobs.len() >= self.capacity {
            return Err(InferenceError::Overloaded { waiting: line.jobs.len() });
        }
        // Having been idle is no credit.
        line.clock = line.clock.max(now);
        line.jobs.insert(number, job);
        queue.next += 1;
        queue.waiting += 1;
        drop(queue);
        self.shared.ready.notify_one();
        Ok(Ticket { shared: Arc::clone(&self.shared), place: Some((tenant.clone(), number)) })
    }

    /// The number of jobs that wait and of those that run.
    pub fn load(&self) -> (usize, usize) {
        let queue = self.shared.queue();
        (queue.waiting, queue.busy)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut queue = self.shared.queue();
        queue.closed = true;
        let dropped = std::mem::take(&mut queue.lines);
        queue.waiting = 0;
        drop(queue);
        self.shared.ready.notify_all();
        // Outside the lock: what a job owns may come back here when it is dropped.
        drop(dropped);
    }
}

/// A place in the queue.
pub struct Ticket {
    shared: Arc<Shared>,
    place: Option<(TenantName, u64)>,
}

impl Ticket {
    /// Lets the job keep its place, whatever becomes of the caller.
    pub fn detach(mut self) {
        self.place = None;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let Some((tenant, number)) = self.place.take() else { return };
        let mut queue = self.shared.queue();
        let job = queue.lines.get_mut(&tenant).and_then(|line| line.jobs.remove(&number));
        if job.is_some() {
            queue.waiting -= 1;
        }
        // Dropped after the lock is released: what a job owns may come back here.
        drop(queue);
        drop(job);
    }
}

impl Shared {
    fn work(&self) {
        while let Some((tenant, job)) = self.next_job() {
            let done = Done { shared: self, tenant, began: Instant::now() };
            // Jobs report their own panics; one that does not must not cost the pool a thread.
            if std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).is_err() {
                tracing::error!("a job of the pool panicked");
            }
            drop(done);
        }
    }

    fn next_job(&self) -> Option<(TenantName, Job)> {
        let mut queue = self.queue();
        loop {
            if let Some(next) = queue.pop(self.most_of_one) {
                queue.busy += 1;
                return Some(next);
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

struct Done<'a> {
    shared: &'a Shared,
    tenant: TenantName,
    began: Instant,
}

impl Drop for Done<'_> {
    fn drop(&mut self) {
        let took = self.began.elapsed();
        let mut queue = self.shared.queue();
        queue.busy -= 1;
        queue.charge(&self.tenant, took);
        drop(queue);
        // What this tenant may not begin before now, another thread may have passed over.
        self.shared.ready.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn tenant(name: &str) -> TenantName {
        name.parse().unwrap()
    }

    fn pool(capacity: usize) -> Pool {
        Pool::start("test", Threads { all: 1, most_of_one: 1 }, capacity, |work| work()).unwrap()
    }

    /// Keeps the only worker busy until the sender is dropped.
    fn block(pool: &Pool) -> (Ticket, mpsc::Sender<()>) {
        let (release, wait) = mpsc::channel::<()>();
        let (begun, begins) = mpsc::channel();
        let job = move || {
            begun.send(()).unwrap();
            _ = wait.recv();
        };
        let ticket = pool.submit(&tenant("first"), Box::new(job)).unwrap();
        begins.recv().unwrap();
        (ticket, release)
    }

    #[test]
    fn a_full_queue_refuses_and_a_dropped_ticket_makes_room() {
        let pool = pool(1);
        let (_running, release) = block(&pool);
        let (sender, receiver) = mpsc::channel();
        let waiting = pool.submit(&tenant("first"), Box::new(move || sender.send(()).unwrap())).unwrap();
        assert!(matches!(
            pool.submit(&tenant("first"), Box::new(|| ())).err(),
            Some(InferenceError::Overloaded { waiting: 1 })
        ));
        assert_eq!(pool.load(), (1, 1));
        drop(waiting);
        assert!(receiver.recv().is_err(), "what the job owned is dropped with the ticket");
        let (sender, receiver) = mpsc::channel();
        let _last = pool.submit(&tenant("first"), Box::new(move || sender.send(()).unwrap())).unwrap();
        drop(release);
        receiver.recv().unwrap();
    }

    #[test]
    fn one_tenant_does_not_take_the_threads_of_all() {
        let pool = Pool::start("test", Threads { all: 2, most_of_one: 1 }, 8, |work| work()).unwrap();
        let (_running, release) = block(&pool);
        let (sender, receiver) = mpsc::channel();
        let submit = |name: &'static str| {
            let sender = sender.clone();
            pool.submit(&tenant(name), Box::new(move || sender.send(name).unwrap())).unwrap()
        };
        let _tickets = [submit("first"), submit("second")];
        assert_eq!(receiver.recv().unwrap(), "second", "the first waits for its own");
        drop(release);
        assert_eq!(receiver.recv().unwrap(), "first");
    }

    #[test]
    fn a_panic_costs_no_thread() {
        let pool = pool(8);
        let _first = pool.submit(&tenant("first"), Box::new(|| panic!("on purpose"))).unwrap();
        let (sender, receiver) = mpsc::channel();
        let _second = pool.submit(&tenant("first"), Box::new(move || sender.send(()).unwrap())).unwrap();
        receiver.recv().unwrap();
    }

    #[test]
    fn a_tenant_with_much_to_do_does_not_keep_another_waiting() {
        let pool = pool(100);
        let (_running, release) = block(&pool);
        let (sender, order) = mpsc::channel();
        let submit = |name: &'static str| {
            let sender = sender.clone();
            let job = move || {
                std::thread::sleep(Duration::from_millis(2));
                sender.send(name).unwrap();
            };
            pool.submit(&tenant(name), Box::new(job)).unwrap()
        };
        let mut tickets: Vec<_> = (0..20).map(|_| submit("first")).collect();
        tickets.extend((0..3).map(|_| submit("second")));
        drop(release);
        let order: Vec<_> = order.iter().take(23).collect();
        let last = order.iter().rposition(|name| *name == "second").unwrap();
        assert!(last < 10, "{order:?}");
        for ticket in tickets {
            drop(ticket);
        }
        assert_eq!(pool.load().0, 0);
    }

    #[test]
    fn each_tenant_has_its_own_room() {
        let pool = pool(1);
        let (_running, release) = block(&pool);
        let full = |name: &str| pool.submit(&tenant(name), Box::new(|| ()));
        let _waits = [full("first").unwrap(), full("second").unwrap()];
        assert!(matches!(full("first").err(), Some(InferenceError::Overloaded { waiting: 1 })));
        drop(release);
    }
}
