//! Loaded once, kept while used, dropped when idle.

use std::time::{Duration, Instant};

use futures::future::join_all;
use modelet_inference::{BackendId, InferenceConfig, InferenceError, ModelSource, SessionKey, SessionState};
use modelet_types::Trust;

use crate::models;
use crate::service::{BOTH, TestService, config, run, tensor, until};

#[tokio::test]
async fn a_hundred_callers_wait_for_one_load() {
    let service = TestService::start();
    for (before, backend) in BOTH.into_iter().enumerate() {
        let file = models::affine();
        let (key, source) = (service.key(backend, &file), service.source(&file));
        assert_eq!(service.inference.state(&key), SessionState::Cold);
        let sessions = join_all((0..100).map(|_| service.inference.session(&key, &source))).await;
        let first = sessions[0].as_ref().unwrap();
        assert!(sessions.iter().all(|session| std::sync::Arc::ptr_eq(first, session.as_ref().unwrap())));
        assert_eq!(service.inference.stats().loads, before as u64 + 1);
        assert!(matches!(service.inference.state(&key), SessionState::Ready { in_use: true, .. }));
    }
}

#[tokio::test]
async fn a_load_goes_on_when_its_callers_leave() {
    let service = TestService::start();
    let file = models::affine();
    let (key, source) = (service.key(BackendId::Rten, &file), service.source(&file));
    let mut load = Box::pin(service.inference.session(&key, &source));
    assert!(futures::poll!(&mut load).is_pending());
    assert_ne!(service.inference.state(&key), SessionState::Cold);
    drop(load);
    until("it is resident", || service.inference.resident(&key).is_some()).await;
    assert_eq!(service.inference.stats().loads, 1);
}

#[tokio::test]
async fn sessions_are_not_shared_between_tenants() {
    let service = TestService::start();
    let file = models::affine();
    let mine = service.key(BackendId::Rten, &file);
    let theirs = SessionKey { tenant: "other".parse().unwrap(), ..mine.clone() };
    service.inference.set_trust(&theirs.tenant, Trust::Trusted);
    let first = service.inference.session(&mine, &service.source(&file)).await.unwrap();
    assert_eq!(service.inference.state(&theirs), SessionState::Cold);
    let second = service.inference.session(&theirs, &service.source(&file)).await.unwrap();
    assert!(!std::sync::Arc::ptr_eq(&first, &second));
}

#[tokio::test]
async fn idle_sessions_go_and_used_ones_stay() {
    let service = TestService::start();
    let file = models::affine();
    let (key, source) = (service.key(BackendId::Rten, &file), service.source(&file));
    let session = service.inference.session(&key, &source).await.unwrap();
    let later = Instant::now() + source.idle_timeout + Duration::from_secs(1);
    assert_eq!(service.inference.sweep(later), 0, "it is held");
    drop(session);
    assert_eq!(service.inference.sweep(Instant::now()), 0, "it is not idle for long");
    let almost = Instant::now() + source.idle_timeout - Duration::from_secs(1);
    assert_eq!(service.inference.sweep(almost), 0);
    assert!(matches!(service.inference.state(&key), SessionState::Ready { in_use: false, .. }));
    assert_eq!(service.inference.sweep(later), 1);
    assert_eq!(service.inference.state(&key), SessionState::Cold);
    service.inference.session(&key, &source).await.unwrap();
    assert_eq!(service.inference.stats().loads, 2);
}

#[tokio::test]
async fn of_several_idle_timeouts_the_longest_counts() {
    let service = TestService::start();
    let file = models::affine();
    let key = service.key(BackendId::Rten, &file);
    let asking =
        |seconds| ModelSource { idle_timeout: Duration::from_secs(seconds), ..service.source(&file) };
    let (short, long) = (asking(1), asking(100));
    let after = |seconds| Instant::now() + Duration::from_secs(seconds);
    for order in [[&short, &long], [&long, &short]] {
        // The second asks once while the session is loaded and once when it is there.
        let [first, second] = order;
        let (one, two) =
            tokio::join!(service.inference.session(&key, first), service.inference.session(&key, second));
        drop((one.unwrap(), two.unwrap()));
        assert_eq!(service.inference.sweep(after(90)), 0);
        assert_eq!(service.inference.sweep(after(110)), 1);
        drop(service.inference.session(&key, first).await.unwrap());
        drop(service.inference.session(&key, second).await.unwrap());
        assert_eq!(service.inference.sweep(after(90)), 0);
        assert_eq!(service.inference.sweep(after(110)), 1);
    }
}

