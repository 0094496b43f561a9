//! A copy of everything from one store to another, whichever databases they are on: how an embedded store
//! moves to PostgreSQL and back, and how a backup is made.
//!
//! The rows are committed last, all at once: a target with rows is a whole copy, and a copy that was broken
//! off is made by doing it again, which passes over the artifacts that are there.

mod files;
mod tables;

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::belonging;
use crate::blobs::{Blobs, Owner};
use crate::bucket;
use crate::database::{self, Database};
use crate::folder::{DataFolder, metastore_in};
use crate::store::blocking;
use crate::{StoreConfig, StoreError};

/// What may happen to the source meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A host may be at work on it. The copy is of the moment at which it begins.
    Live,
    /// No host has it, and none can open it before the copy is there: for a store that moves.
    Stopped,
}

/// How far a copy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyProgress {
    /// Artifacts, of which these bytes are there.
    Artifacts {
        /// Bytes that are there.
        bytes: u64,
        /// Bytes of all.
        total_bytes: u64,
    },
    /// Rows of the metastore.
    Rows {
        /// Rows that are there.
        rows: u64,
        /// Rows of all tables.
        total: u64,
    },
}

/// What was copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Copied {
    /// Rows of the metastore.
    pub rows: u64,
    /// Artifacts, each counted once, also those that were there already.
    pub artifacts: u64,
    /// Their bytes.
    pub artifact_bytes: u64,
    /// Artifacts whose bytes the source had no more, and that no revision needs.
    pub missing: u64,
}

/// Copies everything from one store to another that is empty: the metastore, artifacts, the key of the
/// secrets, what functions keep, the ledger, and the heads of the record of changes if they are in the data
/// folder. Logs, compiled code and uploads that have not arrived whole stay behind.
///
/// Both may be on the same data folder: then the metastore alone is copied, and what the folder has stays
/// for the new one, with artifacts where they are. What functions keep is of one moment for each function by itself.
///
/// # Errors
/// - [`StoreError::InUse`], [`StoreError::MetastoreTaken`]: a host has the target, or the source of
///   [`Source::Stopped`].
/// - [`StoreError::NothingToCopy`], [`StoreError::TargetNotEmpty`], [`StoreError::FolderNotEmpty`].
/// - [`StoreError::OtherMetastore`]: the source's folder belongs to another metastore, or to a later state of it.
/// - [`StoreError::ArtifactsStay`]: within one folder, artifacts were to be elsewhere.
/// - [`StoreError::OlderMetastore`]: a live source has to be opened by this version of the host first.
/// - [`StoreError::BlobDamaged`], [`StoreError::BlobLost`]: the bytes of an artifact are not those that its
///   digest names, or are lost although a revision needs them.
/// - If a metastore or the file system fails.
pub async fn copy(
    from: &StoreConfig,
    to: &StoreConfig,
    source: Source,
    mut progress: impl FnMut(CopyProgress) + Send,
) -> Result<Copied, StoreError> {
    let (from_dir, to_dir) = (absolute(&from.data_dir)?, absolute(&to.data_dir)?);
    let in_place = from_dir == to_dir;
    if in_place && from.artifacts.bucket != to.artifacts.bucket {
        return Err(StoreError::ArtifactsStay);
    }
    if from.metastore_url.is_none() && !metastore_in(&from_dir).exists() {
        return Err(StoreError::NothingToCopy { metastore: from.to_string() });
    }
    // Opened as a host opens it, a stopped source has this host's format, and no other host.
    let held = match source {
        Source::Stopped => Some(Held::open(&from_dir, from).await?),
        Source::Live => None,
    };
    let target = if in_place && held.is_some() {
        Target::open(None, &to_dir, to).await
    } else {
        Target::lock(&to_dir, to).await
    };
    let copied = match target {
        Ok(target) => {
            let copied = copy_into(from, &from_dir, &target, in_place, &mut progress).await;
            target.database.close().await;
            copied
        }
        Err(error) => Err(error),
    };
    if let Some(held) = held {
        held.database.close().await;
    }
    copied
}

/// A store that no host can open meanwhile.
struct Held {
    _folder: DataFolder,
    database: Database,
}

