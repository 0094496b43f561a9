//! Callers that leave runs which cannot be stopped: who pays for that, and who does not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use modelet_inference::{BackendId, InferenceConfig, InferenceError, RunRequest, Session, Unanswered};
use modelet_types::Tensor;
use tokio::task::JoinHandle;

use crate::models;
use crate::service::{TestService, config, marked, processes, request, run, tensor, until};

use super::with;

fn service(workers: usize) -> TestService {
    with(InferenceConfig { workers, worker: marked(512 << 20), ..config() })
}

/// A run that goes on for ever, in a backend that may not be able to stop it; once it computes.
async fn endless(session: &Arc<Session>, time: Duration) -> JoinHandle<Result<(), InferenceError>> {
    let unanswered = Arc::new(Unanswered::default());
    let given = [("times", tensor(&[], &[i64::from(i32::MAX)]))];
    let request = RunRequest {
        deadline: Instant::now() + time,
        unanswered: Some(Arc::clone(&unanswered)),
        ..request(&given)
    };
    let session = Arc::clone(session);
    let run = tokio::spawn(async move { session.run(request).await.map(drop) });
    until("it computes", || unanswered.cpu_time() > Duration::from_millis(1)).await;
    run
}

async fn leave(service: &TestService, run: JoinHandle<Result<(), InferenceError>>) {
    run.abort();
    until("it is left", || service.inference.stats().abandoned == 1).await;
}

async fn is_well(session: &Arc<Session>) {
    let output = run(session, &[("x", tensor(&[1, 2], &[1.0_f32, 1.0]))]).await.unwrap();
    assert_eq!(output.outputs[0].1.as_slice::<f32>().unwrap(), [14.0, 26.0]);
}

/// The same once the model is loaded in the next process.
async fn is_well_again(session: &Arc<Session>) {
    is_loaded_again(session, &[("x", tensor(&[1, 2], &[1.0_f32, 1.0]))]).await;
    is_well(session).await;
}

/// Runs until the model is loaded again, which may take longer than a call waits for it.
async fn is_loaded_again(session: &Arc<Session>, inputs: &[(&str, Tensor)]) {
    loop {
        match run(session, inputs).await {
            Err(InferenceError::WorkerLost { reason }) if reason.contains("loaded again") => {}
            output => return drop(output.unwrap()),
        }
    }
}

#[tokio::test]
async fn a_run_that_was_left_costs_the_tenants_others_nothing_until_its_deadline() {
    let service = service(2);
    let looping = service.session(BackendId::Rten, &models::long_loop()).await;
    let other = service.session(BackendId::Onnxruntime, &models::affine()).await;
    let before = processes(&service.worker);
    let deadline = Instant::now() + Duration::from_secs(4);
    let left = endless(&looping, Duration::from_secs(4)).await;
    leave(&service, left).await;
    while Instant::now() + Duration::from_millis(500) < deadline {
        is_well(&other).await;
        assert_eq!(processes(&service.worker), before, "the process is the one that it was");
    }
    until("it is ended", || service.inference.stats().abandoned == 0).await;
    let late = deadline.elapsed();
    assert!(
        late > Duration::from_millis(900) && late < Duration::from_secs(3),
        "{late:?} after its deadline"
    );
    until("its end is counted", || service.inference.stats().worker_processes_lost == 1).await;
    is_well_again(&other).await;
}

#[tokio::test]
async fn a_run_that_was_left_and_is_in_the_way_ends_with_a_process_that_nobody_needs() {
    let service = service(1);
    let looping = service.session(BackendId::Rten, &models::long_loop()).await;
    let other = service.session(BackendId::Onnxruntime, &models::affine()).await;
    for _ in 0..2 {
        is_loaded_again(&looping, &[("times", tensor(&[], &[1_i64]))]).await;
        let left = endless(&looping, Duration::from_secs(60)).await;
        let begin = Instant::now();
        leave(&service, left).await;
        is_well_again(&other).await;
        let waited = begin.elapsed();
        assert!(waited > Duration::from_millis(900) && waited < Duration::from_secs(4), "{waited:?}");
        until("the thread is back", || service.inference.stats().abandoned == 0).await;
    }
    assert_eq!(service.inference.stats().worker_processes_lost, 0, "nobody has lost anything");
}

#[tokio::test]
async fn a_run_that_was_left_does_not_go_on_for_as_long_as_it_might() {
    let service = service(2);
    let looping = service.session(BackendId::Rten, &models::long_loop()).await;
    let left = endless(&looping, Duration::from_secs(3600)).await;
    let begin = Instant::now();
    leave(&service, left).await;
    until("it is ended", || service.inference.stats().abandoned == 0).await;
    assert!(begin.elapsed() > Duration::from_secs(9), "{:?}", begin.elapsed());
    assert_eq!(service.inference.stats().worker_processes_lost, 0, "nobody has lost anything");
}

#[tokio::test]
async fn a_run_that_somebody_waits_for_is_not_ended_for_one_that_was_left() {
    let service = service(2);
    let looping = service.session(BackendId::Rten, &models::long_loop()).await;
    let beside = service.session(BackendId::Onnxruntime, &models::long_loop()).await;
    let other = service.session(BackendId::Onnxruntime, &models::affine()).await;
    let left = endless(&looping, Duration::from_secs(60)).await;
    // It can be stopped, and so ends at its deadline; its caller stays.
    let stays = endless(&beside, Duration::from_secs(3)).await;
    leave(&service, left).await;
    let waits = tokio::spawn(async move { is_well_again(&other).await });
    assert_eq!(stays.await.unwrap(), Err(InferenceError::DeadlineExceeded), "it is not lost");
    waits.await.unwrap();
}
