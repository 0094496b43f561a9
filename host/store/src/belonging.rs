//! Which metastore a data folder belongs to.
//!
//! At its start a host removes blobs that no row names. With a metastore that is not the folder's, such as a
//! new database that somebody meant to copy the old one to, that would be all of them; with an old state of
//! it, such as the file that was left behind by a copy, all that came since. So the folder remembers the
//! metastore that it was last opened with, and how often that one was opened.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use modelet_types::{Digest, TenantName};

use crate::database::{Connection, Database, last_of, next_of};
use crate::folder::{metastore_in, write_durably};
use crate::store::blocking;
use crate::{Store, StoreConfig, StoreError};

/// The sequence of terms: how often a metastore was opened. It belongs to no tenant: none has an empty name.
pub(crate) const TERMS: (&str, &str) = ("", "terms");

const FILE: &str = "METASTORE";

/// What tells a metastore from others, and its states from earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Belonging {
    /// The hash of the first change of the default tenant, which every metastore has, and no other.
    pub(crate) first_change: Digest,
    pub(crate) term: u64,
}

impl Store {
    /// Checks that the folder is not another metastore's, nor of a later state of this one, and notes this
    /// start in both.
    pub(crate) async fn check_belonging(&self, config: &StoreConfig) -> Result<(), StoreError> {
        let mut tx = self.database.write().await?;
        let mut present = get(&mut tx).await?;
        let (root, config) = (self.data_dir().to_owned(), config.clone());
        blocking(move || check(&root, present, &config)).await?;
        let (owner, name) = TERMS;
        present.term = next_of(&mut tx, owner, name).await?.unsigned_abs();
        tx.commit().await?;
        self.database.begin_term(present.term);
        let root = self.data_dir().to_owned();
        blocking(move || write(&root, present)).await
    }
}

/// Checks that a folder may be used with a metastore to which this host has written nothing yet: one that is new
/// must not become a folder's that has another.
pub(crate) async fn check_unwritten(
    database: &Database,
    root: &Path,
    config: &StoreConfig,
) -> Result<(), StoreError> {
    let present = of(&mut *database.snapshot().await?).await?;
    let (root, config) = (root.to_owned(), config.clone());
    blocking(move || match present {
        Some(present) => check(&root, present, &config),
        None if read(&root)?.is_some()
            || (config.metastore_url.is_some() && metastore_in(&root).exists()) =>
        {
            let reason = "it has another, and this one is new";
            Err(StoreError::OtherMetastore { data_dir: root, metastore: config.to_string(), reason })
        }
        None => Ok(()),
    })
    .await
}

/// Checks that a folder may be used with a metastore. Blocks.
pub(crate) fn check(root: &Path, present: Belonging, config: &StoreConfig) -> Result<(), StoreError> {
    let reason = match read(root)? {
        None if config.metastore_url.is_some() && metastore_in(root).exists() => {
            "it has a metastore of its own"
        }
        Some(noted) if noted.first_change != present.first_change => "it belongs to another one",
        Some(noted) if noted.term > present.term => "it was used with a later state of it",
        _ => return Ok(()),
    };
    Err(StoreError::OtherMetastore { data_dir: root.to_owned(), metastore: config.to_string(), reason })
}

/// Notes the metastore that a copy of `present` will be in the folder. Blocks.
pub(crate) fn check_and_note(
    root: &Path,
    present: Belonging,
    config: &StoreConfig,
    in_place: bool,
) -> Result<(), StoreError> {
    // One that has just got its first metastore of its own by this copy has nothing to lose by it.
    if in_place && read(root)?.is_none() {
        return write(root, present);
    }
    check(root, present, config)?;
    write(root, present)
}

/// What a metastore is, as it is now; `None` if no host of this version has opened it.
pub(crate) async fn of(connection: &mut Connection) -> Result<Option<Belonging>, StoreError> {
    let hash: Option<String> = sqlx::query_scalar("SELECT hash FROM changes WHERE tenant = $1 AND id = 1")
        .bind(TenantName::default_tenant().as_str())
        .fetch_optional(&mut *connection)
        .await?
        .flatten();
    let first_change = hash.as_deref().and_then(Digest::from_hex);
    let (owner, name) = TERMS;
    let term = last_of(connection, owner, name).await?.try_into().map_err(StoreError::damaged("last"))?;
    Ok(first_change.map(|first_change| Belonging { first_change, term }))
}

/// The same of a metastore that this host has opened.
pub(crate) async fn get(connection: &mut Connection) -> Result<Belonging, StoreError> {
    let lost = || StoreError::damaged("the first change of the default tenant")("it has no hash".to_owned());
    of(connection).await?.ok_or_else(lost)
}

fn file(root: &Path) -> PathBuf {
    root.join(FILE)
}

/// What the folder was last opened with. Blocks.
fn read(root: &Path) -> Result<Option<Belonging>, StoreError> {
    let path = file(root);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io("read", &path)(error)),
    };
    let parsed = text.trim_end().split_once(' ').and_then(|(hash, term)| {
        Some(Belonging { first_change: Digest::from_hex(hash)?, term: term.parse().ok()? })
    });
    parsed.map(Some).ok_or_else(|| {
        StoreError::damaged(path.display().to_string())("it is not a hash and a number".to_owned())
    })
}

/// Notes it in the folder, durably. Blocks.
pub(crate) fn write(root: &Path, Belonging { first_change, term }: Belonging) -> Result<(), StoreError> {
    write_durably(&file(root), &format!("{} {term}\n", first_change.to_hex()))
}
