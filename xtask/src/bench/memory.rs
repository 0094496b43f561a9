//! What a server's process has of the machine's memory, from `/proc`.

use std::fs;
use std::path::Path;

use anyhow::Context as _;

use super::server::Server;

/// Its resident memory, in MB of 10⁶ bytes.
pub fn resident_mb(server: &Server) -> anyhow::Result<f64> {
    let path = Path::new("/proc").join(server.id().to_string()).join("status");
    let status = fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    Ok(kib.context("the system does not say how much memory the server has")? * 1024.0 / 1e6)
}
