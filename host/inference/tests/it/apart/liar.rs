//! A process that has been taken over, and answers what it likes (`test-programs/lying-worker`).

use std::time::{Duration, Instant};

use modelet_inference::{BackendId, InferenceConfig, InferenceError, RunRequest, WorkerConfig};

use crate::models;
use crate::service::{TestService, config, request, tensor};

use super::with;

/// The program knows by the memory that it may have what it is to do.
fn service(lie: u64) -> TestService {
    let program = env!("CARGO_BIN_EXE_lying-worker").into();
    let worker = WorkerConfig { program, memory_bytes: (1 << 30) + lie, ..WorkerConfig::default() };
    with(InferenceConfig { worker, ..config() })
}

fn asks_for_m(deadline: Duration) -> RunRequest {
    let request = request(&[("x", tensor(&[1, 2], &[5.0_f32, 7.0]))]);
    RunRequest { outputs: vec!["m".into()], deadline: Instant::now() + deadline, ..request }
}

const SOON: Duration = Duration::from_secs(30);

#[tokio::test]
async fn the_truth_is_believed() {
    let service = service(0);
    let session = service.session(BackendId::Rten, &models::affine()).await;
    let output = session.run(asks_for_m(SOON)).await.unwrap();
    assert_eq!(output.outputs[0].1.as_slice::<f32>().unwrap(), [7.0]);
    assert!(output.cpu_time < Duration::from_secs(1), "it says that it took an hour: {:?}", output.cpu_time);
}

#[tokio::test]
async fn every_lie_ends_its_process_and_nothing_else() {
    for lie in 1..=15 {
        let service = service(lie);
        let session = service.session(BackendId::Rten, &models::affine()).await;
        for _ in 0..2 {
            match session.run(asks_for_m(SOON)).await.unwrap_err() {
                InferenceError::WorkerLost { reason } => assert!(
                    reason.contains("cannot be") || (lie == 12 && reason.contains("exit status: 3")),
                    "{lie}: {reason}"
                ),
                other => panic!("{lie}: {other}"),
            }
        }
    }
}

#[tokio::test]
async fn what_was_believed_stays_whatever_becomes_of_shared_memory() {
    let service = service(19);
    let session = service.session(BackendId::Rten, &models::affine()).await;
    let first = session.run(asks_for_m(SOON)).await.unwrap();
    session.run(asks_for_m(SOON)).await.unwrap();
    assert_eq!(first.outputs[0].1.as_slice::<f32>().unwrap(), [7.0]);
}

#[tokio::test]
async fn silence_is_waited_for_until_the_deadline() {
    let service = service(16);
    let session = service.session(BackendId::Rten, &models::affine()).await;
    let begin = Instant::now();
    let error = session.run(asks_for_m(Duration::from_millis(200))).await.unwrap_err();
    assert_eq!(error, InferenceError::DeadlineExceeded);
    assert!(begin.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn lies_about_loads_and_about_itself_are_errors() {
    for lie in [17, 18] {
        let error = service(lie).load(BackendId::Rten, &models::affine()).await.err().unwrap();
        match lie {
            17 => assert!(matches!(error, InferenceError::WorkerLost { .. }), "{error}"),
            _ => assert!(matches!(error, InferenceError::Host { .. }), "{error}"),
        }
    }
}
