//! A host that a test can kill at a chosen step of a write, and the program that compiles and runs
//! models for it and for the hosts inside of tests.
//!
//! Takes its configuration as JSON in the first argument, and the failpoints to arm from the
//! environment variable `FAILPOINTS`; see `modelet_store::failpoints`. Prints the address that it
//! listens on, and runs until it is killed.

use anyhow::Context as _;
use modelet_server::{Config, Host};

fn main() -> anyhow::Result<()> {
    modelet_server::compile_worker_if_asked();
    modelet_server::model_worker_if_asked();
    tokio::runtime::Runtime::new()?.block_on(serve())
}

async fn serve() -> anyhow::Result<()> {
    let config = std::env::args().nth(1).context("the first argument is the configuration")?;
    let config: Config = serde_json::from_str(&config).context("the configuration does not fit")?;
    let host = Host::start(config).await?;
    // After the start, so that a test sees the change it makes, not the host's own first collection.
    if let Ok(failpoints) = std::env::var("FAILPOINTS") {
        modelet_store::failpoints::arm(&failpoints).map_err(anyhow::Error::msg)?;
    }
    println!("{}", host.local_addr());
    std::future::pending().await
}
