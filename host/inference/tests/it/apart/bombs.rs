//! Models made to take what a process has, or to go on for ever: an error for whoever calls them, and nothing
//! for anybody else.

use std::time::{Duration, Instant};

use modelet_inference::{BackendId, InferenceConfig, InferenceError, RunOutput, RunRequest, SessionKey};
use modelet_types::manifest::BackendChoice;
use modelet_types::{Code, TenantName, Tensor};

use crate::models::{self, F32, I64, Message, graph, model, node, value};
use crate::service::{BOTH, TestService, config, marked, processes, request, run, spec, tensor, until};

use super::with;

/// More than the processes here may have, in elements of 4 bytes; and few enough for rten's numbers.
const TOO_MANY: i64 = 1 << 30;

/// `y`: as many zeros as `n` says.
fn zeros() -> Vec<u8> {
    let graph = graph(
        &[node("ConstantOfShape", &["n"], &["y"])],
        &[value("n", I64, &[1])],
        &[value("y", F32, &[-1])],
        &[],
    );
    model(&graph)
}

/// `y`: 1, as often as `n` says.
fn copies() -> Vec<u8> {
    let one = [models::f32_tensor("one", &[1], &[1.0])];
    let node = node("Expand", &["one", "n"], &["y"]);
    model(&graph(&[node], &[value("n", I64, &[1])], &[value("y", F32, &[-1])], &one))
}

/// The same number of zeros always, which may be made when the model is loaded.
fn zeros_at_load() -> Vec<u8> {
    let shape = [models::tensor("n", I64, &[1], &TOO_MANY.to_le_bytes())];
    let nodes = [
        node("ConstantOfShape", &["n"], &["zeros"]),
        node("ReduceMax", &["zeros"], &["max"]).bytes(5, models::int_attribute("keepdims", 0)),
        node("Add", &["x", "max"], &["y"]),
    ];
    model(&graph(&nodes, &[value("x", F32, &[2])], &[value("y", F32, &[2])], &shape))
}

fn service() -> TestService {
    with(InferenceConfig { worker: marked(512 << 20), ..config() })
}

