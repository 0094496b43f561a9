//! Where models' files come from. What keeps them may have them elsewhere until one is about to be read.

use futures::future::BoxFuture;
use modelet_types::{Digest, Problem, TenantName};

/// Keeps a file where it is until it is dropped.
pub type HeldFile = Box<dyn Send + Sync>;

/// Whoever has models' files, at the paths that [`crate::ModelRow`] names.
pub trait ModelFiles: Send + Sync {
    /// Has the file of a tenant's model at its path, and keeps it there until what this gives is dropped. A file
    /// that is mapped by then stays readable.
    fn hold(&self, tenant: &TenantName, model: Digest) -> BoxFuture<'static, Result<HeldFile, Problem>>;
}
