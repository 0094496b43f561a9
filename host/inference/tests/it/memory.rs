//! The memory of sessions is bounded: who goes, who stays, and who waits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use modelet_inference::{BackendId, InferenceConfig, InferenceError, ModelSource, SessionKey, SessionState};
use modelet_types::Code;
use modelet_types::manifest::{BackendChoice, Golden};

use crate::models;
use crate::service::{BOTH, TestService, config, run, spec, tensor, until};

/// What each model of these tests is said to take.
const EACH: u64 = 100;

/// A host with room for `sessions` of them.
fn with_room_for(sessions: u64) -> TestService {
    TestService::with(InferenceConfig { memory_bytes: sessions * EACH, ..config() })
}

/// A model that no other number makes.
fn numbered(service: &TestService, number: usize) -> (SessionKey, ModelSource) {
    let file = models::chain("Relu", number + 1);
    let source = ModelSource { memory_bytes: EACH, ..service.source(&file) };
    (service.key(BackendId::Rten, &file), source)
}

#[tokio::test]
async fn for_want_of_memory_the_one_that_was_used_the_longest_ago_goes() {
    let service = with_room_for(2);
    let [first, second, third] = [0, 1, 2].map(|number| numbered(&service, number));
    for (key, source) in [&first, &second, &first, &third] {
        service.inference.session(key, source).await.unwrap();
    }
    let is_there = |(key, _): &(SessionKey, _)| service.inference.state(key) != SessionState::Cold;
    assert!(is_there(&first) && !is_there(&second) && is_there(&third));
    let stats = service.inference.stats();
    assert_eq!((stats.evictions, stats.memory_bytes, stats.memory_budget_bytes), (1, 2 * EACH, 2 * EACH));
}

#[tokio::test]
async fn what_is_in_use_stays_and_others_wait_for_it() {
    let service = with_room_for(1);
    let [(first, first_source), (second, second_source)] = [0, 1].map(|number| numbered(&service, number));
    let held = service.inference.session(&first, &first_source).await.unwrap();
    let mut waiting = Box::pin(service.inference.session(&second, &second_source));
    let soon = tokio::time::timeout(Duration::from_millis(50), &mut waiting).await;
    assert!(soon.is_err() && service.inference.state(&second) == SessionState::Loading);
    run(&held, &[("x", tensor(&[2], &[1.0_f32, 2.0]))]).await.unwrap();
    drop(held);
    waiting.await.unwrap();
    assert_eq!(service.inference.state(&first), SessionState::Cold);
}

#[tokio::test]
async fn memory_of_a_session_is_taken_until_its_last_holder_lets_it_go() {
    let service = with_room_for(2);
    let (key, source) = numbered(&service, 0);
    let held = service.inference.session(&key, &source).await.unwrap();
    service.inference.unload(&key);
    assert_eq!(service.inference.stats().memory_bytes, EACH);
    drop(held);
    assert_eq!(service.inference.stats().memory_bytes, 0);
}

#[tokio::test]
async fn a_failed_load_gives_its_memory_back() {
    let service = with_room_for(1);
    let (key, source) = numbered(&service, 0);
    let missing = ModelSource { path: "/nowhere/model".into(), ..source };
    for _ in 0..3 {
        assert!(service.inference.session(&key, &missing).await.is_err());
    }
    assert_eq!(service.inference.stats().memory_bytes, 0);
}

#[tokio::test]
async fn a_model_that_never_fits_is_refused_when_it_is_deployed_and_when_it_is_loaded() {
    let file = models::affine();
    let service = TestService::with(InferenceConfig { memory_bytes: file.len() as u64 - 1, ..config() });
    let path = service.file(&file);
    let tenant = service.key(BackendId::Rten, &file).tenant;
    let deployed =
        service.inference.check(&tenant, &path, &spec(&file, BackendChoice::Auto), "models.m").await;
    let problem = deployed.unwrap_err();
    assert_eq!((problem.code, problem.field.as_deref()), (Code::InvalidModel, Some("models.m")));
    assert!(problem.detail.contains("`inference.memory_bytes`"), "{}", problem.detail);
    let loaded = service.load(BackendId::Rten, &file).await;
    assert!(matches!(loaded.err(), Some(InferenceError::InvalidModel(_))));
}

