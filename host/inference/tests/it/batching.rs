//! Requests that run together: right for each of them, whatever the others are.

use modelet_inference::{InferenceConfig, ModelSource, Session, SessionKey};
use modelet_types::manifest::{BackendChoice, Batching, ModelSpec};
use modelet_types::{Code, TenantName};
use std::sync::Arc;
use std::time::Duration;

use crate::models::{self, F32, I64, f32_tensor, graph, model, node, value};
use crate::service::{BOTH, TestService, config, request, run, spec, tensor, until};

/// One worker, and nothing inline, so that what is sent at once waits.
fn service() -> TestService {
    TestService::with(InferenceConfig { workers: 1, inline_threshold: Duration::ZERO, ..config() })
}

async fn session(service: &TestService, key: SessionKey, file: &[u8], batching: Batching) -> Arc<Session> {
    let key = SessionKey { batching: Some(batching), ..key };
    let source: ModelSource = service.source(file);
    service.inference.session(&key, &source).await.unwrap()
}

/// `y`: the sum of the embeddings of the tokens of each row, to which those that are 0 add nothing.
/// `Gather` refuses tokens of 4 and more.
fn tokens() -> Vec<u8> {
    let weights = [
        f32_tensor("table", &[4, 2], &[0.0, 0.0, 1.0, 10.0, 2.0, 20.0, 3.0, 30.0]),
        models::tensor("axes", I64, &[1], &1_i64.to_le_bytes()),
    ];
    let nodes = [
        node("Gather", &["table", "tokens"], &["rows"]),
        node("ReduceSum", &["rows", "axes"], &["y"]).bytes(5, models::int_attribute("keepdims", 0)),
    ];
    model(&graph(&nodes, &[value("tokens", I64, &[-1, -1])], &[value("y", F32, &[-1, 2])], &weights))
}

/// However quick the worker is, what is sent at once waits for each other.
fn together() -> Batching {
    Batching { max_queue_delay_us: 200_000, ..Batching::default() }
}

fn pad() -> Batching {
    Batching { pad: [("tokens".to_owned(), 0)].into(), ..together() }
}

fn sum_of(tokens: &[i64]) -> [f32; 2] {
    let sum: i64 = tokens.iter().sum();
    [sum as f32, 10.0 * sum as f32]
}

#[tokio::test]
async fn what_waits_together_runs_together_and_each_gets_its_own_rows() {
    for backend in BOTH {
        let service = service();
        let file = models::affine();
        let session = session(&service, service.key(backend, &file), &file, together()).await;
        // From one row to three, so that parts are of different sizes.
        let calls = (0..40_usize).map(|index| {
            let rows: Vec<f32> = (0..2 * (1 + index % 3)).map(|n| (index * 10 + n) as f32).collect();
            let session = &session;
            async move {
                let given = tensor(&[rows.len() / 2, 2], &rows);
                let output = run(session, &[("x", given)]).await.unwrap();
                let wanted: Vec<f32> = rows
                    .chunks(2)
                    .flat_map(|x| [x[0] + 3.0 * x[1] + 10.0, 2.0 * x[0] + 4.0 * x[1] + 20.0])
                    .collect();
                assert_eq!(output.outputs[0].1.as_slice::<f32>().unwrap(), wanted);
                assert_eq!(output.outputs[1].1.shape(), [rows.len() / 2]);
            }
        });
        futures::future::join_all(calls).await;
        let stats = service.inference.stats();
        assert!(stats.batches >= 2 && stats.batched_runs > stats.batches, "{stats:?}");
        assert_eq!(stats.batched_runs + stats.single_runs, 40, "{stats:?}");
        // The job of one that ran with others may find out after its caller that there is no more to do.
        until("nothing waits", || {
            let stats = service.inference.stats();
            (stats.runs_waiting, stats.abandoned) == (0, 0)
        })
        .await;
    }
}

