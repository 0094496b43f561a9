//! Manifests of authors, right and wrong.

use std::fs;

use super::*;

const GOOD: &str = r#"
name = "digits"
component = "digits.wasm"

[models.digits]
file = "digits.onnx"

[[models.digits.golden]]
inputs = { x = { shape = [1], f32 = [1] } }
outputs = { p = { shape = [1], f32 = [1] } }
"#;

fn refused(text: &str) -> String {
    Manifest::parse(Path::new("modelet.toml"), text).unwrap_err().to_string()
}

fn manifest(text: &str) -> Manifest {
    let path = PathBuf::from("modelet.toml");
    Manifest { entries: Manifest::parse(&path, text).unwrap(), path, text: text.into(), settings: vec![] }
}

fn spec(text: &str) -> anyhow::Result<RevisionSpec> {
    let manifest = manifest(text);
    let digests = manifest.entries.models.keys().map(|name| (name.clone(), Digest::of(b"m"))).collect();
    manifest.to_spec(manifest.entries.component.as_ref().map(|_| Digest::of(b"c")), &digests)
}

#[test]
fn becomes_the_hosts_manifest() {
    let spec = spec(GOOD).unwrap();
    assert_eq!(spec.component, Some(Digest::of(b"c")));
    let model = &spec.models["digits"];
    assert_eq!(model.artifact, Digest::of(b"m"));
    assert_eq!(model.golden.len(), 1);
    assert_eq!(spec.limits, StatedLimits::default());
}

#[test]
fn a_model_file_is_a_function_of_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("Iris v1.0 (final).ONNX");
    fs::write(&file, "").unwrap();
    let threads: Setting = "models.model.threads=2".parse().unwrap();
    let manifest = Manifest::read(&file, &[threads]).unwrap();
    assert_eq!(manifest.entries.name.as_str(), "iris-v1-0--final");
    let model: ModelName = "model".parse().unwrap();
    assert_eq!(manifest.resolve(&manifest.entries.models[&model].file), file);
    let digests = BTreeMap::from([(model.clone(), Digest::of(b"m"))]);
    let spec = manifest.to_spec(None, &digests).unwrap();
    assert_eq!((spec.component, spec.models[&model].threads), (None, 2));

    let refused = Manifest::read(&file, &["models.model.threads=0".parse().unwrap()]).unwrap();
    let error = refused.to_spec(None, &digests).unwrap_err().to_string();
    assert!(error.starts_with("--set models.model.threads: 0 is out of range"), "{error}");
    for (name, function) in [("3d.onnx", "model-3d"), ("-.onnx", "model"), ("é.onnx", "model")] {
        assert_eq!(function_name(Path::new(name)), function);
    }
    let other = folder.path().join("handler.wasm");
    fs::write(&other, "").unwrap();
    assert!(Manifest::read(&other, &[]).unwrap_err().to_string().contains("`.onnx`"));
}

#[test]
fn an_unknown_entry_is_shown_with_the_allowed_ones() {
    let shown = refused("name = \"a\"\ncomponent = \"a.wasm\"\n\n[limits]\nmemory = 1\n");
    assert!(shown.starts_with("unknown field `memory`, expected one of `memory_bytes`"), "{shown}");
    assert!(shown.ends_with(" --> modelet.toml:5:1\n  |\n5 | memory = 1\n  | ^^^^^^"), "{shown}");
}

#[test]
fn a_wrong_value_is_shown_with_the_allowed_ones() {
    let text = GOOD.replace("file = \"digits.onnx\"", "file = \"digits.onnx\"\nbackend = \"tensorflow\"");
    let shown = refused(&text);
    assert!(shown.contains("`auto`, `rten`, `onnxruntime`"), "{shown}");
    assert!(shown.contains("modelet.toml:7:11"), "{shown}");
}

