//! A handler's Cargo project: whether the machine can build it, and building and testing it.

use std::ffi::OsString;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;
use cargo_metadata::Message;
use serde::Serialize;

use crate::error::Error;

/// What handlers are compiled for.
pub const TARGET: &str = "wasm32-wasip2";

/// A folder with a `Cargo.toml`.
#[derive(Debug)]
pub struct Project {
    folder: PathBuf,
}

/// A component that was built.
#[derive(Debug, Serialize)]
pub struct Component {
    /// The file.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
}

impl Project {
    /// The project in `folder`.
    ///
    /// # Errors
    /// If there is no `Cargo.toml`.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let manifest = folder.join("Cargo.toml");
        if !manifest.is_file() {
            return Err(Error::FileNotFound { what: "the project's".into(), path: manifest });
        }
        Ok(Self { folder: folder.to_owned() })
    }

    /// Builds the handler. Cargo's own progress and errors go to standard error.
    ///
    /// # Errors
    /// If something is missing on the machine, or the project does not build or is not a handler's.
    pub fn build(&self) -> anyhow::Result<Component> {
        self.check_target()?;
        let arguments = ["build", "--release", "--target", TARGET];
        let mut cargo = self.cargo(&arguments);
        cargo.arg("--message-format=json-render-diagnostics").stdout(Stdio::piped());
        let mut child = cargo.spawn().map_err(no_cargo)?;
        let stdout = child.stdout.take().expect("standard output is piped");
        let own_manifest =
            self.folder.join("Cargo.toml").canonicalize().context("cannot resolve the project's folder")?;
        let mut component = None;
        for message in Message::parse_stream(BufReader::new(stdout)) {
            // A project inside a workspace builds other packages too; only its own files count.
            if let Message::CompilerArtifact(artifact) = message.context("cannot read cargo's messages")?
                && artifact.manifest_path.as_std_path() == own_manifest
            {
                let wasm = artifact.filenames.into_iter().find(|file| file.extension() == Some("wasm"));
                component = wasm.map(PathBuf::from).or(component);
            }
        }
        if !child.wait().context("cannot wait for cargo")?.success() {
            return Err(Error::Cargo(format!("cargo {}", arguments.join(" "))).into());
        }
        let path = component.ok_or_else(|| {
            Error::Invalid(
                "the project made no component: its Cargo.toml needs `[lib]` with `crate-type = [\"cdylib\", \"rlib\"]`"
                    .into(),
            )
        })?;
        let bytes = path.metadata().with_context(|| format!("cannot read `{}`", path.display()))?.len();
        Ok(Component { path, bytes })
    }

    /// Runs the handler's tests on this machine, with `arguments` for `cargo test`.
    ///
    /// # Errors
    /// If cargo is missing, or a test fails.
    pub fn test(&self, arguments: &[OsString]) -> anyhow::Result<()> {
        let status = self.cargo(&["test"]).args(arguments).status().map_err(no_cargo)?;
        if !status.success() {
            return Err(Error::Cargo("cargo test".into()).into());
        }
        Ok(())
    }

    fn cargo(&self, arguments: &[&str]) -> Command {
        // Cargo sets the variable for what it runs, such as this command in a build script.
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(arguments).current_dir(&self.folder);
        cargo
    }

    /// Asks the compiler that the project uses whether it has the target's standard library.
    fn check_target(&self) -> anyhow::Result<()> {
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let output = Command::new(rustc)
            .args(["--print", "target-libdir", "--target", TARGET])
            .current_dir(&self.folder)
            .output()
            .map_err(no_cargo)?;
        let folder = String::from_utf8_lossy(&output.stdout);
        if output.status.success() && Path::new(folder.trim()).is_dir() {
            return Ok(());
        }
        let what = format!("the compiler cannot build for {TARGET}");
        Err(Error::Missing { what, install: format!("rustup target add {TARGET}") }.into())
    }
}

fn no_cargo(error: std::io::Error) -> anyhow::Error {
    if error.kind() != std::io::ErrorKind::NotFound {
        return anyhow::Error::from(error).context("cannot run cargo");
    }
    let install = "curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh".into();
    Error::Missing { what: "cargo, which builds handlers, is not installed".into(), install }.into()
}
