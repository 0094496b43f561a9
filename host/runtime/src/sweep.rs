//! Scaling to zero: what is awake, and the task that lets it sleep again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dashmap::DashMap;
use modelet_inference::Inference;
use modelet_types::{FunctionName, RevisionNumber, TenantName};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::revision::Revision;

/// How exactly idle timeouts are kept: the least time between two looks at what is awake.
const INTERVAL: Duration = Duration::from_millis(50);

/// The revisions that have anything loaded. Sweeping costs what is awake, not what is deployed.
#[derive(Default)]
pub(crate) struct Residents {
    revisions: DashMap<(TenantName, FunctionName, RevisionNumber), Arc<Revision>>,
    changes: Notify,
}

impl Residents {
    /// Adds a revision that is about to wake.
    pub(crate) fn add(self: &Arc<Self>, revision: &Arc<Revision>) -> Added {
        let key = (revision.tenant.clone(), revision.function.clone(), revision.number);
        self.revisions.insert(key, revision.clone());
        Added(self.clone())
    }

    /// Says that there may be something to drop earlier than it seemed.
    pub(crate) fn changed(&self) {
        self.changes.notify_one();
    }

    /// Drops what is idle, and says when to look again; `None` if nothing is awake.
    fn sweep(&self, now: Instant) -> Option<Duration> {
        let mut due: Option<Duration> = None;
        self.revisions.retain(|_, revision| {
            let next = revision.sweep(now);
            due = [due, next].into_iter().flatten().min();
            next.is_some()
        });
        due
    }
}

/// Tells the sweeper of a new resident when dropped: not while it wakes, when another thread that runs
/// would only be in the way.
pub(crate) struct Added(Arc<Residents>);

impl Drop for Added {
    fn drop(&mut self) {
        self.0.changed();
    }
}

/// Sweeps until it is dropped. While everything sleeps, so does it.
pub(crate) struct Sweeper(JoinHandle<()>);

impl Sweeper {
    pub(crate) fn start(residents: Arc<Residents>, inference: Arc<Inference>) -> Self {
        Self(tokio::spawn(async move {
            loop {
                let now = Instant::now();
                let revisions = residents.sweep(now);
                let sessions = sweep_sessions(&inference, now).await;
                match [revisions, sessions].into_iter().flatten().min() {
                    Some(due) => {
                        // Whichever is first; then not before the interval is over.
                        _ = tokio::time::timeout(due, residents.changes.notified()).await;
                    }
                    None => residents.changes.notified().await,
                }
                tokio::time::sleep_until((now + INTERVAL).into()).await;
            }
        }))
    }
}

async fn sweep_sessions(inference: &Arc<Inference>, now: Instant) -> Option<Duration> {
    let due = inference.due(now)?;
    if !due.is_zero() {
        return Some(due);
    }
    // Freeing a model takes milliseconds.
    let sweeping = inference.clone();
    if tokio::task::spawn_blocking(move || sweeping.sweep(now)).await.is_err() {
        tracing::error!("dropping an idle session panicked");
    }
    inference.due(now)
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        self.0.abort();
    }
}
