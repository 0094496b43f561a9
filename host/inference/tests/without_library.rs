//! A host without ONNX Runtime. A process loads that library once and for all, so this is a binary
//! of its own.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail where they stand")]

use std::time::Duration;

use modelet_inference::{BackendId, Inference, InferenceConfig};
use modelet_types::manifest::BackendChoice;
use modelet_types::{Code, TenantName, Trust};

#[path = "it/models.rs"]
#[expect(dead_code, reason = "only some of the models are of use here")]
mod models;
#[path = "it/service.rs"]
#[expect(dead_code, reason = "only one of the helpers is of use here")]
mod service;

#[test]
fn a_library_that_is_named_and_cannot_be_loaded_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("libonnxruntime.so");
    let start = || {
        let config = InferenceConfig { onnxruntime: Some(library.clone()), ..InferenceConfig::default() };
        Inference::start(config).err().unwrap().to_string()
    };
    for reason in ["No such file", "file too short"] {
        let error = start();
        assert!(error.contains(&library.display().to_string()), "{error}");
        assert!(error.contains(reason) && error.contains("inference.onnxruntime"), "{error}");
        std::fs::write(&library, b"no library").unwrap();
    }
}

#[tokio::test]
async fn rten_works_and_the_rest_says_what_helps() {
    let folder = tempfile::tempdir().unwrap();
    let inference = Inference::start(InferenceConfig::default()).unwrap();
    inference.set_trust(&TenantName::default_tenant(), Trust::Trusted);

    let status = &inference.backends()[1];
    assert_eq!((status.backend, status.available()), (BackendId::Onnxruntime, false));
    let reason = status.unavailable.as_deref().unwrap();
    assert!(
        reason.contains("modelet backend install onnxruntime") && !reason.contains(".so"),
        "no paths: {reason}"
    );

    let check = async |bytes: &[u8], backend| {
        let file = folder.path().join("model");
        std::fs::write(&file, bytes).unwrap();
        let spec = service::spec(bytes, backend);
        tokio::time::timeout(
            Duration::from_secs(60),
            inference.check(&TenantName::default_tenant(), &file, &spec, "models.m"),
        )
        .await
        .unwrap()
    };
    let affine = models::affine();
    assert_eq!(check(&affine, BackendChoice::Auto).await.unwrap().backend, BackendId::Rten);
    let problem = check(&affine, BackendChoice::Onnxruntime).await.unwrap_err();
    assert_eq!(problem.code, Code::BackendUnavailable);
    assert!(problem.detail.contains("modelet backend install onnxruntime"), "{problem}");

    // What rten cannot do is rten's error, followed by what would help.
    let doubles = models::operator("Neg", &[("a", models::F64)], ("b", models::F64));
    let problem = check(&doubles, BackendChoice::Auto).await.unwrap_err();
    assert_eq!(problem.code, Code::InvalidModel);
    assert!(problem.detail.starts_with("rten: input `a` has elements of type f64"), "{problem}");
    assert!(problem.detail.contains("modelet backend install onnxruntime"), "{problem}");
}
