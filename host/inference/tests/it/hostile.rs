//! Files that are broken, or made to do harm: an error each, and the service goes on.

use modelet_inference::{BackendId, InferenceError, onnx};
use modelet_types::manifest::BackendChoice;
use modelet_types::{Code, Problem, TenantName};

use crate::models::{self, F32, I64, Message};
use crate::service::{BOTH, TestService, run, spec, tensor};

use super::start;

async fn refused(service: &TestService, bytes: &[u8]) -> Problem {
    let mut last = None;
    for choice in [BackendChoice::Rten, BackendChoice::Onnxruntime, BackendChoice::Auto] {
        let problem = service
            .inference
            .check(&TenantName::default_tenant(), &service.file(bytes), &spec(bytes, choice), "models.m")
            .await
            .expect_err("such a file cannot be deployed");
        assert_eq!(problem.code, Code::InvalidModel, "{choice:?}: {problem}");
        assert_eq!(problem.field.as_deref(), Some("models.m"));
        last = Some(problem);
    }
    last.unwrap()
}

/// An initializer whose data is in another file.
fn external(location: &str) -> Message {
    let entry = Message::new().bytes(1, "location").bytes(2, location);
    Message::new().int(1, 2).int(2, F32).bytes(8, "w").bytes(13, entry).int(14, 1)
}

fn adds(weights: &[Message], nodes: &[Message]) -> Message {
    let mut all = vec![models::node("Add", &["x", "w"], &["y"])];
    all.extend_from_slice(nodes);
    models::graph(&all, &[models::value("x", F32, &[2])], &[models::value("y", F32, &[2])], weights)
}

#[tokio::test]
async fn data_in_other_files_is_refused_wherever_it_hides() {
    let service = start();
    let outside = || external("../../../../etc/passwd");
    let weight = models::f32_tensor("w", &[2], &[1.0, 2.0]);
    let attribute = |field: u64, value: &Message| Message::new().bytes(1, "a").bytes(field, value);
    let node = |attribute: Message| models::node("Constant", &[], &["c"]).bytes(5, attribute);
    let sparse = |field: u64| Message::new().bytes(field, outside());
    let hidden = models::graph(&[], &[], &[], &[outside()]);
    let function = Message::new().bytes(1, "F").bytes(7, node(attribute(5, &outside())));
    let plain = adds(std::slice::from_ref(&weight), &[]);
    let inside = |nodes: &[Message]| models::model(&adds(std::slice::from_ref(&weight), nodes));
    let with = |extra: Message| [models::model(&plain), extra.as_ref().to_vec()].concat();
    let files = [
        models::model(&adds(&[outside()], &[])),
        // Without the flag, and with the flag alone.
        models::model(&adds(&[Message::new().bytes(8, "w").bytes(13, Message::new())], &[])),
        models::model(&adds(&[Message::new().bytes(8, "w").int(14, 1)], &[])),
        models::model(&plain.clone().bytes(15, sparse(1))),
        models::model(&plain.clone().bytes(15, sparse(2))),
        inside(&[node(attribute(5, &outside()))]),
        inside(&[node(attribute(10, &outside()))]),
        inside(&[node(attribute(6, &hidden))]),
        inside(&[node(attribute(11, &hidden))]),
        inside(&[node(attribute(22, &sparse(1)))]),
        inside(&[node(attribute(23, &sparse(2)))]),
        with(Message::new().bytes(25, function)),
        with(Message::new().bytes(20, Message::new().bytes(1, &hidden))),
        with(Message::new().bytes(20, Message::new().bytes(2, &hidden))),
    ];
    for (index, file) in files.iter().enumerate() {
        let problem = refused(&service, file).await;
        assert!(problem.detail.contains("keeps its data in another file"), "{index}: {problem}");
    }
    assert!(onnx::read(&models::model(&plain)).is_ok(), "the same file without it is a model");
}

