//! Models that were prepared at their deploy: they answer as they are, and whatever becomes of what was
//! prepared, no call is lost.

use std::fs;
use std::path::{Path, PathBuf};

use modelet_inference::{BackendId, CheckedModel, InferenceConfig, SessionState};
use modelet_types::manifest::{BackendChoice, Golden, ModelSpec};
use modelet_types::{Digest, TenantName, Tensor, Trust};

use crate::models::{self, F32, TEXT};
use crate::service::{TestService, config, run, spec, tensor, until};

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples");

/// A host that prepares every model, however small.
fn start(dir: &Path) -> TestService {
    TestService::with(preparing(dir))
}

fn preparing(dir: &Path) -> InferenceConfig {
    InferenceConfig { prepared_dir: Some(dir.to_owned()), prepare_from_bytes: 0, ..config() }
}

async fn deploy(service: &TestService, bytes: &[u8], golden: Vec<Golden>) -> CheckedModel {
    let spec = ModelSpec { golden, ..spec(bytes, BackendChoice::Onnxruntime) };
    let tenant = TenantName::default_tenant();
    service.inference.check(&tenant, &service.file(bytes), &spec, "models.m").await.unwrap()
}

/// What the model answers in ONNX Runtime, and whether it was loaded as it was prepared.
async fn answer(service: &TestService, bytes: &[u8], inputs: &[(&str, Tensor)]) -> (Vec<Tensor>, bool) {
    let key = service.key(BackendId::Onnxruntime, bytes);
    service.inference.unload(&key);
    let session = service.session(BackendId::Onnxruntime, bytes).await;
    let output = run(&session, inputs).await.unwrap();
    let SessionState::Ready { prepared, .. } = service.inference.state(&key) else { panic!("it is loaded") };
    (output.outputs.into_iter().map(|(_, output)| output).collect(), prepared)
}

async fn is_prepared_soon(service: &TestService, bytes: &[u8]) {
    let model = Digest::of(bytes);
    until("prepared", || service.inference.prepared_models().unwrap().contains(&model)).await;
}

/// The folder with what was prepared of a model.
fn form(dir: &Path, bytes: &[u8]) -> PathBuf {
    let keys: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    let [key] = &keys[..] else { panic!("{keys:?}") };
    key.join(Digest::of(bytes).to_hex())
}

/// Writes the digests of a form anew, as if it had been written like this.
fn sign(form: &Path) {
    let sum = |name| format!("{name} {}\n", Digest::of(&fs::read(form.join(name)).unwrap()));
    fs::write(form.join("sums"), sum("graph.onnx") + &sum("weights")).unwrap();
}

/// `y = relu(x · w) · v`, with weights that are large enough to be mapped.
fn layers(scale: f32) -> Vec<u8> {
    let weights: Vec<f32> = (0..64 * 64).map(|index| scale * ((index % 13) as f32 - 6.0)).collect();
    let nodes = [
        models::node("MatMul", &["x", "w"], &["h"]),
        models::node("Relu", &["h"], &["r"]),
        models::node("MatMul", &["r", "v"], &["y"]),
    ];
    let weights = ["w", "v"].map(|name| models::f32_tensor(name, &[64, 64], &weights));
    let [x, y] = ["x", "y"].map(|name| models::value(name, F32, &[-1, 64]));
    models::model(&models::graph(&nodes, &[x], &[y], &weights))
}

fn ones(width: usize) -> Tensor {
    tensor(&[1, width], &vec![1.0_f32; width])
}