#[tokio::test]
async fn a_model_that_finds_no_room_costs_nobody_a_session() {
    let service = with_room_for(4);
    let held = numbered(&service, 0);
    let idle = numbered(&service, 1);
    let _held = service.inference.session(&held.0, &held.1).await.unwrap();
    drop(service.inference.session(&idle.0, &idle.1).await.unwrap());
    let (large, source) = numbered(&service, 2);
    let source = ModelSource { memory_bytes: 4 * EACH, ..source };
    let mut waiting = Box::pin(service.inference.session(&large, &source));
    assert!(tokio::time::timeout(Duration::from_millis(100), &mut waiting).await.is_err());
    assert!(matches!(service.inference.state(&idle.0), SessionState::Ready { .. }));
    assert_eq!(service.inference.stats().evictions, 0);
}

#[tokio::test]
async fn a_tenant_that_is_not_trusted_has_half_and_keeps_nobody_waiting() {
    let service = with_room_for(4);
    let theirs = |number| {
        let (key, source) = numbered(&service, number);
        (SessionKey { tenant: "acme".parse().unwrap(), ..key }, source)
    };
    let (first, second, third) = (theirs(0), theirs(1), theirs(2));
    let mut held = Vec::new();
    for (key, source) in [&first, &second] {
        held.push(service.inference.session(key, source).await.unwrap());
    }
    let mut waiting = Box::pin(service.inference.session(&third.0, &third.1));
    assert!(tokio::time::timeout(Duration::from_millis(100), &mut waiting).await.is_err());
    let (mine, source) = numbered(&service, 3);
    service.inference.session(&mine, &source).await.unwrap();
    held.clear();
    waiting.await.unwrap();
    assert!(matches!(service.inference.state(&mine), SessionState::Ready { .. }), "theirs goes, not mine");
}

#[tokio::test]
async fn a_pinned_session_outlives_idle_time_and_want_until_it_is_let_go() {
    let service = with_room_for(4);
    let (kept, source) = numbered(&service, 0);
    let pin = service.inference.pin(&kept, &source).unwrap();
    let again = service.inference.pin(&kept, &source);
    assert!(again.is_some(), "it is charged once");
    drop(again);
    let (other, _) = numbered(&service, 9);
    assert!(service.inference.pin(&other, &source).is_none(), "one tenant keeps a quarter of the memory");
    drop(service.inference.session(&kept, &source).await.unwrap());
    for number in 1..9 {
        let (key, source) = numbered(&service, number);
        service.inference.session(&key, &source).await.unwrap();
    }
    assert!(matches!(service.inference.state(&kept), SessionState::Ready { pinned: true, .. }));
    let later = Instant::now() + Duration::from_secs(3600);
    assert_eq!(service.inference.sweep(later), 3);
    assert_eq!(service.inference.due(later), None, "what stays is not looked at again");
    drop(pin);
    assert!(matches!(service.inference.state(&kept), SessionState::Ready { pinned: false, .. }));
    assert_eq!(service.inference.sweep(later), 1);
}

#[tokio::test]
async fn many_models_in_little_memory_hit_as_often_as_the_simulation_of_least_recently_used() {
    let service = with_room_for(5);
    let all: Vec<_> = (0..20).map(|number| numbered(&service, number)).collect();
    let trace = zipf(20, 3000);
    let mut resident: Vec<usize> = Vec::new();
    let mut hits = 0;
    for &number in &trace {
        if let Some(place) = resident.iter().position(|&other| other == number) {
            resident.remove(place);
            hits += 1;
        } else if resident.len() == 5 {
            resident.remove(0);
        }
        resident.push(number);
        let (key, source) = &all[number];
        let session = service.inference.session(key, source).await.unwrap();
        run(&session, &[("x", tensor(&[2], &[1.0_f32, -2.0]))]).await.unwrap();
    }
    let loads = service.inference.stats().loads;
    assert_eq!(trace.len() as u64 - loads, hits, "of {} requests", trace.len());
    assert!(hits > 1000, "the trace tells nothing: {hits} hits");
}

