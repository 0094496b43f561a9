//! Whose job is next: between tenants by the time that they had and their weights, within a tenant by priority.
//!
//! Both are start-time fair queueing (Goyal, Vin, Cheng, 1996) over the time that jobs took, as for handlers in
//! `host/engine/src/schedule/turns.rs`: whoever takes part has a clock, which its jobs move on by their time
//! over its weight, and the one whose clock is furthest behind is next. Whoever comes new starts with the clock
//! of whoever was served last. So a tenant with a thousand jobs does not make another's first one wait for
//! them, a job of high priority passes those of low priority that wait already, and none waits for ever.
//! Priority is nothing between tenants: it moves the clock of the tenant as any other job.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use modelet_types::TenantName;
use modelet_types::manifest::Priority;

use super::{Job, Threads};

/// Of the time of a tenant while jobs of each priority wait, what one gets stands to the next lower one as 4
/// to 1: enough that what is urgent hardly waits, and that a long job of low priority is not the last for minutes.
const WEIGHTS: [u32; Priority::ALL.len()] = [16, 4, 1];

/// How long a job holds one of the places for jobs that go on at once. What takes longer, such as a run that
/// goes on until its deadline, keeps its thread and makes room for another.
const LONG: Duration = Duration::from_millis(100);

/// Jobs that wait, and what is known of those that run.
#[derive(Default)]
pub(super) struct Queue {
    lines: HashMap<TenantName, Line>,
    /// Of tenants whose weight is not 1.
    weights: HashMap<TenantName, u32>,
    /// The clock of the tenant that was served last.
    now: Duration,
    pub(super) waiting: usize,
    next: u64,
    /// When the jobs that run began, by their numbers.
    running: HashMap<u64, Instant>,
    pub(super) closed: bool,
}

/// The jobs of one tenant.
#[derive(Default)]
struct Line {
    levels: [Level; Priority::ALL.len()],
    /// The clock of the level that was served last.
    now: Duration,
    /// Time that its jobs took, and would have taken if it had always had some.
    clock: Duration,
    /// Jobs that run.
    busy: usize,
}

/// Those of one priority.
#[derive(Default)]
struct Level {
    /// By number, so that the first is the oldest and any can be taken out.
    jobs: BTreeMap<u64, Job>,
    clock: Duration,
}

/// Where a job waits.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) tenant: TenantName,
    pub(super) priority: Priority,
    number: u64,
}

impl Line {
    /// The level whose turn it is, and its oldest job.
    fn next(&self) -> Option<(usize, u64)> {
        let waiting = self.levels.iter().enumerate();
        let waiting = waiting.filter_map(|(index, level)| {
            level.jobs.first_key_value().map(|(number, _)| (level.clock, index, *number))
        });
        waiting.min().map(|(_, index, number)| (index, number))
    }

    fn is_empty(&self) -> bool {
        self.levels.iter().all(|level| level.jobs.is_empty())
    }
}

impl Queue {
    /// Adds a job. At most `most` of one tenant and priority wait.
    ///
    /// # Errors
    /// How many wait, if there is no room.
    pub(super) fn push(
        &mut self,
        tenant: &TenantName,
        priority: Priority,
        job: Job,
        most: usize,
    ) -> Result<Place, usize> {
        let line = self.lines.entry(tenant.clone()).or_default();
        let level = &mut line.levels[priority as usize];
        if level.jobs.len() >= most {
            return Err(level.jobs.len());
        }
        // Having been idle is no credit.
        line.clock = line.clock.max(self.now);
        if level.jobs.is_empty() {
            level.clock = level.clock.max(line.now);
        }
        let number = self.next;
        level.jobs.insert(number, job);
        self.next += 1;
        self.waiting += 1;
        Ok(Place { tenant: tenant.clone(), priority, number })
    }