#[tokio::test]
async fn broken_files_are_errors() {
    let service = start();
    let whole = models::affine();
    let mut random = 0x9E37_79B9_u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        random as u8
    })
    .take(4096)
    .collect();
    let huge = |bytes: &[u8]| bytes.to_vec();
    let files = [
        b"not a model".to_vec(),
        b"\0asm\x01\0\0\0".to_vec(),
        noise,
        whole[..whole.len() / 2].to_vec(),
        // A graph that claims 2^63 bytes, and a number that never ends.
        huge(&[0x3a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]),
        huge(&[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        Message::new().int(1, 8).as_ref().to_vec(),
        [models::affine(), models::affine()].concat(),
    ];
    for file in &files {
        refused(&service, file).await;
    }
    assert!(refused(&service, &[]).await.detail.contains("empty"));
}

#[test]
fn every_prefix_of_a_model_is_read_without_a_panic() {
    for file in [models::affine(), models::long_loop()] {
        for end in 0..file.len() {
            // Some prefixes are valid; what matters is that reading them ends, with either answer.
            let _either = onnx::read(&file[..end]);
        }
        for index in 0..file.len().min(2000) {
            let mut flipped = file.clone();
            flipped[index] ^= 0xff;
            let _either = onnx::read(&flipped);
        }
    }
}

#[tokio::test]
async fn truncated_and_damaged_files_never_take_the_service_down() {
    let service = start();
    let whole = models::affine();
    for backend in BOTH {
        for end in (1..whole.len()).step_by(7) {
            // A cut between two fields may leave a model that loads; it must not do more than that.
            let _either = service.load(backend, &whole[..end]).await;
        }
        for index in (0..whole.len()).step_by(5) {
            let mut damaged = whole.clone();
            damaged[index] ^= 0x55;
            if let Ok(session) = service.load(backend, &damaged).await {
                let _either = run(&session, &[("x", tensor(&[1, 2], &[1.0_f32, 1.0]))]).await;
            }
        }
        let session = service.session(backend, &whole).await;
        run(&session, &[("x", tensor(&[1, 2], &[1.0_f32, 1.0]))]).await.unwrap();
    }
}

#[tokio::test]
async fn tensors_that_claim_more_than_they_hold_are_refused() {
    let service = start();
    for dims in [&[1 << 40][..], &[1 << 20, 1 << 20, 1 << 20, 1 << 20], &[-1]] {
        let claims = models::tensor("w", F32, dims, &[0; 8]);
        let problem = refused(&service, &models::model(&adds(&[claims], &[]))).await;
        assert!(problem.detail.contains("claims"), "{problem}");
    }
}

#[tokio::test]
async fn graphs_in_graphs_end_somewhere() {
    let service = start();
    let mut inner = models::graph(&[], &[], &[], &[]);
    for _ in 0..200 {
        let node = models::node("If", &["c"], &["y"]).bytes(5, models::graph_attribute("b", &inner));
        inner = models::graph(&[node], &[], &[], &[]);
    }
    let problem = refused(&service, &models::model(&inner)).await;
    assert!(problem.detail.contains("nested too deeply"), "{problem}");
}

#[tokio::test]
async fn types_in_types_end_somewhere() {
    let service = start();
    let sum = || models::node("Add", &["x", "w"], &["y"]);
    let weights = [models::f32_tensor("w", &[2], &[1.0, 2.0])];
    let plain = |nodes: &[Message]| {
        models::graph(nodes, &[models::value("x", F32, &[2])], &[models::value("y", F32, &[2])], &weights)
    };
    // Sequences, maps and optional values.
    for (kind, element) in [(4, 1), (5, 2), (9, 1)] {
        let innermost = Message::new().bytes(1, Message::new().int(1, F32));
        let deep = (0..5000)
            .fold(innermost, |inner, _| Message::new().bytes(kind, Message::new().bytes(element, inner)));
        let info = Message::new().bytes(1, "z").bytes(2, &deep);
        let attribute = |field: u64| sum().bytes(5, Message::new().bytes(1, "t").bytes(field, &deep));
        let function = Message::new().bytes(1, "F").bytes(12, &info);
        let files = [
            models::model(&plain(&[sum()]).bytes(11, &info)),
            models::model(&plain(&[sum()]).bytes(12, &info)),
            models::model(&plain(&[sum()]).bytes(13, &info)),
            models::model(&plain(&[attribute(14)])),
            models::model(&plain(&[attribute(15)])),
            [models::model(&plain(&[sum()])), Message::new().bytes(25, function).as_ref().to_vec()].concat(),
        ];
        for (index, file) in files.iter().enumerate() {
            let problem = refused(&service, file).await;
            assert!(problem.detail.contains("nested too deeply"), "{kind}, {index}: {problem}");
        }
    }
}

#[tokio::test]
async fn chains_too_long_for_rten_are_for_the_other() {
    let service = start();
    let check = async |bytes: &[u8], choice| {
        service
            .inference
            .check(&TenantName::default_tenant(), &service.file(bytes), &spec(bytes, choice), "models.m")
            .await
    };
    for (bytes, reason) in [
        (models::chain("Neg", 10_000), "a chain of 10000 operators is too long for rten"),
        (models::squares(60), "is too long for rten"),
    ] {
        let problem = check(&bytes, BackendChoice::Rten).await.unwrap_err();
        assert_eq!((problem.code, problem.field.as_deref()), (Code::InvalidModel, Some("models.m")));
        assert!(problem.detail.contains(reason), "{problem}");
        let checked = check(&bytes, BackendChoice::Auto).await.unwrap();
        assert_eq!(checked.backend, BackendId::Onnxruntime);
        assert!(checked.reason.contains(reason), "{}", checked.reason);
        // A revision stored before there was the limit.
        let error = service.load(BackendId::Rten, &bytes).await.err().unwrap();
        assert!(matches!(error, InferenceError::InvalidModel(_)), "{error}");
    }
    let longest = models::chain("Neg", 2_000);
    let session = service.session(BackendId::Rten, &longest).await;
    let output = run(&session, &[("x", tensor(&[2], &[1.0_f32, 2.0]))]).await.unwrap();
    assert_eq!(output.outputs[0].1.as_slice::<f32>().unwrap(), [1.0, 2.0]);
}

/// What the limit on chains rests on: a thread of rten's has 2 MiB.
#[test]
fn the_longest_chain_takes_less_than_half_of_a_stack() {
    let on_half_a_stack = || {
        let mut options = rten::ModelOptions::with_all_ops();
        let model =
            options.shape_inference(rten::ShapeInferenceMode::Off).load(models::chain("Neg", 2_000)).unwrap();
        let (x, y) = (model.node_id("x").unwrap(), model.node_id("y").unwrap());
        let input = rten_tensor::Tensor::from_data(&[2], vec![1.0_f32, 2.0]);
        model.run(vec![(x, rten::Value::from(input).into())], &[y], None).unwrap().len()
    };
    let thread = std::thread::Builder::new().stack_size(1 << 20).spawn(on_half_a_stack).unwrap();
    assert_eq!(thread.join().unwrap(), 1);
}

#[tokio::test]
async fn tensors_of_very_many_dimensions_do_not_end_the_service() {
    let service = start();
    let dims: Vec<u8> = std::iter::repeat_n(1_i64.to_le_bytes(), 20_000).flatten().collect();
    let shape = [models::tensor("s", I64, &[20_000], &dims)];
    for last in ["Flatten", "Size"] {
        let nodes = [models::node("Expand", &["x", "s"], &["e"]), models::node(last, &["e"], &["y"])];
        let (x, y) = (models::value("x", F32, &[2]), models::value("y", F32, &[]));
        let file = models::model(&models::graph(&nodes, &[x], &[y], &shape));
        // Refused or not, the answer comes.
        let _either = service.load(BackendId::Rten, &file).await;
    }
    // The same by doubling, in a file of a few hundred bytes.
    let names: Vec<String> = (0..=13).map(|i| format!("g{i}")).collect();
    let doubled = names.windows(2).map(|pair| models::node("Gather", &[&pair[0], &pair[0]], &[&pair[1]]));
    let nodes: Vec<Message> = doubled.chain([models::node("Flatten", &["g13"], &["y"])]).collect();
    let zero = [models::tensor("g0", I64, &[1, 1], &[0; 8])];
    let graph =
        models::graph(&nodes, &[models::value("x", F32, &[2])], &[models::value("y", I64, &[])], &zero);
    let _either = service.load(BackendId::Rten, &models::model(&graph)).await;
}

#[tokio::test]
async fn operators_and_types_that_nobody_has_are_refused() {
    let service = start();
    let file = models::operator("NoSuchOperator", &[("a", F32)], ("b", F32));
    let problem = refused(&service, &file).await;
    assert!(problem.detail.contains("NoSuchOperator"), "{problem}");
    // Complex numbers, and an input without a shape.
    let file = models::operator("Identity", &[("a", 14)], ("b", F32));
    let problem = refused(&service, &file).await;
    assert!(problem.detail.contains("input `a` is a tensor with elements of type complex64"), "{problem}");
    let tensor = Message::new().bytes(1, Message::new().int(1, I64));
    let any_rank = Message::new().bytes(1, "a").bytes(2, tensor);
    let node = models::node("Identity", &["a"], &["b"]);
    let graph = models::graph(&[node], &[any_rank], &[models::value("b", I64, &[1])], &[]);
    assert!(refused(&service, &models::model(&graph)).await.detail.contains("how many dimensions"));
}

#[tokio::test]
async fn a_session_of_a_broken_file_is_an_error_for_all_who_wait() {
    let service = start();
    let error = service.load(BackendId::Rten, b"nonsense").await.err().unwrap();
    assert!(matches!(error, InferenceError::InvalidModel(_)), "{error}");
}
