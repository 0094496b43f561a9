//! Where PostgreSQL's programs are, and as whom they run.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

/// Where Debian has each version's, which are not in `PATH`.
const DEBIAN: &str = "/usr/lib/postgresql";

/// The programs of one version.
pub struct Programs {
    folder: PathBuf,
    /// The user and group that they run as, if not this process's: PostgreSQL refuses to run as root.
    pub runs_as: Option<(u32, u32)>,
}

impl Programs {
    /// Looks for the newest version.
    ///
    /// # Errors
    /// With the command that installs them, if there are none; or if this is root and there is no user
    /// `postgres` to run them as.
    pub fn find() -> anyhow::Result<Self> {
        let Some(folder) = newest(Path::new(DEBIAN)).or_else(in_path) else {
            bail!("PostgreSQL's programs are not on this machine: sudo apt-get install postgresql");
        };
        let runs_as = if rustix::process::geteuid().is_root() { Some(user_postgres()?) } else { None };
        Ok(Self { folder, runs_as })
    }

    pub fn path(&self, program: &str) -> PathBuf {
        self.folder.join(program)
    }

    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        // One that the user may not enter is an error to some of them.
        command.current_dir("/");
        if let Some((user, group)) = self.runs_as {
            command.uid(user).gid(group);
        }
        command
    }
}

fn newest(versions: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(versions).ok()?.filter_map(Result::ok);
    let number = |name: &OsStr| name.to_str().and_then(|name| name.parse::<u32>().ok());
    let folders = entries.filter_map(|entry| Some((number(&entry.file_name())?, entry.path().join("bin"))));
    folders.filter(|(_, folder)| folder.join("initdb").exists()).max().map(|(_, folder)| folder)
}

fn in_path() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .find(|folder| folder.join("initdb").exists() && folder.join("pg_ctl").exists())
}

/// The user that the package made for it.
fn user_postgres() -> anyhow::Result<(u32, u32)> {
    let id = |option| {
        let output = Command::new("id").args([option, "postgres"]).output().context("cannot run `id`")?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        text.parse().context(
            "PostgreSQL does not run as root, and there is no user `postgres` to run it as: \
             run the tests as another user, or sudo apt-get install postgresql",
        )
    };
    Ok((id("-u")?, id("-g")?))
}
