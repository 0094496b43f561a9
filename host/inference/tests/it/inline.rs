//! Which runs take place on the caller's thread: those of trusted tenants, in this process.

use std::time::Duration;

use modelet_inference::{BackendId, InferenceConfig, SessionKey};
use modelet_types::{TenantName, Trust};

use crate::models;
use crate::service::{BOTH, TestService, config, run, tensor};

fn rows(values: &[f32]) -> (&'static str, modelet_types::Tensor) {
    ("x", tensor(&[values.len() / 2, 2], values))
}

#[tokio::test]
async fn short_runs_move_to_the_callers_thread_where_the_backend_runs_there() {
    // Any run is short here, so that a busy machine does not decide the outcome.
    let service =
        TestService::with(InferenceConfig { inline_threshold: Duration::from_secs(60), ..config() });
    for backend in BOTH {
        let before = service.inference.stats();
        let session = service.session(backend, &models::affine()).await;
        run(&session, &[rows(&[0.0, 0.0])]).await.unwrap();
        assert_eq!(service.inference.stats().single_runs, before.single_runs + 1, "the first is measured");
        let output = run(&session, &[rows(&[1.0, 0.0])]).await.unwrap();
        assert_eq!(output.outputs[0].1.as_slice::<f32>().unwrap(), [11.0, 22.0]);
        let inline = backend == BackendId::Onnxruntime;
        assert_eq!(output.inline, inline);
        let after = service.inference.stats();
        assert_eq!(after.inline_runs - before.inline_runs, u64::from(inline));
        assert_eq!(after.single_runs - before.single_runs, if inline { 1 } else { 2 });
    }
}

#[tokio::test]
async fn an_untrusted_tenants_runs_are_never_inline_from_the_moment_that_it_is_one() {
    let service =
        TestService::with(InferenceConfig { inline_threshold: Duration::from_secs(60), ..config() });
    let session = service.session(BackendId::Onnxruntime, &models::affine()).await;
    let inline = async || run(&session, &[rows(&[0.0; 8])]).await.unwrap().inline;
    let trust = |level| service.inference.set_trust(&TenantName::default_tenant(), level);
    assert!(!inline().await && inline().await);
    trust(Trust::Untrusted);
    assert!(!inline().await);
    trust(Trust::Trusted);
    assert!(inline().await);
}

#[tokio::test]
async fn a_run_of_other_shapes_is_measured_before_it_is_inline() {
    let service =
        TestService::with(InferenceConfig { inline_threshold: Duration::from_secs(60), ..config() });
    let session = service.session(BackendId::Onnxruntime, &models::affine()).await;
    let inline = async |values: &[f32]| run(&session, &[rows(values)]).await.unwrap().inline;
    assert!(!inline(&[0.0; 8]).await && inline(&[0.0; 8]).await);
    assert!(!inline(&[0.0; 12]).await && inline(&[0.0; 12]).await, "as many bits in its size");
}

#[tokio::test]
async fn a_session_has_no_more_threads_than_the_host_gives() {
    let service = TestService::with(InferenceConfig {
        max_threads_per_session: 1,
        inline_threshold: Duration::from_secs(60),
        ..config()
    });
    // As a revision asks for that was deployed on a larger host.
    let file = models::affine();
    let key = SessionKey { threads: 64, ..service.key(BackendId::Onnxruntime, &file) };
    let session = service.inference.session(&key, &service.source(&file)).await.unwrap();
    run(&session, &[rows(&[0.0, 0.0])]).await.unwrap();
    let again = run(&session, &[rows(&[0.0, 0.0])]).await.unwrap();
    assert!(again.inline, "it has the caller's thread only");
}