fn count(n: i64) -> [(&'static str, Tensor); 1] {
    [("n", tensor(&[1], &[n]))]
}

/// A session of a tenant that has done nothing wrong.
async fn neighbour(service: &TestService) -> std::sync::Arc<modelet_inference::Session> {
    let file = models::affine();
    let key = SessionKey { tenant: "neighbour".parse().unwrap(), ..service.key(BackendId::Rten, &file) };
    service.inference.session(&key, &service.source(&file)).await.unwrap()
}

async fn is_well(session: &std::sync::Arc<modelet_inference::Session>) {
    run(session, &[("x", tensor(&[1, 2], &[1.0_f32, 1.0]))]).await.unwrap();
}

/// The answer, which on a busy machine comes when the model has been loaded again.
async fn answered(session: &std::sync::Arc<modelet_inference::Session>, size: i64) -> RunOutput {
    let give_up = Instant::now() + Duration::from_secs(30);
    loop {
        match run(session, &count(size)).await {
            Err(InferenceError::WorkerLost { reason }) if reason.contains("loaded again") => {
                assert!(Instant::now() < give_up, "{reason}");
            }
            answer => return answer.unwrap(),
        }
    }
}

#[tokio::test]
async fn a_run_that_wants_too_much_memory_gets_an_error_and_the_next_one_its_answer() {
    let service = service();
    let neighbour = neighbour(&service).await;
    is_well(&neighbour).await;
    for (backend, file) in BOTH.into_iter().flat_map(|b| [(b, zeros()), (b, copies())]) {
        let session = service.session(backend, &file).await;
        match run(&session, &count(TOO_MANY)).await.unwrap_err() {
            // It says so itself,
            InferenceError::Backend { reason, .. } => assert!(reason.contains("alloc"), "{reason}"),
            // or has ended the process.
            InferenceError::WorkerLost { reason } => {
                assert!(reason.contains("inference.worker_memory_bytes"), "{reason}");
            }
            other => panic!("{backend}: {other}"),
        }
        let output = answered(&session, 3).await;
        assert_eq!(output.outputs[0].1.shape(), [3], "{backend}");
        is_well(&neighbour).await;
    }
    assert_eq!(service.inference.stats().worker_processes, 2);
}

#[tokio::test]
async fn a_model_that_wants_too_much_memory_costs_its_own_deploy_at_most() {
    let service = service();
    let tenant = TenantName::default_tenant();
    let serving = service.session(BackendId::Rten, &models::affine()).await;
    is_well(&serving).await;
    let before = processes(&service.worker);
    let bomb = zeros_at_load();
    for choice in [BackendChoice::Rten, BackendChoice::Onnxruntime, BackendChoice::Auto] {
        let file = service.file(&bomb);
        // A backend may also put off what it would have to make.
        if let Err(problem) = service.inference.check(&tenant, &file, &spec(&bomb, choice), "models.m").await
        {
            assert_eq!((problem.code, problem.field.as_deref()), (Code::InvalidModel, Some("models.m")));
        }
        is_well(&serving).await;
    }
    for backend in BOTH {
        let Ok(session) = service.load(backend, &bomb).await else { continue };
        run(&session, &[("x", tensor(&[2], &[0.0_f32; 2]))]).await.unwrap_err();
    }
    is_well(&serving).await;
    assert!(before.len() == 1 && service.inference.stats().worker_processes == 1);
}

#[tokio::test]
async fn a_golden_run_that_ends_its_process_is_the_models_fault() {
    let service = service();
    let bomb = zeros();
    let golden = format!(
        r#"{{"inputs":{{"n":{{"shape":[1],"i64":[{TOO_MANY}]}}}},"outputs":{{"y":{{"shape":[1],"f32":[0]}}}}}}"#
    );
    let golden = vec![serde_json::from_str(&golden).unwrap()];
    let spec = modelet_types::manifest::ModelSpec { golden, ..spec(&bomb, BackendChoice::Rten) };
    let file = service.file(&bomb);
    let checked = service.inference.check(&TenantName::default_tenant(), &file, &spec, "models.m").await;
    let problem = checked.unwrap_err();
    assert_eq!((problem.code, problem.field.as_deref()), (Code::InvalidModel, Some("models.m.golden[0]")));
    assert!(problem.detail.contains("inference.worker_memory_bytes"), "{problem}");
}

#[tokio::test]
async fn a_loop_without_end_ends_at_its_deadline_and_costs_its_tenant_alone() {
    let service = with(InferenceConfig { workers: 4, worker: marked(512 << 20), ..config() });
    let neighbour = neighbour(&service).await;
    is_well(&neighbour).await;
    let mut its = processes(&service.worker);
    let looping = models::long_loop();
    let endless = service.session(BackendId::Rten, &looping).await;
    // ONNX Runtime would stop; but it is in the same process.
    let beside = service.session(BackendId::Onnxruntime, &looping).await;
    let innocent = tokio::spawn(async move { run(&beside, &[("times", tensor(&[], &[i64::MAX]))]).await });
    until("it runs", || service.inference.stats().workers_busy == 1).await;
    let begin = Instant::now();
    let slow = RunRequest {
        deadline: begin + Duration::from_millis(200),
        ..request(&[("times", tensor(&[], &[i64::from(i32::MAX)]))])
    };
    assert_eq!(endless.run(slow).await.unwrap_err(), InferenceError::DeadlineExceeded);
    match innocent.await.unwrap().unwrap_err() {
        InferenceError::WorkerLost { reason } => assert!(reason.contains("its deadline"), "{reason}"),
        other => panic!("{other}"),
    }
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    until("the threads come back", || service.inference.stats().workers_busy == 0).await;
    assert_eq!(service.inference.stats().abandoned, 0);
    run(&endless, &[("times", tensor(&[], &[1_i64]))]).await.unwrap();
    is_well(&neighbour).await;
    its.retain(|pid| processes(&service.worker).contains(pid));
    assert_eq!(its.len(), 1, "the neighbour's process is the one that it had");
}

#[tokio::test]
async fn a_load_without_end_is_given_up() {
    // A loop over constants, which a backend may run once and for all when it loads the model.
    let body = graph(
        &[node("Identity", &["go"], &["go_on"]), node("Add", &["m", "m"], &["next"])],
        &[value("i", I64, &[]), value("go", models::BOOL, &[]), value("m", F32, &[])],
        &[value("go_on", models::BOOL, &[]), value("next", F32, &[])],
        &[],
    );
    let weights: [Message; 3] = [
        models::tensor("times", I64, &[], &i64::from(i32::MAX).to_le_bytes()),
        models::tensor("yes", models::BOOL, &[], &[1]),
        models::f32_tensor("one", &[], &[1.0]),
    ];
    let nodes = [
        node("Loop", &["times", "yes", "one"], &["z"]).bytes(5, models::graph_attribute("body", &body)),
        node("Add", &["x", "z"], &["y"]),
    ];
    let file = model(&graph(&nodes, &[value("x", F32, &[1])], &[value("y", F32, &[1])], &weights));
    let service = with(InferenceConfig { check_timeout: Duration::from_millis(500), ..config() });
    for backend in BOTH {
        let begin = Instant::now();
        match service.load(backend, &file).await {
            Ok(session) => {
                let deadline = Instant::now() + Duration::from_millis(100);
                let slow = RunRequest { deadline, ..request(&[("x", tensor(&[1], &[0.0_f32]))]) };
                assert_eq!(session.run(slow).await.unwrap_err(), InferenceError::DeadlineExceeded);
            }
            Err(error) => assert_eq!(error, InferenceError::DeadlineExceeded),
        }
        assert!(begin.elapsed() < Duration::from_secs(5), "{backend}: {:?}", begin.elapsed());
    }
}
