//! Which layers of a function are awake, for whoever wants to know.

use modelet_inference::{BackendId, CacheStats, SessionState};
use modelet_types::{FunctionName, ModelName, RevisionNumber};
use serde::Serialize;

use crate::Runtime;
use crate::revision::Revision;

/// The layers of a function.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FunctionState {
    /// The function.
    pub function: FunctionName,
    /// The revisions in its traffic split.
    pub revisions: Vec<RevisionState>,
}

/// The layers of a revision, from the one that is always there to the most costly. Those of a handler are
/// left out where there is none.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RevisionState {
    /// Which revision.
    pub revision: RevisionNumber,
    /// The revision's row in the routing table.
    pub row: Row,
    /// The handler's compiled code, mapped from its file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<Layer>,
    /// The code linked with the host's functions, ready to make instances.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handler: Option<Layer>,
    /// Invocations, and the instances that are kept for the next.
    pub instances: Instances,
    /// The models' sessions.
    pub sessions: Vec<SessionLayer>,
}

/// The row of the routing table: all that is left of a function that was scaled to zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Row {
    /// It is there; a revision without one has no state.
    Present,
}

/// Whether a layer is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// Not loaded; it costs nothing.
    Cold,
    /// Loaded.
    Resident,
}

/// The invocations of a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Instances {
    /// Those that run.
    pub running: u32,
    /// Those that wait for a place.
    pub waiting: u32,
    /// Instances that have answered and wait for the next invocation.
    pub idle: usize,
}

/// Whether a session is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionPhase {
    /// Not loaded; it costs nothing.
    Cold,
    /// Being loaded.
    Loading,
    /// Loaded.
    Ready,
}

/// A model's session.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SessionLayer {
    /// The model's name in the manifest.
    pub model: ModelName,
    /// What runs it.
    pub backend: BackendId,
    /// Whether it is loaded.
    pub state: SessionPhase,
    /// Memory that is reckoned for it, if it is loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Whether it stays however long it is idle.
    pub pinned: bool,
    /// Whether it was loaded in the form that was prepared to load fastest.
    pub prepared: bool,
    /// Its answers that are kept, if the manifest asks for that and it is loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_cache: Option<CacheState>,
}

/// Answers that a session keeps, and how often they were of use since it was loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct CacheState {
    /// Answers that are kept.
    pub answers: u64,
    /// What they take in memory.
    pub bytes: u64,
    /// Requests that were answered from them.
    pub hits: u64,
    /// Requests that were not.
    pub misses: u64,
}

impl From<CacheStats> for CacheState {
    fn from(stats: CacheStats) -> Self {
        let CacheStats { answers, bytes, hits, misses } = stats;
        Self { answers, bytes, hits, misses }
    }
}

impl Runtime {
    /// The layers of a function; `None` if no such function is routed.
    pub fn state(&self, tenant: &str, function: &FunctionName) -> Option<FunctionState> {
        let route = self.routes.find(tenant, function.as_str())?;
        let revisions = route.revisions.iter().map(|revision| self.revision_state(revision)).collect();
        Some(FunctionState { function: function.clone(), revisions })
    }

    fn revision_state(&self, revision: &Revision) -> RevisionState {
        let layer = |resident| {
            let layer = if resident { Layer::Resident } else { Layer::Cold };
            revision.component.map(|_| layer)
        };
        let session = |(name, key): (&ModelName, &modelet_inference::SessionKey)| {
            let not_loaded = SessionLayer {
                model: name.clone(),
                backend: key.backend,
                state: SessionPhase::Cold,
                memory_bytes: None,
                pinned: false,
                prepared: false,
                response_cache: None,
            };
            match self.config.inference.state(key) {
                SessionState::Cold => not_loaded,
                SessionState::Loading => SessionLayer { state: SessionPhase::Loading, ..not_loaded },
                SessionState::Ready { memory_bytes, pinned, prepared, cache, .. } => SessionLayer {
                    state: SessionPhase::Ready,
                    memory_bytes: Some(memory_bytes),
                    pinned,
                    prepared,
                    response_cache: cache.map(CacheState::from),
                    ..not_loaded
                },
            }
        };
        RevisionState {
            revision: revision.number,
            row: Row::Present,
            code: layer(revision.code.is_resident()),
            handler: layer(revision.handler.is_resident()),
            instances: Instances {
                running: revision.admission.running(),
                waiting: revision.admission.waiting(),
                idle: revision.idle_instances(),
            },
            sessions: revision.sessions().map(session).collect(),
        }
    }
}
