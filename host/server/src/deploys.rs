//! Places of deploys that are under way: so many for all, and of these so many for one tenant that others always
//! find one.

use std::sync::Arc;

use dashmap::DashMap;
use modelet_types::{Code, Problem, TenantName};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// For all, from the first byte of the manifest on: each holds megabytes, and one compiles at a time.
const ALL: usize = 16;
/// For one tenant: half of the processes that try models on the smallest host.
const OF_ONE: usize = 4;

/// The places of a host.
pub(crate) struct Deploys {
    all: Arc<Semaphore>,
    of_tenants: DashMap<TenantName, Arc<Semaphore>>,
}

/// A place, until it is dropped.
pub(crate) struct Place {
    _all: OwnedSemaphorePermit,
    _own: OwnedSemaphorePermit,
}

impl Default for Deploys {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(ALL)), of_tenants: DashMap::new() }
    }
}

impl Deploys {
    /// A place for a deploy of the tenant.
    ///
    /// # Errors
    /// `Overloaded`, at once.
    pub(crate) fn take(&self, tenant: &TenantName) -> Result<Place, Problem> {
        let own = self.of_tenants.entry(tenant.clone()).or_insert_with(|| Arc::new(Semaphore::new(OF_ONE)));
        let (own, all) = (own.clone().try_acquire_owned(), self.all.clone().try_acquire_owned());
        match (own, all) {
            (Ok(own), Ok(all)) => Ok(Place { _all: all, _own: own }),
            _ => {
                let detail = "as many deploys as may be are under way; try again when one of them is done";
                Err(Problem::new(Code::Overloaded, detail))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_tenant_leaves_places_for_others() {
        let deploys = Deploys::default();
        let tenant = |name: &str| name.parse::<TenantName>().unwrap();
        let held: Vec<_> = (0..OF_ONE).map(|_| deploys.take(&tenant("a")).unwrap()).collect();
        assert_eq!(deploys.take(&tenant("a")).err().map(|problem| problem.code), Some(Code::Overloaded));
        assert!(deploys.take(&tenant("b")).is_ok());
        drop(held);
        assert!(deploys.take(&tenant("a")).is_ok());
    }
}
