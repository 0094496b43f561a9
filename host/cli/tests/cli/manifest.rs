//! Mistakes of authors, found before anything is sent.

use std::fs;

use tempfile::TempDir;

use crate::run::modelet;

fn project(manifest: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("modelet.toml"), manifest).unwrap();
    folder
}

#[test]
fn a_folder_without_a_manifest_is_not_found() {
    let folder = tempfile::tempdir().unwrap();
    let ended = modelet(folder.path(), ["deploy"]);
    assert_eq!(ended.code, 3, "{ended:?}");
    assert!(ended.stderr.contains("modelet.toml` does not exist"), "{ended:?}");
}

#[test]
fn a_mistake_is_shown_with_its_line_and_what_is_allowed() {
    let folder = project("name = \"a\"\ncomponent = \"a.wasm\"\n\n[concurrency]\nlimits = 3\n");
    let ended = modelet(folder.path(), ["deploy"]);
    assert_eq!(ended.code, 5);
    assert_eq!(
        ended.stderr,
        "error: unknown field `limits`, expected one of `limit`, `queue`, `queue_timeout_ms`, `priority`\n \
         --> ./modelet.toml:5:1\n  \
           |\n\
         5 | limits = 3\n  \
           | ^^^^^^\n\
         help: did you mean `limit`?\n"
    );
    assert_eq!(ended.stdout, "");
}

#[test]
fn json_has_the_place_in_fields() {
    let folder = project("name = \"a\"\ncomponent = \"missing.wasm\"\n");
    let ended = modelet(folder.path(), ["deploy", "--json"]);
    assert_eq!(ended.code, 5);
    let error = ended.error();
    assert_eq!(
        (&error["line"], &error["column"], &error["exit"]),
        (&2.into(), &13.into(), &5.into()),
        "{error}"
    );
    assert_eq!(error["field"], "component");
    assert!(error["detail"].as_str().unwrap().contains("modelet build"), "{error}");
}

#[test]
fn a_missing_model_is_named() {
    let folder = project("name = \"a\"\ncomponent = \"a.wasm\"\n[models.m]\nfile = \"m.onnx\"\n");
    fs::write(folder.path().join("a.wasm"), "x").unwrap();
    let ended = modelet(folder.path(), ["deploy", "--json"]);
    assert_eq!((ended.code, ended.error()["field"].clone()), (5, "models.m.file".into()), "{ended:?}");
}

#[test]
fn a_manifest_that_is_not_text_is_shown_at_its_byte() {
    let folder = project("");
    fs::write(folder.path().join("modelet.toml"), b"name = \"a\"\n# caf\xe9\n").unwrap();
    let ended = modelet(folder.path(), ["deploy", "--json"]);
    assert_eq!(ended.code, 5, "{ended:?}");
    let error = ended.error();
    assert_eq!((&error["line"], &error["column"]), (&2.into(), &6.into()), "{error}");
    assert!(error["detail"].as_str().unwrap().contains("byte 16 (0xe9) is not UTF-8"), "{error}");
}