#[test]
fn a_bad_name_is_shown_on_its_line() {
    let shown = refused("component = \"a.wasm\"\nname = \"My Function\"\n");
    assert!(shown.contains("`My Function` is not a name"), "{shown}");
    assert!(shown.contains("modelet.toml:2:8"), "{shown}");
}

#[test]
fn a_value_out_of_range_is_shown_on_its_line() {
    let error = spec(&format!("{GOOD}[limits]\nhandles = 1\n")).unwrap_err();
    let shown = error.to_string();
    assert!(shown.starts_with("1 is out of range: use 8 to 65536"), "{shown}");
    assert!(shown.contains("modelet.toml:12:11"), "{shown}");
}

#[test]
fn a_golden_tensor_that_does_not_fit_its_shape_is_shown_on_its_line() {
    let text = GOOD.replace("p = { shape = [1]", "p = { shape = [2]");
    let shown = spec(&text).unwrap_err().to_string();
    assert!(shown.starts_with("shape [2] has 2 elements, but 1 were given"), "{shown}");
    assert!(shown.contains("modelet.toml:10:13"), "{shown}");
}

#[test]
fn golden_answers_come_from_a_file_too() {
    let folder = tempfile::tempdir().unwrap();
    let text =
        GOOD.replace("file = \"digits.onnx\"", "file = \"digits.onnx\"\ngolden_file = \"golden.json\"");
    fs::write(folder.path().join(FILE_NAME), text).unwrap();
    let manifest = Manifest::read(folder.path(), &[]).unwrap();
    let digests = [("digits".parse().unwrap(), Digest::of(b"m"))].into();
    let file = folder.path().join("golden.json");

    let missing = manifest.to_spec(Some(Digest::of(b"c")), &digests).unwrap_err().to_string();
    assert!(missing.contains("cannot read") && missing.contains("modelet.toml:7:15"), "{missing}");

    fs::write(&file, r#"[{"inputs": {}, "outputs": {"p": {"shape": [1], "f32": [1]}}}]"#).unwrap();
    let spec = manifest.to_spec(Some(Digest::of(b"c")), &digests).unwrap();
    assert_eq!(spec.models["digits"].golden.len(), 2);

    fs::write(&file, "[{\"inputs\": {},\n \"output\": {}}]").unwrap();
    let error = manifest.to_spec(Some(Digest::of(b"c")), &digests).unwrap_err();
    let shown = error.to_string();
    assert!(shown.contains("unknown field `output`") && shown.contains("golden.json:2:"), "{shown}");
    let hint = crate::error::foreseen(&error).unwrap().hint();
    assert_eq!(hint.as_deref(), Some("did you mean `outputs`?"));

    fs::write(&file, "[]\n] more").unwrap();
    let error = manifest.to_spec(Some(Digest::of(b"c")), &digests).unwrap_err();
    let shown = error.to_string();
    assert!(shown.contains("trailing characters") && shown.contains("golden.json:2:1"), "{shown}");
    assert_eq!(crate::error::exit_of(&error), crate::error::Exit::Invalid);
}

#[test]
fn settings_go_over_the_file() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(FILE_NAME), GOOD).unwrap();
    let read = |setting: &str| Manifest::read(folder.path(), &[setting.parse().unwrap()]);
    assert_eq!(read("scale.session_idle_timeout_ms=7").unwrap().entries.scale.session_idle_timeout_ms, 7);
    let error = read("scale.idle=7").unwrap_err();
    assert_eq!(crate::error::exit_of(&error), crate::error::Exit::Usage);
    assert!(error.to_string().contains("unknown field `idle`"), "{error}");
    let manifest = read("limits.handles=1").unwrap();
    let shown = manifest
        .to_spec(Some(Digest::of(b"c")), &[("digits".parse().unwrap(), Digest::of(b"m"))].into())
        .unwrap_err();
    assert!(shown.to_string().starts_with("--set limits.handles: 1 is out of range"), "{shown}");
}
