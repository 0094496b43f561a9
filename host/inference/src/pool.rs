//! A fixed number of plain threads, and a bounded queue for each tenant and priority.
//!
//! Knows nothing of models. What waits can be taken out again at no cost, so a caller that leaves does not hold
//! a place in the queue. `pool/queue.rs` decides whose job is next.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use modelet_types::TenantName;
use modelet_types::manifest::Priority;

use crate::InferenceError;
use queue::{Place, Queue};

mod queue;

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
    /// Jobs that go on at one time, beside those that take long: as many as there is work for, so that the
    /// order in which they begin is what divides the processors, and not the system.
    pub at_once: usize,
}

struct Shared {
    queue: Mutex<Queue>,
    ready: Condvar,
    threads: Threads,
}

impl Pool {
    /// Starts the threads. At most `capacity` jobs of each tenant and priority wait; more are refused.
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub fn start(
        name: &str,
        threads: Threads,
        capacity: usize,
        surround: Surround,
    ) -> Result<Self, InferenceError> {
        let shared = Arc::new(Shared { queue: Mutex::default(), ready: Condvar::new(), threads });
        // Made first, so that an error below ends the threads that were already started.
        let pool = Self { shared, capacity };
        for index in 0..threads.all {
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
    pub fn submit(
        &self,
        tenant: &TenantName,
        priority: Priority,
        job: Job,
    ) -> Result<Ticket, InferenceError> {
        let place = self.shared.queue().push(tenant, priority, job, self.capacity);
        let place = place.map_err(|waiting| InferenceError::Overloaded { waiting })?;
        self.shared.ready.notify_one();
        Ok(Ticket { shared: Arc::clone(&self.shared), place: Some(place) })
    }

    /// Sets a tenant's part of the threads, as it stands to those of others.
    pub fn set_weight(&self, tenant: &TenantName, weight: u32) {
        self.shared.queue().set_weight(tenant, weight);
    }

    /// Whether a job of the tenant waits only because others have the threads: all those that a tenant may have,
    /// or all that there are.
    pub fn lacks_threads(&self, tenant: &TenantName) -> bool {
        self.shared.queue().lacks_threads(tenant, self.shared.threads)
    }

    /// The number of jobs that wait and of those that run.
    pub fn load(&self) -> (usize, usize) {
        let queue = self.shared.queue();
        (queue.waiting, queue.busy())
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut queue = self.shared.queue();
        let dropped = queue.close();
        drop(queue);
        self.shared.ready.notify_all();
        // Outside the lock: what a job owns may come back here when it is dropped.
        drop(dropped);
    }
}

/// A place in the queue.
pub struct Ticket {
    shared: Arc<Shared>,
    place: Option<Place>,
}

impl Ticket {
    /// Lets the job keep its place, whatever becomes of the caller.
    pub fn detach(mut self) {
        self.place = None;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let Some(place) = self.place.take() else { return };
        let mut queue = self.shared.queue();
        let job = queue.remove(&place);
        // Dropped after the lock is released: what a job owns may come back here.
        drop(queue);
        drop(job);
    }
}

impl Shared {
    fn work(&self) {
        while let Some((place, job)) = self.next_job() {
            let done = Done { shared: self, place, began: Instant::now() };
            // Jobs report their own panics; one that does not must not cost the pool a thread.
            if std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).is_err() {
                tracing::error!("a job of the pool panicked");
            }
            drop(done);
        }
    }

    fn next_job(&self) -> Option<(Place, Job)> {
        let mut queue = self.queue();
        loop {
            let now = Instant::now();
            let full_for = queue.full_for(self.threads, now);
            if full_for.is_none()
                && let Some(next) = queue.pop(self.threads.most_of_one, now)
            {
                return Some(next);
            }
            if queue.closed {
                return None;
            }
            queue = match full_for.filter(|_| queue.waiting > 0) {
                // Nobody says when a job begins to take long.
                Some(left) => {
                    self.ready.wait_timeout(queue, left).map_or_else(|e| e.into_inner().0, |(queue, _)| queue)
                }
                None => self.ready.wait(queue).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing panics while it holds the lock; if something did, the map is still whole.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Done<'a> {
    shared: &'a Shared,
    place: Place,
    began: Instant,
}

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.shared.queue().end(&self.place, self.began.elapsed());
        // What this tenant may not begin before now, another thread may have passed over.
        self.shared.ready.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    fn tenant(name: &str) -> TenantName {
        name.parse().unwrap()
    }

    fn pool(capacity: usize) -> Pool {
        Pool::start("test", Threads { all: 1, most_of_one: 1, at_once: 1 }, capacity, |work| work()).unwrap()
    }

    /// Keeps the only worker busy until the sender is dropped.
    fn block(pool: &Pool) -> (Ticket, mpsc::Sender<()>) {
        let (release, wait) = mpsc::channel::<()>();
        let (begun, begins) = mpsc::channel();
        let job = move || {
            begun.send(()).unwrap();
            _ = wait.recv();
        };
        let ticket = pool.submit(&tenant("first"), Priority::Normal, Box::new(job)).unwrap();
        begins.recv().unwrap();
        (ticket, release)
    }

    #[test]
    fn a_full_queue_refuses_and_a_dropped_ticket_makes_room() {
        let pool = pool(1);
        let (_running, release) = block(&pool);
        let (sender, receiver) = mpsc::channel();
        let waiting = pool
            .submit(&tenant("first"), Priority::Normal, Box::new(move || sender.send(()).unwrap()))
            .unwrap();
        assert!(matches!(
            pool.submit(&tenant("first"), Priority::Normal, Box::new(|| ())).err(),
            Some(InferenceError::Overloaded { waiting: 1 })
        ));
        assert_eq!(pool.load(), (1, 1));
        drop(waiting);
        assert!(receiver.recv().is_err(), "what the job owned is dropped with the ticket");
        let (sender, receiver) = mpsc::channel();
        let _last = pool
            .submit(&tenant("first"), Priority::Normal, Box::new(move || sender.send(()).unwrap()))
            .unwrap();
        drop(release);
        receiver.recv().unwrap();
    }

    #[test]
    fn one_tenant_does_not_take_the_threads_of_all() {
        let pool =
            Pool::start("test", Threads { all: 2, most_of_one: 1, at_once: 2 }, 8, |work| work()).unwrap();
        let (_running, release) = block(&pool);
        let (sender, receiver) = mpsc::channel();
        let submit = |name: &'static str| {
            let sender = sender.clone();
            pool.submit(&tenant(name), Priority::Normal, Box::new(move || sender.send(name).unwrap()))
                .unwrap()
        };
        let _tickets = [submit("first"), submit("second")];
        assert_eq!(receiver.recv().unwrap(), "second", "the first waits for its own");
        drop(release);
        assert_eq!(receiver.recv().unwrap(), "first");
    }

    #[test]
    fn a_panic_costs_no_thread() {
        let pool = pool(8);
        let _first =
            pool.submit(&tenant("first"), Priority::Normal, Box::new(|| panic!("on purpose"))).unwrap();
        let (sender, receiver) = mpsc::channel();
        let _second = pool
            .submit(&tenant("first"), Priority::Normal, Box::new(move || sender.send(()).unwrap()))
            .unwrap();
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
            pool.submit(&tenant(name), Priority::Normal, Box::new(job)).unwrap()
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
        let full = |name: &str| pool.submit(&tenant(name), Priority::Normal, Box::new(|| ()));
        let _waits = [full("first").unwrap(), full("second").unwrap()];
        assert!(matches!(full("first").err(), Some(InferenceError::Overloaded { waiting: 1 })));
        drop(release);
    }
}
