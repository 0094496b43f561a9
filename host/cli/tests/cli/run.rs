//! Running the built program.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Runs `modelet` in `folder`, with nothing of this machine's settings.
pub fn modelet<S: AsRef<OsStr>>(folder: &Path, arguments: impl IntoIterator<Item = S>) -> Ended {
    modelet_with_path(folder, arguments, None)
}

/// As [`modelet`], where other programs are found in `programs` only.
pub fn modelet_with_path<S: AsRef<OsStr>>(
    folder: &Path,
    arguments: impl IntoIterator<Item = S>,
    programs: Option<&Path>,
) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_modelet"));
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("MODELET_")) {
        command.env_remove(name);
    }
    if let Some(programs) = programs {
        command.env("PATH", programs).env_remove("CARGO").env_remove("RUSTC");
    }
    let Output { status, stdout, stderr } = command.output().expect("the program can be started");
    let text = |bytes| String::from_utf8(bytes).expect("the program prints text");
    Ended { code: status.code().expect("no signal ended it"), stdout: text(stdout), stderr: text(stderr) }
}

impl Ended {
    /// The error that `--json` prints.
    pub fn error(&self) -> Value {
        let object: Value = serde_json::from_str(self.stderr.trim()).expect("one JSON object");
        object["error"].clone()
    }
}
