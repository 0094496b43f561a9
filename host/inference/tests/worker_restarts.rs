//! A hundred processes that are killed leave nothing behind in the host. A binary of its own, since it counts
//! the descriptors and threads of the whole process.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail where they stand")]

use std::cell::Cell;
use std::fs;
use std::time::Duration;

use modelet_inference::{BackendId, InferenceConfig, InferenceError, SessionKey, WorkerConfig};
use modelet_types::TenantName;

#[path = "it/models.rs"]
#[expect(dead_code, reason = "only some of the models are of use here")]
mod models;
#[path = "it/service.rs"]
#[expect(dead_code, reason = "only some of the helpers are of use here")]
mod service;

use service::{TestService, all_processes, config, kill, marked, processes, run, tensor, until};

fn count(folder: &str) -> usize {
    fs::read_dir(folder).unwrap().count()
}

#[tokio::test]
async fn a_hundred_restarts_leave_no_descriptor_and_no_thread() {
    let worker = WorkerConfig { idle_timeout: Duration::ZERO, ..marked(1 << 30) };
    let service = TestService::of(
        InferenceConfig { worker: worker.clone(), ..config() },
        modelet_types::Trust::Untrusted,
    );
    let file = models::affine();
    let mut before = None;
    // Ten each, so that none is held back for ending too often.
    for index in 0..13 {
        let tenant: TenantName = format!("tenant-{index}").parse().unwrap();
        let key = SessionKey { tenant, ..service.key(BackendId::Onnxruntime, &file) };
        let session = service.inference.session(&key, &service.source(&file)).await.unwrap();
        for _ in 0..10 {
            let lost = service.inference.stats().worker_processes_lost;
            // An answer is from a process, which may have ended for nothing by now.
            let there = loop {
                match run(&session, &[("x", tensor(&[1, 2], &[1.0_f32, 1.0]))]).await {
                    Ok(output) => assert_eq!(output.outputs.len(), 2),
                    Err(error) => assert!(matches!(error, InferenceError::WorkerLost { .. }), "{error}"),
                }
                let there = processes(&worker);
                if !there.is_empty() {
                    break there;
                }
            };
            there.into_iter().for_each(kill);
            until("it is gone", || service.inference.stats().worker_processes_lost > lost).await;
        }
        drop(session);
        service.inference.unload(&key);
        until("nobody has a process", || service.inference.stats().worker_processes == 0).await;
        until("only the spare process is there", || all_processes(&worker).len() == 1).await;
        let now = || (count("/proc/self/fd"), count("/proc/self/task"));
        // A process is there before the host has opened all that it has of it.
        let (last, times) = (Cell::new(now()), Cell::new(0));
        until("nothing more is opened", || {
            let now = now();
            times.set(if now == last.replace(now) { times.get() + 1 } else { 0 });
            times.get() > 100
        })
        .await;
        // The first tenants have opened what stays: the pools, the keeper, the spare process, and threads of
        // the runtime, which it starts when it first needs them.
        if index < 2 {
            continue;
        }
        let before = *before.get_or_insert_with(now);
        // Another lane or two may have been needed.
        let is_as_before = || now().0 <= before.0 + 4 && now().1 <= before.1 + 1;
        until("as many are open as before", is_as_before).await;
    }
}
