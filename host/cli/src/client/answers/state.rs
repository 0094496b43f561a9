//! What a host says of the layers of a function.

use serde::Deserialize;

/// Which layers of a function are warm, and what it keeps.
#[derive(Debug, Deserialize)]
pub struct State {
    /// One entry for each revision in the traffic split.
    pub revisions: Vec<RevisionState>,
    /// What it keeps from one invocation to the next.
    #[serde(default)]
    pub key_value: Option<KeyValueState>,
}

/// What a function keeps.
#[derive(Debug, Deserialize)]
pub struct KeyValueState {
    /// Keys.
    pub keys: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
}

/// Which layers of a revision are warm.
#[derive(Debug, Deserialize)]
pub struct RevisionState {
    /// Its number.
    pub revision: u64,
    /// The compiled code: `cold` or `resident`; none if there is no handler.
    #[serde(default)]
    pub code: Option<String>,
    /// The linked component: `cold` or `resident`.
    #[serde(default)]
    pub handler: Option<String>,
    /// Instances at this moment.
    pub instances: Instances,
    /// The models' sessions.
    #[serde(default)]
    pub sessions: Vec<SessionState>,
}

/// Instances at one moment.
#[derive(Debug, Deserialize)]
pub struct Instances {
    /// Invocations that run.
    pub running: u64,
    /// Invocations that wait.
    pub waiting: u64,
    /// Instances that have answered and wait for the next invocation.
    #[serde(default)]
    pub idle: u64,
}

/// The state of a model's session.
#[derive(Debug, Deserialize)]
pub struct SessionState {
    /// The model's name.
    pub model: String,
    /// What runs it.
    pub backend: String,
    /// `cold`, `loading` or `ready`.
    pub state: String,
    /// Memory that is reckoned for it, if it is loaded.
    pub memory_bytes: Option<u64>,
    /// Whether it stays however long it is idle.
    #[serde(default)]
    pub pinned: bool,
    /// Whether it was loaded in the form that was prepared to load fastest.
    #[serde(default)]
    pub prepared: bool,
    /// Its answers that are kept, if the manifest asks for that and it is loaded.
    pub response_cache: Option<CacheState>,
}

/// Answers that a session keeps.
#[derive(Debug, Deserialize)]
pub struct CacheState {
    /// Answers that are kept.
    pub answers: u64,
    /// Requests that were answered from them.
    pub hits: u64,
    /// Requests that were not.
    pub misses: u64,
}