#[tokio::test]
async fn callers_side_by_side_never_go_over_the_memory_nor_fail() {
    let service = with_room_for(5);
    let all: Arc<Vec<_>> = Arc::new((0..20).map(|number| numbered(&service, number)).collect());
    let caller = |start: usize| {
        let (inference, all) = (service.inference.clone(), Arc::clone(&all));
        tokio::spawn(async move {
            for &number in zipf(20, 4000).iter().skip(start * 200).take(200) {
                let (key, source) = &all[number];
                let session = inference.session(key, source).await.unwrap();
                let output = run(&session, &[("x", tensor(&[2], &[1.0_f32, -2.0]))]).await.unwrap();
                assert_eq!(output.outputs[0].1.as_slice::<f32>().unwrap(), [1.0, 0.0]);
                let stats = inference.stats();
                assert!(stats.memory_bytes <= stats.memory_budget_bytes);
            }
        })
    };
    for result in join_all((0..8).map(caller)).await {
        result.unwrap();
    }
}

#[tokio::test]
async fn what_a_model_takes_is_measured_at_its_deploy() {
    let service = TestService::start();
    let weights = vec![1.0_f32; 8 << 20];
    let nodes = [models::node("Add", &["x", "w"], &["y"])];
    let shape = [1, weights.len() as i64];
    let graph = models::graph(
        &nodes,
        &[models::value("x", models::F32, &shape)],
        &[models::value("y", models::F32, &shape)],
        &[models::f32_tensor("w", &shape, &weights)],
    );
    let file = models::model(&graph);
    let path = service.file(&file);
    for (backend, choice) in BOTH.into_iter().zip([BackendChoice::Rten, BackendChoice::Onnxruntime]) {
        let tenant = service.key(backend, &file).tenant;
        let checked =
            service.inference.check(&tenant, &path, &spec(&file, choice), "models.m").await.unwrap();
        let bytes = checked.memory_bytes.unwrap();
        // Other tests of this process run beside this one.
        assert!((file.len() as u64..4 * file.len() as u64).contains(&bytes), "{backend}: {bytes}");
    }
}

#[tokio::test]
async fn warming_up_runs_the_golden_inputs_and_ends_in_time() {
    let timeout = Duration::from_millis(300);
    let service = TestService::with(InferenceConfig { warm_up_timeout: timeout, ..config() });
    let file = models::long_loop();
    let key = service.key(BackendId::Onnxruntime, &file);
    let endless = format!(r#"{{"inputs":{{"times":{{"shape":[],"i64":[{}]}}}},"outputs":{{}}}}"#, i64::MAX);
    let golden: Golden = serde_json::from_str(&endless).unwrap();
    let source = ModelSource { warm_up: [golden].into(), ..service.source(&file) };
    let began = Instant::now();
    let session = service.inference.session(&key, &source).await.unwrap();
    assert!(began.elapsed() >= timeout, "it ran until it was stopped");
    run(&session, &[("times", tensor(&[], &[1_i64]))]).await.unwrap();
    until("nothing runs", || service.inference.stats().workers_busy == 0).await;
}

/// Requests of which the model at place `n` gets a share of about `1/(n + 1)`, the same each time.
fn zipf(models: usize, requests: usize) -> Vec<usize> {
    let weights: Vec<f64> = (1..=models).map(|place| 1.0 / place as f64).collect();
    let total: f64 = weights.iter().sum();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = || {
        // Xorshift (Marsaglia 2003), for a trace that is the same everywhere.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 53) as f64 * total
    };
    let pick = |mut at: f64| {
        let place = weights.iter().position(|weight| {
            at -= weight;
            at < 0.0
        });
        place.unwrap_or(models - 1)
    };
    (0..requests).map(|_| pick(draw())).collect()
}