    /// How long it takes at `now` until one more job may go on; `None` if one may.
    pub(super) fn full_for(&self, threads: Threads, now: Instant) -> Option<Duration> {
        if self.running.len() < threads.at_once {
            return None;
        }
        let mut left: Vec<Duration> = self
            .running
            .values()
            .filter_map(|began| LONG.checked_sub(now.saturating_duration_since(*began)))
            .filter(|left| !left.is_zero())
            .collect();
        let over = left.len().checked_sub(threads.at_once)?;
        left.sort_unstable();
        left.get(over).copied()
    }

    /// Whether a job waits that one of the tenant's running ones keeps from its thread.
    pub(super) fn lacks_threads(&self, tenant: &TenantName, threads: Threads) -> bool {
        let is_full = self.waiting > 0 && self.running.len() >= threads.all;
        let lacks = |line: &Line| !line.is_empty() && line.busy >= threads.most_of_one;
        is_full || self.lines.get(tenant).is_some_and(lacks)
    }

    /// Takes the first job of the tenant whose clock is furthest behind, of those that have threads left.
    pub(super) fn pop(&mut self, most_of_one: usize, now: Instant) -> Option<(Place, Job)> {
        let waiting = self.lines.iter_mut().filter(|(_, line)| line.busy < most_of_one);
        let waiting = waiting.filter_map(|(tenant, line)| line.next().map(|next| (tenant, line, next)));
        let (tenant, line, (index, number)) =
            waiting.min_by_key(|(_, line, (_, number))| (line.clock, *number))?;
        let level = &mut line.levels[index];
        let job = level.jobs.remove(&number)?;
        line.now = line.now.max(level.clock);
        line.busy += 1;
        self.now = self.now.max(line.clock);
        self.waiting -= 1;
        self.running.insert(number, now);
        Some((Place { tenant: tenant.clone(), priority: Priority::ALL[index], number }, job))
    }

    /// Ends a job that took so long.
    pub(super) fn end(&mut self, place: &Place, took: Duration) {
        let Place { tenant, priority, number } = place;
        self.running.remove(number);
        let now = self.now;
        let weight = self.weights.get(tenant).copied().unwrap_or(1);
        let line = self.lines.entry(tenant.clone());
        let line = line.or_insert_with(|| Line { clock: now, ..Line::default() });
        line.levels[*priority as usize].clock += took / WEIGHTS[*priority as usize];
        line.clock += took / weight;
        line.busy = line.busy.saturating_sub(1);
        // Whoever has nothing to do and no debt is the same as one who was never here.
        self.lines.retain(|_, line| !line.is_empty() || line.busy > 0 || line.clock > now);
    }

    /// Takes a job out, if it waits still.
    pub(super) fn remove(&mut self, place: &Place) -> Option<Job> {
        let line = self.lines.get_mut(&place.tenant)?;
        let job = line.levels[place.priority as usize].jobs.remove(&place.number)?;
        self.waiting -= 1;
        Some(job)
    }

    /// Takes all of them out; the threads end.
    pub(super) fn close(&mut self) -> Vec<Job> {
        self.closed = true;
        self.waiting = 0;
        let levels = std::mem::take(&mut self.lines).into_values().flat_map(|line| line.levels);
        levels.flat_map(|level| level.jobs.into_values()).collect()
    }

    /// The jobs that run.
    pub(super) fn busy(&self) -> usize {
        self.running.len()
    }

