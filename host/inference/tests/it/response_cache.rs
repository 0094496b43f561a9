//! Answers that are kept: for whom, and for how long.

use std::time::{Duration, Instant};

use modelet_inference::{BackendId, CacheStats, SessionKey, SessionState};
use modelet_types::TenantName;
use modelet_types::manifest::ResponseCache;

use crate::models;
use crate::service::{TestService, run, tensor};

fn kept(service: &TestService, file: &[u8], settings: ResponseCache) -> SessionKey {
    SessionKey { response_cache: Some(settings), ..service.key(BackendId::Rten, file) }
}

fn stats(service: &TestService, key: &SessionKey) -> CacheStats {
    match service.inference.state(key) {
        SessionState::Ready { cache, .. } => cache.unwrap(),
        state => panic!("{state:?}"),
    }
}

#[tokio::test]
async fn the_same_inputs_have_the_same_answer_without_a_run() {
    let service = TestService::start();
    let file = models::affine();
    let key = kept(&service, &file, ResponseCache::default());
    let session = service.inference.session(&key, &service.source(&file)).await.unwrap();
    for (row, y, cached) in [
        ([1.0_f32, 0.0], [11.0_f32, 22.0], false),
        ([0.0, 1.0], [13.0, 24.0], false),
        ([1.0, 0.0], [11.0, 22.0], true),
    ] {
        let output = run(&session, &[("x", tensor(&[1, 2], &row))]).await.unwrap();
        assert_eq!(output.outputs[0].1.as_slice::<f32>().unwrap(), y);
        assert_eq!(output.outputs[0].0, "y");
        assert_eq!((output.execution.is_none(), output.cpu_time.is_zero()), (cached, cached));
    }
    let CacheStats { answers, hits, misses, .. } = stats(&service, &key);
    assert_eq!((answers, hits, misses), (2, 1, 2));
}

#[tokio::test]
async fn another_tenant_and_another_choice_have_answers_of_their_own() {
    let service = TestService::start();
    let file = models::affine();
    let mine = kept(&service, &file, ResponseCache::default());
    let theirs = SessionKey { tenant: "other".parse::<TenantName>().unwrap(), ..mine.clone() };
    let source = service.source(&file);
    let row = [("x", tensor(&[1, 2], &[1.0_f32, 0.0]))];
    for key in [&mine, &theirs] {
        let session = service.inference.session(key, &source).await.unwrap();
        assert!(run(&session, &row).await.unwrap().execution.is_some());
    }
    let uncached = service.session(BackendId::Rten, &file).await;
    assert!(run(&uncached, &row).await.unwrap().execution.is_some());
    assert!(run(&uncached, &row).await.unwrap().execution.is_some());
}

#[tokio::test]
async fn answers_go_when_they_are_too_many_or_too_old() {
    let service = TestService::start();
    let file = models::affine();
    let small = kept(&service, &file, ResponseCache { max_bytes: 2048, ..ResponseCache::default() });
    let session = service.inference.session(&small, &service.source(&file)).await.unwrap();
    for value in 0..200 {
        run(&session, &[("x", tensor(&[1, 2], &[value as f32, 0.0]))]).await.unwrap();
    }
    let CacheStats { answers, bytes, .. } = stats(&service, &small);
    assert!((1..10).contains(&answers) && bytes <= 2048, "{answers} answers, {bytes} bytes");

    let short = kept(&service, &file, ResponseCache { ttl_ms: 1, ..ResponseCache::default() });
    let session = service.inference.session(&short, &service.source(&file)).await.unwrap();
    let row = [("x", tensor(&[1, 2], &[1.0_f32, 0.0]))];
    run(&session, &row).await.unwrap();
    let give_up = Instant::now() + Duration::from_secs(30);
    while run(&session, &row).await.unwrap().execution.is_none() {
        assert!(Instant::now() < give_up, "it is kept");
    }
}

#[tokio::test]
async fn errors_are_not_kept() {
    let service = TestService::start();
    let file = models::affine();
    let key = kept(&service, &file, ResponseCache::default());
    let session = service.inference.session(&key, &service.source(&file)).await.unwrap();
    for _ in 0..2 {
        assert!(run(&session, &[("x", tensor(&[2], &[1.0_f32, 0.0]))]).await.is_err());
    }
    assert_eq!(stats(&service, &key).answers, 0);
}
