//! How many processes there are at most, and whose goes for the next tenant's.

use std::sync::Arc;

use modelet_inference::{
    BackendId, InferenceConfig, InferenceError, Pin, Session, SessionKey, SessionState, WorkerConfig,
};
use modelet_types::Code;

use crate::models;
use crate::service::{TestService, config, marked, processes, run, tensor, until};

use super::with;

/// A service with room for two processes.
fn service() -> TestService {
    let worker = WorkerConfig { processes: 2, ..marked(1 << 30) };
    with(InferenceConfig { workers: 2, worker, ..config() })
}

fn key(service: &TestService, tenant: &str, file: &[u8]) -> SessionKey {
    SessionKey { tenant: tenant.parse().unwrap(), ..service.key(BackendId::Onnxruntime, file) }
}

async fn load(service: &TestService, tenant: &str, file: &[u8]) -> Result<Arc<Session>, InferenceError> {
    service.inference.session(&key(service, tenant, file), &service.source(file)).await
}

/// Calls a tenant's model, as an invocation does.
async fn call(service: &TestService, tenant: &str) {
    let session = load(service, tenant, &models::affine()).await.unwrap();
    let output = run(&session, &[("x", tensor(&[1, 2], &[1.0_f32, 1.0]))]).await.unwrap();
    assert_eq!(output.outputs[0].1.as_slice::<f32>().unwrap(), [14.0, 26.0]);
}

fn is_loaded(service: &TestService, tenant: &str) -> bool {
    let key = key(service, tenant, &models::affine());
    matches!(service.inference.state(&key), SessionState::Ready { .. })
}

#[tokio::test]
async fn the_process_that_nobody_has_called_the_longest_goes_for_the_next() {
    let service = service();
    for tenant in ["first", "second", "third"] {
        call(&service, tenant).await;
        assert!(processes(&service.worker).len() <= 2);
    }
    assert!(!is_loaded(&service, "first") && is_loaded(&service, "second") && is_loaded(&service, "third"));
    assert_eq!(service.inference.stats().worker_processes, 2);
    call(&service, "second").await;
    call(&service, "first").await;
    assert!(!is_loaded(&service, "third") && is_loaded(&service, "second"));
    assert_eq!(service.inference.stats().worker_processes_lost, 0, "nobody has lost a run");
    assert_eq!(processes(&service.worker).len(), 2);
}

#[tokio::test]
async fn a_tenant_is_told_when_all_processes_are_in_use() {
    let service = service();
    let looping = models::long_loop();
    let mut busy = Vec::new();
    for tenant in ["first", "second"] {
        let session = load(&service, tenant, &looping).await.unwrap();
        busy.push(tokio::spawn(async move { run(&session, &[("times", tensor(&[], &[i64::MAX]))]).await }));
    }
    until("both run", || service.inference.stats().workers_busy == 2).await;
    let refused = load(&service, "third", &models::affine()).await.err().unwrap();
    assert_eq!(refused, InferenceError::NoProcess { most: 2 });
    assert_eq!(refused.code(), Code::Overloaded);
    assert_eq!(service.inference.stats().worker_processes_lost, 0);
    busy.iter().for_each(|run| run.abort());
    until("nothing runs", || service.inference.stats().workers_busy == 0).await;
    call(&service, "third").await;
}

#[tokio::test]
async fn a_process_with_a_model_that_stays_does_not_go() {
    let service = service();
    let first = key(&service, "first", &models::affine());
    let pin: Option<Pin> = service.inference.pin(&first, &service.source(&models::affine()));
    for tenant in ["first", "second", "third"] {
        call(&service, tenant).await;
    }
    assert!(is_loaded(&service, "first") && !is_loaded(&service, "second") && is_loaded(&service, "third"));
    drop(pin);
    call(&service, "second").await;
    assert!(!is_loaded(&service, "first"));
}
