//! A random forest of scikit-learn, as skl2onnx writes it: texts for labels, operators of `ai.onnx.ml`.

use modelet_inference::BackendId;
use modelet_types::manifest::{BackendChoice, Golden, ModelSpec};
use modelet_types::{Code, ElementType, TenantName};
use serde::Deserialize;

use crate::service::{TestService, run, spec, tensor};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/iris-forest");

/// What ONNX Runtime answered from Python.
#[derive(Deserialize)]
struct Expected {
    tolerance: f32,
    cases: Vec<Flower>,
}

#[derive(Deserialize)]
struct Flower {
    features: [f32; 4],
    label: String,
    probabilities: [f32; 3],
}

fn file(name: &str) -> Vec<u8> {
    std::fs::read(format!("{EXAMPLE}/{name}")).unwrap()
}

#[tokio::test]
async fn gives_labels_as_texts_and_their_probabilities() {
    let service = TestService::start();
    let expected: Expected = serde_json::from_slice(&file("expected.json")).unwrap();
    assert_eq!(expected.cases.len(), 45);
    let session = service.session(BackendId::Onnxruntime, &file("model/forest.onnx")).await;
    let features: Vec<f32> = expected.cases.iter().flat_map(|flower| flower.features).collect();
    let output = run(&session, &[("features", tensor(&[45, 4], &features))]).await.unwrap();

    let [(_, labels), (_, probabilities)] = &output.outputs[..] else { panic!("{output:?}") };
    assert_eq!((labels.shape(), probabilities.shape()), (&[45][..], &[45, 3][..]));
    let wanted: Vec<&str> = expected.cases.iter().map(|flower| flower.label.as_str()).collect();
    let got: Vec<&str> = labels.as_texts().unwrap().iter().map(|label| &**label).collect();
    assert_eq!(got, wanted);
    let wanted = expected.cases.iter().flat_map(|flower| flower.probabilities);
    for (got, wanted) in probabilities.as_slice::<f32>().unwrap().iter().zip(wanted) {
        assert!((got - wanted).abs() <= expected.tolerance, "{got} is not {wanted}");
    }
    let single = run(&session, &[("features", tensor(&[1, 4], &features[..4]))]).await.unwrap();
    assert_eq!(&*single.outputs[0].1.as_texts().unwrap()[0], expected.cases[0].label.as_str());
}

#[tokio::test]
async fn is_refused_by_rten_and_taken_to_the_backend_that_has_what_it_needs() {
    let service = TestService::start();
    let (tenant, model) = (TenantName::default_tenant(), file("model/forest.onnx"));
    let path = service.file(&model);
    let golden: Vec<Golden> = serde_json::from_slice(&file("model/golden.json")).unwrap();
    let spec = |choice, golden: &[Golden]| ModelSpec { golden: golden.to_vec(), ..spec(&model, choice) };

    let named = spec(BackendChoice::Rten, &golden);
    let problem = service.inference.check(&tenant, &path, &named, "models.m").await.unwrap_err();
    assert_eq!((problem.code, problem.field.as_deref()), (Code::InvalidModel, Some("models.m")));
    let why = "output `label` has elements of type text, which rten does not support (onnxruntime does)";
    assert_eq!(problem.detail, why);

    let auto = spec(BackendChoice::Auto, &golden);
    let checked = service.inference.check(&tenant, &path, &auto, "models.m").await.unwrap();
    assert_eq!(checked.backend, BackendId::Onnxruntime);
    assert_eq!(checked.reason, format!("rten: {why}; so onnxruntime, which gives the golden outputs"));
    assert_eq!(checked.signature.outputs[0].element_type, ElementType::Text);

    // A label is compared as it is written.
    let wrong: Golden = serde_json::from_str(
        r#"{"inputs": {"features": {"shape": [1, 4], "f32": [5.1, 2.5, 3.0, 1.1]}},
            "outputs": {"label": {"shape": [1], "text": ["setosa"]}}}"#,
    )
    .unwrap();
    let spec = spec(BackendChoice::Onnxruntime, &[wrong]);
    let problem = service.inference.check(&tenant, &path, &spec, "models.m").await.unwrap_err();
    assert_eq!(problem.code, Code::GoldenMismatch);
    assert_eq!(problem.field.as_deref(), Some("models.m.golden[0].outputs.label"));
    assert!(problem.detail.contains(r#"expected "setosa", got "versicolor""#), "{problem}");
}