#[tokio::test]
async fn texts_of_different_lengths_are_filled_up() {
    for backend in BOTH {
        let service = service();
        let file = tokens();
        let session = session(&service, service.key(backend, &file), &file, pad()).await;
        let calls = (1..20_usize).map(|length| {
            let tokens: Vec<i64> = (0..length as i64).map(|n| 1 + n % 3).collect();
            let session = &session;
            async move {
                let output = run(session, &[("tokens", tensor(&[1, length], &tokens))]).await.unwrap();
                assert_eq!(output.outputs[0].1.as_slice::<f32>().unwrap(), sum_of(&tokens));
            }
        });
        futures::future::join_all(calls).await;
        assert!(service.inference.stats().batches >= 1);
    }
}

#[tokio::test]
async fn what_is_wrong_with_one_of_them_is_its_own() {
    for backend in BOTH {
        let service = service();
        let file = tokens();
        let session = session(&service, service.key(backend, &file), &file, pad()).await;
        let calls = (0..30_i64).map(|index| {
            let session = &session;
            async move {
                // Every third asks for a token that there is not.
                let token = if index % 3 == 0 { 1_000 + index } else { index % 3 };
                let result = run(session, &[("tokens", tensor(&[1, 1], &[token]))]).await;
                match result {
                    Ok(output) => {
                        assert!(token < 4, "{token} was answered");
                        assert_eq!(output.outputs[0].1.as_slice::<f32>().unwrap(), sum_of(&[token]));
                    }
                    Err(error) => assert!(token >= 4, "{error}"),
                }
            }
        });
        futures::future::join_all(calls).await;
        assert!(service.inference.stats().failed_runs > 0);
    }
}

#[tokio::test]
async fn who_leaves_takes_nothing_from_the_others() {
    let service = service();
    let file = models::affine();
    let key = service.key(modelet_inference::BackendId::Onnxruntime, &file);
    let session = session(&service, key, &file, together()).await;
    let ask = |value: f32| {
        let session = Arc::clone(&session);
        tokio::spawn(async move { run(&session, &[("x", tensor(&[1, 2], &[value, 0.0]))]).await })
    };
    let (first, stays, third) = (ask(1.0), ask(2.0), ask(3.0));
    tokio::time::sleep(Duration::from_millis(20)).await;
    first.abort();
    third.abort();
    let output = stays.await.unwrap().unwrap();
    assert_eq!(output.outputs[0].1.as_slice::<f32>().unwrap(), [12.0, 24.0]);
    until("nothing waits", || service.inference.stats().runs_waiting == 0).await;
    // A deadline ends the wait for company too.
    let mut late = request(&[("x", tensor(&[1, 2], &[0.0_f32, 0.0]))]);
    late.deadline = std::time::Instant::now() + Duration::from_millis(20);
    assert_eq!(session.run(late).await.unwrap_err(), modelet_inference::InferenceError::DeadlineExceeded);
}

#[tokio::test]
async fn a_full_batch_waits_for_nobody() {
    let service = service();
    let file = models::affine();
    let key = service.key(modelet_inference::BackendId::Onnxruntime, &file);
    // Longer than the test may take.
    let batching = Batching { max_batch_size: 2, max_queue_delay_us: 1_000_000, ..Batching::default() };
    let session = session(&service, key, &file, batching).await;
    let began = std::time::Instant::now();
    let ask = |value: f32| {
        let session = Arc::clone(&session);
        async move { run(&session, &[("x", tensor(&[1, 2], &[value, 0.0]))]).await.unwrap() }
    };
    futures::join!(ask(1.0), ask(2.0));
    assert!(began.elapsed() < Duration::from_millis(900));
    assert_eq!(service.inference.stats().batched_runs, 2);
}

