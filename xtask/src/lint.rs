//! `cargo xtask lint`: the format and the lints, without a warning.

use crate::machine;
use crate::shell::{self, command};
use crate::workspace::{self, GUEST_TARGET};

/// Checks everything natively, and what guests are made of for their own target too, where other
/// parts of the SDK are compiled.
pub fn check() -> anyhow::Result<()> {
    shell::run(&mut command("cargo", ["fmt", "--all", "--check"]))?;
    shell::run(&mut command("cargo", ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    let mut clippy = command("cargo", ["clippy", "--release", "--target", GUEST_TARGET]);
    let guests = workspace::guests()?;
    for package in guests.examples.iter().chain(&guests.tests) {
        clippy.args(["-p", package]);
    }
    shell::run(clippy.args(["-p", "modelet-sdk", "--", "-D", "warnings"]))
}

/// The task by itself.
pub fn run() -> anyhow::Result<()> {
    machine::ensure_guest_target()?;
    check()
}
