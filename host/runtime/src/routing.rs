//! The routing table: which revisions answer a function's calls. Read without a lock.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use modelet_inference::SessionKey;
use modelet_keyvalue::Owner;
use modelet_types::{
    Code, FunctionName, InvocationQuotas, Problem, RevisionNumber, Signature, TenantName, TrafficSplit,
};

use crate::Runtime;
use crate::functions::Origin;
use crate::gate::FunctionGate;
use crate::revision::{Revision, RevisionRow};
use crate::statistics::ModelStatistics;

/// One function, as it is published.
pub struct RouteRow {
    /// Whose function it is.
    pub tenant: TenantName,
    /// Its name.
    pub function: FunctionName,
    /// What tells it from others that had its name before.
    pub id: u64,
    /// How its calls are divided.
    pub split: TrafficSplit,
    /// The most that its calls may use.
    pub quotas: InvocationQuotas,
    /// The revisions that the split names.
    pub revisions: Vec<RevisionRow>,
}

/// One function, as it is read.
pub(crate) struct Route {
    pub(crate) split: TrafficSplit,
    pub(crate) revisions: Vec<Arc<Revision>>,
    /// Shared by all revisions that the function ever had: whether it has been deleted. Its
    /// successor of the same name has another one.
    deleted: Arc<AtomicBool>,
    /// Shared likewise: what they use together.
    pub(crate) gate: Arc<FunctionGate>,
}

type Functions = HashMap<FunctionName, Arc<Route>>;
type Tenants = HashMap<TenantName, Arc<Functions>>;

#[derive(Default)]
pub(crate) struct RoutingTable {
    tenants: ArcSwap<Tenants>,
    /// Held by whoever writes, so that no change is lost between reading and storing.
    writing: Mutex<()>,
}

impl RoutingTable {
    pub(crate) fn find(&self, tenant: &str, function: &str) -> Option<Arc<Route>> {
        self.tenants.load().get(tenant)?.get(function).cloned()
    }

    fn change<R>(&self, tenant: &TenantName, change: impl FnOnce(&mut Functions) -> R) -> R {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut tenants = Tenants::clone(&self.tenants.load());
        let mut functions =
            tenants.get(tenant).map(|functions| Functions::clone(functions)).unwrap_or_default();
        let result = change(&mut functions);
        tenants.insert(tenant.clone(), Arc::new(functions));
        self.tenants.store(Arc::new(tenants));
        result
    }
}

/// The revision to which a call was routed.
pub struct Routed(pub(crate) Arc<Revision>);

impl Routed {
    /// Its number.
    pub fn revision(&self) -> RevisionNumber {
        self.0.number
    }

    /// Whose function it is.
    pub fn tenant(&self) -> &TenantName {
        &self.0.tenant
    }

    /// The function.
    pub fn function(&self) -> &FunctionName {
        &self.0.function
    }

    /// Whether it takes HTTP requests, for [`Runtime::invoke`].
    pub fn takes_http(&self) -> bool {
        self.0.takes_http
    }

    /// What it takes and gives, if that is tensors, for [`Runtime::infer`]: a model without a handler, or a
    /// handler in tensors. Wakes nothing.
    pub fn signature(&self) -> Option<&Signature> {
        self.0.signature()
    }

    /// Whether anybody may call it.
    pub fn is_public(&self) -> bool {
        self.0.public
    }

    /// How its model is run, if it is a model without a handler.
    pub fn model(&self) -> Option<&SessionKey> {
        let alone = self.0.component.is_none().then(|| self.0.models.only()).flatten();
        alone.map(|(key, _)| key)
    }

    /// What its calls in tensors came to since this host knows it.
    pub fn statistics(&self) -> ModelStatistics {
        ModelStatistics { memory_bytes: self.0.models.memory_bytes(), ..self.0.statistics.read() }
    }
}

impl Runtime {
    /// Route: the revision that answers a call of the function, or the one that the caller names, if it
    /// is in the traffic split.
    ///
    /// # Errors
    /// `NotFound`, `NotActive`, or `ShuttingDown`.
    pub fn find(
        &self,
        tenant: &str,
        function: &str,
        revision: Option<RevisionNumber>,
    ) -> Result<Routed, Problem> {
        if self.draining.load(Relaxed) {
            let detail = "the host is shutting down; send the request again";
            return Err(Problem::new(Code::ShuttingDown, detail));
        }
        self.route(tenant, function, revision).map(Routed)
    }

    /// Routes a call that a handler makes, also while the host shuts down: it is a part of what still runs.
    ///
    /// # Errors
    /// `NotFound` or `NotActive`.
    pub fn find_within(&self, origin: &Origin, function: &str) -> Result<Routed, Problem> {
        self.route(origin.tenant.as_str(), function, None).map(Routed)
    }

    /// The revisions of a function that can be called, in the order of its traffic split.
    pub fn active(&self, tenant: &str, function: &str) -> Vec<Routed> {
        let route = self.routes.find(tenant, function);
        route.iter().flat_map(|route| &route.revisions).cloned().map(Routed).collect()
    }