    pub(super) fn set_weight(&mut self, tenant: &TenantName, weight: u32) {
        match weight {
            0 | 1 => _ = self.weights.remove(tenant),
            weight => _ = self.weights.insert(tenant.clone(), weight),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const THREADS: Threads = Threads { all: 8, most_of_one: 8, at_once: 2 };

    fn tenant(name: &str) -> TenantName {
        name.parse().unwrap()
    }

    /// Adds jobs that do nothing.
    fn fill(queue: &mut Queue, name: &str, priority: Priority, count: usize) {
        for _ in 0..count {
            queue.push(&tenant(name), priority, Box::new(|| ()), usize::MAX).unwrap();
        }
    }

    /// Serves one after another, each of which takes as long as `took` says; tells whose they were.
    fn serve(queue: &mut Queue, count: usize, took: impl Fn(&Place) -> Duration) -> Vec<(String, Priority)> {
        let one = |_| {
            let (place, _) = queue.pop(8, Instant::now()).unwrap();
            queue.end(&place, took(&place));
            (place.tenant.to_string(), place.priority)
        };
        (0..count).map(one).collect()
    }

    #[test]
    fn tenants_share_the_time_by_their_weights() {
        let mut queue = Queue::default();
        queue.set_weight(&tenant("heavy"), 3);
        fill(&mut queue, "heavy", Priority::Low, 100);
        fill(&mut queue, "light", Priority::High, 100);
        let served = serve(&mut queue, 40, |_| MS);
        let heavy = served.iter().filter(|(name, _)| name == "heavy").count();
        assert!((29..=31).contains(&heavy), "three quarters, whatever the priorities: {heavy}");
        queue.set_weight(&tenant("heavy"), 1);
        let served = serve(&mut queue, 40, |_| MS);
        let heavy = served.iter().filter(|(name, _)| name == "heavy").count();
        assert!((19..=21).contains(&heavy), "{heavy}");
    }

    #[test]
    fn weights_are_of_time_and_not_of_jobs() {
        let mut queue = Queue::default();
        queue.set_weight(&tenant("heavy"), 3);
        fill(&mut queue, "heavy", Priority::Normal, 100);
        fill(&mut queue, "light", Priority::Normal, 100);
        let long = |place: &Place| if place.tenant.as_str() == "heavy" { 3 * MS } else { MS };
        let heavy = serve(&mut queue, 60, long).iter().filter(|(name, _)| name == "heavy").count();
        assert!((29..=31).contains(&heavy), "{heavy}");
    }

    #[test]
    fn what_is_urgent_passes_what_waits_and_what_can_wait_gets_on() {
        let mut queue = Queue::default();
        fill(&mut queue, "a", Priority::Low, 50);
        serve(&mut queue, 10, |_| MS);
        fill(&mut queue, "a", Priority::High, 200);
        let served = serve(&mut queue, 130, |_| MS);
        assert!(served[..16].iter().all(|(_, priority)| *priority == Priority::High), "{served:?}");
        let low = served.iter().filter(|(_, priority)| *priority == Priority::Low).count();
        assert!((6..=9).contains(&low), "one in 17: {low}");
    }

    #[test]
    fn what_came_first_is_served_first_within_a_priority() {
        let mut queue = Queue::default();
        fill(&mut queue, "a", Priority::Normal, 3);
        let mut order = Vec::new();
        while let Some((place, _)) = queue.pop(8, Instant::now()) {
            order.push(place.number);
            queue.end(&place, MS);
        }
        assert_eq!(order, [0, 1, 2]);
        assert!(queue.lines.len() <= 1, "who has debts is known still, and no job is");
        assert_eq!(queue.waiting, 0);
    }

    #[test]
    fn a_flood_of_low_priority_leaves_room_for_others() {
        let mut queue = Queue::default();
        let push = |queue: &mut Queue, priority| queue.push(&tenant("a"), priority, Box::new(|| ()), 2);
        fill(&mut queue, "a", Priority::Low, 2);
        assert_eq!(push(&mut queue, Priority::Low).err(), Some(2));
        assert!(push(&mut queue, Priority::High).is_ok());
    }

    #[test]
    fn a_job_that_takes_long_makes_room_for_another() {
        let (mut queue, begin) = (Queue::default(), Instant::now());
        fill(&mut queue, "a", Priority::Normal, 4);
        assert_eq!(queue.full_for(THREADS, begin), None);
        let (first, _) = queue.pop(8, begin).unwrap();
        let (_second, _) = queue.pop(8, begin + LONG / 2).unwrap();
        assert_eq!(queue.full_for(THREADS, begin + LONG / 2), Some(LONG / 2));
        assert_eq!(queue.full_for(THREADS, begin + LONG), None, "the first has taken long");
        let (_third, _) = queue.pop(8, begin + LONG).unwrap();
        assert_eq!(queue.full_for(THREADS, begin + LONG), Some(LONG / 2), "until the second has");
        queue.end(&first, LONG);
        assert_eq!(queue.busy(), 2);
    }
}
