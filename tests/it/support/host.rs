//! A host inside the test's process, on a free port, with a data folder of its own.

use std::ops::Deref;
use std::path::Path;

use modelet_server::{Config, Host};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Api, artifact};

/// A running host. Dereferences to a client of it.
pub struct TestHost {
    host: Option<Host>,
    api: Api,
    folder: TempDir,
    config: Value,
}

impl Deref for TestHost {
    type Target = Api;

    fn deref(&self) -> &Api {
        &self.api
    }
}

/// The configuration that tests start from: instances for what one test does, since address space
/// is reserved for all of them and many hosts run side by side.
pub fn config(folder: &Path) -> Value {
    json!({
        "data_dir": folder,
        "listen": "127.0.0.1:0",
        "max_instances": 100,
        // A test is no program that could run models, or compile.
        "inference": {
            "onnxruntime": artifact::onnxruntime(),
            "worker_program": env!("CARGO_BIN_EXE_fragile-host"),
        },
        "compile": { "program": env!("CARGO_BIN_EXE_fragile-host") },
    })
}

impl TestHost {
    pub async fn start() -> Self {
        Self::start_with(&json!({})).await
    }

    /// Starts with `changes` to the configuration: fields at the top, and those of its sections.
    pub async fn start_with(changes: &Value) -> Self {
        let folder = TempDir::new().expect("a temporary folder can be made");
        let mut config = config(&folder.path().join("data"));
        for (name, value) in changes.as_object().expect("changes are an object") {
            match (config[name].as_object_mut(), value.as_object()) {
                (Some(section), Some(changes)) => section.extend(changes.clone()),
                _ => config[name] = value.clone(),
            }
        }
        let host = launch(&config).await;
        Self { api: api(&host), host: Some(host), folder, config }
    }

    /// Ends the host gracefully. The data folder stays.
    pub async fn stop(&mut self) {
        self.host.take().expect("the host runs").shutdown().await;
    }

    /// Ends the host gracefully and starts another one on its data folder.
    pub async fn restart(&mut self) {
        self.stop().await;
        self.start_again().await;
    }

    /// Starts a host on the data folder of the one that was stopped.
    pub async fn start_again(&mut self) {
        let host = launch(&self.config).await;
        self.api = api(&host);
        self.host = Some(host);
    }

    pub fn data_dir(&self) -> std::path::PathBuf {
        self.folder.path().join("data")
    }

    /// Deploys the digits example as `function`, with `changes` to its manifest.
    pub async fn deploy_digits(&self, function: &str, changes: &Value) -> u64 {
        let component = self.upload(artifact::digits_handler()).await;
        let model = self.upload(artifact::digits_model()).await;
        let mut spec = json!({ "component": component, "models": { "digits": { "artifact": model } } });
        for (name, value) in changes.as_object().expect("changes are an object") {
            spec[name] = value.clone();
        }
        self.deploy(function, &spec).await
    }
}

/// A client with the operator's key.
fn api(host: &Host) -> Api {
    Api::new(host.local_addr(), &host.data_dir().join("operator-key"))
}

async fn launch(config: &Value) -> Host {
    let config: Config = serde_json::from_value(config.clone()).expect("the configuration fits");
    Host::start(config).await.expect("the host starts")
}
