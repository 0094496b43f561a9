//! The store itself: how it is opened, what of a killed predecessor it cleans up, how it is closed.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::blobs::{ArtifactsConfig, Blobs};
use crate::database::Database;
use crate::folder::{DataFolder, sync_parent};
use crate::seal::SealingKey;
use crate::upload::Claims;
use crate::{Collected, MetastoreUrl, StoreError, belonging};

/// How long an upload that nobody continues is kept over restarts.
const UPLOAD_GRACE: Duration = Duration::from_secs(24 * 3600);

/// Where a host's data is.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// The one folder of everything that is not elsewhere.
    pub data_dir: PathBuf,
    /// The database with the metastore; `None`: a file of SQLite in the data folder.
    pub metastore_url: Option<MetastoreUrl>,
    /// Where the bytes of artifacts are.
    pub artifacts: ArtifactsConfig,
}

impl StoreConfig {
    /// Everything in one folder.
    pub fn embedded(data_dir: impl Into<PathBuf>) -> Self {
        Self { data_dir: data_dir.into(), metastore_url: None, artifacts: ArtifactsConfig::default() }
    }
}

/// Where the metastore is.
impl fmt::Display for StoreConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.metastore_url {
            Some(url) => url.fmt(f),
            None => write!(f, "in {}", self.data_dir.display()),
        }
    }
}

/// What one host remembers, in one data folder and perhaps a database.
pub struct Store {
    pub(crate) database: Database,
    pub(crate) folder: DataFolder,
    pub(crate) sealing_key: SealingKey,
    pub(crate) claims: Claims,
    pub(crate) blobs: Blobs,
}

impl Store {
    /// Opens the data folder, making it if it is missing, brings it to this host's format and
    /// removes what a killed host left behind: blobs without a row and uploads of over a day ago.
    /// What the folder has of artifacts and their bucket has not is sent there first.
    ///
    /// # Errors
    /// If another process has the folder or the metastore open, a newer host wrote it, or it cannot be read. Also if
    /// the bucket cannot be used, or is another store's. One that only does not answer is waited for no longer if
    /// everything was in it before: functions whose artifacts are here then run without it.
    pub async fn open(config: &StoreConfig) -> Result<Arc<Self>, StoreError> {
        let StoreConfig { data_dir, metastore_url, artifacts } = config.clone();
        let is_embedded = metastore_url.is_none();
        let folder = blocking(move || {
            let folder = DataFolder::open(&data_dir)?;
            if is_embedded {
                folder.create_metastore()?;
            }
            Ok(folder)
        })
        .await?;
        let metastore = folder.metastore();
        let database = Database::open(&metastore, metastore_url.as_ref()).await?;
        if is_embedded {
            blocking(move || sync_parent(&metastore)).await?;
        }
        belonging::check_unwritten(&database, folder.root(), config).await?;
        let key_file = folder.sealing_key();
        let (sealing_key, key_was_there) = blocking(move || SealingKey::read_or_make(&key_file)).await?;
        let blobs = Blobs::open(folder.root(), artifacts).await?;
        blobs.clear_incoming().await?;
        let store = Self { database, folder, sealing_key, claims: Claims::default(), blobs };
        if !key_was_there {
            store.warn_of_lost_key().await?;
        }
        store.chain_old_changes().await?;
        store.ensure_default_tenant().await?;
        // Before anything is removed because no row names it.
        store.check_belonging(config).await?;
        let mut left_behind = Collected::default();
        store.sweep_uploads(UPLOAD_GRACE, &mut left_behind).await?;
        if store.reach_bucket().await? {
            store.sweep_blobs(&mut left_behind).await?;
        }
        if left_behind != Collected::default() {
            tracing::info!(
                blobs = left_behind.blobs,
                uploads = left_behind.uploads,
                bytes = left_behind.bytes,
                "removed what a killed host left behind"
            );
        }
        Ok(Arc::new(store))
    }

    /// A folder that is put back without the key's file must not keep the host from starting: it says what
    /// is lost with it.
    async fn warn_of_lost_key(&self) -> Result<(), StoreError> {
        let secrets = self.secret_count().await?;
        if secrets > 0 {
            tracing::error!(
                secrets,
                file = %self.folder.sealing_key().display(),
                "the key of the secrets was missing and a new one was made: put the old file back, or set the \
                 secrets again"
            );
        }
        Ok(())
    }

    /// The data folder, as an absolute path. Other parts of the host keep folders of their own in it.
    pub fn data_dir(&self) -> &Path {
        self.folder.root()
    }

    /// Waits for running statements and closes the metastore. Every later call fails.
    pub async fn close(&self) {
        self.database.close().await;
    }
}

/// Does blocking work on a thread for it. The work is finished even if nobody waits any more.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    joined(tokio::task::spawn_blocking(work)).await
}

/// The result of a task of the store's own.
pub(crate) async fn joined<T>(task: JoinHandle<Result<T, StoreError>>) -> Result<T, StoreError> {
    match task.await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Nothing aborts these tasks but the end of the async runtime.
            Err(_) => Err(StoreError::ShuttingDown),
        },
    }
}