#[tokio::test]
async fn a_prepared_model_answers_as_the_model_does() {
    let example = |name: &str| fs::read(format!("{EXAMPLES}/{name}")).unwrap();
    let text = Tensor::from_texts(&[2], vec!["a".into(), "b\0c".into()]).unwrap();
    let cases = [
        ("weights", layers(0.01), vec![("x", ones(64))]),
        ("digits", example("digits/model/digits.onnx"), vec![("input", ones(64))]),
        ("trees", example("iris-forest/model/forest.onnx"), vec![("features", ones(4))]),
        ("a loop", models::long_loop(), vec![("times", tensor(&[], &[3_i64]))]),
        ("text", models::operator("Identity", &[("a", TEXT)], ("b", TEXT)), vec![("a", text)]),
    ];
    let plain = TestService::start();
    let dir = tempfile::tempdir().unwrap();
    let service = start(dir.path());
    for (count, (name, bytes, inputs)) in cases.iter().enumerate() {
        assert!(deploy(&service, bytes, Vec::new()).await.prepared, "{name}");
        let (expected, is_prepared) = answer(&plain, bytes, inputs).await;
        assert!(!is_prepared, "{name}");
        let (got, is_prepared) = answer(&service, bytes, inputs).await;
        assert!(is_prepared, "{name}");
        assert_eq!(expected.len(), got.len());
        for (expected, got) in expected.iter().zip(&got) {
            assert_same(name, expected, got);
        }
        assert_eq!(service.inference.stats().prepared_loads, count as u64 + 1);
    }
}

fn assert_same(name: &str, expected: &Tensor, got: &Tensor) {
    assert_eq!(expected.shape(), got.shape(), "{name}");
    match (expected.as_slice::<f32>(), got.as_slice::<f32>()) {
        (Some(expected), Some(got)) => {
            let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-5 * a.abs().max(1.0);
            assert!(expected.iter().zip(got).all(close), "{name}: {expected:?}, {got:?}");
        }
        _ => {
            assert_eq!((expected.as_bytes(), expected.as_texts()), (got.as_bytes(), got.as_texts()), "{name}")
        }
    }
}

#[tokio::test]
async fn a_model_that_was_deployed_before_is_prepared_after_its_first_load() {
    let dir = tempfile::tempdir().unwrap();
    let (service, bytes) = (start(dir.path()), layers(0.01));
    let (expected, is_prepared) = answer(&service, &bytes, &[("x", ones(64))]).await;
    assert!(!is_prepared);
    is_prepared_soon(&service, &bytes).await;
    let (got, is_prepared) = answer(&service, &bytes, &[("x", ones(64))]).await;
    assert!(is_prepared);
    assert_same("weights", &expected[0], &got[0]);
}

#[tokio::test]
async fn what_is_damaged_is_not_used_and_is_made_anew() {
    let bytes = layers(0.01);
    for name in ["graph.onnx", "weights", "sums"] {
        let dir = tempfile::tempdir().unwrap();
        assert!(deploy(&start(dir.path()), &bytes, Vec::new()).await.prepared);
        let file = form(dir.path(), &bytes).join(name);
        let mut damaged = fs::read(&file).unwrap();
        let middle = damaged.len() / 2;
        damaged[middle] ^= 1;
        fs::write(&file, damaged).unwrap();

        let service = start(dir.path());
        let (expected, is_prepared) = answer(&service, &bytes, &[("x", ones(64))]).await;
        assert!(!is_prepared, "{name}");
        is_prepared_soon(&service, &bytes).await;
        let (got, is_prepared) = answer(&service, &bytes, &[("x", ones(64))]).await;
        assert!(is_prepared, "{name}");
        assert_same(name, &expected[0], &got[0]);
    }
}

#[tokio::test]
async fn what_cannot_be_loaded_costs_no_call_and_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = layers(0.01);
    assert!(deploy(&start(dir.path()), &bytes, Vec::new()).await.prepared);
    let form = form(dir.path(), &bytes);
    // As if the disk had been full, and nobody had been told.
    let weights = fs::read(form.join("weights")).unwrap();
    fs::write(form.join("weights"), &weights[..weights.len() / 3]).unwrap();
    sign(&form);
    let service = start(dir.path());
    for _ in 0..2 {
        let (_, is_prepared) = answer(&service, &bytes, &[("x", ones(64))]).await;
        assert!(!is_prepared && !form.exists());
    }
}

