//! `modelet backend`: fetches the library of a backend that is not built in.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand, ValueEnum};
use modelet_server::{ONNXRUNTIME_FILE, backends_folder, onnxruntime_version};
use modelet_types::Digest;
use serde_json::json;
use tempfile::TempDir;

use crate::error::Error;
use crate::output::{GREEN, Output};
use crate::project::tool;

const EXAMPLES: &str = "\
Examples:
  modelet backend install onnxruntime
  modelet backend install onnxruntime --data-dir /var/lib/modelet

Your own pip fetches the wheel, with its settings for proxies and mirrors; its version
and SHA-256 are a part of this program. A host on the data folder uses the library from
its next start. Where there is no pip or no network, `modelet serve --onnxruntime FILE`
takes a library from anywhere.";

/// Install a backend that is not built in.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Fetch a backend's library into the data folder of a host.
    #[command(after_help = EXAMPLES)]
    Install {
        /// The backend.
        backend: Backend,
        /// The host's data folder; made if it is not there.
        #[arg(long, env = "MODELET_DATA_DIR", default_value = "modelet-data", value_name = "DIR")]
        data_dir: PathBuf,
    },
}

/// What can be installed.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Backend {
    /// Fast for large models, and complete. 35 MB.
    Onnxruntime,
}

/// The release that hosts are tested with.
const VERSION: &str = "1.32.0";

/// For one kind of processor.
struct Release {
    machine: &'static str,
    /// SHA-256 of the wheel, for pip.
    wheel: &'static str,
    /// SHA-256 of the library in it.
    library: &'static str,
}

const RELEASES: [Release; 2] = [
    Release {
        machine: "x86_64",
        wheel: "5a34fc4dfeb5a7b4a74c95dcba1e773d722abda720b474edf1b0c419dc6d163d",
        library: "6c1585d1bbf45b0712ea4a21b705c5fcb4ba04ff2e30f1fbf81a49faf658638f",
    },
    Release {
        machine: "aarch64",
        wheel: "2303372a85299b6757b0e11e1cbf13e410ddf7e10c37f4b37e99d1c90e7daf7c",
        library: "49852228a93995158b2a813d4df487d47a1b76b0eaa894507ef49e91b6d7954a",
    },
];

/// Installs.
///
/// # Errors
/// If this machine has no pip, pip fails, or the folder cannot be written.
pub fn run(arguments: Arguments, output: Output) -> anyhow::Result<()> {
    let Action::Install { backend: Backend::Onnxruntime, data_dir } = arguments.action;
    let machine = std::env::consts::ARCH;
    let release = RELEASES.iter().find(|release| cfg!(target_os = "linux") && release.machine == machine);
    let Some(release) = release else {
        let detail = format!(
            "no ONNX Runtime for {} on {machine} is known to this version, only for Linux on x86_64 and aarch64: \
             get its library yourself, 1.24 or later, and name it with `modelet serve --onnxruntime FILE`",
            std::env::consts::OS
        );
        return Err(Error::Invalid(detail).into());
    };
    let folder = std::path::absolute(backends_folder(&data_dir)).context("cannot find the data folder")?;
    let file = folder.join(format!("{ONNXRUNTIME_FILE}.{VERSION}"));
    let is_new = !has_digest(&file, release.library);
    if is_new {
        check_owner(&data_dir)?;
        install(release, &folder, &file)?;
    }
    let answer = json!({ "backend": "onnxruntime", "version": VERSION, "file": file, "installed": is_new });
    output.answer(&answer, || {
        let done = if is_new { "installed" } else { "is there already:" };
        format!(
            "{GREEN}✓{GREEN:#} {done} ONNX Runtime {VERSION}, {}\n\
             a host on this data folder uses it from its next start\n",
            file.display()
        )
    })?;
    Ok(())
}

