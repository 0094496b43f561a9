//! What tensors can be made of: all of it in ONNX Runtime, some in rten, and the rest refused at deploy.

use half::{bf16, f16};
use modelet_inference::{BackendId, InferenceError};
use modelet_types::manifest::BackendChoice;
use modelet_types::{Code, ElementType, TenantName, Tensor};

use crate::models::{self, BOOL, F32, F64, I64, Message, TEXT};
use crate::service::{TestService, run, spec, tensor};

fn texts(texts: &[&str]) -> Tensor {
    let elements: Vec<Box<str>> = texts.iter().map(|&text| text.into()).collect();
    Tensor::from_texts(&[texts.len()], elements).unwrap()
}

fn got_texts(tensor: &Tensor) -> Vec<&str> {
    tensor.as_texts().unwrap().iter().map(|text| &**text).collect()
}

/// Of each element type: its number in `TensorProto.DataType`, elements up to its limits, and whether rten
/// has it.
fn all() -> Vec<(i64, Tensor, bool)> {
    vec![
        (9, Tensor::from_bools(&[2], &[true, false]).unwrap(), true),
        (2, tensor(&[2], &[0_u8, u8::MAX]), true),
        (4, tensor(&[2], &[0_u16, u16::MAX]), false),
        (12, tensor(&[2], &[0_u32, u32::MAX]), false),
        (13, tensor(&[2], &[0_u64, u64::MAX]), false),
        (3, tensor(&[2], &[i8::MIN, i8::MAX]), true),
        (5, tensor(&[2], &[i16::MIN, i16::MAX]), false),
        (6, tensor(&[2], &[i32::MIN, i32::MAX]), true),
        (7, tensor(&[2], &[i64::from(i32::MIN), i64::from(i32::MAX)]), true),
        (10, tensor(&[2], &[f16::MIN, f16::EPSILON]), true),
        (16, tensor(&[2], &[bf16::MIN, bf16::EPSILON]), false),
        (1, tensor(&[2], &[f32::MIN, f32::EPSILON]), true),
        (11, tensor(&[2], &[f64::from(f32::MIN), 0.5]), true),
        (8, texts(&["", "Grüße"]), false),
    ]
}

#[tokio::test]
async fn elements_of_every_type_come_out_as_they_went_in() {
    let service = TestService::start();
    for (number, given, in_rten) in all() {
        let file = models::operator("Identity", &[("a", number)], ("b", number));
        for (backend, has_it) in [(BackendId::Rten, in_rten), (BackendId::Onnxruntime, true)] {
            if !has_it {
                continue;
            }
            let session = service.session(backend, &file).await;
            assert_eq!(session.signature().inputs[0].element_type, given.element_type());
            let output = run(&session, &[("a", given.clone())]).await.unwrap();
            let got = &output.outputs[0].1;
            assert_eq!(got.element_type(), given.element_type(), "{backend}");
            assert_eq!(got.shape(), given.shape(), "{backend} {given:?}");
            assert_eq!(got.as_bytes(), given.as_bytes(), "{backend} {given:?}");
            assert_eq!(got.as_texts(), given.as_texts(), "{backend} {given:?}");
        }
    }
}

#[tokio::test]
async fn what_rten_lacks_is_refused_at_deploy_with_the_backend_that_has_it() {
    let service = TestService::start();
    let tenant = TenantName::default_tenant();
    for (number, given, in_rten) in all() {
        let element_type = given.element_type();
        let file = models::operator("Identity", &[("a", number)], ("b", number));
        let path = service.file(&file);
        let checked =
            service.inference.check(&tenant, &path, &spec(&file, BackendChoice::Rten), "models.m").await;
        if in_rten {
            checked.unwrap();
            continue;
        }
        let problem = checked.unwrap_err();
        assert_eq!((problem.code, problem.field.as_deref()), (Code::InvalidModel, Some("models.m")));
        let detail = format!(
            "input `a` has elements of type {element_type}, which rten does not support (onnxruntime does)"
        );
        assert_eq!(problem.detail, detail);
        let checked =
            service.inference.check(&tenant, &path, &spec(&file, BackendChoice::Auto), "models.m").await;
        let checked = checked.unwrap();
        assert_eq!(checked.backend, BackendId::Onnxruntime);
        assert_eq!(checked.reason, format!("rten: {detail}; so onnxruntime, which loads the model"));
    }
    // An output alone can be what is lacking.
    let file = models::operator("Cast", &[("a", F32)], ("b", 16));
    let spec = spec(&file, BackendChoice::Rten);
    let problem =
        service.inference.check(&tenant, &service.file(&file), &spec, "models.m").await.unwrap_err();
    assert!(problem.detail.starts_with("output `b` has elements of type bf16"), "{problem}");
}

