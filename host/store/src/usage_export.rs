//! How far usage is with the collector outside: a place in a host's ledger, by the ledger's id.

use crate::usage::EXPORTED;
use crate::{Store, StoreError, UsageCursor};

impl Store {
    /// How far a ledger has been exported; `None`: never.
    ///
    /// # Errors
    /// If the metastore fails.
    pub async fn usage_export_cursor(&self, ledger: &str) -> Result<Option<UsageCursor>, StoreError> {
        let mut connection = self.database.reader().acquire().await?;
        EXPORTED.find(&mut connection, ledger).await
    }

    /// Notes that what stands in the ledger before `cursor` has been exported.
    ///
    /// # Errors
    /// If the metastore fails: then it may be exported again.
    pub async fn set_usage_export_cursor(&self, ledger: &str, cursor: UsageCursor) -> Result<(), StoreError> {
        let mut tx = self.database.write().await?;
        EXPORTED.set(&mut tx, ledger, cursor).await?;
        fail::fail_point!("store::usage::exported");
        tx.commit().await?;
        Ok(())
    }
}
