//! `cargo xtask demo`: from nothing to a function that answers, sleeps and wakes.

mod calls;
mod digits;
mod host;
mod sleep;

use std::time::Instant;

use anyhow::bail;
use clap::Args;

use crate::machine;
use crate::shell::{command, run as sh};
use host::DemoHost;

/// What the demo deploys.
const FUNCTION: &str = "digits";
const EXAMPLE: &str = "examples/digits";
/// Short, so that nobody waits for a minute to see the function sleep. The session stays longest,
/// as it does by default.
const TIMEOUTS_MS: [(&str, u32); 3] =
    [("handler_idle_timeout", 1_000), ("instance_idle_timeout", 1_000), ("session_idle_timeout", 2_000)];

/// How the demo runs.
#[derive(Debug, Args)]
pub struct Arguments {
    /// End after the last step instead of leaving the host running. The exit code is 0 only if
    /// every answer was right.
    #[arg(long)]
    exit: bool,
    /// Port of the host; by default any free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
}

/// Runs the demo.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    machine::check(&[machine::Need::CCompiler])?;
    machine::ensure_guest_target()?;
    heading("Building the host");
    sh(&mut command("cargo", ["build", "-p", "modelet"]))?;

    heading("Starting a host with the embedded defaults");
    let host = DemoHost::start(arguments.port)?;
    println!("{} with its data in {}", host.url(), host.data_dir().display());

    heading("Deploying examples/digits from source");
    let start = Instant::now();
    host.modelet(["deploy", EXAMPLE].map(str::to_owned).into_iter().chain(short_timeouts()))?;
    println!("deployed in {:.1} s, the build included", start.elapsed().as_secs_f64());

    heading("Calling it with images that the model has not seen");
    let wrong = digits::call_with_all(&host)?;

    heading("Leaving it alone until it falls to zero");
    let woke_right = sleep::fall_and_wake(&host)?;

    if wrong > 0 || !woke_right {
        bail!(
            "{wrong} of the answers were wrong{}",
            if woke_right { "" } else { ", and the one after waking too" }
        );
    }
    if arguments.exit {
        println!("\nevery answer was right");
        return Ok(());
    }
    next_commands(&host);
    host.wait_for_ctrl_c()
}

fn heading(text: &str) {
    println!("\n== {text} ==");
}

fn short_timeouts() -> impl Iterator<Item = String> {
    let settings = TIMEOUTS_MS.iter().map(|(name, ms)| format!("scale.{name}_ms={ms}"));
    settings.flat_map(|setting| ["--set".to_owned(), setting])
}

fn next_commands(host: &DemoHost) {
    let (url, modelet) = (host.url(), host.program().display());
    println!("\n== The host runs on until Ctrl-C. In another terminal ==");
    println!("export MODELET_HOST={url}");
    println!("alias modelet={modelet}");
    println!("modelet invoke {FUNCTION} --data @{EXAMPLE}/requests/one.json -i");
    println!("modelet state {FUNCTION}");
    println!("modelet logs {FUNCTION} -f");
    println!("modelet revisions {FUNCTION}");
    println!(
        "curl -H \"authorization: Bearer $(cat {})\" --data @{EXAMPLE}/requests/batch.json \\\n    \
         {url}/f/default/{FUNCTION}",
        host.key_file().display()
    );
    println!("modelet new my-fn --path /tmp/my-fn && modelet deploy /tmp/my-fn");
}