#[tokio::test]
async fn what_does_not_fit_into_a_batch_is_served_after_it() {
    let service = service();
    let file = models::affine();
    let key = service.key(modelet_inference::BackendId::Onnxruntime, &file);
    let batching = Batching { max_batch_size: 32, max_queue_delay_us: 1_000_000, ..Batching::default() };
    let session = session(&service, key, &file, batching).await;
    let ask = |rows: usize| {
        let session = Arc::clone(&session);
        async move { run(&session, &[("x", tensor(&[rows, 2], &vec![1.0_f32; 2 * rows]))]).await.unwrap() }
    };
    let began = std::time::Instant::now();
    let all = futures::future::join_all([ask(20), ask(20), ask(40), ask(1)]);
    let all = tokio::time::timeout(Duration::from_secs(30), all).await.expect("nobody is forgotten");
    assert_eq!(all.iter().map(|output| output.outputs[0].1.shape()[0]).sum::<usize>(), 81);
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_later_request_that_is_due_earlier_keeps_nobody_waiting() {
    let service = service();
    let file = models::affine();
    let key = service.key(modelet_inference::BackendId::Onnxruntime, &file);
    let session = service.inference.session(&key, &service.source(&file)).await.unwrap();
    // Due in the reverse of the order in which they come.
    let calls = (0..200_u64).map(|index| {
        let mut request = request(&[("x", tensor(&[1, 2], &[0.0_f32, 0.0]))]);
        request.deadline += Duration::from_secs(200 - index);
        let session = Arc::clone(&session);
        async move { session.run(request).await.unwrap() }
    });
    let all = tokio::time::timeout(Duration::from_secs(30), futures::future::join_all(calls)).await;
    assert_eq!(all.expect("nobody is forgotten").len(), 200);
    until("nothing waits", || service.inference.stats().runs_waiting == 0).await;
}

async fn checked(file: &[u8], batching: Batching) -> Result<(), (Code, String)> {
    let service = TestService::start();
    let spec = ModelSpec { batching: Some(batching), ..spec(file, BackendChoice::Onnxruntime) };
    let tenant = TenantName::default_tenant();
    let checked = service.inference.check(&tenant, &service.file(file), &spec, "models.m").await;
    checked.map(drop).map_err(|problem| (problem.code, problem.field.unwrap_or_default()))
}

#[tokio::test]
async fn a_deploy_finds_out_which_models_do_not_go_together() {
    assert_eq!(checked(&models::affine(), Batching::default()).await, Ok(()));
    assert_eq!(checked(&tokens(), pad()).await, Ok(()));
    let invalid = |field: &str| Err((Code::InvalidManifest, field.to_owned()));
    assert_eq!(checked(&models::squares(2), Batching::default()).await, invalid("models.m.batching"));
    let unknown = Batching { pad: [("words".to_owned(), 0)].into(), ..Batching::default() };
    assert_eq!(checked(&tokens(), unknown).await, invalid("models.m.batching.pad.words"));
    let fixed = Batching { pad: [("x".to_owned(), 0)].into(), ..Batching::default() };
    assert_eq!(checked(&models::affine(), fixed).await, invalid("models.m.batching.pad.x"));
    // Each row less the mean of all of them: right alone, and wrong beside others.
    let weights = [models::tensor("axes", I64, &[1], &0_i64.to_le_bytes())];
    let nodes = [node("ReduceSum", &["x", "axes"], &["sum"]), node("Sub", &["x", "sum"], &["y"])];
    let mixing = model(&graph(&nodes, &[value("x", F32, &[-1, 2])], &[value("y", F32, &[-1, 2])], &weights));
    // Too large to be tried, and larger than memory.
    let huge = value("x", F32, &[-1, 1 << 40]);
    let huge =
        model(&graph(&[node("Neg", &["x"], &["y"])], &[huge], &[value("y", F32, &[-1, 1 << 40])], &[]));
    assert_eq!(checked(&huge, Batching::default()).await, invalid("models.m.batching"));
    let off = Batching { max_batch_size: 1, ..Batching::default() };
    assert_eq!(checked(&mixing, off).await, Ok(()), "nothing runs together");
    let mismatch = Err((Code::GoldenMismatch, "models.m.batching".to_owned()));
    assert_eq!(checked(&mixing, Batching::default()).await, mismatch);
}
