//! The process that compiles one component, looked at from outside.

use std::fs;
use std::process::Command;

use crate::support::until;

/// Knows the process by the length of its component, which is among its arguments; so no two tests may
/// compile components of one length.
pub struct Compiler {
    component_bytes: String,
}

impl Compiler {
    pub fn of(component: &[u8]) -> Self {
        Self { component_bytes: format!("component_bytes={}", component.len()) }
    }

    /// Its number, if it runs.
    pub fn running(&self) -> Option<u32> {
        let processes = fs::read_dir("/proc").expect("the system lists its processes");
        processes.flatten().find_map(|process| {
            // Of one that has ended and was not waited for, this is empty.
            let arguments = fs::read(process.path().join("cmdline")).ok()?;
            let mut arguments = arguments.split(|&byte| byte == 0);
            let compiles = arguments.nth(1)? == b"compile-worker"
                && arguments.any(|argument| argument == self.component_bytes.as_bytes());
            compiles.then(|| process.file_name().to_str()?.parse().ok())?
        })
    }

    /// Waits until it runs, and gives its number.
    pub async fn start(&self) -> u32 {
        until("the compiler to start", async || self.running()).await
    }

    /// Waits until it does not run any more.
    pub async fn end(&self) {
        until("the compiler to end", async || self.running().is_none().then_some(())).await;
    }

    /// Ends it as the kernel does when memory is short.
    pub fn kill(&self) {
        let pid = self.running().expect("the compiler runs").to_string();
        assert!(Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
    }
}
