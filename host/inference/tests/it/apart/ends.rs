//! Processes that end: only what runs in them is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use modelet_inference::{BackendId, InferenceConfig, InferenceError, Session};
use modelet_types::Code;

use crate::models;
use crate::service::{all_processes, config, kill, marked, processes, run, tensor, until};

use super::with;

/// Threads that run models, and so runs that are in a process at one time.
const WORKERS: usize = 3;

#[derive(Default)]
struct Load {
    served: AtomicUsize,
    lost: AtomicUsize,
    is_over: AtomicBool,
}

impl Load {
    /// Calls until it is over. What fails is lost with a process, or fails the test.
    async fn call(self: Arc<Self>, session: Arc<Session>) {
        while !self.is_over.load(Ordering::Relaxed) {
            match run(&session, &[("x", tensor(&[1, 2], &[1.0_f32, 1.0]))]).await {
                Ok(output) => {
                    assert_eq!(output.outputs[0].1.as_slice::<f32>().unwrap(), [14.0, 26.0]);
                    self.served.fetch_add(1, Ordering::Relaxed);
                }
                // On a busy machine that may take longer than a call waits for it. It ran in no process.
                Err(InferenceError::WorkerLost { reason }) if reason.contains("loaded again") => {}
                Err(error @ InferenceError::WorkerLost { .. }) => {
                    assert_eq!(error.code(), Code::WorkerLost);
                    self.lost.fetch_add(1, Ordering::Relaxed);
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_process_killed_ten_times_under_load_only_what_runs_in_it_fails() {
    let worker = marked(1 << 30);
    let service = with(InferenceConfig { workers: WORKERS, worker, ..config() });
    let load = Arc::new(Load::default());
    let mut callers = Vec::new();
    for backend in [BackendId::Rten, BackendId::Onnxruntime] {
        let session = service.session(backend, &models::affine()).await;
        callers.extend((0..8).map(|_| tokio::spawn(Arc::clone(&load).call(Arc::clone(&session)))));
    }
    for killed in 1..=10 {
        let served = load.served.load(Ordering::Relaxed);
        until("calls are served", || load.served.load(Ordering::Relaxed) > served + 50).await;
        until("there is one process", || processes(&service.worker).len() == 1).await;
        kill(processes(&service.worker)[0]);
        until("it is counted", || service.inference.stats().worker_processes_lost == killed).await;
    }
    let served = load.served.load(Ordering::Relaxed);
    until("calls are served", || load.served.load(Ordering::Relaxed) > served + 50).await;
    load.is_over.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.unwrap();
    }
    let lost = load.lost.load(Ordering::Relaxed);
    assert!(lost <= 10 * WORKERS, "{lost} runs were lost, and at most {WORKERS} at a time were in a process");
}

#[tokio::test]
async fn a_process_that_ends_again_and_again_is_not_started_again_at_once() {
    let service = with(InferenceConfig { worker: marked(1 << 30), ..config() });
    let session = service.session(BackendId::Rten, &models::affine()).await;
    let begin = Instant::now();
    for _ in 0..40 {
        match run(&session, &[("x", tensor(&[1, 2], &[1.0_f32, 1.0]))]).await {
            Ok(_) => {
                let lost = service.inference.stats().worker_processes_lost;
                processes(&service.worker).into_iter().for_each(kill);
                until("it is gone", || service.inference.stats().worker_processes_lost > lost).await;
            }
            Err(InferenceError::WorkerLost { reason }) if reason.contains("in short order") => {
                let refused = Instant::now();
                run(&session, &[("x", tensor(&[1, 2], &[1.0_f32, 1.0]))]).await.unwrap_err();
                assert!(refused.elapsed().as_millis() < 500, "it is refused at once");
                let after = begin.elapsed();
                let again = async || run(&session, &[("x", tensor(&[1, 2], &[1.0_f32, 1.0]))]).await;
                let mut is_well = false;
                while !is_well {
                    assert!(begin.elapsed() < after + std::time::Duration::from_secs(10), "it is bounded");
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                    is_well = again().await.is_ok();
                }
                return;
            }
            Err(InferenceError::WorkerLost { reason }) if reason.contains("loaded again") => {}
            Err(other) => panic!("{other}"),
        }
    }
    panic!("it is started again without end");
}

#[tokio::test]
async fn a_process_ends_with_what_it_is_for() {
    let worker = marked(1 << 30);
    let service = with(InferenceConfig { worker: worker.clone(), ..config() });
    let session = service.session(BackendId::Rten, &models::affine()).await;
    run(&session, &[("x", tensor(&[1, 2], &[1.0_f32, 1.0]))]).await.unwrap();
    until("there is a spare one", || all_processes(&worker).len() == 2).await;
    drop((session, service));
    until("both are gone", || all_processes(&worker).is_empty()).await;
}
