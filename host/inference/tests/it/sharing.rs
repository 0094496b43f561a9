//! How tenants share the threads that run models, by their weights; and the runs of one tenant, by priority.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use modelet_inference::{BackendId, InferenceConfig, InferenceError, RunRequest, Session, SessionKey};
use modelet_types::manifest::{Batching, Priority};
use modelet_types::{TenantName, Trust};
use tokio::task::JoinHandle;

use crate::models;
use crate::service::{TestService, config, marked, request, run, tensor, until};

const BOTH: [Trust; 2] = [Trust::Trusted, Trust::Untrusted];

/// One worker, so that whatever is asked at once waits.
fn service(trust: Trust) -> TestService {
    let config = InferenceConfig { workers: 1, worker: marked(1 << 30), ..config() };
    TestService::of(InferenceConfig { inline_threshold: Duration::ZERO, ..config }, trust)
}

async fn session_of(service: &TestService, tenant: &str, trust: Trust) -> Arc<Session> {
    let (file, tenant): (_, TenantName) = (models::long_loop(), tenant.parse().unwrap());
    service.inference.set_trust(&tenant, trust);
    let key = SessionKey { tenant, ..service.key(BackendId::Onnxruntime, &file) };
    service.inference.session(&key, &service.source(&file)).await.unwrap()
}

/// A run of some milliseconds.
fn some_ms(priority: Priority) -> RunRequest {
    RunRequest { priority, ..request(&[("times", tensor(&[], &[200_i64]))]) }
}

/// Callers that ask again as soon as they are answered.
#[derive(Default)]
struct Callers {
    served: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Callers {
    fn start(count: usize, session: &Arc<Session>, priority: Priority) -> Self {
        let mut callers = Self::default();
        for _ in 0..count {
            let (session, served) = (Arc::clone(session), Arc::clone(&callers.served));
            let is_over = Arc::clone(&callers.is_over);
            callers.tasks.push(tokio::spawn(async move {
                while !is_over.load(Ordering::Relaxed) {
                    session.run(some_ms(priority)).await.unwrap();
                    served.fetch_add(1, Ordering::Relaxed);
                }
            }));
        }
        callers
    }

    fn served(&self) -> usize {
        self.served.load(Ordering::Relaxed)
    }

    async fn end(self) {
        self.is_over.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_that_want_more_than_there_is_get_it_by_their_weights() {
    for trust in BOTH {
        let service = service(trust);
        let (heavy, light) =
            (session_of(&service, "heavy", trust).await, session_of(&service, "light", trust).await);
        service.inference.set_weight(&"heavy".parse().unwrap(), 3);
        // Of the highest priority, which is nothing to another tenant.
        let light = Callers::start(8, &light, Priority::High);
        let heavy = Callers::start(8, &heavy, Priority::Low);
        until("both are served", || light.served() > 4 && heavy.served() > 4).await;
        let before = (heavy.served(), light.served());
        until("many are served", || heavy.served() + light.served() > before.0 + before.1 + 240).await;
        let (of_heavy, of_light) = (heavy.served() - before.0, light.served() - before.1);
        let ratio = of_heavy as f64 / of_light as f64;
        assert!((2.2..4.0).contains(&ratio), "{trust:?}: {of_heavy} and {of_light} runs");
        heavy.end().await;
        light.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_of_high_priority_passes_a_queue_of_low_ones() {
    for trust in BOTH {
        let service = service(trust);
        let session = session_of(&service, "tenant", trust).await;
        let done = Arc::new(AtomicUsize::new(0));
        let low = (0..60).map(|_| {
            let (session, done) = (Arc::clone(&session), Arc::clone(&done));
            tokio::spawn(async move {
                session.run(some_ms(Priority::Low)).await.unwrap();
                done.fetch_add(1, Ordering::Relaxed);
            })
        });
        let low: Vec<_> = low.collect();
        until("they wait", || service.inference.stats().runs_waiting >= 40).await;
        let before = done.load(Ordering::Relaxed);
        // It is due last, which is nothing beside its priority.
        let urgent = some_ms(Priority::High);
        let urgent = RunRequest { deadline: urgent.deadline + Duration::from_secs(60), ..urgent };
        session.run(urgent).await.unwrap();
        let passed = done.load(Ordering::Relaxed) - before;
        assert!(passed <= 4, "{trust:?}: {passed} were served before it");
        for task in low {
            task.await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_of_low_priority_get_on_beside_any_number_of_high_ones() {
    for trust in BOTH {
        let service = service(trust);
        let session = session_of(&service, "tenant", trust).await;
        let high = Callers::start(4, &session, Priority::High);
        until("they are served", || high.served() > 8).await;
        let before = high.served();
        for _ in 0..3 {
            session.run(some_ms(Priority::Low)).await.unwrap();
        }
        let beside = high.served() - before;
        // One for each 16 of the time that they take; on a busy machine a single run may take that of many.
        assert!(beside < 3 * 16 * 16, "{trust:?}: {beside} runs of high priority before three of low");
        high.end().await;
    }
}

#[tokio::test]
async fn a_batch_takes_along_what_is_as_urgent_and_nothing_less() {
    let service = service(Trust::Trusted);
    let file = models::affine();
    let batching = Some(Batching { max_queue_delay_us: 300_000, ..Batching::default() });
    let key = SessionKey { batching, ..service.key(BackendId::Onnxruntime, &file) };
    let session = service.inference.session(&key, &service.source(&file)).await.unwrap();
    let ask = |priority| {
        let given = [("x", tensor(&[1, 2], &[1.0_f32, 1.0]))];
        let session = Arc::clone(&session);
        async move { session.run(RunRequest { priority, ..request(&given) }).await.unwrap() }
    };
    // All wait for the same time, and the first to be submitted is of high priority.
    futures::join!(ask(Priority::High), ask(Priority::High), ask(Priority::Low), ask(Priority::Low));
    let stats = service.inference.stats();
    assert_eq!((stats.batches, stats.batched_runs), (2, 4), "two of high priority, and two of low");
}

#[tokio::test]
async fn a_full_queue_of_low_priority_refuses_only_more_of_it() {
    let config = InferenceConfig { workers: 1, queue: 2, inline_threshold: Duration::ZERO, ..config() };
    let service = TestService::with(config);
    let session = service.session(BackendId::Onnxruntime, &models::long_loop()).await;
    let slow = |priority| {
        let session = Arc::clone(&session);
        let request = RunRequest { priority, ..request(&[("times", tensor(&[], &[i64::MAX]))]) };
        tokio::spawn(async move { session.run(request).await })
    };
    let running = slow(Priority::Low);
    until("it runs", || service.inference.stats().workers_busy == 1).await;
    let mut waiting = vec![slow(Priority::Low), slow(Priority::Low)];
    until("two wait", || service.inference.stats().runs_waiting == 2).await;
    let refused = slow(Priority::Low).await.unwrap().unwrap_err();
    assert_eq!(refused, InferenceError::Overloaded { waiting: 2 });
    let urgent = [("times", tensor(&[], &[1_i64]))];
    let urgent = RunRequest { priority: Priority::High, ..request(&urgent) };
    let urgent = tokio::spawn({
        let session = Arc::clone(&session);
        async move { session.run(urgent).await }
    });
    until("it waits", || service.inference.stats().runs_waiting == 3).await;
    waiting.push(running);
    for task in &waiting {
        task.abort();
    }
    urgent.await.unwrap().unwrap();
    run(&session, &[("times", tensor(&[], &[1_i64]))]).await.unwrap();
}
