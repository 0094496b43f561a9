//! Programs that use others' clients (`tests/clients`); what each asserts is in it.

use std::ffi::OsStr;
use std::process::Stdio;

use tokio::process::Command;

use super::repository;

/// Runs one.
///
/// # Panics
/// If it fails, with what it said.
pub async fn run_client(
    script: &str,
    arguments: impl IntoIterator<Item: AsRef<OsStr>>,
    variables: &[(&str, &str)],
) {
    let python = repository().join(".cache/clients/bin/python");
    assert!(python.exists(), "{}: make it by `cargo xtask test --only fetch`", python.display());
    let output = Command::new(python)
        .arg(repository().join("tests/clients").join(script))
        .args(arguments)
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}