#[tokio::test]
async fn sessions_are_counted_apart_from_loads() {
    let service = TestService::start();
    let file = models::affine();
    let (key, source) = (service.key(BackendId::Rten, &file), service.source(&file));
    let mut load = Box::pin(service.inference.session(&key, &source));
    assert!(futures::poll!(&mut load).is_pending());
    let stats = service.inference.stats();
    assert_eq!(stats.sessions + stats.sessions_loading, 1);
    let _held = load.await.unwrap();
    let stats = service.inference.stats();
    assert_eq!((stats.sessions, stats.sessions_loading), (1, 0));
}

#[tokio::test]
async fn a_run_in_progress_is_use() {
    let service = TestService::start();
    let file = models::long_loop();
    let key = service.key(BackendId::Onnxruntime, &file);
    let source = ModelSource { idle_timeout: Duration::ZERO, ..service.source(&file) };
    let running = {
        // The only handle goes into the run.
        let session = service.inference.session(&key, &source).await.unwrap();
        tokio::spawn(async move { run(&session, &[("times", tensor(&[], &[i64::MAX]))]).await })
    };
    until("the run begins", || service.inference.stats().workers_busy == 1).await;
    assert_eq!(service.inference.sweep(Instant::now()), 0);
    running.abort();
    until("the session is idle", || service.inference.sweep(Instant::now()) == 1).await;
}

#[tokio::test]
async fn sweeping_never_takes_what_callers_are_getting() {
    let service = TestService::with(InferenceConfig { workers: 1, ..config() });
    let file = models::affine();
    let key = service.key(BackendId::Rten, &file);
    let source = ModelSource { idle_timeout: Duration::ZERO, ..service.source(&file) };
    let sweeper = std::thread::spawn({
        let inference = service.inference.clone();
        move || (0..2000).map(|_| inference.sweep(Instant::now())).sum::<usize>()
    });
    for _ in 0..100 {
        let session = service.inference.session(&key, &source).await.unwrap();
        if let Some(resident) = service.inference.resident(&key) {
            assert!(std::sync::Arc::ptr_eq(&session, &resident), "a second one was loaded while one is held");
        }
        let output = run(&session, &[("x", tensor(&[1, 2], &[0.0_f32, 0.0]))]).await.unwrap();
        assert_eq!(output.outputs[0].1.as_slice::<f32>().unwrap(), [10.0, 20.0]);
    }
    let swept = sweeper.join().unwrap() as u64;
    assert!(service.inference.stats().loads <= swept + 1, "every load but the last follows a sweep");
}

#[tokio::test]
async fn an_evicted_session_still_answers_those_who_hold_it() {
    let service = TestService::start();
    let file = models::affine();
    let session = service.session(BackendId::Rten, &file).await;
    let key = service.key(BackendId::Rten, &file);
    service.inference.unload(&key);
    assert_eq!(service.inference.state(&key), SessionState::Cold);
    run(&session, &[("x", tensor(&[1, 2], &[0.0_f32, 0.0]))]).await.unwrap();
}

#[tokio::test]
async fn a_failed_load_is_told_to_all_and_tried_again() {
    let service = TestService::start();
    let file = models::affine();
    let key = service.key(BackendId::Rten, &file);
    let missing = ModelSource { path: "/nowhere/model".into(), ..service.source(&file) };
    let failed = join_all((0..10).map(|_| service.inference.session(&key, &missing))).await;
    assert!(failed.iter().all(|result| matches!(result, Err(InferenceError::Host { .. }))));
    assert_eq!(service.inference.stats().failed_loads, 1);
    assert_eq!(service.inference.state(&key), SessionState::Cold);
    service.inference.session(&key, &service.source(&file)).await.unwrap();
}
