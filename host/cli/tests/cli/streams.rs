//! Streams that nobody reads any more.

use std::io::pipe;
use std::path::Path;
use std::process::{Command, Stdio};

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_modelet"));
    command.args(arguments).current_dir(folder).env_remove("MODELET_HOST").stdin(Stdio::null());
    command
}

/// The end of a pipe whose other end is closed.
fn closed() -> Stdio {
    let (_, writer) = pipe().unwrap();
    writer.into()
}

#[test]
fn an_error_that_nobody_reads_has_its_exit_code_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, code) in [
        (&["deploy"][..], 3),
        (&["deploy", "--json"], 3),
        (&["deploy", "--nonsense"], 2),
        (&["deploy", "--nonsense", "--json"], 2),
        (&["functions", "--host", "http://127.0.0.1:1"], 4),
    ] {
        let status = command(folder.path(), arguments).stderr(closed()).status().unwrap();
        assert_eq!(status.code(), Some(code), "{arguments:?}");
    }
}

#[test]
fn an_answer_that_nobody_reads_ends_quietly() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [&["completions", "bash"][..], &["new", "a"], &["new", "b", "--json"], &["--help"]] {
        let output = command(folder.path(), arguments).stdout(closed()).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*stderr), (Some(0), ""), "{arguments:?}");
    }
}