impl Held {
    async fn open(root: &Path, config: &StoreConfig) -> Result<Self, StoreError> {
        let root = root.to_owned();
        let folder = blocking(move || DataFolder::open(&root)).await?;
        let database = Database::open(&folder.metastore(), config.metastore_url.as_ref()).await?;
        Ok(Self { _folder: folder, database })
    }
}

/// An empty store to copy to, which nobody else has.
struct Target<'a> {
    /// Its lock, unless the source's is the same.
    _folder: Option<DataFolder>,
    root: &'a Path,
    config: &'a StoreConfig,
    database: Database,
}

impl<'a> Target<'a> {
    async fn lock(root: &'a Path, config: &'a StoreConfig) -> Result<Self, StoreError> {
        let folder = root.to_owned();
        let folder = blocking(move || DataFolder::open(&folder)).await?;
        Self::open(Some(folder), root, config).await
    }

    async fn open(
        folder: Option<DataFolder>,
        root: &'a Path,
        config: &'a StoreConfig,
    ) -> Result<Self, StoreError> {
        let file = metastore_in(root);
        if config.metastore_url.is_none() {
            let root = root.to_owned();
            blocking(move || DataFolder::create_metastore_in(&root)).await?;
        }
        let database = Database::open(&file, config.metastore_url.as_ref()).await?;
        let rows = match database.snapshot().await {
            Ok(mut tx) => tables::count_all(&mut tx).await,
            Err(error) => Err(error),
        };
        match rows {
            Ok(0) => Ok(Self { _folder: folder, root, config, database }),
            refused => {
                database.close().await;
                refused?;
                Err(StoreError::TargetNotEmpty { metastore: config.to_string() })
            }
        }
    }
}

async fn copy_into(
    from: &StoreConfig,
    from_dir: &Path,
    target: &Target<'_>,
    in_place: bool,
    progress: &mut (impl FnMut(CopyProgress) + Send),
) -> Result<Copied, StoreError> {
    // Read before the snapshot: heads that are newer than the changes would say that changes were taken out.
    let heads = if in_place { None } else { files::read_heads(from_dir)? };
    let mut reader = database::connect_reader(&metastore_in(from_dir), from.metastore_url.as_ref()).await?;
    database::check_format(&mut reader, from).await?;
    database::begin_snapshot(&mut reader, from.metastore_url.is_some()).await?;
    let older = || StoreError::OlderMetastore { metastore: from.to_string() };
    let belonging = belonging::of(&mut reader).await?.ok_or_else(older)?;
    // A file of SQLite that was left behind by a move is no state of this folder.
    let (root, config) = (from_dir.to_owned(), from.clone());
    blocking(move || belonging::check(&root, belonging, &config)).await?;
    if !in_place {
        let root = target.root.to_owned();
        blocking(move || files::begin(&root, belonging.first_change, heads)).await?;
    }
    let (root, config) = (target.root.to_owned(), target.config.clone());
    // Noted before the rows are there: a folder is never without it once it has a metastore to be left for.
    blocking(move || belonging::check_and_note(&root, belonging, &config, in_place)).await?;
    let mut copied = Copied::default();
    if !in_place {
        let source = Blobs::open(from_dir, from.artifacts.clone()).await?;
        let blobs = Blobs::open(target.root, target.config.artifacts.clone()).await?;
        let bucket = blobs.bucket().cloned();
        if let Some(bucket) = &bucket {
            let owner = bucket::owner(belonging.first_change, &blobs.folder_id().await?);
            if bucket.check(&owner).await? == Owner::Nobody {
                bucket.claim(&owner).await?;
            }
        }
        files::copy_artifacts(&mut reader, &source, &blobs, &mut copied, progress).await?;
        if let Some(bucket) = bucket {
            blobs.mark(bucket.url().to_owned()).await?;
        }
        files::copy_others(from_dir, target.root).await?;
    }
    copied.rows = tables::copy_rows(&mut reader, &target.database, progress).await?;
    let root = target.root.to_owned();
    blocking(move || files::end(&root)).await?;
    Ok(copied)
}

fn absolute(path: &Path) -> Result<PathBuf, StoreError> {
    std::path::absolute(path).map_err(StoreError::io("find", path))
}
