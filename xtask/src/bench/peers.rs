//! The servers that do the same work: the host, the floor below it, and what people would write
//! instead. All run the same model in ONNX Runtime with one thread for a request.

use std::path::PathBuf;
use std::process::Command;

use super::server::Server;
use super::{host, library, model, program};
use crate::shell::{command, run as sh};
use crate::workspace;

const FASTAPI: &str = "bench/peers/fastapi";
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
    let mut server = host::start()?;
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

/// Makes FastAPI's virtual environment, unless it is there.
pub fn set_up_fastapi() -> anyhow::Result<()> {
    let script = workspace::root().join(FASTAPI).join("setup.sh");
    sh(command("sh", [script]).arg(fastapi_environment()))
}

/// Starts FastAPI under uvicorn.
pub fn start_fastapi() -> anyhow::Result<Server> {
    Server::start("fastapi", |address, _| {
        let mut command = Command::new(fastapi_environment().join("bin/uvicorn"));
        command
            .args(["app:app", "--workers", FASTAPI_WORKERS, "--no-access-log", "--log-level", "warning"])
            .args(["--host", &address.ip().to_string(), "--port", &address.port().to_string()])
            .current_dir(workspace::root().join(FASTAPI))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("MODEL", model());
        Ok(command)
    })
}

fn fastapi_environment() -> PathBuf {
    workspace::root().join(".cache/bench/fastapi")
}