/// Refuses a folder of somebody else, who could not read what is put there.
fn check_owner(data_dir: &Path) -> anyhow::Result<()> {
    let Ok(metadata) = fs::metadata(data_dir) else { return Ok(()) };
    // What is made here belongs to whoever runs this.
    let probe = tempfile::tempfile().and_then(|file| file.metadata()).context("cannot make a file")?;
    if metadata.uid() == probe.uid() {
        return Ok(());
    }
    let detail = format!(
        "`{}` belongs to another user (uid {}), whose host could not read the library: run this as that user",
        data_dir.display(),
        metadata.uid()
    );
    Err(Error::Invalid(detail).into())
}

/// Fetches the wheel, takes the library out of it, and puts that in its place.
fn install(release: &Release, folder: &Path, file: &Path) -> anyhow::Result<()> {
    let cannot = || format!("cannot write to `{}`", folder.display());
    // As the host makes its own: for its user alone.
    DirBuilder::new().recursive(true).mode(0o700).create(folder).with_context(cannot)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).with_context(cannot)?;
    remove_drafts(folder);
    // Beside its place, so that it can be renamed there.
    let fetched = TempDir::with_prefix_in(DRAFT, folder).with_context(cannot)?;
    check_pip(fetched.path())?;
    let requirement = fetched.path().join("requirement.txt");
    fs::write(&requirement, format!("onnxruntime=={VERSION} --hash=sha256:{}\n", release.wheel))
        .with_context(cannot)?;
    let unpacked = fetched.path().join("wheel");
    let mut pip = pip(fetched.path());
    pip.args(["install", "--disable-pip-version-check", "--quiet", "--no-compile", "--no-deps"]);
    // The library is the same in the wheels for every Python; this is the one whose hash is known.
    pip.args(["--python-version=3.11", "--implementation=cp", "--abi=cp311", "--only-binary=:all:"]);
    pip.arg(format!("--platform=manylinux_2_28_{}", release.machine)).arg("--require-hashes");
    pip.arg("--target").arg(&unpacked).arg("--requirement").arg(&requirement);
    tool::run(&mut pip, no_pip)?;
    let library = unpacked.join(format!("onnxruntime/capi/{ONNXRUNTIME_FILE}.{VERSION}"));
    if !has_digest(&library, release.library) {
        bail!("what pip fetched has not the library that is expected in ONNX Runtime {VERSION}");
    }
    // A host that finds a library which it cannot load does not start.
    if let Err(reason) = onnxruntime_version(&library) {
        bail!("this machine cannot load ONNX Runtime {VERSION}: {reason}");
    }
    fs::set_permissions(&library, fs::Permissions::from_mode(0o600)).with_context(cannot)?;
    File::open(&library).and_then(|library| library.sync_all()).with_context(cannot)?;
    fs::rename(&library, file).with_context(cannot)?;
    File::open(folder).and_then(|folder| folder.sync_all()).with_context(cannot)
}

/// What the folders begin with into which a library is fetched.
const DRAFT: &str = "install-";

/// Removes what was left when this was broken off.
fn remove_drafts(folder: &Path) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(DRAFT)) {
        _ = fs::remove_dir_all(entry.path());
    }
}

/// Whether a file is there, with this content.
fn has_digest(file: &Path, sha256: &str) -> bool {
    let digest = File::open(file).and_then(|mut file| Digest::of_reader(&mut file));
    digest.is_ok_and(|digest| digest.to_hex() == sha256)
}

/// The operator's pip, in a folder of ours: Python takes modules from the folder that it runs in.
fn pip(folder: &Path) -> Command {
    let mut python = Command::new("python3");
    python.args(["-m", "pip"]).current_dir(folder);
    python
}

fn check_pip(folder: &Path) -> anyhow::Result<()> {
    let found = tool::ask(pip(folder).arg("--version"), no_pip)?;
    if found.status.success() { Ok(()) } else { Err(no_pip().into()) }
}

fn no_pip() -> Error {
    let what = format!(
        "python3 with pip, which fetches ONNX Runtime, is not installed; without it, take \
         `onnxruntime/capi/libonnxruntime.so.{VERSION}` out of a wheel of onnxruntime {VERSION} from PyPI, and \
         name it with `modelet serve --onnxruntime FILE`"
    );
    Error::Missing { what, install: tool::install("python3-pip", "python") }
}
