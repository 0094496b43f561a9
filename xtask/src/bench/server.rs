//! A server that is measured: started on a free port of this machine, stopped when dropped.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{body, check_interrupted};

/// The longest that a server may take to accept connections, and to stop.
const PATIENCE: Duration = Duration::from_secs(30);
const INTERVAL: Duration = Duration::from_millis(20);

/// A running server.
pub struct Server {
    name: &'static str,
    origin: String,
    path: String,
    body: Option<&'static Path>,
    process: Child,
    // What it keeps goes with it; it is stopped in `drop`, before its folder goes.
    folder: TempDir,
}

impl Server {
    /// Starts the server that `command` makes for an address and a folder of its own, and waits
    /// until it accepts connections.
    pub fn start(
        name: &'static str,
        command: impl FnOnce(SocketAddr, &TempDir) -> anyhow::Result<Command>,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("modelet-bench-").tempdir();
        let folder = folder.context("cannot make a folder")?;
        let address = free_address()?;
        let log = log_of(&folder);
        let output = File::create(&log).context("cannot make a log file")?;
        let errors = output.try_clone().context("cannot share a log file")?;
        let process = command(address, &folder)?
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let mut server = Self {
            name,
            origin: format!("http://{address}"),
            path: "/".to_owned(),
            body: Some(body()),
            process,
            folder,
        };
        let begin = Instant::now();
        while TcpStream::connect(address).is_err() {
            check_interrupted()?;
            let ended = server.process.try_wait().with_context(|| format!("cannot wait for {name}"))?;
            if ended.is_some() || begin.elapsed() > PATIENCE {
                let log = std::fs::read_to_string(&log).unwrap_or_default();
                bail!("{name} did not start; it says: {log}");
            }
            thread::sleep(INTERVAL);
        }
        Ok(server)
    }

    /// What it is called in reports.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Its address, without a path.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Where it is called: by default, where it reads digits.
    pub fn url(&self) -> String {
        format!("{}{}", self.origin, self.path)
    }

    /// Where it is called, below its address.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Sets where it reads digits, if not at `/`.
    pub fn reads_at(&mut self, path: String) {
        self.path = path;
    }

    /// Sets where it is called without a body, for those that read no digits.
    pub fn greets_at(&mut self, path: String) {
        self.path = path;
        self.body = None;
    }

    /// Sets where it is called with another body.
    pub fn is_asked_at(&mut self, path: String, body: &'static Path) {
        self.path = path;
        self.body = Some(body);
    }

    /// The file that is posted to it; without one it is asked with GET.
    pub fn body(&self) -> Option<&'static Path> {
        self.body
    }

    /// Its folder, which goes with it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What it has printed.
    pub fn log(&self) -> anyhow::Result<String> {
        std::fs::read_to_string(log_of(&self.folder))
            .with_context(|| format!("cannot read the log of {}", self.name))
    }

    /// Its process, which may have started others.
    pub fn id(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A server that has ended already is no error, and there is nobody left to tell.
        if let Some(pid) = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw)
            && matches!(self.process.try_wait(), Ok(None))
        {
            let _ = kill_process(pid, Signal::TERM);
            let begin = Instant::now();
            while matches!(self.process.try_wait(), Ok(None)) && begin.elapsed() < PATIENCE {
                thread::sleep(INTERVAL);
            }
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}

fn log_of(folder: &TempDir) -> PathBuf {
    folder.path().join("log.txt")
}

/// An address that is free now. Another program could take it first, and the server would say so.
fn free_address() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot find a free port")?;
    listener.local_addr().context("cannot find a free port")
}
