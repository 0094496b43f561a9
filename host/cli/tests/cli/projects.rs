//! `modelet build` and `test`: what is missing in a project or on the machine is named. That projects build
//! is shown by the end-to-end suite.

use std::fs;
use std::path::Path;

use crate::run::{Ended, modelet, modelet_with_path};

/// Runs a command in a new project, on a machine with no programs.
fn without_tools(command: &str, language: &str) -> Ended {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(modelet(folder.path(), ["new", "mine", "--lang", language]).code, 0);
    modelet_with_path(&folder.path().join("mine"), [command, "--json"], Some(folder.path()))
}

#[test]
fn names_the_tool_that_is_missing_and_what_installs_it() {
    let apt = |packages: &str, homebrew: &str| match cfg!(target_os = "macos") {
        true => format!("brew install {homebrew}"),
        false => format!("sudo apt-get install {packages}"),
    };
    for (language, tool, install) in [
        ("rust", "cargo", "https://sh.rustup.rs".to_owned()),
        ("python", "python3", apt("python3 python3-venv", "python")),
        ("js", "npm", apt("nodejs npm", "node")),
    ] {
        for command in ["build", "test"] {
            let ended = without_tools(command, language);
            assert_eq!(ended.code, 6, "{ended:?}");
            let error = ended.error().to_string();
            assert!(error.contains(tool) && error.contains(&install), "{error}");
        }
    }
}

#[test]
fn names_what_a_python_without_venv_lacks() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(modelet(folder.path(), ["new", "mine", "--lang", "python"]).code, 0);
    // What Debian's `python3` answers that cannot import `ensurepip`.
    let programs = folder.path().join("programs");
    fs::create_dir(&programs).unwrap();
    program(&programs.join("python3"), "#!/bin/sh\nexit 1\n");
    let ended = modelet_with_path(&folder.path().join("mine"), ["build", "--json"], Some(&programs));
    assert_eq!(ended.code, 6, "{ended:?}");
    let error = ended.error().to_string();
    assert!(error.contains("no `venv`") && error.contains("python3-venv"), "{error}");
}

#[test]
fn a_script_that_writes_elsewhere_is_found_out() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(modelet(folder.path(), ["new", "mine", "--lang", "js"]).code, 0);
    let programs = folder.path().join("programs");
    fs::create_dir(&programs).unwrap();
    program(&programs.join("npm"), "#!/bin/sh\necho made something\n");
    let ended = modelet_with_path(&folder.path().join("mine"), ["build", "--json"], Some(&programs));
    assert_eq!(ended.code, 5, "{ended:?}");
    assert_eq!(ended.stdout, "", "what tools print is no answer: {ended:?}");
    assert!(ended.stderr.contains("build/mine.wasm"), "{ended:?}");
}

#[test]
fn a_folder_without_a_project_is_told_from_one() {
    let folder = tempfile::tempdir().unwrap();
    for command in ["build", "test"] {
        let ended = modelet(folder.path(), [command]);
        assert_eq!(ended.code, 3, "{ended:?}");
        assert!(ended.stderr.contains("no project") && ended.stderr.contains("modelet new"), "{ended:?}");
    }
}

#[cfg(unix)]
fn program(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}
