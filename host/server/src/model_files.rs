//! The files of models that are about to be loaded: from the store, which may have to fetch them first.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use modelet_runtime::{HeldFile, ModelFiles};
use modelet_store::{Store, StoreError};
use modelet_types::{Code, Digest, Problem, TenantName};

/// Holds the files of a host's own store.
pub(crate) struct FromStore(pub(crate) Arc<Store>);

impl ModelFiles for FromStore {
    fn hold(&self, tenant: &TenantName, model: Digest) -> BoxFuture<'static, Result<HeldFile, Problem>> {
        // Mostly it is there, and then neither the metastore nor the bucket need be.
        if let Some(held) = self.0.hold_present(model) {
            return futures::future::ready(Ok(Box::new(held) as HeldFile)).boxed();
        }
        let (store, tenant) = (self.0.clone(), tenant.clone());
        async move { fetched(&store, &tenant, model).await.map_err(|error| problem(&tenant, error)) }.boxed()
    }
}

async fn fetched(store: &Store, tenant: &TenantName, model: Digest) -> Result<HeldFile, StoreError> {
    let artifact = store.artifact(tenant, model).await?.ok_or(StoreError::BlobLost(model))?;
    Ok(Box::new(store.hold(&artifact).await?))
}

/// A caller cannot mend a model that is lost, and is not told that the function is not there.
fn problem(tenant: &TenantName, error: StoreError) -> Problem {
    if error.code() != Code::NotFound {
        return error.into();
    }
    tracing::error!(%tenant, error = &error as &dyn std::error::Error, "a model's file is lost");
    Problem::new(Code::Internal, error.to_string())
}