#[tokio::test]
async fn inputs_and_outputs_of_several_types_go_together() {
    let service = TestService::start();
    let nodes = [
        models::node("Where", &["which", "yes", "no"], &["chosen"]),
        models::node("Add", &["chosen", "chosen"], &["twice"]),
        models::node("Not", &["which"], &["other"]),
    ];
    let inputs = [
        models::value("yes", I64, &[-1]),
        models::value("which", BOOL, &[-1]),
        models::value("no", I64, &[]),
    ];
    let outputs = [models::value("other", BOOL, &[-1]), models::value("twice", I64, &[-1])];
    let file = models::model(&models::graph(&nodes, &inputs, &outputs, &[]));
    for backend in crate::service::BOTH {
        let session = service.session(backend, &file).await;
        let given = [
            ("no", tensor(&[], &[-7_i64])),
            ("which", Tensor::from_bools(&[3], &[true, false, true]).unwrap()),
            ("yes", tensor(&[3], &[1_i64, 2, 3])),
        ];
        let output = run(&session, &given).await.unwrap();
        assert_eq!(output.outputs[0].1.as_bools().unwrap(), [0, 1, 0], "{backend}");
        assert_eq!(output.outputs[1].1.as_slice::<i64>().unwrap(), [2, -14, 6], "{backend}");
    }
}

#[tokio::test]
async fn texts_are_any_utf8_and_any_number() {
    let service = TestService::start();
    let file = models::operator("Identity", &[("a", TEXT)], ("b", TEXT));
    let session = service.session(BackendId::Onnxruntime, &file).await;
    let long = "…".repeat(100_000);
    for given in [&["a\0b", "", "\0", "🦀", &long][..], &[""], &[]] {
        let output = run(&session, &[("a", texts(given))]).await.unwrap();
        assert_eq!(got_texts(&output.outputs[0].1), given);
    }
    // Texts of the model's own, of which the second is none.
    let label = |bytes: &[u8]| {
        let labels =
            Message::new().int(1, 2).int(2, TEXT).bytes(6, "setosa").bytes(6, bytes).bytes(8, "labels");
        let node = models::node("Gather", &["labels", "index"], &["label"]);
        let (index, label) = (models::value("index", I64, &[-1]), models::value("label", TEXT, &[-1]));
        models::model(&models::graph(&[node], &[index], &[label], &[labels]))
    };
    let session = service.session(BackendId::Onnxruntime, &label(b"virginica")).await;
    let output = run(&session, &[("index", tensor(&[3], &[1_i64, 0, 1]))]).await.unwrap();
    assert_eq!(got_texts(&output.outputs[0].1), ["virginica", "setosa", "virginica"]);
    let session = service.session(BackendId::Onnxruntime, &label(b"\xff")).await;
    let error = run(&session, &[("index", tensor(&[1], &[1_i64]))]).await.unwrap_err();
    assert!(matches!(error, InferenceError::Backend { .. }), "{error}");
    assert!(error.to_string().ends_with("output `label` has a text that is not UTF-8"), "{error}");
    let output = run(&session, &[("index", tensor(&[1], &[0_i64]))]).await.unwrap();
    assert_eq!(got_texts(&output.outputs[0].1), ["setosa"], "the session goes on");
}

#[tokio::test]
async fn an_output_that_is_no_tensor_is_left_out_and_the_others_answer() {
    let service = TestService::start();
    let element = Message::new().bytes(1, Message::new().int(1, F64));
    let sequence =
        Message::new().bytes(1, "s").bytes(2, Message::new().bytes(4, Message::new().bytes(1, element)));
    let nodes = [models::node("SequenceConstruct", &["a"], &["s"]), models::node("Neg", &["a"], &["b"])];
    let outputs = [sequence, models::value("b", F64, &[-1])];
    let file = models::model(&models::graph(&nodes, &[models::value("a", F64, &[-1])], &outputs, &[]));
    let session = service.session(BackendId::Onnxruntime, &file).await;
    assert_eq!(session.signature().outputs.len(), 1);
    let output = run(&session, &[("a", tensor(&[1], &[0.5_f64]))]).await.unwrap();
    assert_eq!(output.outputs.len(), 1);
    assert_eq!(output.outputs[0].1.as_slice::<f64>().unwrap(), [-0.5]);
    assert_eq!(output.outputs[0].1.element_type(), ElementType::F64);
}
