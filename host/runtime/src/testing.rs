//! What unit tests stand on: a data plane in a folder of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use modelet_engine::{Engine, EngineConfig, Frames};
use modelet_inference::{Inference, InferenceConfig};
use modelet_keyvalue::{KeyValueConfig, KeyValueStores};
use modelet_observe::function_log::FunctionLogsConfig;
use modelet_observe::ledger::LedgerConfig;
use modelet_observe::metrics::MetricsConfig;
use modelet_observe::{FunctionLogs, Ledger, Metrics, Position, UsageRecord};
use modelet_types::{
    Digest, FunctionName, InvocationQuotas, Problem, RevisionNumber, Secrets, TenantName, TrafficSplit,
};
use serde_json::json;
use tempfile::TempDir;

use crate::functions::{FunctionCalls, Origin};
use crate::revision::Revision;
use crate::{AwakeBudget, HeldFile, ModelFiles, RevisionRow, RouteRow, Runtime, RuntimeConfig};

/// A running data plane, and the folder that goes with it.
pub(crate) struct TestRuntime {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) ledger: Arc<Ledger>,
    _folder: TempDir,
}

impl TestRuntime {
    pub(crate) fn start(ledger: LedgerConfig) -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path();
        let ledger = Ledger::open(path.join("ledger"), ledger).unwrap();
        let engine = EngineConfig { max_instances: 1, ..EngineConfig::new(path.join("code")) };
        let config = RuntimeConfig {
            engine: Engine::start(&engine).unwrap(),
            inference: Inference::start(InferenceConfig { workers: 1, ..InferenceConfig::default() })
                .unwrap(),
            ledger: ledger.clone(),
            logs: FunctionLogs::open(path.join("logs"), FunctionLogsConfig::default()).unwrap(),
            key_values: KeyValueStores::open(path.join("key-value"), KeyValueConfig::default()).unwrap(),
            metrics: Metrics::new(MetricsConfig::default()),
            wake_timeout: Duration::from_secs(10),
            body_idle_timeout: Duration::from_secs(10),
            request_body_budget_bytes: 1 << 20,
            model_files: Arc::new(NoFiles),
            functions: Arc::new(NoFunctions),
            awake: AwakeBudget { revisions: 10, code_bytes: 1 << 20 },
            status_of: |_| 500,
        };
        Self { runtime: Runtime::start(config), ledger, _folder: folder }
    }

    pub(crate) fn publish(&self, number: u64) {
        let spec = json!({ "component": Digest::of(b"never loaded") });
        let row = RevisionRow {
            takes_http: true,
            number: RevisionNumber(number),
            spec: serde_json::from_value(spec).unwrap(),
            models: BTreeMap::new(),
            secrets: Secrets::default(),
        };
        let (tenant, function) = names();
        let split = TrafficSplit::all_to(RevisionNumber(number));
        let quotas = InvocationQuotas::default();
        self.runtime.publish(RouteRow { tenant, function, id: 1, split, quotas, revisions: vec![row] });
    }

    pub(crate) fn retract(&self) {
        let (tenant, function) = names();
        self.runtime.retract(&tenant, &function);
    }

    /// What is in the ledger.
    pub(crate) fn records(&self) -> Vec<UsageRecord> {
        self.ledger.records(Position::START).unwrap().map(Result::unwrap).collect()
    }

    /// The revision that answers the next call.
    pub(crate) fn revision(&self) -> Arc<Revision> {
        let (tenant, function) = names();
        self.runtime.route(tenant.as_str(), function.as_str(), None).unwrap()
    }
}

/// Handlers of these tests call nothing.
struct NoFunctions;

impl FunctionCalls for NoFunctions {
    fn call(
        &self,
        _: Origin,
        _: FunctionName,
        _: http::Request<Frames>,
    ) -> BoxFuture<'static, http::Response<Frames>> {
        unreachable!("no handler runs")
    }
}

/// These tests have no models.
struct NoFiles;

impl ModelFiles for NoFiles {
    fn hold(&self, _: &TenantName, _: Digest) -> BoxFuture<'static, Result<HeldFile, Problem>> {
        unreachable!("no model is loaded")
    }
}

fn names() -> (TenantName, FunctionName) {
    ("acme".parse().unwrap(), "digits".parse().unwrap())
}
