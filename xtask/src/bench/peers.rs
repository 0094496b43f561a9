//! The servers that do the same work: the host, the floor below it, and what people would write
//! instead. All run the same model in ONNX Runtime with one thread for a request.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::server::Server;
use super::{host, library, model, program};
use crate::{machine, workspace};

const PEERS: &str = "bench/peers";
/// Worker processes of FastAPI: one for each core of the smallest machine worth measuring on.
const FASTAPI_WORKERS: &str = "2";

/// Starts a host, and deploys the digits example with ONNX Runtime, and otherwise its defaults.
pub fn start_modelet() -> anyhow::Result<Server> {
    start_modelet_with(&[])
}

/// The same, with instances that answer one call after another for as long as the host runs.
pub fn start_modelet_with_reuse() -> anyhow::Result<Server> {
    start_modelet_with(&["reuse.max_invocations=1000000"])
}

fn start_modelet_with(settings: &[&str]) -> anyhow::Result<Server> {
    deploy_digits(host::start()?, settings)
}

/// Deploys the digits example with ONNX Runtime on a host.
pub fn deploy_digits(mut server: Server, settings: &[&str]) -> anyhow::Result<Server> {
    let settings = [&["models.digits.backend=onnxruntime"], settings].concat();
    let path = host::deploy(&server, "examples/digits", "digits", &settings)?;
    server.reads_at(path);
    Ok(server)
}

/// Starts axum and ONNX Runtime with nothing in between.
pub fn start_floor() -> anyhow::Result<Server> {
    let program = program("floor")?;
    Server::start("floor", |address, _| {
        let mut command = Command::new(&program);
        command.args(["--listen", &address.to_string(), "--library"]).arg(library());
        command.arg("--model").arg(model());
        Ok(command)
    })
}

/// The same for file types.
pub fn start_floor_of_files() -> anyhow::Result<Server> {
    let program = program("floor")?;
    Server::start("floor", |address, _| {
        let mut command = Command::new(&program);
        command.args(["--files", "--listen", &address.to_string(), "--library"]).arg(library());
        command.arg("--model").arg(workspace::root().join("examples/filetype/model/.fetched/magika.onnx"));
        Ok(command)
    })
}

/// Peers that come as packages of Python.
#[derive(Clone, Copy)]
pub enum Peer {
    FastApi,
    Wasmtime,
}

impl Peer {
    fn name(self) -> &'static str {
        match self {
            Self::FastApi => "fastapi",
            Self::Wasmtime => "wasmtime",
        }
    }

    /// Makes the peer's virtual environment, unless it is there.
    pub fn set_up(self) -> anyhow::Result<()> {
        let requirements = workspace::root().join(PEERS).join(self.name()).join("requirements.txt");
        machine::make_environment(&requirements, &self.environment())
    }

    fn environment(self) -> PathBuf {
        workspace::root().join(".cache/bench").join(self.name())
    }
}

/// Starts FastAPI under uvicorn.
pub fn start_fastapi() -> anyhow::Result<Server> {
    Server::start("fastapi", |address, _| {
        let mut command = Command::new(Peer::FastApi.environment().join("bin/uvicorn"));
        command
            .args(["app:app", "--workers", FASTAPI_WORKERS, "--no-access-log", "--log-level", "warning"])
            .args(["--host", &address.ip().to_string(), "--port", &address.port().to_string()])
            .current_dir(workspace::root().join(PEERS).join(Peer::FastApi.name()))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("MODEL", model());
        Ok(command)
    })
}

/// Starts `wasmtime serve` with `component` and the pooling allocator. An instance answers `requests` of
/// them before it ends.
pub fn start_wasmtime(component: &Path, requests: u32) -> anyhow::Result<Server> {
    Server::start("wasmtime serve", |address, _| {
        let mut command = Command::new(Peer::Wasmtime.environment().join("bin/wasmtime"));
        command.args(["serve", "-Scli", "-Opooling-allocator=y", "--addr", &address.to_string()]);
        command.args(["--max-instance-reuse-count", &requests.to_string()]).arg(component);
        Ok(command)
    })
}
