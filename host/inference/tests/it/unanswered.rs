//! What runs are charged that give no answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use modelet_inference::{BackendId, InferenceConfig, InferenceError, RunRequest, Unanswered};
use modelet_types::Trust;

use crate::models::{self, F32, I64, f32_tensor, graph, model, node, value};
use crate::service::{BOTH, TestService, config, kill, marked, processes, request, tensor, until};

const TRUSTS: [Trust; 2] = [Trust::Trusted, Trust::Untrusted];

fn service(trust: Trust) -> TestService {
    TestService::of(InferenceConfig { workers: 2, worker: marked(1 << 30), ..config() }, trust)
}

/// A long run, which is charged to what is returned if it gives no answer.
fn long(times: i64, time: Duration) -> (RunRequest, Arc<Unanswered>) {
    let unanswered = Arc::new(Unanswered::default());
    let run = RunRequest {
        deadline: Instant::now() + time,
        unanswered: Some(Arc::clone(&unanswered)),
        ..request(&[("times", tensor(&[], &[times]))])
    };
    (run, unanswered)
}

#[tokio::test]
async fn a_run_that_is_late_is_charged_until_its_deadline() {
    for (trust, backend) in TRUSTS.into_iter().flat_map(|trust| BOTH.map(|backend| (trust, backend))) {
        let service = service(trust);
        let session = service.session(backend, &models::long_loop()).await;
        // ONNX Runtime can be stopped; rten ends after seconds.
        let times = if backend == BackendId::Onnxruntime { i64::MAX } else { 60_000 };
        let (late, unanswered) = long(times, Duration::from_millis(300));
        assert_eq!(session.run(late).await.unwrap_err(), InferenceError::DeadlineExceeded);
        let used = unanswered.cpu_time();
        // A busy machine gives it less than the whole time, and nothing gives it more.
        let range = Duration::from_millis(20)..Duration::from_millis(500);
        assert!(range.contains(&used), "{trust:?} {backend}: {used:?}");
        until("its thread is back", || service.inference.stats().workers_busy == 0).await;
        assert_eq!(unanswered.cpu_time(), used, "{trust:?} {backend}: what follows is nobody's");
    }
}

#[tokio::test]
async fn a_run_whose_caller_leaves_is_charged_until_then_and_while_it_goes_on() {
    for trust in TRUSTS {
        let service = service(trust);
        let session = service.session(BackendId::Onnxruntime, &models::long_loop()).await;
        let (left, unanswered) = long(i64::MAX, Duration::from_secs(60));
        let run = tokio::spawn(async move { session.run(left).await.map(drop) });
        until("it is charged", || unanswered.cpu_time() > Duration::from_millis(30)).await;
        run.abort();
        assert!(run.await.unwrap_err().is_cancelled());
        let used = unanswered.cpu_time();
        assert!(used > Duration::from_millis(30), "{trust:?}: {used:?}");
        until("its thread is back", || service.inference.stats().workers_busy == 0).await;
        assert_eq!(unanswered.cpu_time(), used);
    }
}

#[tokio::test]
async fn a_run_that_is_lost_with_its_process_is_charged_what_the_process_has_used() {
    let service = service(Trust::Untrusted);
    let session = service.session(BackendId::Onnxruntime, &models::long_loop()).await;
    let (lost, unanswered) = long(i64::MAX, Duration::from_secs(60));
    let run = tokio::spawn(async move { session.run(lost).await.map(drop) });
    until("it is charged", || unanswered.cpu_time() > Duration::from_millis(30)).await;
    processes(&service.worker).into_iter().for_each(kill);
    assert!(matches!(run.await.unwrap(), Err(InferenceError::WorkerLost { .. })));
    assert!(unanswered.cpu_time() > Duration::from_millis(30), "{:?}", unanswered.cpu_time());
}

/// `y = w²⁵⁶[n]`: products that take long, and then a row that need not be there.
fn long_and_then_wrong() -> Vec<u8> {
    let names: Vec<String> = (0..=8).map(|index| format!("w{index}")).collect();
    let weights = [f32_tensor("w0", &[512, 512], &vec![0.001_f32; 512 * 512])];
    let mut nodes: Vec<_> =
        names.windows(2).map(|pair| node("MatMul", &[&pair[0], "w"], &[&pair[1]])).collect();
    nodes.insert(0, node("Add", &["w0", "x"], &["w"]));
    nodes.push(node("Gather", &["w8", "n"], &["y"]));
    let inputs = [value("x", F32, &[1]), value("n", I64, &[1])];
    model(&graph(&nodes, &inputs, &[value("y", F32, &[1, 512])], &weights))
}

#[tokio::test]
async fn a_run_that_fails_is_charged_what_it_used_and_one_that_answers_says_it() {
    for (trust, backend) in TRUSTS.into_iter().flat_map(|trust| BOTH.map(|backend| (trust, backend))) {
        let service = service(trust);
        let session = service.session(backend, &long_and_then_wrong()).await;
        let unanswered = Arc::new(Unanswered::default());
        let ask = |row: i64| RunRequest {
            unanswered: Some(Arc::clone(&unanswered)),
            ..request(&[("x", tensor(&[1], &[0.5_f32])), ("n", tensor(&[1], &[row]))])
        };
        let answer = session.run(ask(1)).await.unwrap();
        assert!(answer.cpu_time > Duration::from_millis(1), "{trust:?} {backend}: {:?}", answer.cpu_time);
        assert_eq!(unanswered.cpu_time(), Duration::ZERO, "{trust:?} {backend}: the answer says it");
        session.run(ask(600)).await.unwrap_err();
        let used = unanswered.cpu_time();
        assert!(used > answer.cpu_time / 4, "{trust:?} {backend}: {used:?} of {:?}", answer.cpu_time);
    }
}
