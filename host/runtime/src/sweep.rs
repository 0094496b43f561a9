//! Scaling to zero: what is awake, and the task that lets it sleep again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dashmap::DashMap;
use modelet_inference::Inference;
use modelet_types::{FunctionName, RevisionNumber, TenantName};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::revision::Revision;

/// How exactly idle timeouts are kept.
const INTERVAL: Duration = Duration::from_millis(50);

/// The revisions that have anything loaded. Sweeping costs what is awake, not what is deployed.
#[derive(Default)]
pub(crate) struct Residents(DashMap<(TenantName, FunctionName, RevisionNumber), Arc<Revision>>);

impl Residents {
    pub(crate) fn add(&self, revision: &Arc<Revision>) {
        let key = (revision.tenant.clone(), revision.function.clone(), revision.number);
        self.0.insert(key, revision.clone());
    }

    fn sweep(&self, now: Instant) {
        self.0.retain(|_, revision| revision.sweep(now));
    }
}

/// Sweeps until it is dropped.
pub(crate) struct Sweeper(JoinHandle<()>);

impl Sweeper {
    pub(crate) fn start(residents: Arc<Residents>, inference: Arc<Inference>) -> Self {
        Self(tokio::spawn(async move {
            let mut interval = tokio::time::interval(INTERVAL);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                interval.tick().await;
                let now = Instant::now();
                residents.sweep(now);
                // Freeing a model takes milliseconds.
                let inference = inference.clone();
                if tokio::task::spawn_blocking(move || inference.sweep(now)).await.is_err() {
                    tracing::error!("dropping an idle session panicked");
                }
            }
        }))
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        self.0.abort();
    }
}