    /// The names of a tenant's functions, in order.
    pub fn functions(&self, tenant: &str) -> Vec<FunctionName> {
        let tenants = self.routes.tenants.load();
        let mut names: Vec<_> =
            tenants.get(tenant).map(|functions| functions.keys().cloned().collect()).unwrap_or_default();
        names.sort_unstable();
        names
    }

    /// Publishes a function in place of what its name meant before. A revision that stays keeps
    /// what it has loaded.
    pub fn publish(&self, row: RouteRow) {
        let RouteRow { tenant, function, id, split, quotas, revisions } = row;
        self.routes.change(&tenant, |functions| {
            let (before, deleted, gate) = match functions.get(&function) {
                Some(route) => (route.revisions.clone(), route.deleted.clone(), route.gate.clone()),
                None => {
                    let gate = FunctionGate::new(function.clone(), self.gate(&tenant));
                    (Vec::new(), Arc::default(), Arc::new(gate))
                }
            };
            gate.set(quotas);
            // First, so that what they keep from going cold is theirs no more.
            let goes = |old: &&Arc<Revision>| !revisions.iter().any(|new| new.number == old.number);
            before.iter().filter(goes).for_each(|gone| gone.retire());
            let revisions = revisions
                .into_iter()
                .map(|row| {
                    let known = before.iter().find(|revision| revision.number == row.number);
                    if let Some(known) = known {
                        known.secrets.store(Arc::new(row.secrets));
                        return known.clone();
                    }
                    let owner = Owner { tenant: tenant.clone(), function: function.clone(), id };
                    let revision = Arc::new(Revision::new(self, owner, row, gate.clone(), deleted.clone()));
                    if revision.preloads() {
                        let (engine, metrics) = (self.config.engine.clone(), self.config.metrics.clone());
                        let added = self.residents.add(&revision);
                        tokio::spawn(revision.clone().preload(engine, metrics, added));
                    }
                    revision
                })
                .collect::<Vec<_>>();
            functions.insert(function, Arc::new(Route { split, revisions, deleted, gate }));
        });
        self.residents.changed();
    }

    /// Takes a deleted function out of the table. Invocations that run go on; those that have not
    /// come so far are refused.
    pub fn retract(&self, tenant: &TenantName, function: &FunctionName) {
        let gone = self.routes.change(tenant, |functions| functions.remove(function));
        if let Some(route) = &gone {
            route.deleted.store(true, Relaxed);
        }
        for revision in gone.iter().flat_map(|route| &route.revisions) {
            revision.retire();
        }
        self.residents.changed();
    }

    /// The revision that answers the next call.
    pub(crate) fn route(
        &self,
        tenant: &str,
        function: &str,
        wanted: Option<RevisionNumber>,
    ) -> Result<Arc<Revision>, Problem> {
        let route = self.routes.find(tenant, function).ok_or_else(|| no_function(function))?;
        let number = match (wanted, route.split.shares()) {
            (Some(number), _) => number,
            // The common case needs no random number.
            (None, [share]) => share.revision,
            (None, _) => route.split.pick(random()).ok_or_else(|| not_active(function))?,
        };
        let revision = route.revisions.iter().find(|revision| revision.number == number);
        revision.cloned().ok_or_else(|| match wanted {
            Some(number) => no_revision(function, number),
            None => not_active(function),
        })
    }
}

/// What is answered where there is no such function, or none of the caller's.
pub fn no_function(function: &str) -> Problem {
    let shown: String = function.chars().take(80).collect();
    Problem::new(
        Code::NotFound,
        format!("there is no function `{shown}`: `modelet functions` lists those there are"),
    )
    .at("function")
}

fn no_revision(function: &str, number: RevisionNumber) -> Problem {
    let detail = format!(
        "function `{function}` has no active revision {number}: `modelet revisions {function}` lists those \
         there are"
    );
    Problem::new(Code::NotFound, detail).at("revision")
}

fn not_active(function: &str) -> Problem {
    let detail = format!(
        "no revision of function `{function}` is active: `modelet activate {function} REVISION` makes one so"
    );
    Problem::new(Code::NotActive, detail)
}

/// A number drawn evenly from all of `u64`; good enough to divide traffic, not a secret.
fn random() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::time::Instant::now())
}

#[cfg(test)]
mod tests {
    use modelet_observe::LedgerConfig;

    use crate::testing::TestRuntime;

    #[tokio::test]
    async fn a_deletion_reaches_revisions_without_traffic_and_not_the_next_function_of_that_name() {
        let test = TestRuntime::start(LedgerConfig::default());
        test.publish(1);
        let first = test.revision();
        test.publish(2);
        let second = test.revision();
        assert!(first.check_not_deleted().is_ok(), "it has only lost its traffic");
        test.retract();
        assert!(first.check_not_deleted().is_err() && second.check_not_deleted().is_err());
        test.publish(3);
        assert!(second.check_not_deleted().is_err());
        assert!(test.revision().check_not_deleted().is_ok());
    }
}
