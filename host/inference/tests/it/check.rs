//! Models at deploy: which backend, why, and what a mistake is answered with.

use std::time::{Duration, Instant};

use modelet_inference::{BackendId, CheckedModel, InferenceConfig};
use modelet_types::manifest::{BackendChoice, Golden, ModelSpec};
use modelet_types::{Code, ElementType, Problem, TenantName};

use crate::models::{self, F64, I64};
use crate::service::{TestService, config, spec};

use super::{start, with};

fn golden(text: &str) -> Golden {
    serde_json::from_str(text).unwrap()
}

fn affine_golden(y: &str) -> Golden {
    golden(&format!(
        r#"{{"inputs":{{"x":{{"shape":[1,2],"f32":[1,1]}}}},"outputs":{{"y":{{"shape":[1,2],"f32":{y}}}}}}}"#
    ))
}

async fn check(service: &TestService, bytes: &[u8], spec: &ModelSpec) -> Result<CheckedModel, Problem> {
    service.inference.check(&TenantName::default_tenant(), &service.file(bytes), spec, "models.m").await
}

#[tokio::test]
async fn auto_takes_rten_when_it_gives_the_golden_outputs() {
    let service = start();
    let file = models::affine();
    let spec = ModelSpec { golden: vec![affine_golden("[14,26]")], ..spec(&file, BackendChoice::Auto) };
    let checked = check(&service, &file, &spec).await.unwrap();
    assert_eq!(checked.backend, BackendId::Rten);
    assert_eq!(checked.reason, "rten, which gives the golden outputs");
    assert!(checked.load_time_us > 0 && checked.run_time_us.is_some());
    let input = &checked.signature.inputs[0];
    assert_eq!(
        (input.name.as_str(), input.element_type, &input.shape[..]),
        ("x", ElementType::F32, &[None, Some(2)][..])
    );
    let names: Vec<&str> = checked.signature.outputs.iter().map(|info| info.name.as_str()).collect();
    assert_eq!(names, ["y", "m"]);
    let stored = serde_json::to_string(&checked).unwrap();
    assert_eq!(serde_json::from_str::<CheckedModel>(&stored).unwrap(), checked);
}

#[tokio::test]
async fn auto_falls_back_and_says_why() {
    let service = start();
    let file = models::operator("Neg", &[("a", F64)], ("b", F64));
    let checked = check(&service, &file, &spec(&file, BackendChoice::Auto)).await.unwrap();
    assert_eq!(checked.backend, BackendId::Onnxruntime);
    assert!(checked.reason.starts_with("rten: input `a` has elements of type f64"), "{}", checked.reason);
    assert!(checked.reason.ends_with("; so onnxruntime, which loads the model"), "{}", checked.reason);

    // rten is asked for a value that its integers cannot hold, so it misses the golden output.
    let file = models::operator("Neg", &[("a", I64)], ("b", I64));
    let large = r#"{"inputs":{"a":{"shape":[1],"i64":[5000000000]}},
                    "outputs":{"b":{"shape":[1],"i64":[-5000000000]}}}"#;
    let spec = ModelSpec { golden: vec![golden(large)], ..spec(&file, BackendChoice::Auto) };
    let checked = check(&service, &file, &spec).await.unwrap();
    assert_eq!(checked.backend, BackendId::Onnxruntime);
    assert!(checked.reason.contains("32-bit integers"), "{}", checked.reason);
}

#[tokio::test]
async fn a_named_backend_is_the_one() {
    let service = start();
    let file = models::affine();
    for (choice, backend) in
        [(BackendChoice::Rten, BackendId::Rten), (BackendChoice::Onnxruntime, BackendId::Onnxruntime)]
    {
        let checked = check(&service, &file, &spec(&file, choice)).await.unwrap();
        assert_eq!((checked.backend, checked.reason.as_str()), (backend, "the manifest asks for it"));
    }
    // Naming rten accepts that it computes f64 as f32.
    let file = models::operator("Neg", &[("a", F64)], ("b", F64));
    check(&service, &file, &spec(&file, BackendChoice::Rten)).await.unwrap();
}

