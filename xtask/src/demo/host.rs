//! The host of the demo: the built `modelet serve` on a data folder that goes with it.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use tempfile::TempDir;

use crate::{shell, workspace};

/// A running host. Dropped, it is asked to stop, and its data folder is removed.
pub struct DemoHost {
    program: PathBuf,
    process: Child,
    ready: Ready,
    authorization: String,
    // After the process, which is stopped in `drop`, before its folder goes.
    _folder: TempDir,
}

/// What `modelet serve --json` prints when it answers requests.
#[derive(Deserialize)]
struct Ready {
    url: String,
    data_dir: PathBuf,
    operator_key_file: PathBuf,
}

impl DemoHost {
    /// Starts a host on `port`; 0 is any free one.
    pub fn start(port: u16) -> anyhow::Result<Self> {
        // The host and whatever else runs receive a Ctrl-C too. Without a handler this program would
        // end before them, and leave the data folder behind.
        ctrlc::set_handler(|| ()).context("cannot handle Ctrl-C")?;
        let program = workspace::programs()?.join(format!("modelet{}", std::env::consts::EXE_SUFFIX));
        let folder =
            tempfile::Builder::new().prefix("modelet-demo-").tempdir().context("cannot make a folder")?;
        let mut process = Command::new(&program)
            .args([
                "serve",
                "--json",
                "--listen",
                &format!("127.0.0.1:{port}"),
                "--log",
                "warn",
                "--data-dir",
            ])
            .arg(folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start `{}`", program.display()))?;
        let stdout = process.stdout.take().expect("standard output is piped");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).context("cannot read what the host prints")?;
        let Ok(ready) = serde_json::from_str::<Ready>(&line) else {
            let status = process.wait().context("cannot wait for the host")?;
            bail!("the host did not start ({status}); its reason stands above");
        };
        let key =
            std::fs::read_to_string(&ready.operator_key_file).context("cannot read the operator's key")?;
        let authorization = format!("Bearer {}", key.trim());
        Ok(Self { program, process, ready, authorization, _folder: folder })
    }

    /// Its address.
    pub fn url(&self) -> &str {
        &self.ready.url
    }

    /// What requests say to be the operator's.
    pub fn authorization(&self) -> &str {
        &self.authorization
    }

    /// The file with the operator's key.
    pub fn key_file(&self) -> &Path {
        &self.ready.operator_key_file
    }

    /// Its data folder.
    pub fn data_dir(&self) -> &Path {
        &self.ready.data_dir
    }

    /// The `modelet` program.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Runs a command of the command line on this host.
    pub fn modelet<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> anyhow::Result<()> {
        let mut command = shell::command(&self.program, arguments);
        let shown = command.get_args().map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ");
        println!("$ modelet {shown}");
        let status = command.env("MODELET_HOST", self.url()).status().context("cannot run modelet")?;
        anyhow::ensure!(status.success(), "`modelet {shown}` ended with {status}");
        Ok(())
    }

    /// Waits until the host has stopped, after the Ctrl-C that it receives as this program does.
    pub fn wait_for_ctrl_c(mut self) -> anyhow::Result<()> {
        self.process.wait().context("cannot wait for the host")?;
        Ok(())
    }
}

impl Drop for DemoHost {
    fn drop(&mut self) {
        // A host that has ended already is no error, and there is nobody left to tell.
        if let (Ok(None), Some(pid)) =
            (self.process.try_wait(), i32::try_from(self.process.id()).ok().and_then(Pid::from_raw))
        {
            let _ = kill_process(pid, Signal::TERM);
            let _ = self.process.wait();
        }
    }
}
