//! The command line of an auditor, who need not trust the host: an export and the file of hashes are enough.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::process::Command;

use super::host_with_changes;
use super::retention::forgetful;
use crate::support::{TestHost, target_dir};

/// Runs the binary in `folder`, and gives its exit code and what it printed.
async fn modelet(host: &TestHost, folder: &Path, arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new(target_dir().join("debug/modelet"));
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    command.env("MODELET_HOST", host.base()).env("MODELET_KEY", host.key());
    let output = command.output().await.unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Everything that an auditor takes home.
async fn take_home(host: &TestHost, folder: &Path) -> String {
    let (status, verified) = modelet(host, folder, &["audit", "verify", "--json"]).await;
    assert_eq!(status, 0, "{verified}");
    let key = json_of(&verified)["public_key"].as_str().unwrap().to_owned();
    let (status, told) = modelet(host, folder, &["audit", "verify", "--public-key", &key]).await;
    assert!(status == 0 && told.starts_with("intact") && told.contains(&key), "{told}");
    // The heads come first, as docs/audit.md says.
    fs::copy(host.data_dir().join("audit-heads.jsonl"), folder.join("heads.jsonl")).unwrap();
    let (status, export) = modelet(host, folder, &["audit", "export"]).await;
    assert_eq!(status, 0);
    fs::write(folder.join("changes.jsonl"), export).unwrap();
    key
}

fn check(key: &str) -> [&str; 8] {
    ["audit", "check", "changes.jsonl", "--heads", "heads.jsonl", "--public-key", key, "--json"]
}

#[tokio::test]
async fn an_export_is_checked_without_the_host() {
    let ((host, last), folder) = (host_with_changes().await, tempfile::tempdir().unwrap());
    let key = take_home(&host, folder.path()).await;
    let run = async |key: &str| modelet(&host, folder.path(), &check(key)).await;
    let (status, checked) = run(&key).await;
    let checked = json_of(&checked);
    assert_eq!((status, &checked["intact"], &checked["hash"]), (0, &json!(true), &last["hash"]), "{checked}");
    assert_eq!(checked["signed"]["id"], last["id"]);

    let (_, told) = modelet(&host, folder.path(), &check(&key)[..7]).await;
    assert!(told.starts_with("intact"), "{told}");
    let other = format!("ed25519:{}", "0".repeat(64));
    assert_eq!(run(&other).await.0, 1, "another key has signed nothing");
    assert_eq!(run("ed25519:12").await.0, 2);

    let file = folder.path().join("changes.jsonl");
    let export = fs::read_to_string(&file).unwrap();
    let lines: Vec<_> = export.lines().collect();
    let edited = export.replacen("\"127.0.0.1\"", "\"127.0.0.2\"", 1);
    let cut = lines[..lines.len() - 1].join("\n");
    let left_out = [&lines[..2], &lines[3..]].concat().join("\n");
    for (altered, broken_at) in [(edited, None), (cut, last["id"].as_u64()), (left_out, Some(3))] {
        fs::write(&file, altered).unwrap();
        let (status, checked) = run(&key).await;
        let checked = json_of(&checked);
        assert_eq!((status, &checked["intact"]), (1, &json!(false)), "{checked}");
        assert!(broken_at.is_none() || checked["broken_at"].as_u64() == broken_at, "{checked}");
    }
    fs::write(&file, "no export\n").unwrap();
    assert_eq!(run(&key).await.0, 1);
    fs::remove_file(&file).unwrap();
    assert_eq!(run(&key).await.0, 3);
}

#[tokio::test]
async fn an_export_that_begins_at_a_checkpoint_is_checked_too() {
    let ((mut host, old), folder) = (forgetful().await, tempfile::tempdir().unwrap());
    // The file has the checkpoint when upkeep has come round, or the host is restarted.
    host.restart().await;
    let key = take_home(&host, folder.path()).await;
    let (status, checked) = modelet(&host, folder.path(), &check(&key)).await;
    let checked = json_of(&checked);
    assert_eq!((status, &checked["checkpoint"]), (0, &json!(old)), "{checked}");
    let heads = folder.path().join("heads.jsonl");
    let without: String = fs::read_to_string(&heads)
        .unwrap()
        .lines()
        .filter(|line| !line.contains("\"checkpoint\":true"))
        .map(|line| format!("{line}\n"))
        .collect();
    fs::write(&heads, without).unwrap();
    let (status, checked) = modelet(&host, folder.path(), &check(&key)).await;
    assert_eq!((status, &json_of(&checked)["broken_at"]), (1, &json!(2)), "{checked}");
}