#[tokio::test]
async fn a_golden_mismatch_names_output_element_and_values() {
    let service = start();
    let file = models::affine();
    let good = affine_golden("[14,26]");
    for choice in [BackendChoice::Rten, BackendChoice::Onnxruntime] {
        let spec = ModelSpec { golden: vec![good.clone(), affine_golden("[14,27]")], ..spec(&file, choice) };
        let problem = check(&service, &file, &spec).await.unwrap_err();
        assert_eq!(problem.code, Code::GoldenMismatch);
        assert_eq!(problem.field.as_deref(), Some("models.m.golden[1].outputs.y"));
        assert_eq!(problem.detail, "output `y`: element 1: expected 27.0, got 26.0, tolerance 0.0001");
    }
    let spec = ModelSpec { golden: vec![affine_golden("[14,27]")], ..spec(&file, BackendChoice::Auto) };
    let problem = check(&service, &file, &spec).await.unwrap_err();
    assert_eq!(problem.code, Code::GoldenMismatch);
    assert!(problem.detail.contains("rten: output `y`") && problem.detail.contains("; onnxruntime: output"));
}

#[tokio::test]
async fn a_golden_that_does_not_fit_the_signature_is_the_manifests_fault() {
    let service = start();
    let file = models::affine();
    let mistakes = [
        (r#"{"inputs":{},"outputs":{"y":{"shape":[],"f32":[1]}}}"#, "models.m.golden[0]", "missing"),
        (
            r#"{"inputs":{"x":{"shape":[1,2],"i64":[1,1]}},"outputs":{"y":{"shape":[],"f32":[1]}}}"#,
            "models.m.golden[0].inputs.x",
            "takes elements of type f32, but got i64",
        ),
        (
            r#"{"inputs":{"x":{"shape":[1,2],"f32":[1,1]}},"outputs":{"q":{"shape":[],"f32":[1]}}}"#,
            "models.m.golden[0]",
            "the model has no output `q`; it has `y`, `m`",
        ),
    ];
    for (text, field, detail) in mistakes {
        let spec = ModelSpec { golden: vec![golden(text)], ..spec(&file, BackendChoice::Auto) };
        let problem = check(&service, &file, &spec).await.unwrap_err();
        assert_eq!((problem.code, problem.field.as_deref()), (Code::InvalidManifest, Some(field)));
        assert!(problem.detail.contains(detail), "{}", problem.detail);
    }
}

#[tokio::test]
async fn a_check_that_takes_too_long_is_given_up() {
    let service = with(InferenceConfig { check_timeout: Duration::from_millis(200), ..config() });
    let file = models::long_loop();
    let endless = r#"{"inputs":{"times":{"shape":[],"i64":[9223372036854775807]}},
                      "outputs":{"y":{"shape":[],"f32":[0]}}}"#;
    let spec = ModelSpec { golden: vec![golden(endless)], ..spec(&file, BackendChoice::Onnxruntime) };
    let begin = Instant::now();
    let problem = check(&service, &file, &spec).await.unwrap_err();
    assert_eq!((problem.code, problem.field.as_deref()), (Code::WallTimeExceeded, Some("models.m")));
    assert!(begin.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn more_threads_than_the_host_gives_are_refused_at_their_field() {
    let service = with(InferenceConfig { max_threads_per_session: 3, ..config() });
    let file = models::affine();
    for choice in [BackendChoice::Rten, BackendChoice::Onnxruntime] {
        check(&service, &file, &ModelSpec { threads: 3, ..spec(&file, choice) }).await.unwrap();
        let problem =
            check(&service, &file, &ModelSpec { threads: 4, ..spec(&file, choice) }).await.unwrap_err();
        assert_eq!(problem.code, Code::InvalidManifest);
        assert_eq!(problem.field.as_deref(), Some("models.m.threads"));
        assert_eq!(problem.detail, "4 is out of range: use 1 to 3 on this host");
    }
}

#[test]
fn the_library_that_is_there_is_reported() {
    let service = start();
    let backends = service.inference.backends();
    assert!(backends.iter().all(|status| status.available()), "{backends:?}");
    assert!(backends[1].version.as_deref().is_some_and(|version| version.starts_with("1.")), "{backends:?}");
}
