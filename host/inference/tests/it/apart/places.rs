//! Where models are: whose process, since when, and what it may do.

use std::fs;
use std::time::Duration;

use modelet_inference::{BackendId, InferenceConfig, Session, SessionKey, SessionState, WorkerConfig};
use modelet_types::manifest::BackendChoice;
use modelet_types::{TenantName, Tensor, Trust};
use std::sync::Arc;

use crate::models::{self, F32, TEXT};
use crate::service::{BOTH, all_processes, config, kill, marked, processes, run, spec, tensor, until};

use super::{start, with};

async fn is_well(session: &Arc<Session>) {
    let output = run(session, &[("x", tensor(&[1, 2], &[1.0_f32, 1.0]))]).await.unwrap();
    assert_eq!(output.outputs[0].1.as_slice::<f32>().unwrap(), [14.0, 26.0]);
}

#[tokio::test]
async fn each_tenant_has_a_process_and_only_its_own_end_matters_to_it() {
    let service = with(InferenceConfig { worker: marked(1 << 30), ..config() });
    let file = models::affine();
    let mut sessions = Vec::new();
    let mut pids = Vec::new();
    for name in ["first", "second"] {
        let key = SessionKey { tenant: name.parse().unwrap(), ..service.key(BackendId::Rten, &file) };
        let session = service.inference.session(&key, &service.source(&file)).await.unwrap();
        is_well(&session).await;
        sessions.push(session);
        pids.extend(
            processes(&service.worker).into_iter().filter(|pid| !pids.contains(pid)).collect::<Vec<_>>(),
        );
    }
    assert_eq!((pids.len(), service.inference.stats().worker_processes), (2, 2));
    kill(pids[0]);
    until("it is gone", || service.inference.stats().worker_processes_lost == 1).await;
    is_well(&sessions[1]).await;
    assert_eq!(processes(&service.worker), [pids[1]]);
    is_well(&sessions[0]).await;
    assert_eq!(processes(&service.worker).len(), 2);
}

#[tokio::test]
async fn who_is_trusted_no_longer_moves_out_at_once_and_back_when_it_is_again() {
    let worker = WorkerConfig { idle_timeout: Duration::ZERO, ..marked(1 << 30) };
    let service = with(InferenceConfig { worker, ..config() });
    let file = models::affine();
    let key = service.key(BackendId::Rten, &file);
    let tenant = TenantName::default_tenant();
    for (trust, expected) in [(Trust::Trusted, 0), (Trust::Untrusted, 1), (Trust::Trusted, 0)] {
        service.inference.set_trust(&tenant, trust);
        assert_eq!(service.inference.state(&key), SessionState::Cold);
        is_well(&service.session(BackendId::Rten, &file).await).await;
        until("it has moved", || service.inference.stats().worker_processes == expected).await;
        service.inference.set_trust(&tenant, trust);
        assert!(matches!(service.inference.state(&key), SessionState::Ready { .. }), "nothing has changed");
    }
}

#[tokio::test]
async fn a_model_is_tried_in_a_process_of_its_own() {
    let service = with(InferenceConfig { worker: marked(1 << 30), ..config() });
    let file = models::affine();
    is_well(&service.session(BackendId::Rten, &file).await).await;
    let before = processes(&service.worker);
    for choice in [BackendChoice::Rten, BackendChoice::Onnxruntime] {
        let path = service.file(&file);
        service
            .inference
            .check(&TenantName::default_tenant(), &path, &spec(&file, choice), "models.m")
            .await
            .unwrap();
    }
    until("one is left, and a spare one", || all_processes(&service.worker).len() == 2).await;
    assert_eq!(processes(&service.worker), before);
    assert_eq!(service.inference.stats().worker_processes_lost, 0);
}

#[tokio::test]
async fn a_process_is_confined() {
    let service = with(InferenceConfig { worker: marked(1 << 30), ..config() });
    assert!(service.inference.check_worker().await.unwrap().are_complete(), "this machine has both");
    is_well(&service.session(BackendId::Onnxruntime, &models::affine()).await).await;
    let pid = processes(&service.worker)[0];
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    for line in ["Seccomp:\t2", "NoNewPrivs:\t1"] {
        assert!(status.contains(line), "{status}");
    }
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let limit = |name: &str| {
        let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().to_owned()
    };
    assert_eq!(limit("Max core file size"), "0");
    assert_eq!(limit("Max data size"), service.worker.memory_bytes.to_string());
    assert_eq!(limit("Max locked memory"), "0");
    let environment = fs::read(format!("/proc/{pid}/environ"));
    assert!(environment.is_err() || environment.is_ok_and(|bytes| bytes.is_empty()));
}

#[tokio::test]
async fn large_tensors_and_long_texts_arrive() {
    let service = start();
    for backend in BOTH {
        let file = models::operator("Identity", &[("a", F32)], ("b", F32));
        let session = service.session(backend, &file).await;
        for count in [0, 1, 16_000, 16_384, 20_000, 3_000_000] {
            let values: Vec<f32> = (0..count).map(|n| n as f32).collect();
            let output = run(&session, &[("a", tensor(&[count], &values))]).await.unwrap();
            assert!(output.outputs[0].1.as_slice::<f32>().unwrap() == values, "{backend}: {count}");
        }
    }
    let file = models::operator("Identity", &[("a", TEXT)], ("b", TEXT));
    let session = service.session(BackendId::Onnxruntime, &file).await;
    let texts: Vec<Box<str>> = (0..1000).map(|n| "grün ".repeat(n % 100).into()).collect();
    let tensor = Tensor::from_texts(&[texts.len()], texts.clone()).unwrap();
    let output = run(&session, &[("a", tensor)]).await.unwrap();
    assert_eq!(output.outputs[0].1.as_texts().unwrap(), texts);
}

#[tokio::test]
async fn a_program_that_is_none_is_an_error_that_says_so() {
    for program in ["/bin/true", "/bin/cat", "/nonexistent"] {
        let worker = WorkerConfig { program: program.into(), ..WorkerConfig::default() };
        let service = with(InferenceConfig { worker, ..config() });
        let error = service.load(BackendId::Rten, &models::affine()).await.err().unwrap().to_string();
        assert!(error.contains("worker process") && !error.contains(program), "{error}");
        service.inference.check_worker().await.unwrap_err();
    }
}
