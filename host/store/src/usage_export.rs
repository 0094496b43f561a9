//! How far usage is with the collector outside: a place in a host's ledger, by the ledger's id.

use crate::database::{signed, unsigned};
use crate::{Store, StoreError, UsageCursor};

impl Store {
    /// How far a ledger has been exported; `None`: never.
    ///
    /// # Errors
    /// If the metastore fails.
    pub async fn usage_export_cursor(&self, ledger: &str) -> Result<Option<UsageCursor>, StoreError> {
        let row = sqlx::query("SELECT segment, position FROM usage_export_cursors WHERE ledger = $1")
            .bind(ledger)
            .fetch_optional(self.database.reader())
            .await?;
        row.map(|row| {
            Ok(UsageCursor { segment: unsigned(&row, "segment")?, offset: unsigned(&row, "position")? })
        })
        .transpose()
    }

    /// Notes that what stands in the ledger before `cursor` has been exported.
    ///
    /// # Errors
    /// If the metastore fails: then it may be exported again.
    pub async fn set_usage_export_cursor(&self, ledger: &str, cursor: UsageCursor) -> Result<(), StoreError> {
        let mut tx = self.database.write().await?;
        sqlx::query(
            "INSERT INTO usage_export_cursors (ledger, segment, position) VALUES ($1, $2, $3)
             ON CONFLICT (ledger) DO UPDATE SET segment = excluded.segment, position = excluded.position",
        )
        .bind(ledger)
        .bind(signed(cursor.segment))
        .bind(signed(cursor.offset))
        .execute(&mut *tx)
        .await?;
        fail::fail_point!("store::usage::exported");
        tx.commit().await?;
        Ok(())
    }
}
