//! `modelet new`. That what it makes builds and answers is shown by the end-to-end suite.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::run::modelet;

/// Every file below a folder.
fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn writes_a_project_with_the_sdk_and_no_placeholder() {
    let folder = tempfile::tempdir().unwrap();
    let ended = modelet(folder.path(), ["new", "my-fn", "--json"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let answer: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert!(answer["files"].as_array().unwrap().contains(&"modelet.toml".into()), "{answer}");

    let project = folder.path().join("my-fn");
    let manifest = fs::read_to_string(project.join("modelet.toml")).unwrap();
    assert!(manifest.contains("name = \"my-fn\"") && manifest.contains("release/my_fn.wasm"), "{manifest}");
    for file in files(&project).iter().filter(|file| !file.starts_with(project.join(".modelet"))) {
        let text = String::from_utf8_lossy(&fs::read(file).unwrap()).into_owned();
        assert!(!text.contains("{{name}}") && !text.contains("{{crate_name}}"), "{}", file.display());
    }
    for part in ["Cargo.toml", "src/lib.rs", "macros/Cargo.toml", "macros/src/lib.rs", "wit/handler.wit"] {
        assert!(project.join(".modelet/sdk/guest-sdk").join(part).is_file(), "{part}");
    }
}

#[test]
fn writes_projects_in_other_languages_with_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    for (language, source) in [("python", "app.py"), ("js", "handler.js")] {
        let name = format!("my-{language}");
        let ended = modelet(folder.path(), ["new", &name, "--lang", language]);
        assert_eq!(ended.code, 0, "{ended:?}");
        let project = folder.path().join(&name);
        let manifest = fs::read_to_string(project.join("modelet.toml")).unwrap();
        let component = format!("build/my_{language}.wasm");
        assert!(manifest.contains(&name) && manifest.contains(&component), "{manifest}");
        for part in [source, "model/iris.onnx", "requests/setosa.json", "wit/handler.wit"] {
            assert!(project.join(part).is_file(), "{part}");
        }
        assert!(!project.join(".modelet").exists());
        for file in files(&project) {
            let text = String::from_utf8_lossy(&fs::read(&file).unwrap()).into_owned();
            assert!(!text.contains("{{name}}") && !text.contains("{{crate_name}}"), "{}", file.display());
        }
    }
    let ended = modelet(folder.path(), ["new", "mine", "--lang", "cobol"]);
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.stderr.contains("rust, python, js"), "{ended:?}");
}

#[test]
fn does_not_write_over_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("mine")).unwrap();
    fs::write(folder.path().join("mine/notes"), "mine").unwrap();
    let ended = modelet(folder.path(), ["new", "mine"]);
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.stderr.contains("is not empty"), "{ended:?}");
    assert_eq!(files(folder.path()).len(), 1);
}

#[test]
fn refuses_a_name_that_no_function_can_have() {
    let folder = tempfile::tempdir().unwrap();
    let ended = modelet(folder.path(), ["new", "My_Fn"]);
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.stderr.contains("is not a name: use 1 to 63 of a-z"), "{ended:?}");
}
