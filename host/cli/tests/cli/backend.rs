//! `modelet backend install`, with the pip of this machine and with others.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::run::{modelet, modelet_with_path};

const INSTALL: [&str; 6] = ["backend", "install", "onnxruntime", "--json", "--data-dir", "data"];

#[test]
fn a_host_uses_what_was_installed() {
    let folder = tempfile::tempdir().unwrap();
    let ended = modelet(folder.path(), INSTALL);
    assert_eq!(ended.code, 0, "{ended:?}");
    let answer: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((&answer["version"], &answer["installed"]), (&"1.32.0".into(), &true.into()), "{answer}");
    let backends = folder.path().join("data/backends");
    let left: Vec<_> = fs::read_dir(&backends).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["libonnxruntime.so.1.32.0"]);

    // Once more, it needs nothing.
    let ended = modelet_with_path(folder.path(), INSTALL, Some(folder.path()));
    let answer: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((ended.code, &answer["installed"]), (0, &false.into()), "{ended:?}");

    let mut host = Command::new(env!("CARGO_BIN_EXE_modelet"));
    host.args(["serve", "--json", "--listen", "127.0.0.1:0", "--data-dir", "data"])
        .current_dir(folder.path());
    let mut host = host.env_remove("MODELET_ONNXRUNTIME").stdout(Stdio::piped()).spawn().unwrap();
    let mut ready = String::new();
    BufReader::new(host.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    host.kill().unwrap();
    host.wait().unwrap();
    let ready: Value = serde_json::from_str(&ready).unwrap();
    let found =
        ready["host"]["backends"].as_array().unwrap().iter().find(|backend| backend["name"] == "onnxruntime");
    assert_eq!(found.unwrap()["version"], "1.32.0", "{ready}");
}

#[test]
fn what_is_missing_is_named_with_what_to_do_without_it() {
    let folder = tempfile::tempdir().unwrap();
    let programs = folder.path().join("programs");
    fs::create_dir(&programs).unwrap();
    // Without Python, then with one that has no pip.
    for python in [None, Some("#!/bin/sh\nexit 1\n")] {
        if let Some(python) = python {
            program(&programs, python);
        }
        let ended = modelet_with_path(folder.path(), INSTALL, Some(&programs));
        let error = ended.error().to_string();
        assert_eq!(ended.code, 6, "{ended:?}");
        for part in ["pip", "python3-pip", "--onnxruntime FILE", "libonnxruntime.so.1.32.0"] {
            assert!(error.contains(part), "{part}: {error}");
        }
    }
}

/// The same release as everything else here is tested with.
#[test]
fn it_is_the_release_that_the_tests_fetch() {
    let ours = include_str!("../../src/commands/backend.rs");
    let fetched = include_str!("../../../../examples/fetch.py");
    let hashes = |text: &str| -> Vec<String> {
        let quoted =
            text.split('"').filter(|part| part.len() == 64 && part.bytes().all(|b| b.is_ascii_hexdigit()));
        quoted.map(str::to_owned).collect()
    };
    let (ours_have, fetched_have) = (hashes(ours), hashes(fetched));
    assert_eq!(ours_have.len(), 4);
    for hash in ours_have {
        assert!(fetched_have.contains(&hash), "{hash} is not in examples/fetch.py");
    }
    assert!(ours.contains("\"1.32.0\"") && fetched.contains("onnxruntime==1.32.0"));
}

#[test]
fn what_stands_in_the_folder_is_no_module_of_pip() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("pip.py"), "raise SystemExit('not pip')").unwrap();
    let ended = modelet(folder.path(), INSTALL);
    assert_eq!(ended.code, 0, "{ended:?}");
}

#[test]
fn another_library_than_the_known_one_is_not_installed() {
    let folder = tempfile::tempdir().unwrap();
    let programs = folder.path().join("programs");
    fs::create_dir(&programs).unwrap();
    let python = "#!/bin/sh\nwhile [ $# -gt 0 ]; do [ $1 = --target ] && target=$2; shift; done\n\
                  [ -z $target ] && exit 0\n\
                  /bin/mkdir -p $target/onnxruntime/capi\n\
                  echo other >$target/onnxruntime/capi/libonnxruntime.so.1.32.0\n";
    program(&programs, python);
    let ended = modelet_with_path(folder.path(), INSTALL, Some(&programs));
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.stderr.contains("not the library"), "{ended:?}");
    assert_eq!(fs::read_dir(folder.path().join("data/backends")).unwrap().count(), 0, "nothing is left");
}

fn program(folder: &std::path::Path, text: &str) {
    let path = folder.join("python3");
    fs::write(&path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}
