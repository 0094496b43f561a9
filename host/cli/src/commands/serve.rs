//! `modelet serve`: runs a host until it is told to stop.

mod config;
mod logging;
mod stop;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::Args;
use modelet_server::{Config, Host};
use serde_json::json;

use crate::client::DEFAULT_HOST;
use crate::client::answers::{BackendInfo, HostInfo};
use crate::credentials::{self, Credential};
use crate::error::Error;
use crate::output::{BOLD, DIM, GREEN, Output, wrapped};
use logging::LogFormat;

const EXAMPLES: &str = "\
Examples:
  modelet serve                          on 127.0.0.1:8421, data in ./modelet-data
  modelet serve --data-dir /var/lib/modelet --log-format json
  modelet serve --listen 127.0.0.1:0     on a free port, which is printed
  modelet serve --config host.toml
  MODELET_LOG=debug modelet serve

Where settings come from: flags, then the environment (MODELET_*), then the file named by --config,
then the defaults. The file has more of them than there are flags: see docs/operating.md. Everything
that the host keeps is in the data folder, which is made when it is not there.

Ctrl-C or SIGTERM stops it: it takes no more requests and finishes those that run. A second signal
stops it at once.";

/// What threads have for the end of their work when the host has stopped. Some work, such as
/// loading a model, cannot be broken off; the process ends in the middle of it.
const LAST_GRACE: Duration = Duration::from_secs(1);

/// Run a host: the server that functions are deployed to and called on.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Configuration file (TOML).
    #[arg(long, env = "MODELET_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: config::Settings,
    /// What to log, as in `info` or `warn,modelet_engine=debug`.
    #[arg(long, env = "MODELET_LOG", default_value = "info", value_name = "FILTER")]
    log: String,
    /// How to write the log, on standard error.
    #[arg(long, env = "MODELET_LOG_FORMAT", default_value = "text", value_name = "FORMAT")]
    log_format: LogFormat,
}

/// Starts the host, and stops it at a signal.
///
/// # Errors
/// If the log filter or the configuration is not valid, or the host cannot start.
pub fn run(arguments: Arguments, output: Output) -> anyhow::Result<()> {
    logging::start(&arguments.log, arguments.log_format)?;
    let config = config::load(arguments.config.as_deref(), arguments.settings)?;
    modelet_server::raise_descriptor_limit();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if config.workers > 0 {
        runtime.worker_threads(config.workers);
    }
    let runtime = runtime.enable_all().build().context("cannot start the event loop")?;
    let ended = runtime.block_on(serve(config, output));
    runtime.shutdown_timeout(LAST_GRACE);
    ended
}

async fn serve(config: Config, output: Output) -> anyhow::Result<()> {
    // From the first moment on, so that a signal during the start is not lost.
    let mut signals = stop::Signals::listen()?;
    let mut host = Host::start(config).await.map_err(|error| Error::Start(Box::new(error)))?;
    if let Err(error) = announce(&host, output) {
        // It answers requests all the same.
        tracing::warn!(error = format!("{error:#}"), "cannot say where the host is");
    }
    let signal = tokio::select! {
        signal = signals.next() => signal,
        ended = host.ended() => {
            // Only a defect does this, and a host that answers nothing must not look alive.
            return Err(ended.map_or_else(anyhow::Error::new, |()| anyhow!("it ended by itself")))
                .context("the listener failed");
        }
    };
    tracing::info!(signal, "stopping");
    output.note(format!("{signal}: finishing what runs; once more to stop at once"));
    tokio::select! {
        () = host.shutdown() => Ok(()),
        signal = signals.next() => stop::at_once(signal),
    }
}

/// Says where the host is and what it can do: for a person, or as one line for a program.
fn announce(host: &Host, output: Output) -> anyhow::Result<()> {
    let url = host.url(reachable(host.local_addr()));
    let key_file = host.operator_key_file();
    let about = host.about();
    let info: HostInfo = serde_json::from_value(about.clone()).context("the host's own words")?;
    // What `modelet login` has kept there is somebody's own choice.
    let has_own_key = matches!(credentials::find(&url), Ok(Some(Credential::Key(_))));
    if let Some(file) = &key_file
        && !has_own_key
        && let Err(error) = credentials::keep(&url, Some(Credential::KeyFile(file.clone())))
    {
        // Whoever runs this as a service has no home, and names keys otherwise.
        tracing::debug!(error = format!("{error:#}"), "cannot write down where the operator's key is");
    }
    let data_dir = host.data_dir().canonicalize().unwrap_or_else(|_| host.data_dir().to_owned());
    let ready = json!({
        "event": "ready", "url": url, "data_dir": data_dir, "operator_key_file": key_file, "host": about,
    });
    output.answer(&ready, || {
        let backends: String = info.backends.iter().map(backend).collect();
        let option = if url == DEFAULT_HOST { String::new() } else { format!(" --host {url}") };
        format!(
            "{GREEN}modelet{GREEN:#} {} at {BOLD}{url}{BOLD:#}\n{DIM}data{DIM:#}     {}\n{}{backends}\
             {DIM}next{DIM:#}     modelet deploy{option}\n",
            info.version,
            data_dir.display(),
            key_file.as_deref().map(key_line).unwrap_or_default(),
        )
    })?;
    Ok(())
}

/// Where the operator's key is: `modelet` on this machine finds it by itself, and others have to be told.
fn key_line(file: &Path) -> String {
    format!(
        "{DIM}key{DIM:#}      {file}\n         curl -H \"authorization: Bearer $(cat {file})\" ...\n",
        file = file.display()
    )
}

fn backend(backend: &BackendInfo) -> String {
    let version = backend.version.as_deref().unwrap_or_default();
    let state = match (&backend.reason, backend.available) {
        (_, true) => version.to_owned(),
        (Some(reason), false) => format!("not available: {reason}"),
        (None, false) => "not available".into(),
    };
    // Why a library is missing, and how to name it, is more than a line.
    let text = wrapped(&format!("{} {state}", backend.name), 80, "         ");
    format!("{DIM}backend{DIM:#}  {text}\n")
}

/// The address under which this machine reaches what listens on `address`.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}