#[tokio::test]
async fn what_answers_otherwise_is_found_at_the_deploy_and_never_used() {
    let dir = tempfile::tempdir().unwrap();
    let (bytes, other) = (layers(0.01), layers(0.02));
    let plain = TestService::start();
    let (expected, _) = answer(&plain, &bytes, &[("x", ones(64))]).await;
    let list =
        |tensor: &Tensor| serde_json::json!({"shape": [1, 64], "f32": tensor.as_slice::<f32>().unwrap()});
    let golden = serde_json::json!({"inputs": {"x": list(&ones(64))}, "outputs": {"y": list(&expected[0])}});
    let golden: Golden = serde_json::from_value(golden).unwrap();
    {
        let service = start(dir.path());
        assert!(deploy(&service, &bytes, vec![golden.clone()]).await.prepared);
        assert!(deploy(&service, &other, Vec::new()).await.prepared);
    }
    // The other's stands in its place, whole as it is.
    fs::remove_dir_all(form(dir.path(), &bytes)).unwrap();
    fs::rename(form(dir.path(), &other), form(dir.path(), &bytes)).unwrap();
    {
        let service = start(dir.path());
        assert!(!deploy(&service, &bytes, vec![golden.clone()]).await.prepared);
        assert!(!form(dir.path(), &bytes).exists());
    }
    let service = start(dir.path());
    assert!(!deploy(&service, &bytes, vec![golden]).await.prepared, "a refusal outlives a start");
    let (got, is_prepared) = answer(&service, &bytes, &[("x", ones(64))]).await;
    assert!(!is_prepared);
    assert_same("weights", &expected[0], &got[0]);
}

#[tokio::test]
async fn a_host_that_was_killed_while_it_prepared_leaves_nothing_that_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = layers(0.01);
    assert!(deploy(&start(dir.path()), &bytes, Vec::new()).await.prepared);
    let form = form(dir.path(), &bytes);
    let draft = form.with_file_name("draft-abcdef");
    fs::rename(&form, &draft).unwrap();
    let service = start(dir.path());
    assert!(!draft.exists() && service.inference.prepared_models().unwrap().is_empty());
    assert!(!answer(&service, &bytes, &[("x", ones(64))]).await.1);
}

#[tokio::test]
async fn what_another_library_or_processor_needs_is_ignored_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = layers(0.01);
    assert!(deploy(&start(dir.path()), &bytes, Vec::new()).await.prepared);
    let key = form(dir.path(), &bytes).parent().unwrap().to_owned();
    fs::rename(&key, key.with_file_name("0000000000000000")).unwrap();
    let service = start(dir.path());
    assert!(service.inference.prepared_models().unwrap().is_empty());
    assert!(!answer(&service, &bytes, &[("x", ones(64))]).await.1);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_session_outlives_the_form_that_it_was_loaded_from() {
    let dir = tempfile::tempdir().unwrap();
    let (service, bytes) = (start(dir.path()), layers(0.01));
    deploy(&service, &bytes, Vec::new()).await;
    let session = service.session(BackendId::Onnxruntime, &bytes).await;
    service.inference.remove_prepared(&Digest::of(&bytes)).unwrap();
    assert!(service.inference.prepared_models().unwrap().is_empty() && !form(dir.path(), &bytes).exists());
    run(&session, &[("x", ones(64))]).await.unwrap();
}

#[tokio::test]
async fn a_small_model_is_not_prepared() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = layers(0.01);
    let prepare_from_bytes = bytes.len() as u64 + 1;
    let service = TestService::with(InferenceConfig { prepare_from_bytes, ..preparing(dir.path()) });
    assert!(!deploy(&service, &bytes, Vec::new()).await.prepared);
    assert!(!answer(&service, &bytes, &[("x", ones(64))]).await.1);
    drop(service);
    assert!(!form(dir.path(), &bytes).exists());
}

#[tokio::test]
async fn a_model_of_a_tenant_that_is_not_trusted_is_not_prepared() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = layers(0.01);
    let service = TestService::of(preparing(dir.path()), Trust::Untrusted);
    assert!(!deploy(&service, &bytes, Vec::new()).await.prepared);
    assert!(!answer(&service, &bytes, &[("x", ones(64))]).await.1);
    drop(service);
    assert!(!form(dir.path(), &bytes).exists());
}

#[tokio::test]
async fn rten_runs_the_model_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let (service, bytes) = (start(dir.path()), layers(0.01));
    let spec = spec(&bytes, BackendChoice::Rten);
    let tenant = TenantName::default_tenant();
    let checked = service.inference.check(&tenant, &service.file(&bytes), &spec, "models.m").await.unwrap();
    assert!(!checked.prepared && service.inference.prepared_models().unwrap().is_empty());
}
