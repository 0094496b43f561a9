//! Old changes go, once nobody wants them any more; what is left can be verified as before.

use std::time::Duration;

use jiff::Timestamp;
use modelet_store::Forgotten;
use modelet_types::{Problem, TenantName};

use crate::Control;

/// How often it is looked for changes that have become old enough.
const FORGET_EVERY: Duration = Duration::from_secs(24 * 3_600);

impl Control {
    /// Removes the changes that are older than the operator wants to keep them, again and again. Never returns.
    pub async fn forget_changes_forever(&self) -> std::convert::Infallible {
        let Some(retention) = self.config.audit.retention else { return std::future::pending().await };
        let mut interval = tokio::time::interval(FORGET_EVERY);
        loop {
            interval.tick().await;
            // Before the first time that there are days, nothing is that old.
            let until = Timestamp::now().checked_sub(retention).unwrap_or(Timestamp::MIN);
            if let Err(problem) = self.forget_all_changes(until).await {
                tracing::error!(%problem, "cannot remove old changes");
            }
        }
    }

    /// Removes the changes of every tenant that were made before `until`.
    async fn forget_all_changes(&self, until: Timestamp) -> Result<(), Problem> {
        // What is about to go is signed first, and was held against what was signed before.
        if !self.write_heads().await {
            tracing::error!(
                "old changes are kept: their hashes cannot be written, or the file of those of before was empty at \
                 the start"
            );
            return Ok(());
        }
        let tenants = self.store().chain_heads().await?.into_iter().map(|(tenant, _)| tenant);
        for tenant in tenants {
            while let Some(forgotten) = self.forget_changes(&tenant, until).await? {
                tracing::info!(
                    %tenant,
                    changes = forgotten.removed,
                    up_to = forgotten.checkpoint.id,
                    "removed old changes"
                );
                if !forgotten.is_more {
                    break;
                }
            }
        }
        self.write_heads().await;
        Ok(())
    }

    /// A record that is not whole stays as it is: it is evidence.
    async fn forget_changes(
        &self,
        tenant: &TenantName,
        until: Timestamp,
    ) -> Result<Option<Forgotten>, Problem> {
        let config = &self.config.audit;
        let trusted = config.trusted();
        let done = match self.heads(tenant, &trusted).await? {
            Ok(heads) => {
                self.store().forget_changes(&config.key, tenant, until, &heads.known, &trusted).await?
            }
            Err(broken) => Err(broken),
        };
        Ok(done.unwrap_or_else(|broken| {
            tracing::error!(
                %tenant,
                change = broken.id,
                reason = %broken.reason,
                "the record of changes is not whole, so that none of it is removed; see `modelet audit verify`"
            );
            None
        }))
    }
}
