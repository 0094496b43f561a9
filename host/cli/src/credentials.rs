//! Which key a host is sent, and where keys are kept between commands.
//!
//! `hosts.json` in the user's configuration folder (`$XDG_CONFIG_HOME/modelet`, else `~/.config/modelet`),
//! for its owner alone. By the origin of each host it has a key, or the file in which one is: a host on
//! this machine keeps its operator's key in its data folder, and `modelet serve` writes down where.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Where a key comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Credential {
    /// The key itself.
    Key(String),
    /// A file that has it.
    KeyFile(PathBuf),
}

impl Credential {
    /// The key.
    ///
    /// # Errors
    /// If the file cannot be read, or what is there cannot be sent.
    pub fn key(&self) -> Result<String, Error> {
        match self {
            Self::Key(key) => checked(key),
            Self::KeyFile(path) if !path.exists() => {
                Err(Error::FileNotFound { what: "the key file".into(), path: path.clone() })
            }
            Self::KeyFile(path) => {
                let text = fs::read_to_string(path).map_err(|error| {
                    Error::Invalid(format!("cannot read the key in `{}`: {error}", path.display()))
                })?;
                checked(&text)
            }
        }
    }
}

/// A key as it is sent.
///
/// # Errors
/// If it is none: nothing of it is repeated, since it may be one with a mistake in it.
pub fn checked(text: &str) -> Result<String, Error> {
    let text = text.trim();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Error::Invalid("the key is not one: it begins with `mk_` and has no spaces".into()));
    }
    Ok(text.to_owned())
}

type Hosts = BTreeMap<String, Credential>;

/// What is kept for a host, if anything is.
///
/// # Errors
/// If the file is there and cannot be read.
pub fn find(origin: &str) -> anyhow::Result<Option<Credential>> {
    match file() {
        Some(path) => Ok(read(&path)?.remove(origin)),
        None => Ok(None),
    }
}

/// Keeps a credential for a host, or forgets the one that it has, and says where.
///
/// # Errors
/// If there is no folder for it, or the file cannot be read or written.
pub fn keep(origin: &str, credential: Option<Credential>) -> anyhow::Result<PathBuf> {
    let path = file().context("there is no folder for it: set HOME or XDG_CONFIG_HOME")?;
    let mut hosts = read(&path)?;
    match credential {
        Some(credential) => drop(hosts.insert(origin.to_owned(), credential)),
        None => drop(hosts.remove(origin)),
    }
    write(&path, &hosts).with_context(|| format!("cannot write `{}`", path.display()))?;
    Ok(path)
}

fn file() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")))?;
    Some(folder.join("modelet/hosts.json"))
}

fn read(path: &Path) -> anyhow::Result<Hosts> {
    match fs::read(path) {
        Ok(bytes) => {
            serde_json::from_slice(&bytes).with_context(|| format!("`{}` is damaged", path.display()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Hosts::new()),
        Err(error) => Err(error).with_context(|| format!("cannot read `{}`", path.display())),
    }
}

/// Renamed into place, so that another command never reads half of it.
fn write(path: &Path, hosts: &Hosts) -> io::Result<()> {
    let folder = path.parent().expect("the file is in a folder");
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let new = folder.join(format!("hosts.{}.new", std::process::id()));
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
    serde_json::to_writer_pretty(&mut file, hosts)?;
    file.write_all(b"\n")?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_kept_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("modelet/hosts.json");
        assert_eq!(read(&path).unwrap(), Hosts::new());
        let hosts = Hosts::from([
            ("http://a".to_owned(), Credential::Key("mk_1".into())),
            ("http://b".to_owned(), Credential::KeyFile("/data/operator-key".into())),
        ]);
        write(&path, &hosts).unwrap();
        assert_eq!(read(&path).unwrap(), hosts);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, "{").unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("is damaged"));
    }

    #[test]
    fn a_key_is_read_from_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, "mk_1_2\n").unwrap();
        assert_eq!(Credential::KeyFile(path.clone()).key().unwrap(), "mk_1_2");
        fs::write(&path, "not a key").unwrap();
        let error = Credential::KeyFile(path).key().unwrap_err();
        assert!(!error.to_string().contains("not a key"), "{error}");
    }
}
