//! What every controller can reach.

use std::str::FromStr;
use std::sync::{Arc, Weak};

use axum::body::Body;
use http::HeaderMap;
use http::request::Parts;
use modelet_control::Control;
use modelet_engine::Engine;
use modelet_inference::Inference;
use modelet_keyvalue::KeyValueStores;
use modelet_observe::{FunctionLogs, Metrics};
use modelet_runtime::Runtime;
use modelet_store::Actor;
use modelet_types::id::InvalidName;
use modelet_types::{Code, FunctionName, Problem};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::caller::Identification;
use crate::config::Config;
use crate::deploys::Deploys;
use crate::extract::{conditional, from_json, json_body};

/// The host, as controllers see it.
#[derive(Clone)]
pub(crate) struct Context(Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) identification: Identification,
    pub(crate) control: Control,
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) engine: Engine,
    pub(crate) inference: Arc<Inference>,
    pub(crate) logs: Arc<FunctionLogs>,
    pub(crate) key_values: Arc<KeyValueStores>,
    pub(crate) metrics: Arc<Metrics>,
    /// Places of deploys that may be under way at one time.
    pub(crate) deploys: Deploys,
    /// Turns true when the host begins to shut down; ends what would go on for ever.
    pub(crate) stopping: watch::Receiver<bool>,
}

impl Context {
    pub(crate) fn new(shared: Shared) -> Self {
        Self(Arc::new(shared))
    }

    /// For what is a part of the host itself.
    pub(crate) fn downgrade(&self) -> Weak<Shared> {
        Arc::downgrade(&self.0)
    }

    /// `None` once the host has been stopped.
    pub(crate) fn upgrade(shared: &Weak<Shared>) -> Option<Self> {
        shared.upgrade().map(Self)
    }
}

impl Context {
    /// Receives and reads a body of JSON, of at most `limit` bytes.
    ///
    /// # Errors
    /// As [`json_body`] and [`from_json`] have them, of what is sent as `InvalidInput`.
    pub(crate) async fn json<T: DeserializeOwned>(
        &self,
        headers: &HeaderMap,
        body: Body,
        limit: usize,
    ) -> Result<T, Problem> {
        let bytes = json_body(headers, body, limit, self.config.body_idle_timeout()).await?;
        from_json(&bytes, Code::InvalidInput)
    }

    /// The same for what is made once, however often its request comes; and `actor` with the request.
    ///
    /// # Errors
    /// As [`Self::json`] and [`conditional::request`] have them.
    pub(crate) async fn json_once<T: DeserializeOwned>(
        &self,
        actor: &Actor,
        parts: &Parts,
        body: Body,
        limit: usize,
    ) -> Result<(T, Actor), Problem> {
        let bytes = json_body(&parts.headers, body, limit, self.config.body_idle_timeout()).await?;
        let request = conditional::request(parts, &bytes)?;
        Ok((from_json(&bytes, Code::InvalidInput)?, actor.clone().with_request(request)))
    }
}

impl std::ops::Deref for Context {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// Reads a function's name out of an address.
pub(crate) fn function_name(text: &str) -> Result<FunctionName, Problem> {
    name(text, "function")
}

/// Reads a name out of an address, in which it stands as `parameter`.
pub(crate) fn name<N>(text: &str, parameter: &'static str) -> Result<N, Problem>
where
    N: FromStr<Err = InvalidName>,
{
    text.parse()
        .map_err(|error: InvalidName| Problem::new(Code::InvalidInput, error.to_string()).at(parameter))
}
